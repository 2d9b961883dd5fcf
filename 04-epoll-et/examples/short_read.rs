//! epoll(7)'s shortcut for edges: a read that fills less than the buffer has emptied the socket, so the read that would
//! only learn EAGAIN can be left out.
//!
//! It shows what the shortcut stands on. A FIN adds no bytes and makes no read longer, and if it came together with the
//! bytes, no edge will tell of it: RDHUP must be watched, and after it only the end of the file counts. With
//! `--forget-rdhup` that is left out, and clients that send and finish at once wait for ever. And a read stops short of
//! urgent data, with more behind it: so PRI must be watched too, which epoll(7) does not say.
//!
//! Invariant: as in `src/server.rs`, but `readable` is also cleared by a short read, unless RDHUP or PRI was announced.

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

    use crate::support::{Connection, EDGE, Epoll, GONE, IN, LISTEN, NO_EVENT, OUT, READS_PER_TURN};

    const EVENTS: usize = 256;
    const RDHUP: u32 = libc::EPOLLRDHUP as u32;
    const PRI: u32 = libc::EPOLLPRI as u32;
    const OPTIONS: &[Opt] = &[Opt {
        name: "--forget-rdhup",
        takes: Takes::Nothing,
        help: "the shortcut alone: a FIN that comes with bytes is lost",
    }];

    pub fn main() -> ExitCode {
        main_with("short_read", OPTIONS, Server::new, Server::run)
    }

    struct Server {
        epoll: Epoll,
        /// What connections are watched for.
        interest: u32,
        listener: TcpListener,
        shutdown: Shutdown,
        /// With each, whether only EAGAIN or the end of the file ends its drains from now on.
        connections: Connections<(Connection, bool)>,
        unfinished: Vec<RawFd>,
        buffer: Box<[u8]>,
        retry_accept: Retry,
        out_of_fds: Notice,
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
                unfinished: Vec::new(),
                buffer: vec![0; READ_BUFFER].into(),
                retry_accept: Retry::default(),
                out_of_fds: Notice::default(),
            };
            Ok((server.listener.local_addr()?, server))
        }

        fn accept(&mut self) -> Result<()> {
            for _ in 0..ACCEPT_BATCH {
                match self.listener.accept() {
                    Ok((stream, _)) => self.register(stream),
                    Err(error) => match AcceptError::from(error) {
                        AcceptError::Drained => return Ok(()),
                        AcceptError::Aborted => continue,
                        AcceptError::OutOfFds(error) => {
                            self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                            self.retry_accept.later();
                            return Ok(());
                        }
                        AcceptError::Broken(error) => return Err(error).context("accept"),
                    },
                }
            }
            self.retry_accept.at_once();
            Ok(())
        }

        fn register(&mut self, stream: TcpStream) {
            let fd = stream.as_raw_fd();
            match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, self.interest)) {
                Ok(()) => self.connections.insert(fd, (Connection::new(stream), false)),
                Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
            }
        }

        fn serve(&mut self, fd: RawFd, events: u32) {
            let Some((connection, to_the_end)) = self.connections.get_mut(fd) else { return };
            *to_the_end |= events & (RDHUP | PRI) != 0;
            if turn(connection, *to_the_end, events, &mut self.buffer).is_err() || connection.is_finished() {
                self.connections.remove(fd);
                return self.retry_accept.now();
            }
            if connection.may_go_on() && !connection.unfinished {
                connection.unfinished = true;
                self.unfinished.push(fd);
            }
        }

        fn run(mut self) -> Result<()> {
            let mut events = [NO_EVENT; EVENTS];
            loop {
                let timeout_ms = if self.unfinished.is_empty() { self.retry_accept.timeout_ms() } else { 0 };
                let ready = self.epoll.wait(&mut events, timeout_ms).context("epoll_wait")?;
                let unfinished = std::mem::take(&mut self.unfinished);
                for event in ready {
                    match event.u64 as RawFd {
                        fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                        fd if fd == self.listener.as_raw_fd() => self.accept()?,
                        fd => self.serve(fd, event.events),
                    }
                }
                for fd in unfinished {
                    if let Some((connection, _)) = self.connections.get_mut(fd) {
                        connection.unfinished = false;
                        self.serve(fd, 0);
                    }
                }
                if self.retry_accept.take_due() {
                    self.accept()?;
                }
            }
        }
    }

    /// The lesson: where a drain may end.
    fn turn(connection: &mut Connection, to_the_end: bool, events: u32, buffer: &mut [u8]) -> io::Result<()> {
        if events & GONE != 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        connection.readable |= events & IN != 0;
        connection.writable |= events & OUT != 0;
        connection.write()?;
        for _ in 0..READS_PER_TURN {
            if !connection.readable || !connection.may_read() {
                break;
            }
            match receive(&connection.stream, buffer)? {
                Received::Finished => connection.peer_finished = true,
                Received::Bytes(n) => {
                    // Bytes that come from now on are a new edge; a FIN that is here already is none.
                    connection.readable = n == buffer.len() || to_the_end;
                    connection.answer(&buffer[..n])?;
                }
                Received::WouldBlock => connection.readable = false,
            }
        }
        Ok(())
    }
}
