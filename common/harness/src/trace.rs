//! A signal at the worst moment: after the server has tested whether to stop, and before it waits.
//!
//! Invariant: the server runs its own code only, in its own order. Nothing is changed but the moment at which the
//! handler runs, and only to one that can happen without a tracer too.
//!
//! That moment lasts some nanoseconds, so it is made: the server is traced (ptrace(2)) up to the entry of its wait, the
//! signal is sent, and the call, which ends with EINTR, is turned into one that the kernel starts anew once the handler
//! has run. For the server that is a signal that came just before the call.

use rustix::process::Signal;

use crate::client::Client;
use crate::failure::Step;
use crate::kernel::Process;

/// Lets the client send a byte and, once that is echoed, sends the server `signal` just before it waits again; then the
/// server runs on.
pub fn signal_before_wait(process: Process, signal: Signal, client: &mut Client) -> Step {
    here::signal_before_wait(process, signal, client)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod here {
    use std::io::{Error, Result};
    use std::mem::{offset_of, zeroed};
    use std::time::{Duration, Instant};

    use rustix::process::Signal;

    use crate::client::Client;
    use crate::failure::{Step, Stop};
    use crate::kernel::{Call, Process};

    /// For the kernel: start this call anew, whatever the signal (include/linux/errno.h). Never seen by a program.
    const ERESTARTNOINTR: i64 = 513;
    const DEADLINE: Duration = Duration::from_secs(20);

    /// A traced process; let go when this is dropped.
    struct Traced(i32);

    pub fn signal_before_wait(process: Process, signal: Signal, client: &mut Client) -> Step {
        let traced = Traced::seize(process.pid)
            .map_err(|error| Stop::skip(format!("this machine does not let the harness trace a child ({error})")))?;
        // It is stopped now, and the wait that this byte ends is not the one to hit.
        client.send_quietly(1)?;
        while client.outstanding() > 0 || !traced.enters_a_wait(process)? {
            traced.next_syscall(0)?;
            client.read_some(1)?;
        }
        if process.blocked_signals().is_some_and(|blocked| blocked & (1 << (signal.as_raw() - 1)) != 0) {
            // Blocked until the wait itself lets it in (pselect, ppoll): there is no such moment.
            return signal_now(process, signal);
        }
        signal_now(process, signal)?;
        traced.next_syscall(0)?;
        traced.restart_after_handler()?;
        let delivered = traced.next_stop(0)?;
        traced.request(libc::PTRACE_DETACH, delivered as usize)?;
        Ok(())
    }

    fn signal_now(process: Process, signal: Signal) -> Step {
        let pid = rustix::process::Pid::from_raw(process.pid).expect("a process id is not 0");
        rustix::process::kill_process(pid, signal).map_err(|error| Stop::Broken(format!("kill: {error}")))
    }

    impl Traced {
        fn seize(pid: i32) -> Result<Self> {
            let traced = Self(pid);
            traced.request(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD as usize)?;
            traced.request(libc::PTRACE_INTERRUPT, 0)?;
            traced.wait()?;
            Ok(traced)
        }

        fn request(&self, request: libc::c_uint, data: usize) -> Result<()> {
            self.request_at(request, 0, data)
        }

        fn request_at(&self, request: libc::c_uint, at: usize, data: usize) -> Result<()> {
            // SAFETY: of the requests made here only GET_SYSCALL_INFO writes, `at` bytes to `data`, which is that large.
            let result = unsafe { libc::ptrace(request, self.0, at, data) };
            if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
        }

        /// The signal of its next stop.
        fn wait(&self) -> Result<i32> {
            let end = Instant::now() + DEADLINE;
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            while unsafe { libc::waitpid(self.0, &mut status, libc::__WALL | libc::WNOHANG) } == 0 {
                if Instant::now() > end {
                    return Err(Error::other("a traced server did not stop"));
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            if libc::WIFSTOPPED(status) {
                Ok(libc::WSTOPSIG(status))
            } else {
                Err(Error::other("the traced server has ended"))
            }
        }

        /// Lets it go on, with a signal if that is not 0, to where it enters or leaves its next system call.
        fn next_syscall(&self, signal: i32) -> Result<()> {
            let mut stop = self.next_stop(signal)?;
            while stop != libc::SIGTRAP | 0x80 {
                // A stop of the tracer's own is no signal to be passed on.
                stop = self.next_stop(if stop == libc::SIGTRAP { 0 } else { stop })?;
            }
            Ok(())
        }

        fn next_stop(&self, signal: i32) -> Result<i32> {
            self.request(libc::PTRACE_SYSCALL, signal as usize)?;
            self.wait()
        }

        fn enters_a_wait(&self, process: Process) -> Step<bool> {
            // SAFETY: plain integers.
            let mut info: libc::ptrace_syscall_info = unsafe { zeroed() };
            self.request_at(libc::PTRACE_GET_SYSCALL_INFO, size_of_val(&info), &raw mut info as usize)?;
            let calls = process.threads().unwrap_or_default();
            let in_wait = calls.iter().any(|thread| thread.call.as_ref().is_some_and(Call::is_wait));
            Ok(info.op == libc::PTRACE_SYSCALL_INFO_ENTRY && in_wait)
        }

        /// At the end of a call: the handler runs first, and then the call is made again.
        fn restart_after_handler(&self) -> Result<()> {
            let result = offset_of!(libc::user, regs) + offset_of!(libc::user_regs_struct, rax);
            self.request_at(libc::PTRACE_POKEUSER, result, -ERESTARTNOINTR as usize)
        }
    }

    impl Drop for Traced {
        fn drop(&mut self) {
            // Where it was let go already, or has ended, this fails and means nothing.
            let _ = self.request(libc::PTRACE_DETACH, 0);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
mod here {
    use rustix::process::Signal;

    use crate::client::Client;
    use crate::failure::{Step, Stop};
    use crate::kernel::Process;

    pub fn signal_before_wait(_: Process, _: Signal, _: &mut Client) -> Step {
        Err(Stop::skip("needs ptrace(2) as it is on Linux on x86-64"))
    }
}
