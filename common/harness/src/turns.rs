//! What a server does in one turn, from one wait to the next, counted call by call (ptrace(2)).
//!
//! Invariant: a count is exact, however busy the machine is: the server stands still at each of its calls.

/// The most that was done in any one turn.
#[derive(Debug, Default, Clone, Copy)]
pub struct Most {
    /// Connections that were accepted.
    pub accepted: u32,
    /// Reads of one connection.
    pub reads: u32,
    /// Bytes that were read of one connection.
    pub bytes: u64,
    /// Sleeps (nanosleep and the like) beside the wait.
    pub sleeps: u32,
}

/// A server of one thread that stands still from here on, and is counted when it goes on.
pub use here::Counter;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use observe::ptrace::{self, Place};
    use observe::{Call, Family, Kind};

    use super::Most;
    use crate::failure::Step;
    use crate::traced::Traced;

    /// A server that sleeps for so long has nothing to do.
    const ASLEEP: Duration = Duration::from_secs(2);
    /// Looked at in all. A turn of 64 accepts and 4 reads makes about 200 calls, so this is enough for 24 turns. Work that
    /// is not done in system calls (io_uring), or a turn without an end, comes to an end here.
    const STOPS: u32 = 20_000;

    impl Most {
        /// Of each connection, how often it was read in a turn, and how many bytes.
        fn note(&mut self, turn: impl Iterator<Item = (u32, u64)>) {
            for (reads, bytes) in turn {
                self.reads = self.reads.max(reads);
                self.bytes = self.bytes.max(bytes);
            }
        }
    }

    pub struct Counter {
        process: Family,
        traced: Traced,
    }

    impl Counter {
        pub fn stop(process: Family) -> Step<Self> {
            Ok(Self { process, traced: Traced::seize(process.pid, ASLEEP)? })
        }

        /// Counts until the server has worked in `turns` turns, or sleeps for long; `None` if no work was seen at all. Before
        /// each wait `feed` moves the clients on, and before each read `trickle`.
        pub fn count(
            self,
            turns: u32,
            mut feed: impl FnMut() -> Step,
            mut trickle: impl FnMut() -> Step,
        ) -> Step<Option<Most>> {
            let (mut most, mut worked, mut waits) = (Most::default(), 0, 0);
            let (mut accepted, mut reads, mut call) = (0, BTreeMap::<i32, (u32, u64)>::new(), None);
            for _ in 0..STOPS {
                match (ptrace::place(self.process.pid)?, call) {
                    (Place::Entry(number, args), _) => {
                        let entered = Call::new(number, args);
                        most.sleeps += u32::from(entered.name.ends_with("nanosleep"));
                        if entered.is_wait() {
                            feed()?;
                            waits += 1;
                            worked += u32::from(accepted > 0 || !reads.is_empty());
                            most.accepted = most.accepted.max(std::mem::take(&mut accepted));
                            most.note(std::mem::take(&mut reads).into_values());
                        }
                        if entered.kind == Kind::Read {
                            trickle()?;
                        }
                        call = Some(entered);
                    }
                    (Place::Exit(result), Some(left)) => {
                        match (left.kind, left.fd()) {
                            (Kind::Accept, _) if result >= 0 => accepted += 1,
                            (Kind::Read, Some(fd)) => {
                                let (times, bytes) = reads.entry(fd).or_default();
                                *times += 1;
                                *bytes += u64::try_from(result).unwrap_or(0);
                            }
                            _ => {}
                        }
                        call = None;
                    }
                    _ => {}
                }
                if worked >= turns || waits >= 4 * turns || self.traced.next_syscall().is_err() {
                    break;
                }
            }
            // The last turn, which may have been cut off: what it did by then was done.
            most.accepted = most.accepted.max(accepted);
            most.note(reads.into_values());
            Ok((most.accepted > 0 || most.reads > 0).then_some(most))
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod here {
    use observe::Family;

    use super::Most;
    use crate::failure::{Step, Stop};

    pub struct Counter;

    impl Counter {
        pub fn stop(_: Family) -> Step<Self> {
            Err(Stop::skip("needs ptrace(2) as it is on Linux on x86-64 and aarch64"))
        }

        pub fn count(self, _: u32, _: impl FnMut() -> Step, _: impl FnMut() -> Step) -> Step<Option<Most>> {
            Ok(None)
        }
    }
}
