//! What tutorials print: edge-triggered epoll, each read repeated until EAGAIN. Broken on purpose.
//!
//! It passes every test with clients that read what they sent. It lacks a place for bytes that a write does not take,
//! so a client that reads slowly loses them. It lacks a second attempt to accept after EMFILE, so clients that are
//! queued by then wait until another client comes. And nothing bounds what it does in one turn, so a client that sends
//! without end keeps the others waiting. `src/server.rs` is the same server with all three: compare them.
//!
//! Invariant: between two waits the server remembers nothing but its descriptors. So what a turn leaves undone is never
//! done, unless the kernel reports another edge.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    common_server::main("textbook", linux::Server::new, linux::Server::run)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("textbook", "epoll", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, RawFd};

    use anyhow::{Context, Result};
    use common_server::{AcceptError, Connections, Notice, READ_BUFFER, Received, Shutdown, receive, send};

    use crate::support::{EDGE, Epoll, IN, LISTEN, NO_EVENT};

    const EVENTS: usize = 256;

    pub struct Server {
        epoll: Epoll,
        listener: TcpListener,
        shutdown: Shutdown,
        connections: Connections<TcpStream>,
        buffer: Box<[u8]>,
        refused: Notice,
    }

    impl Server {
        pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
            let epoll = Epoll::new().context("epoll_create1")?;
            for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
                epoll.add(fd, LISTEN | EDGE).context("register the listener and the shutdown socket")?;
            }
            let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER].into());
            Ok(Self { epoll, listener, shutdown, connections, buffer, refused: Notice::default() })
        }

        /// Accepts until the queue is empty.
        fn accept(&mut self) -> Result<()> {
            loop {
                match self.listener.accept().map_err(AcceptError::from) {
                    Ok((stream, _)) => self.register(stream),
                    Err(AcceptError::Drained) => return Ok(()),
                    Err(AcceptError::Aborted) => {}
                    // Lacking: another attempt, later. The listener's edge is used up, and the queue is not empty.
                    Err(AcceptError::OutOfFds(error)) => {
                        self.refused.say(format_args!("accept: {error}"));
                        return Ok(());
                    }
                    Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
                }
            }
        }

        fn register(&mut self, stream: TcpStream) {
            let fd = stream.as_raw_fd();
            // OUT is not asked for: nothing waits for room.
            match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, IN | EDGE)) {
                Ok(()) => self.connections.insert(fd, stream),
                Err(error) => self.refused.say(format_args!("register: {error}; connection closed")),
            }
        }

        /// Reads until the socket is empty, and sends each piece back. Lacking: an end before that, for a client that
        /// sends as fast as the server reads.
        fn serve(&mut self, fd: RawFd) {
            let Some(stream) = self.connections.get_mut(fd) else { return };
            loop {
                match receive(stream, &mut self.buffer) {
                    // Lacking: the result. What the socket did not take, all or a part, is overwritten by the next read.
                    Ok(Received::Bytes(n)) if send(stream, &self.buffer[..n]).is_ok() => {}
                    Ok(Received::WouldBlock) => return,
                    Ok(Received::Bytes(_) | Received::Finished) | Err(_) => break,
                }
            }
            self.connections.remove(fd);
        }

        pub fn run(mut self) -> Result<()> {
            let mut events = [NO_EVENT; EVENTS];
            loop {
                for event in self.epoll.wait(&mut events, -1).context("epoll_wait")? {
                    match event.u64 as RawFd {
                        fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                        fd if fd == self.listener.as_raw_fd() => self.accept()?,
                        fd => self.serve(fd),
                    }
                }
            }
        }
    }
}
