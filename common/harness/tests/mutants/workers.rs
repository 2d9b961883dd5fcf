//! A thread that accepts, and two workers that serve: connections are handed over by a queue and an eventfd.
//!
//! Invariant (without a bug): a worker takes the eventfd's count first and empties the queue after it. So a connection
//! that comes meanwhile is either found in the queue or brings another wake-up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::mutant::bug;

const WORKERS: usize = 2;
const READ_BUFFER: usize = 64 * 1024;

/// What the accepting thread hands over to one worker.
struct HandOver {
    queue: Mutex<Vec<TcpStream>>,
    event: File,
}

struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
    finished: bool,
}

pub fn serve(listener: TcpListener, mut wake: UnixStream, ready: impl FnOnce()) -> io::Result<()> {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let worker = Arc::new(HandOver::new()?);
        workers.push(worker.clone());
        thread::spawn(move || worker.work());
    }
    ready();
    thread::spawn(move || {
        for next in (0..WORKERS).cycle() {
            match listener.accept() {
                Ok((stream, _)) => workers[next].give(stream),
                // Out of descriptors, most likely.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    while matches!(wake.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    Ok(())
}

impl HandOver {
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, so nobody else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { queue: Mutex::default(), event: event.into() })
    }

    fn give(&self, stream: TcpStream) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        let _ = (&self.event).write(&1u64.to_ne_bytes());
    }

    fn take(&self, connections: &mut Vec<Connection>) {
        let drain = || (&self.event).read(&mut [0; 8]);
        if !bug!("eventfd_read_late") {
            let _ = drain();
        }
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(stream) = next else { break };
            if stream.set_nonblocking(true).is_ok() {
                connections.push(Connection { stream, pending: Vec::new(), finished: false });
            }
        }
        if bug!("eventfd_read_late") {
            let _ = drain();
        }
    }

    fn work(&self) -> io::Result<()> {
        let (mut connections, mut buffer) = (Vec::new(), vec![0; READ_BUFFER]);
        loop {
            let mut slots = vec![slot(self.event.as_raw_fd(), libc::POLLIN)];
            slots.extend(connections.iter().map(Connection::slot));
            // SAFETY: the array is as long as said.
            if unsafe { libc::poll(slots.as_mut_ptr(), slots.len() as libc::nfds_t, -1) } < 0 {
                match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                }
            }
            let mut reported = slots[1..].iter().map(|slot| slot.revents != 0);
            connections.retain_mut(|it| !reported.next().unwrap_or(false) || it.go_on(&mut buffer).unwrap_or(false));
            if slots[0].revents != 0 {
                self.take(&mut connections);
            }
        }
    }
}

fn slot(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

impl Connection {
    fn slot(&self) -> libc::pollfd {
        slot(self.stream.as_raw_fd(), if self.pending.is_empty() { libc::POLLIN } else { libc::POLLOUT })
    }

    /// Whether it goes on.
    fn go_on(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if self.pending.is_empty() {
            match (&self.stream).read(buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
                Err(error) => return again(error).map(|_| true),
            }
        }
        while !self.pending.is_empty() {
            match (&self.stream).write(&self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(error) => return again(error).map(|_| true),
            }
        }
        self.pending = Vec::new();
        Ok(!self.finished)
    }
}

fn again(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
