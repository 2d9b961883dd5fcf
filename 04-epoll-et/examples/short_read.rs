//! The shortcut of epoll(7): a read that returns fewer bytes than the buffer holds has emptied the socket. So the drain
//! may end without the read that returns only EAGAIN.
//!
//! It shows what the shortcut stands on. A FIN adds no bytes and makes no read longer, and if it came together with the
//! bytes, no edge will tell of it. So RDHUP must be watched, and after RDHUP only the end of the file ends a drain.
//! With `--forget-rdhup` that is left out, and clients that send and finish at once wait for ever. A read also stops
//! short of urgent data, with more behind it. So PRI must be watched too, which epoll(7) does not say.
//!
//! Invariant: as in `src/server.rs`, but a short read also clears `readable`, unless RDHUP or PRI was announced.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("short_read", "epoll", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, RawFd};
    use std::process::ExitCode;

    use anyhow::{Context, Result};
    use common_server::{
        ACCEPT_BATCH, AcceptError, Args, Connections, Given, Notice, Opt, READ_BUFFER, Received, Retry, Shutdown,
        Takes, listen, main_with, receive,
    };

    use crate::support::{Connection, EDGE, Epoll, IN, LISTEN, NO_EVENT, OUT, READS_PER_TURN};

    const EVENTS: usize = 256;
    const RDHUP: u32 = libc::EPOLLRDHUP as u32;
    const PRI: u32 = libc::EPOLLPRI as u32;
    const OPTIONS: &[Opt] = &[Opt {
        name: "--forget-rdhup",
        takes: Takes::Nothing,
        help: "do not watch RDHUP: a FIN that comes with bytes is lost",
    }];

    pub fn main() -> ExitCode {
        main_with("short_read", OPTIONS, Server::new, Server::run)
    }

    struct Server {
        epoll: Epoll,
        /// The mask of every connection's registration.
        interest: u32,
        listener: TcpListener,
        shutdown: Shutdown,
        /// The flag is set once RDHUP or PRI was reported. From then on only EAGAIN or the end of file ends a drain.
        connections: Connections<(Connection, bool)>,
        /// The connections that can go on without a further edge. This turn or the next one serves them.
        ready: Vec<RawFd>,
        buffer: Box<[u8]>,
        retry_accept: Retry,
        out_of_fds: Notice,
        refused: Notice,
    }

    impl Server {
        fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Self)> {
            let listener = listen(args.addr, args.backlog)?;
            let epoll = Epoll::new().context("epoll_create1")?;
            for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
                epoll.add(fd, LISTEN | EDGE).context("register the listener and the shutdown socket")?;
            }
            let interest = if given.has("--forget-rdhup") { (IN & !RDHUP) | PRI } else { IN | PRI };
            let server = Self {
                epoll,
                interest: interest | OUT | EDGE,
                listener,
                shutdown,
                connections: Connections::default(),
                ready: Vec::new(),
                buffer: vec![0; READ_BUFFER].into(),
                retry_accept: Retry::default(),
                out_of_fds: Notice::default(),
                refused: Notice::default(),
            };
            Ok((server.listener.local_addr()?, server))
        }

        fn accept(&mut self) -> Result<()> {
            for _ in 0..ACCEPT_BATCH {
                match self.listener.accept().map_err(AcceptError::from) {
                    Ok((stream, _)) => {
                        if let Err(error) = self.register(stream) {
                            self.refused.say(format_args!("register: {error}; connection closed"));
                        }
                    }
                    Err(AcceptError::Drained) => return Ok(()),
                    Err(AcceptError::Aborted) => {}
                    Err(AcceptError::OutOfFds(error)) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        // No edge comes for clients that are already queued, so the server tries again without an edge.
                        self.retry_accept.later();
                        return Ok(());
                    }
                    Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
                }
            }
            // Enough for one turn. If more clients are queued, no edge comes for them, so the next turn accepts again.
            self.retry_accept.at_once();
            Ok(())
        }

        fn register(&mut self, stream: TcpStream) -> io::Result<()> {
            let fd = stream.as_raw_fd();
            stream.set_nonblocking(true)?;
            self.epoll.add(fd, self.interest)?;
            self.connections.insert(fd, (Connection::new(stream), false));
            Ok(())
        }

        /// Sets a connection's flags after its event. `run` serves it later, so that no connection is served twice.
        fn note(&mut self, fd: RawFd, events: u32) {
            let Some((connection, to_the_end)) = self.connections.get_mut(fd) else { return };
            connection.note(events);
            *to_the_end |= events & (RDHUP | PRI) != 0;
            if connection.enters_ready() {
                self.ready.push(fd);
            }
        }

        fn serve(&mut self, fd: RawFd) {
            // No entry is left over for the next owner of a descriptor: a connection stands in `ready` at most once,
            // and is closed only while that entry is served. Only then can `accept` get the number again.
            let Some((connection, to_the_end)) = self.connections.get_mut(fd) else { return };
            connection.in_ready = false;
            let served = connection.write().and_then(|()| read(connection, *to_the_end, &mut self.buffer));
            if served.is_err() || connection.is_finished() {
                self.connections.remove(fd);
                self.retry_accept.now();
            } else if connection.enters_ready() {
                self.ready.push(fd);
            }
        }

        fn run(mut self) -> Result<()> {
            let mut events = [NO_EVENT; EVENTS];
            loop {
                let timeout_ms = if self.ready.is_empty() { self.retry_accept.timeout_ms() } else { 0 };
                let reported = self.epoll.wait(&mut events, timeout_ms).context("epoll_wait")?;
                // Events only set flags. A connection may be in `ready` since the last turn, and must not be served
                // twice.
                for event in reported {
                    match event.u64 as RawFd {
                        fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                        fd if fd == self.listener.as_raw_fd() => self.retry_accept.at_once(),
                        fd => self.note(fd, event.events),
                    }
                }
                // Now each entry is served once. A connection that enters `ready` from here on is served in the next
                // turn.
                for fd in std::mem::take(&mut self.ready) {
                    self.serve(fd);
                }
                if self.retry_accept.take_due() {
                    self.accept()?;
                }
            }
        }
    }

    /// The lesson: where a drain may end.
    fn read(connection: &mut Connection, to_the_end: bool, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..READS_PER_TURN {
            if !connection.readable || !connection.may_read() {
                break;
            }
            match receive(&connection.stream, buffer)? {
                Received::Finished => connection.peer_finished = true,
                Received::Bytes(n) => {
                    // Bytes that arrive from now on cause a new edge. A FIN that is here already does not.
                    connection.readable = n == buffer.len() || to_the_end;
                    connection.answer(&buffer[..n])?;
                }
                Received::WouldBlock => connection.readable = false,
            }
        }
        Ok(())
    }
}
