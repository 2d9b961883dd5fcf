//! Reads and writes of a connection in which a server waited, call by call (ptrace(2)).
//!
//! Invariant: judged is what a call did, and not how its socket is set. On a blocking socket, and without MSG_DONTWAIT, a
//! send takes all or waits, and a receive never says EAGAIN: one that did otherwise has waited until its timeout.

pub use here::Waits;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread::JoinHandle;

    use observe::ptrace::{self, Place};
    use observe::view::Holder;
    use observe::{Call, Family, Kind};

    use crate::accepts::{seize, trace};

    /// RWF_NOWAIT of preadv2 and pwritev2.
    const NOWAIT: u64 = 8;

    /// Watches until it is asked.
    pub struct Waits {
        end: Arc<AtomicBool>,
        tracer: JoinHandle<Option<String>>,
    }

    impl Waits {
        /// Traces all threads that the server has now; `None` where that is denied.
        pub fn start(process: Family) -> Option<Self> {
            let end = Arc::new(AtomicBool::new(false));
            let (tell, started) = mpsc::channel();
            let until = end.clone();
            let tracer = std::thread::spawn(move || {
                let threads = seize(process);
                let _ = tell.send(threads.is_some());
                let (mut threads, mut found) = (threads?, None);
                trace(&mut threads, &until, |tid, call| {
                    if let Some(waited) = step(process, tid, call) {
                        found.get_or_insert(waited);
                    }
                });
                found
            });
            let waits = Self { end, tracer };
            started.recv().is_ok_and(|started| started).then_some(waits)
        }

        /// The call in which a thread waits now.
        pub fn asleep(process: Family) -> Option<String> {
            let threads = process.threads()?.into_iter().filter(|thread| thread.state == 'S');
            let mut calls = threads.filter_map(|thread| Some((thread.tid, thread.call?)));
            calls.find(|(tid, call)| may_wait(process, *tid, call)).map(|(_, call)| format!("{call} does not return"))
        }

        /// The first call that waited.
        pub fn found(self) -> Option<String> {
            self.end.store(true, Ordering::Relaxed);
            self.tracer.join().ok().flatten()
        }
    }

    /// A call that returns here, if it has waited.
    fn step(process: Family, tid: i32, call: &mut Option<Call>) -> Option<String> {
        let result = match (ptrace::place(tid), call.take()) {
            (Ok(Place::Entry(number, args)), _) => {
                *call = Some(Call::new(number, args));
                return None;
            }
            (Ok(Place::Exit(result)), Some(left)) => (left, result),
            _ => return None,
        };
        let (left, result) = result;
        let is_short =
            left.kind == Kind::Write && length(&left).is_some_and(|all| result >= 0 && (result as u64) < all);
        let says_eagain = result == -i64::from(libc::EAGAIN);
        let waited = (is_short || says_eagain) && may_wait(process, tid, &left);
        let shown = if says_eagain { "EAGAIN".to_owned() } else { result.to_string() };
        waited.then(|| format!("{left} = {shown}"))
    }

    /// A transfer on a socket, with neither O_NONBLOCK nor a flag of its own.
    fn may_wait(process: Family, tid: i32, call: &Call) -> bool {
        let Some(fd) = call.fd().filter(|_| matches!(call.kind, Kind::Read | Kind::Write)) else { return false };
        let link = fs::read_link(format!("/proc/{tid}/fd/{fd}")).unwrap_or_default();
        let is_socket = link.to_string_lossy().starts_with("socket:");
        let blocks = process.fd_flags(Holder { pid: tid, fd }).is_some_and(|flags| flags & libc::O_NONBLOCK == 0);
        is_socket && blocks && !has_flag(call)
    }

    fn has_flag(call: &Call) -> bool {
        let dont_wait = libc::MSG_DONTWAIT as u64;
        match call.name {
            "sendto" | "recvfrom" => call.args[3] & dont_wait != 0,
            "sendmsg" | "recvmsg" => call.args[2] & dont_wait != 0,
            "sendmmsg" | "recvmmsg" => call.args[3] & dont_wait != 0,
            "preadv2" | "pwritev2" => call.args[5] & NOWAIT != 0,
            _ => false,
        }
    }

    /// How many bytes it was given; of a vector, that is in the server's memory.
    fn length(call: &Call) -> Option<u64> {
        matches!(call.name, "sendto" | "write").then_some(call.args[2])
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod here {
    use observe::Family;

    /// Never made here.
    pub enum Waits {}

    impl Waits {
        pub fn start(_: Family) -> Option<Self> {
            None
        }

        pub fn asleep(_: Family) -> Option<String> {
            None
        }

        pub fn found(self) -> Option<String> {
            match self {}
        }
    }
}
