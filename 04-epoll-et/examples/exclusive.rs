//! Worker threads that share one listener. Each thread has its own epoll, with or without EPOLLEXCLUSIVE.
//!
//! `--demo` measures the thundering herd, and how unevenly EPOLLEXCLUSIVE spreads the connections (`support/herd.rs`).
//!
//! Invariant: the listener is registered in every worker's epoll, level-triggered. So a worker may leave clients in the
//! accept queue, and the next wait reports them. A connection is registered in one epoll only, so only one thread
//! serves it.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "support/herd.rs"]
mod herd;
#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("exclusive", "EPOLLEXCLUSIVE", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, RawFd};
    use std::process::ExitCode;
    use std::sync::Arc;

    use anyhow::{Context, Result};
    use common_server::{
        ACCEPT_BATCH, AcceptError, Args, Connections, Given, Notice, Opt, READ_BUFFER, Retry, Shutdown, Takes, listen,
        main_with,
    };

    use crate::support::{Connection, EDGE, EXCLUSIVE, Epoll, IN, LISTEN, NO_EVENT, OUT, READS_PER_TURN, run_all};

    const EVENTS: usize = 256;
    const OPTIONS: &[Opt] = &[
        Opt { name: "--workers", takes: Takes::Number(1, 64), help: "threads (default 4)" },
        Opt { name: "--wake", takes: Takes::OneOf(&["one", "all"]), help: "'one' uses EPOLLEXCLUSIVE (default one)" },
        Opt { name: "--demo", takes: Takes::Nothing, help: "measure the thundering herd and exit; do not serve" },
    ];

    pub fn main() -> ExitCode {
        main_with("exclusive", OPTIONS, new, |workers| run_all(workers, Worker::run))
    }

    fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Vec<Worker>)> {
        let workers = given.number("--workers").unwrap_or(4);
        if given.has("--demo") {
            crate::herd::demo(workers)?;
            std::process::exit(0);
        }
        let listener = Arc::new(listen(args.addr, args.backlog)?);
        let interest = if given.word("--wake") == Some("all") { LISTEN } else { LISTEN | EXCLUSIVE };
        let mut all = vec![Worker::new(listener.clone(), shutdown, interest, workers)?];
        while all.len() < workers {
            let shutdown = all[0].shutdown.another().context("another descriptor for the shutdown signal")?;
            all.push(Worker::new(listener.clone(), shutdown, interest, workers)?);
        }
        Ok((listener.local_addr()?, all))
    }

    struct Worker {
        epoll: Epoll,
        listener: Arc<TcpListener>,
        /// The mask of the listener.
        interest: u32,
        shutdown: Shutdown,
        connections: Connections<Connection>,
        /// The connections that can go on without a further edge. This turn or the next one serves them.
        ready: Vec<RawFd>,
        buffer: Box<[u8]>,
        retry_accept: Retry,
        out_of_fds: Notice,
        refused: Notice,
    }

    impl Worker {
        fn new(listener: Arc<TcpListener>, shutdown: Shutdown, interest: u32, workers: usize) -> Result<Self> {
            let epoll = Epoll::new().context("epoll_create1")?;
            epoll
                .add(listener.as_raw_fd(), interest)
                .context("register the listener (EPOLLEXCLUSIVE needs Linux 4.5)")?;
            epoll.add(shutdown.as_raw_fd(), IN).context("register the shutdown socket")?;
            Ok(Self {
                epoll,
                listener,
                interest,
                shutdown,
                connections: Connections::default(),
                ready: Vec::new(),
                buffer: vec![0; READ_BUFFER].into(),
                retry_accept: Retry::one_of(workers),
                out_of_fds: Notice::default(),
                refused: Notice::default(),
            })
        }

        fn accept(&mut self) -> Result<()> {
            for _ in 0..ACCEPT_BATCH {
                match self.listener.accept().map_err(AcceptError::from) {
                    Ok((stream, _)) => {
                        if let Err(error) = self.register(stream) {
                            self.refused.say(format_args!("register: {error}; connection closed"));
                        }
                    }
                    // Another worker was faster. Without EPOLLEXCLUSIVE, most wakeups end here.
                    Err(AcceptError::Drained) => return Ok(()),
                    Err(AcceptError::Aborted) => {}
                    Err(AcceptError::OutOfFds(error)) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        self.retry_accept.later();
                        // Not an empty mask: with EPOLLEXCLUSIVE, EPOLL_CTL_MOD is EINVAL (epoll_ctl(2)).
                        self.epoll.remove(self.listener.as_raw_fd()).context("take the listener off")?;
                        return Ok(());
                    }
                    Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
                }
            }
            Ok(())
        }

        fn register(&mut self, stream: TcpStream) -> io::Result<()> {
            let fd = stream.as_raw_fd();
            stream.set_nonblocking(true)?;
            self.epoll.add(fd, IN | OUT | EDGE)?;
            self.connections.insert(fd, Connection::new(stream));
            Ok(())
        }

        /// Sets a connection's flags after its event. `run` serves it later, so that no connection is served twice.
        fn note(&mut self, fd: RawFd, events: u32) {
            let Some(connection) = self.connections.get_mut(fd) else { return };
            connection.note(events);
            if connection.enters_ready() {
                self.ready.push(fd);
            }
        }

        fn serve(&mut self, fd: RawFd) {
            // No entry is left over for the next owner of a descriptor: a connection stands in `ready` at most once,
            // and is closed only while that entry is served. Only then can `accept` get the number again.
            let Some(connection) = self.connections.get_mut(fd) else { return };
            connection.in_ready = false;
            let served = connection.write().and_then(|()| connection.read(READS_PER_TURN, &mut self.buffer));
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
                        fd if fd == self.listener.as_raw_fd() => self.accept()?,
                        fd => self.note(fd, event.events),
                    }
                }
                // Now each entry is served once. A connection that enters `ready` from here on is served in the next
                // turn.
                for fd in std::mem::take(&mut self.ready) {
                    self.serve(fd);
                }
                if self.retry_accept.take_due() {
                    self.epoll.add(self.listener.as_raw_fd(), self.interest).context("watch the listener again")?;
                }
            }
        }
    }
}
