//! One thread of a server is held at a moment of its turn, while all else goes on (ptrace(2)).
//!
//! Invariant: a thread runs its own code only, in its own order. What a moment shows could have happened by itself.

/// A thread that is held at one of its system calls.
pub use here::Moment;

/// What came of an attempt to hold a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is held.
    Yes,
    /// Its turn was over before, or it sleeps, and nothing has woken it.
    Over,
    /// It is awake, and came to no call for long: on a busy machine it has no processor.
    #[cfg_attr(
        not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
        expect(dead_code, reason = "no thread is held there")
    )]
    Late,
}

/// The next submission of a server whose ring has a kernel's thread (SQPOLL), held just before it is published.
pub use sqpoll::Unpublished;

/// Whether a thread stands at the entry of this call, or goes on with it after its tracer had stopped it.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn is_entered(call: &observe::Call, place: observe::ptrace::Place) -> bool {
    use observe::ptrace::Place;
    matches!(place, Place::Entry(number, _) if number == call.number || number == libc::SYS_restart_syscall)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    use std::time::{Duration, Instant};

    use observe::ptrace::{self, Place, Stop as Stopped};
    use observe::{Call, Family, Kind, Thread};

    use super::{Held, is_entered};
    use crate::failure::{Step, Stop};
    use crate::traced::Traced;

    /// A thread that makes no system call for so long is asleep, or has another one's work to wait for.
    const ASLEEP: Duration = Duration::from_secs(1);

    pub struct Moment {
        process: Family,
        tid: i32,
        /// What it sleeps in.
        rest: Call,
        traced: Traced,
    }

    impl Moment {
        /// The threads of a server at rest that can be held: at most four, and first those that wait for descriptors.
        pub fn threads(process: Family) -> Vec<Thread> {
            let asleep = |thread: &Thread| thread.state == 'S' && thread.call.is_some_and(|call| call.is_known());
            let mut threads: Vec<_> = process.threads().unwrap_or_default().into_iter().filter(asleep).collect();
            threads.sort_by_key(|thread| match thread.call {
                Some(call) if call.is_wait() => 0,
                Some(Call { kind: Kind::Accept | Kind::Read, .. }) => 1,
                _ => 2,
            });
            threads.truncate(4);
            threads
        }

        /// Traces a thread, and lets it go back to the call in which it sleeps.
        pub fn before(process: Family, thread: &Thread) -> Step<Self> {
            let rest = thread.call.ok_or_else(|| Stop::skip("needs Linux's /proc"))?;
            let it = Self { process, tid: thread.tid, rest, traced: Traced::seize(thread.tid, ASLEEP)? };
            for _ in 0..32 {
                it.traced.next_syscall()?;
                if it.is_at_rest()? {
                    break;
                }
            }
            it.traced.resume(0)?;
            Ok(it)
        }

        /// `wake` gives the server something to do, while all its other threads stand still: where several wait for the same,
        /// this one gets it. They go on when what is returned is dropped.
        pub fn wake_alone(&self, wake: impl FnOnce() -> Step) -> Step<Vec<Traced>> {
            /// It was not meant for this thread, if it sleeps on for so long.
            const MEANT_FOR_OTHERS: Duration = Duration::from_millis(50);
            let others = self.process.threads().unwrap_or_default().into_iter().filter(|thread| thread.tid != self.tid);
            let others: Vec<Traced> = others.filter_map(|thread| Traced::seize(thread.tid, ASLEEP).ok()).collect();
            wake()?;
            let start = Instant::now();
            // Woken, it stands still where it leaves its call. On a busy machine it has to come to a processor before.
            while match self.state() {
                Some('R') => start.elapsed() < ASLEEP,
                Some('t') | None => false,
                Some(_) => start.elapsed() < MEANT_FOR_OTHERS,
            } {
                std::thread::sleep(Duration::from_micros(100));
            }
            Ok(others)
        }

        /// Waits until something wakes the thread, and lets it go on for `calls` entries and exits of system calls.
        pub fn hold(&self, calls: u32) -> Step<Held> {
            loop {
                match self.traced.stopped() {
                    Ok(Stopped::Syscall) => break,
                    Ok(Stopped::Signal(signal)) => self.traced.resume(signal)?,
                    Ok(_) => self.traced.resume(0)?,
                    Err(_) => return Ok(self.over_or_late()),
                }
            }
            for _ in 0..calls {
                if self.traced.next_syscall().is_err() {
                    return Ok(self.over_or_late());
                }
                if self.is_at_rest()? {
                    return Ok(Held::Over);
                }
            }
            Ok(Held::Yes)
        }

        /// Counts the system calls that the thread makes from where it sleeps until it sleeps again. `None` if it does not
        /// come to that.
        pub fn calls_until_asleep(&self) -> Option<u32> {
            /// No call comes for so long, and it sleeps: it has nothing to do.
            const QUIET: Duration = Duration::from_millis(20);
            let (mut calls, end) = (0, Instant::now() + ASLEEP);
            loop {
                let signal = match ptrace::wait_for(self.tid, QUIET) {
                    Ok(Stopped::Syscall) => {
                        calls += u32::from(matches!(ptrace::place(self.tid).ok()?, Place::Entry(..)));
                        0
                    }
                    Ok(Stopped::Signal(signal)) => signal,
                    Ok(Stopped::Exited(_) | Stopped::Killed(_)) => return None,
                    Ok(_) => 0,
                    Err(_) if calls > 0 && self.state() == Some('S') => return Some(calls),
                    Err(_) if Instant::now() < end => continue,
                    Err(_) => return None,
                };
                self.traced.resume(signal).ok()?;
            }
        }

        fn over_or_late(&self) -> Held {
            if self.state() == Some('R') { Held::Late } else { Held::Over }
        }

        fn state(&self) -> Option<char> {
            let threads = self.process.threads()?;
            threads.iter().find(|thread| thread.tid == self.tid).map(|thread| thread.state)
        }

        /// Waits until all other threads sleep, or for a short while.
        pub fn others_rest(&self) {
            let others = || {
                let threads = self.process.threads().unwrap_or_default();
                threads.into_iter().filter(|thread| thread.tid != self.tid).collect::<Vec<_>>()
            };
            let end = Instant::now() + Duration::from_millis(50);
            let mut before = others();
            while Instant::now() < end {
                std::thread::sleep(Duration::from_millis(3));
                let now = others();
                if now == before && now.iter().all(|thread| thread.state == 'S') {
                    break;
                }
                before = now;
            }
        }

        fn is_at_rest(&self) -> Step<bool> {
            Ok(is_entered(&self.rest, ptrace::place(self.tid)?))
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod here {
    use observe::{Family, Thread};

    use super::Held;
    use crate::failure::{Step, Stop};

    pub struct Moment;

    impl Moment {
        pub fn threads(_: Family) -> Vec<Thread> {
            Vec::new()
        }

        pub fn before(_: Family, _: &Thread) -> Step<Self> {
            Err(Stop::skip("needs ptrace(2) as it is on Linux on x86-64 and aarch64"))
        }

        pub fn hold(&self, _: u32) -> Step<Held> {
            Ok(Held::Over)
        }

        pub fn wake_alone(&self, wake: impl FnOnce() -> Step) -> Step<Vec<std::convert::Infallible>> {
            wake().map(|()| Vec::new())
        }

        pub fn calls_until_asleep(&self) -> Option<u32> {
            None
        }

        pub fn others_rest(&self) {}
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sqpoll {
    use std::fs;
    use std::time::{Duration, Instant};

    use observe::ptrace::{self, Breakpoint, Stop as Stopped};
    use observe::{Call, Family};

    use super::is_entered;
    use crate::failure::{Step, Stop};
    use crate::traced::Traced;

    /// The kernel's thread looks for work for one second where the program does not say otherwise.
    const PATIENCE: Duration = Duration::from_secs(3);
    /// More instructions than a turn with one byte has.
    const STEPS: u32 = 300_000;

    pub struct Unpublished {
        process: Family,
        /// The kernel's thread.
        poller: i32,
        ring: i32,
        rest: Call,
        /// The instruction that publishes a submission.
        publishes: u64,
        /// How often a turn comes to it with nothing to publish, before.
        idly: usize,
    }

    impl Unpublished {
        /// Finds the kernel's thread and the ring of a server at rest.
        pub fn find(process: Family, port: u16) -> Step<Self> {
            let threads = process.threads().unwrap_or_default();
            let is_kernels = |tid: i32| {
                fs::read_to_string(format!("/proc/{}/task/{tid}/comm", process.pid))
                    .is_ok_and(|name| name.starts_with("iou-sqp"))
            };
            let (kernels, own): (Vec<_>, Vec<_>) = threads.into_iter().partition(|thread| is_kernels(thread.tid));
            let rings: Vec<i32> = process.view(port).unwrap_or_default().rings().map(|ring| ring.fd).collect();
            match (&*kernels, &*own, &*rings) {
                ([poller], [thread], [ring]) if thread.tid == process.pid => {
                    let rest = thread.call.ok_or_else(|| Stop::skip("needs /proc/PID/syscall"))?;
                    Ok(Self { process, poller: poller.tid, ring: *ring, rest, publishes: 0, idly: 0 })
                }
                ([], ..) => Err(Stop::skip("no thread of the kernel looks for its submissions (SQPOLL)")),
                _ => Err(Stop::skip("needs one ring, one thread of the kernel (SQPOLL), and one of the server")),
            }
        }

        /// Learns which instruction publishes a submission, instruction by instruction. `wake` gives the server a byte.
        pub fn learn(&mut self, wake: impl FnOnce() -> Step) -> Step {
            let traced = self.woken(wake)?;
            let before = self.tail()?;
            let mut passed = Vec::new();
            for _ in 0..STEPS {
                let at = ptrace::program_counter(self.process.pid)?;
                if !self.step()? {
                    break;
                }
                if self.tail()? != before {
                    self.publishes = at;
                    self.idly = passed.iter().filter(|address| **address == at).count();
                    return Ok(());
                }
                passed.push(at);
            }
            drop(traced);
            Err(Stop::skip("the instruction that publishes a submission was not found"))
        }

        /// Holds the server just before it publishes its next submission, until the kernel's thread sleeps. Whether that
        /// moment came.
        pub fn hold(&self, wake: impl FnOnce() -> Step) -> Step<bool> {
            let (pid, traced) = (self.process.pid, self.woken(wake)?);
            let mut breakpoint = Breakpoint::set(pid, self.publishes)?;
            let (mut signal, mut idly) = (0, 0);
            let reached = loop {
                match traced.next_stop(signal) {
                    Ok(Stopped::Signal(libc::SIGTRAP)) if idly == self.idly => break true,
                    Ok(Stopped::Signal(libc::SIGTRAP)) => {
                        idly += 1;
                        breakpoint.remove(pid)?;
                        self.step()?;
                        breakpoint = Breakpoint::set(pid, self.publishes)?;
                        signal = 0;
                    }
                    Ok(Stopped::Signal(other)) => signal = other,
                    Ok(_) => signal = 0,
                    Err(_) => {
                        ptrace::stop(pid, PATIENCE)?;
                        break false;
                    }
                }
            };
            let slept = reached && self.await_sleep();
            breakpoint.remove(pid)?;
            Ok(slept)
        }

        /// Waits until the kernel's thread sleeps; whether it does.
        pub fn await_sleep(&self) -> bool {
            const LOOKS: u32 = 5;
            let end = Instant::now() + PATIENCE;
            let mut asleep = 0;
            while asleep < LOOKS && Instant::now() < end {
                let stat = fs::read_to_string(format!("/proc/{}/task/{}/stat", self.process.pid, self.poller));
                let sleeps = stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')));
                asleep = if sleeps { asleep + 1 } else { 0 };
                std::thread::sleep(Duration::from_millis(1));
            }
            asleep == LOOKS
        }

        /// Traces the server, and holds it where `wake` has woken it.
        fn woken(&self, wake: impl FnOnce() -> Step) -> Step<Traced> {
            const CALLS: u32 = 32;
            let traced = Traced::seize(self.process.pid, PATIENCE)?;
            for _ in 0..CALLS {
                traced.next_syscall()?;
                if is_entered(&self.rest, ptrace::place(self.process.pid)?) {
                    break;
                }
            }
            traced.resume(0)?;
            wake()?;
            traced.stopped()?;
            Ok(traced)
        }

        /// One instruction; false if it does not come to an end.
        fn step(&self) -> Step<bool> {
            const ENDLESS: Duration = Duration::from_millis(500);
            ptrace::step(self.process.pid)?;
            match ptrace::wait_for(self.process.pid, ENDLESS) {
                Ok(Stopped::Signal(libc::SIGTRAP)) => Ok(true),
                _ => Ok(false),
            }
        }

        /// Submissions that were published.
        fn tail(&self) -> Step<u64> {
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{}", self.process.pid, self.ring))?;
            let line = info.lines().find_map(|line| line.strip_prefix("SqTail:"));
            line.and_then(|tail| tail.trim().parse().ok())
                .ok_or_else(|| Stop::skip("this kernel does not show a ring's tail"))
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod sqpoll {
    use observe::Family;

    use crate::failure::{Step, Stop};

    pub struct Unpublished;

    impl Unpublished {
        pub fn find(_: Family, _: u16) -> Step<Self> {
            Err(Stop::skip("needs ptrace(2) as it is on Linux on x86-64"))
        }

        pub fn learn(&mut self, _: impl FnOnce() -> Step) -> Step {
            Ok(())
        }

        pub fn hold(&self, _: impl FnOnce() -> Step) -> Step<bool> {
            Ok(false)
        }

        pub fn await_sleep(&self) -> bool {
            false
        }
    }
}
