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
    use std::time::Duration;

    use observe::ptrace::{self, Place};
    use observe::{Call, Family};
    use rustix::process::{Pid, Signal, kill_process};

    use crate::client::Client;
    use crate::failure::{Step, Stop, Symptom};
    use crate::traced::Traced;

    const DEADLINE: Duration = Duration::from_secs(20);
    /// A server may finish what it has at hand, which takes a turn or two.
    const TURNS: usize = 20;
    const NEVER_LET_IN: &str = "The server blocks the signal, and lets it in only while pselect or ppoll sleeps. A wait that has \
                                work does not sleep, so the signal waits for as long as clients send: unblock it for a moment \
                                in each turn, or watch a socket or a signalfd.";

    pub fn signal_before_wait(process: Family, signal: Signal, client: &mut Client) -> Step {
        let traced = Traced::seize(process.pid, DEADLINE)?;
        // It is stopped now, and the wait that this byte ends is not the one to hit.
        client.send_quietly(1)?;
        let wait = loop {
            match ptrace::place(process.pid)? {
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
            return let_in_while_busy(&traced, process, signal, client);
        }
        traced.next_syscall()?;
        // At the end of the call: the handler runs first, and then the call is made again.
        ptrace::give(process.pid, wait, ptrace::MAKE_IT_ANEW)?;
        let delivered = match traced.next_stop(0)? {
            ptrace::Stop::Signal(signal) => signal,
            _ => 0,
        };
        ptrace::let_go(process.pid, delivered)?;
        Ok(())
    }

    /// The signal waits, and each wait has work at hand and does not sleep: the server must end all the same.
    fn let_in_while_busy(traced: &Traced, process: Family, signal: Signal, client: &mut Client) -> Step {
        // Another thread may take the signal, at its own time.
        if process.threads().is_none_or(|threads| threads.len() != 1) {
            return Ok(());
        }
        for _ in 0..TURNS {
            client.send_quietly(1)?;
            let mut pass_on = 0;
            loop {
                pass_on = match traced.next_stop(pass_on)? {
                    ptrace::Stop::Signal(it) if it == signal.as_raw() => return Ok(ptrace::let_go(process.pid, it)?),
                    ptrace::Stop::Signal(other) => other,
                    ptrace::Stop::Syscall => match ptrace::place(process.pid)? {
                        Place::Entry(libc::SYS_exit_group | libc::SYS_exit, _) => return Ok(()),
                        Place::Entry(number, args) if Call::new(number, args).is_wait() => break,
                        _ => 0,
                    },
                    _ => 0,
                };
            }
            client.read_some(1)?;
        }
        let what =
            format!("a signal was sent, and in {TURNS} turns, each of which had work, the server did not take it");
        Err(Stop::fail(Symptom::Contract, what, NEVER_LET_IN))
    }

    fn signal_now(process: Family, signal: Signal) -> Step {
        let pid = Pid::from_raw(process.pid).expect("a process id is not 0");
        kill_process(pid, signal).map_err(|error| Stop::Broken(format!("kill: {error}")))
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
