//! select, and pselect where a signal must not be lost.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::mutant::bug;
use super::serve::{BUFFER, PAUSE};

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    STOP.store(true, Ordering::SeqCst);
}

pub fn run(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // SAFETY: zeroed sets and actions are valid, and all pointers are to variables that outlive the calls.
    let open = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut());
        let (mut term, mut open): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut term);
        libc::sigaddset(&mut term, libc::SIGTERM);
        if !bug!("flag_before_select") {
            // The signal is blocked except during the wait, so it cannot come between the test and the wait.
            libc::sigprocmask(libc::SIG_BLOCK, &term, &mut open);
        }
        open
    };
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut buffer = [0; BUFFER];
    let mut paused = false;
    loop {
        if STOP.load(Ordering::SeqCst) {
            return Ok(());
        }
        // SAFETY: as above.
        let (ready, set) = unsafe {
            let mut set: libc::fd_set = std::mem::zeroed();
            let listening = (!paused).then_some(listener.as_raw_fd());
            let fds = streams.iter().map(AsRawFd::as_raw_fd).chain(listening);
            let last = fds.inspect(|fd| libc::FD_SET(*fd, &mut set)).max().unwrap_or(0);
            let null = std::ptr::null_mut();
            let pause = libc::timespec { tv_sec: 0, tv_nsec: PAUSE.as_nanos() as libc::c_long };
            let timeout = if paused { &raw const pause } else { std::ptr::null() };
            let ready = match bug!("flag_before_select") {
                true if !paused => libc::select(last + 1, &mut set, null, null, std::ptr::null_mut()),
                _ => libc::pselect(last + 1, &mut set, null, null, timeout, &open),
            };
            paused = false;
            (ready, set)
        };
        if ready < 0 {
            continue;
        }
        // SAFETY: the set is a valid one, and the numbers are below FD_SETSIZE in this server's short life.
        let is_set = |fd: RawFd| unsafe { libc::FD_ISSET(fd, &set) };
        streams.retain_mut(|stream| {
            !is_set(stream.as_raw_fd())
                || match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => false,
                    Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
                }
        });
        if is_set(listener.as_raw_fd()) {
            match listener.accept() {
                Ok((stream, _)) => streams.push(stream),
                Err(error) => paused = error.raw_os_error() == Some(libc::EMFILE) && !bug!("emfile_spins"),
            }
        }
    }
}
