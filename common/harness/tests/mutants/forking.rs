//! A process for each connection.
//!
//! Invariant (without a bug): the kernel is told that nobody will wait for the children (SIGCHLD is ignored), so none
//! of them stays a zombie.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::blocking::echo;
use super::mutant::bug;
use super::serve::handle;

pub fn run(listener: &TcpListener, wake: &UnixStream, ready: impl FnOnce()) -> io::Result<()> {
    let on_child = match () {
        () if bug!("not_reaped") => libc::SIG_DFL,
        () if bug!("reaped_once_a_signal") => reap_one as *const () as usize,
        () => libc::SIG_IGN,
    };
    handle(libc::SIGCHLD, on_child);
    ready();
    loop {
        let wanted = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [wanted(listener.as_raw_fd()), wanted(wake.as_raw_fd())];
        // SAFETY: the array is as long as said.
        if unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } < 0 {
            // A child has ended, or the process was stopped.
            continue;
        }
        if fds[1].revents != 0 {
            return Ok(());
        }
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, most likely.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: the descriptor is the child's own copy, which nothing uses any more.
                unsafe { libc::close(listener.as_raw_fd()) };
                echo(stream);
                // SAFETY: no destructor of the parent's is to run here.
                unsafe { libc::_exit(0) }
            }
            -1 => std::thread::sleep(Duration::from_millis(50)),
            _ => {}
        }
    }
}

/// Signals of the same kind that come at once are one.
extern "C" fn reap_one(_signal: libc::c_int) {
    // SAFETY: waitpid is async-signal-safe, and takes no status here.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
}
