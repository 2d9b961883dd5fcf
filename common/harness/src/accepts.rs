//! Accepts that fail for lack of a descriptor or of memory, counted call by call (ptrace(2)).
//!
//! Invariant: the server runs its own code only. It is let go when the count ends, because the thread that traces it
//! ends then.

pub use here::Counter;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use here::{seize, trace};

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread::JoinHandle;
    use std::time::Duration;

    use observe::ptrace::{self, Place, Stop};
    use observe::{Call, Family, Kind};

    const DEADLINE: Duration = Duration::from_secs(5);
    /// Between two looks at threads that all sleep.
    const NAP: Duration = Duration::from_micros(500);

    /// Counts until it is dropped.
    pub struct Counter {
        failed: Arc<AtomicU64>,
        end: Arc<AtomicBool>,
        tracer: Option<JoinHandle<()>>,
    }

    impl Counter {
        /// Traces all threads that the server has now; `None` where that is denied.
        pub fn start(process: Family) -> Option<Self> {
            let (failed, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (tell, started) = mpsc::channel();
            let (count, until) = (failed.clone(), end.clone());
            let tracer = std::thread::spawn(move || {
                let threads = seize(process);
                let _ = tell.send(threads.is_some());
                if let Some(mut threads) = threads {
                    trace(&mut threads, &until, |tid, call| {
                        count.fetch_add(step(tid, call), Ordering::Relaxed);
                    });
                }
            });
            let counter = Self { failed, end, tracer: Some(tracer) };
            started.recv().is_ok_and(|started| started).then_some(counter)
        }

        /// How many have failed so far. An io_uring's attempts are its submissions.
        pub fn failed(&self) -> u64 {
            self.failed.load(Ordering::Relaxed)
        }
    }

    impl Drop for Counter {
        fn drop(&mut self) {
            self.end.store(true, Ordering::Relaxed);
            if let Some(tracer) = self.tracer.take() {
                let _ = tracer.join();
            }
        }
    }

    /// Threads, and the call that each of them has entered.
    pub(crate) type Threads = HashMap<i32, Option<Call>>;

    /// Every thread, traced; of one that could not be stopped the kernel lets go when this thread ends.
    pub(crate) fn seize(process: Family) -> Option<Threads> {
        let mut threads = HashMap::new();
        for thread in process.threads()? {
            // A thread of the pool may have ended.
            if ptrace::seize(thread.tid, DEADLINE).is_ok() {
                ptrace::resume(thread.tid, 0).ok()?;
                threads.insert(thread.tid, None);
            }
        }
        (!threads.is_empty()).then_some(threads)
    }

    /// Lets them go on until `end`; at each entry and exit of a call `step` sees the thread and the call that it has entered.
    pub(crate) fn trace(threads: &mut Threads, end: &AtomicBool, mut step: impl FnMut(i32, &mut Option<Call>)) {
        while !end.load(Ordering::Relaxed) && !threads.is_empty() {
            let mut moved = false;
            threads.retain(|tid, call| match ptrace::look_for(*tid) {
                Ok(None) => true,
                Ok(Some(stop)) => {
                    moved = true;
                    let signal = match stop {
                        Stop::Syscall => {
                            step(*tid, call);
                            0
                        }
                        Stop::Signal(signal) => signal,
                        Stop::Event(..) => 0,
                        Stop::Exited(_) | Stop::Killed(_) => return false,
                    };
                    ptrace::resume(*tid, signal).is_ok()
                }
                Err(_) => false,
            });
            if !moved {
                std::thread::sleep(NAP);
            }
        }
    }

    /// What this entry or exit of a call adds to the attempts that failed.
    fn step(tid: i32, call: &mut Option<Call>) -> u64 {
        match (ptrace::place(tid), call.take()) {
            (Ok(Place::Entry(number, args)), _) => {
                let entered = Call::new(number, args);
                *call = Some(entered);
                if entered.kind == Kind::UringEnter { args[1] } else { 0 }
            }
            (Ok(Place::Exit(result)), Some(left)) if left.kind == Kind::Accept => {
                let lack = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].map(|error| -i64::from(error));
                u64::from(lack.contains(&result))
            }
            _ => 0,
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod here {
    use observe::Family;

    /// Never made here.
    pub enum Counter {}

    impl Counter {
        pub fn start(_: Family) -> Option<Self> {
            None
        }

        pub fn failed(&self) -> u64 {
            match *self {}
        }
    }
}
