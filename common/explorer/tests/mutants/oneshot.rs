//! EPOLLONESHOT, with two threads on one epoll.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::mutant::bug;
use super::serve::{BUFFER, PAUSE, check, epoll_ctl, epoll_wait};

pub fn run(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // SAFETY: no pointers.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    let events = libc::EPOLLIN | libc::EPOLLONESHOT;
    epoll_ctl(epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), events)?;
    let parked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| worker(epoll, listener, &parked));
        }
    });
    Ok(())
}

fn worker(epoll: RawFd, listener: &TcpListener, parked: &AtomicBool) {
    let armed = libc::EPOLLIN | libc::EPOLLONESHOT;
    let rearm = |fd: RawFd| epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, armed);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1];
    loop {
        let timeout = if parked.load(Ordering::SeqCst) { PAUSE.as_millis() as libc::c_int } else { -1 };
        let ready = epoll_wait(epoll, &mut events, timeout).unwrap_or(0);
        // When the server is out of descriptors, the listener stays disarmed for a while.
        if ready == 0 && parked.swap(false, Ordering::SeqCst) {
            let _ = rearm(listener.as_raw_fd());
        }
        if ready == 0 {
            continue;
        }
        let fd = events[0].u64 as RawFd;
        if fd == listener.as_raw_fd() {
            loop {
                match listener.accept() {
                    Ok((stream, _)) => drop(epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.into_raw_fd(), armed)),
                    Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                        break parked.store(true, Ordering::SeqCst);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break drop(rearm(fd)),
                    Err(_) => {}
                }
            }
            continue;
        }
        if bug!("rearmed_early") {
            let _ = rearm(fd);
        }
        // SAFETY: the descriptor was accepted here, and nothing uses it after the close.
        let stream = unsafe { TcpStream::from_raw_fd(fd) };
        let goes_on = drain(&stream);
        if goes_on {
            let _ = stream.into_raw_fd();
            if !bug!("rearmed_early") {
                let _ = rearm(fd);
            }
        }
    }
}

/// Echoes the unread bytes back. Returns whether the connection goes on. (The socket blocks, so the read needs
/// MSG_DONTWAIT.)
fn drain(mut stream: &TcpStream) -> bool {
    let mut buffer = [0u8; BUFFER];
    loop {
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let read = unsafe { libc::recv(stream.as_raw_fd(), buffer.as_mut_ptr().cast(), BUFFER, libc::MSG_DONTWAIT) };
        match read {
            0 => return false,
            n @ 1.. => {
                if stream.write_all(&buffer[..n as usize]).is_err() {
                    return false;
                }
            }
            _ => return io::Error::last_os_error().kind() == ErrorKind::WouldBlock,
        }
    }
}
