//! A signal at the worst moment: after the server has tested whether to stop, and before it waits.
//!
//! Invariant: the server runs its own code only, in its own order. Nothing is changed but the moment at which the
//! handler runs, and that moment can come without a tracer too.
//!
//! That moment lasts some nanoseconds, so it is made: the server is traced (ptrace(2)) up to the entry of its wait, the
//! signal is sent, and the call, which ends with EINTR, is turned into one that the kernel starts anew once the handler
//! has run. For the server that is a signal that came just before the call.

use observe::Family;
use rustix::process::Signal;

use crate::client::Client;
use crate::failure::Step;

/// Lets the client send a byte and, once that is echoed, sends the server `signal` just before it waits again; then the
/// server runs on.
pub fn signal_before_wait(process: Family, signal: Signal, client: &mut Client) -> Step {
    here::signal_before_wait(process, signal, client)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    use std::io::{Error, Result};
    use std::time::Duration;

    use observe::ptrace::{self, Place};
    use observe::{Call, Family};
    use rustix::process::{Pid, Signal, kill_process};

    use crate::client::Client;
    use crate::failure::{Step, Stop};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A traced process; let go when this is dropped.
    struct Traced(i32);

    pub fn signal_before_wait(process: Family, signal: Signal, client: &mut Client) -> Step {
        let traced = Traced(process.pid);
        ptrace::seize(process.pid, DEADLINE)
            .map_err(|error| Stop::skip(format!("this machine does not let the harness trace a child ({error})")))?;
        // It is stopped now, and the wait that this byte ends is not the one to hit.
        client.send_quietly(1)?;
        let wait = loop {
            match ptrace::place(traced.0)? {
                Place::Entry(number, args) if client.outstanding() == 0 && Call::new(number, args).is_wait() => {
                    break number;
                }
                _ => traced.next_syscall()?,
            }
            client.read_some(1)?;
        };
        signal_now(process, signal)?;
        if process.blocked_signals().is_some_and(|blocked| blocked & (1 << (signal.as_raw() - 1)) != 0) {
            // Blocked until the wait itself lets it in (pselect, ppoll): there is no such moment.
            return Ok(());
        }
        traced.next_syscall()?;
        // At the end of the call: the handler runs first, and then the call is made again.
        ptrace::give(traced.0, wait, ptrace::MAKE_IT_ANEW)?;
        let delivered = match traced.next_stop(0)? {
            ptrace::Stop::Signal(signal) => signal,
            _ => 0,
        };
        ptrace::let_go(traced.0, delivered)?;
        Ok(())
    }

    fn signal_now(process: Family, signal: Signal) -> Step {
        let pid = Pid::from_raw(process.pid).expect("a process id is not 0");
        kill_process(pid, signal).map_err(|error| Stop::Broken(format!("kill: {error}")))
    }

    impl Traced {
        /// Lets it go on to where it enters or leaves its next system call.
        fn next_syscall(&self) -> Result<()> {
            let mut signal = 0;
            loop {
                match self.next_stop(signal)? {
                    ptrace::Stop::Syscall => return Ok(()),
                    ptrace::Stop::Signal(other) => signal = other,
                    // A stop of the tracer's own is no signal to be passed on.
                    _ => signal = 0,
                }
            }
        }

        fn next_stop(&self, signal: i32) -> Result<ptrace::Stop> {
            ptrace::resume(self.0, signal)?;
            match ptrace::wait_for(self.0, DEADLINE)? {
                ptrace::Stop::Exited(_) | ptrace::Stop::Killed(_) => Err(Error::other("the traced server has ended")),
                stop => Ok(stop),
            }
        }
    }

    impl Drop for Traced {
        fn drop(&mut self) {
            // Where it was let go already, or has ended, this fails and means nothing.
            let _ = ptrace::let_go(self.0, 0);
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod here {
    use observe::Family;
    use rustix::process::Signal;

    use crate::client::Client;
    use crate::failure::{Step, Stop};

    pub fn signal_before_wait(_: Family, _: Signal, _: &mut Client) -> Step {
        Err(Stop::skip("needs ptrace(2) as it is on Linux on x86-64 and aarch64"))
    }
}
