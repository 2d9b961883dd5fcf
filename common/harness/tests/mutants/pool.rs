//! Two threads on one epoll: EPOLLONESHOT gives each event to one of them.
//!
//! Invariant (without a bug): a connection is armed, or a thread has it, and never both.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::mutant::bug;

const THREADS: usize = 2;
const READ_BUFFER: usize = 16 * 1024;
const MAX_PENDING: usize = 256 * 1024;

struct Connection {
    stream: TcpStream,
    output: Mutex<Output>,
}

#[derive(Default)]
struct Output {
    pending: Vec<u8>,
    finished: bool,
}

struct Pool {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Mutex<HashMap<RawFd, Arc<Connection>>>,
}

pub fn serve(listener: TcpListener, mut wake: UnixStream, ready: impl FnOnce()) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, so nobody else owns it.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    let pool = Arc::new(Pool { epoll, listener, connections: Mutex::default() });
    pool.control(libc::EPOLL_CTL_ADD, pool.listener.as_raw_fd(), libc::EPOLLIN)?;
    for _ in 0..THREADS {
        let pool = pool.clone();
        thread::spawn(move || pool.work());
    }
    ready();
    while matches!(wake.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn control(&self, operation: libc::c_int, fd: RawFd, events: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (events | libc::EPOLLONESHOT) as u32, u64: fd as u64 };
        // SAFETY: `event` outlives the call, which only reads it.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn work(&self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: there is room for one event.
            if unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &mut event, 1, -1) } < 1 {
                continue;
            }
            match event.u64 as RawFd {
                fd if fd == self.listener.as_raw_fd() => self.accept()?,
                fd => self.serve(fd, event.events as libc::c_int, &mut buffer),
            }
        }
    }

    fn accept(&self) -> io::Result<()> {
        for _ in 0..64 {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let fd = stream.as_raw_fd();
                    stream.set_nonblocking(true)?;
                    lock(&self.connections).insert(fd, Arc::new(Connection { stream, output: Mutex::default() }));
                    self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Out of descriptors, most likely.
                Err(_) => {
                    thread::sleep(Duration::from_millis(50));
                    break;
                }
            }
        }
        self.control(libc::EPOLL_CTL_MOD, self.listener.as_raw_fd(), libc::EPOLLIN)
    }

    fn serve(&self, fd: RawFd, events: libc::c_int, buffer: &mut [u8]) {
        let Some(connection) = lock(&self.connections).get(&fd).cloned() else { return };
        // "So that the other one can have it as soon as I let go of the lock."
        let is_early = bug!("armed_early") || bug!("armed_at_room") && events & libc::EPOLLOUT != 0;
        let early = if is_early { self.control(libc::EPOLL_CTL_MOD, fd, libc::EPOLLIN) } else { Ok(()) };
        let served = early.and_then(|()| connection.go_on(buffer));
        // Under the bug, the other one may have armed it meanwhile, for something else.
        let armed = served.and_then(|interest| match interest {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            interest => self.control(libc::EPOLL_CTL_MOD, fd, interest),
        });
        if armed.is_err() {
            let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0);
            lock(&self.connections).remove(&fd);
        }
    }
}

impl Connection {
    /// What to wait for next; 0 if the connection is finished.
    fn go_on(&self, buffer: &mut [u8]) -> io::Result<libc::c_int> {
        let mut output = lock(&self.output);
        let owed = !output.pending.is_empty();
        output.write(&self.stream)?;
        // "All is out, so there is nothing to wait for." An armed connection would bring its input.
        if bug!("not_armed_after_the_rest") && owed && output.pending.is_empty() && !output.finished {
            return Ok(libc::EPOLLONESHOT);
        }
        for _ in 0..4 {
            if !output.may_read() {
                break;
            }
            let read = if bug!("armed_at_room") {
                // "No other thread has this connection now."
                drop(output);
                let read = (&self.stream).read(buffer);
                output = lock(&self.output);
                read
            } else {
                (&self.stream).read(buffer)
            };
            if !output.take(read, buffer)? {
                break;
            }
            output.write(&self.stream)?;
        }
        let input = if output.may_read() { libc::EPOLLIN } else { 0 };
        Ok(input | if output.pending.is_empty() { 0 } else { libc::EPOLLOUT })
    }
}

impl Output {
    /// Whether there may be more.
    fn take(&mut self, read: io::Result<usize>, buffer: &[u8]) -> io::Result<bool> {
        match read {
            Ok(0) => self.finished = true,
            Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
            Err(error) => return again(error).map(|()| false),
        }
        Ok(true)
    }

    fn may_read(&self) -> bool {
        !self.finished && self.pending.len() + READ_BUFFER <= MAX_PENDING
    }

    fn write(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        while !self.pending.is_empty() {
            match stream.write(&self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(error) => return again(error),
            }
        }
        self.pending = Vec::new();
        Ok(())
    }
}

fn again(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
