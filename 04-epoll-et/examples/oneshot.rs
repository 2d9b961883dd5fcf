//! A pool of threads on one epoll, with EPOLLONESHOT: an event hands a connection to one thread, and no other hears of it
//! until that thread re-arms it.
//!
//! It shows the order that this stands on: re-arm when all is done, and not before. `--demo` counts how often two threads
//! meet at one connection, with either order (`--rearm early` is the wrong one).
//!
//! Invariant: a descriptor is armed only while no thread works on it, so its lock is always free (with `--rearm late`)
//! and the bytes of one connection keep their order. A connection is in the table before it is armed for the first time,
//! because another thread may have its first event before this one has returned from epoll_ctl.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("oneshot", "epoll", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, RawFd};
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, TryLockError};
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result};
    use common_server::{
        ACCEPT_BATCH, AcceptError, Args, Connections, Given, Notice, Opt, READ_BUFFER, Retry, Shutdown, Takes, listen,
        main_with,
    };

    use crate::support::{Connection, Epoll, IN, LISTEN, NO_EVENT, ONESHOT, OUT, run_all};

    /// Few: what one thread has taken, no idle one can.
    const EVENTS: usize = 8;
    /// For a thread that has been woken already.
    const BACKSTOP: Duration = Duration::from_secs(30);
    const OPTIONS: &[Opt] = &[
        Opt { name: "--workers", takes: Takes::Number(1, 64), help: "threads (default 4)" },
        Opt {
            name: "--rearm",
            takes: Takes::OneOf(&["late", "early"]),
            help: "after the work, or before (default late)",
        },
        Opt { name: "--demo", takes: Takes::Nothing, help: "count how often two threads meet, with either order" },
    ];

    pub fn main() -> ExitCode {
        main_with("oneshot", OPTIONS, new, |(server, workers)| server.run(workers))
    }

    fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, (Server, usize))> {
        let workers = given.number("--workers").unwrap_or(4);
        if given.has("--demo") {
            drop(shutdown);
            demo(workers)?;
            std::process::exit(0);
        }
        let listener = listen(args.addr, args.backlog)?;
        let early = given.word("--rearm") == Some("early");
        Ok((listener.local_addr()?, (Server::new(listener, shutdown, early)?, workers)))
    }

    struct Server {
        epoll: Epoll,
        listener: TcpListener,
        shutdown: Shutdown,
        connections: Mutex<Connections<Arc<Mutex<Connection>>>>,
        retry_accept: Mutex<Retry>,
        out_of_fds: Mutex<Notice>,
        refused: Mutex<Notice>,
        early: bool,
        /// How often a thread had an event of a connection that another held.
        met: AtomicU64,
        /// In the demonstration with the wrong order: whoever holds a connection waits until another thread has come.
        hold: bool,
    }

    /// A thread that panicked here leaves the lock to the others; its connection is lost anyway.
    fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    impl Server {
        fn new(listener: TcpListener, shutdown: Shutdown, early: bool) -> Result<Self> {
            let epoll = Epoll::new().context("epoll_create1")?;
            epoll.add(listener.as_raw_fd(), LISTEN | ONESHOT).context("register the listener")?;
            // Not ONESHOT, and never drained: it ends the wait of one thread after the other.
            epoll.add(shutdown.as_raw_fd(), LISTEN).context("register the shutdown socket")?;
            Ok(Self {
                epoll,
                listener,
                shutdown,
                connections: Mutex::default(),
                retry_accept: Mutex::default(),
                out_of_fds: Mutex::default(),
                refused: Mutex::default(),
                early,
                met: AtomicU64::new(0),
                hold: false,
            })
        }

        fn accept(&self) -> Result<()> {
            for _ in 0..ACCEPT_BATCH {
                match self.listener.accept().map_err(AcceptError::from) {
                    Ok((stream, _)) => {
                        if let Err(error) = self.register(stream) {
                            lock(&self.refused).say(format_args!("register: {error}; connection closed"));
                        }
                    }
                    Err(AcceptError::Drained) => break,
                    Err(AcceptError::Aborted) => {}
                    Err(AcceptError::OutOfFds(error)) => {
                        lock(&self.out_of_fds).say(format_args!("accept: {error}; waiting clients stay queued"));
                        // The listener is disarmed already, and stays so until the retry.
                        lock(&self.retry_accept).later();
                        return Ok(());
                    }
                    Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
                }
            }
            self.epoll.modify(self.listener.as_raw_fd(), LISTEN | ONESHOT).context("watch the listener again")
        }

        fn register(&self, stream: TcpStream) -> io::Result<()> {
            let fd = stream.as_raw_fd();
            stream.set_nonblocking(true)?;
            lock(&self.connections).insert(fd, Arc::new(Mutex::new(Connection::new(stream))));
            let added = self.epoll.add(fd, IN | ONESHOT);
            if added.is_err() {
                lock(&self.connections).remove(fd);
            }
            added
        }

        fn serve(&self, fd: RawFd, events: u32, buffer: &mut [u8]) -> Result<()> {
            let Some(shared) = lock(&self.connections).get_mut(fd).cloned() else { return Ok(()) };
            if self.early {
                let _ = self.epoll.modify(fd, IN | ONESHOT);
            }
            let mut connection = match shared.try_lock() {
                Ok(connection) => connection,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    self.met.fetch_add(1, Ordering::Relaxed);
                    lock(&shared)
                }
            };
            let end = Instant::now() + BACKSTOP;
            while self.hold && self.met.load(Ordering::Relaxed) == 0 && Instant::now() < end {
                std::thread::yield_now();
            }
            // No edges here: what is left is reported when the connection is re-armed. So the two flags last for one turn
            // only, and one read is enough, without another that would only learn EAGAIN.
            (connection.readable, connection.writable) = (false, false);
            connection.note(events);
            let served = connection.write().and_then(|()| connection.read(1, buffer));
            let mut wanted = ONESHOT;
            if connection.may_read() {
                wanted |= IN;
            }
            if !connection.pending.is_empty() {
                wanted |= OUT;
            }
            let over = served.is_err() || connection.is_finished();
            // Before it is armed again: the next thread may come at once.
            drop(connection);
            if over || self.epoll.modify(fd, wanted).is_err() {
                // Disarmed, but another thread's wait may be looking at it: an event that came during the last wait put it
                // on the ready list again. Since Linux 6.10 that look holds the file, and if it is the last to hold it,
                // the FIN goes out when that thread's epoll_wait returns. EPOLL_CTL_DEL waits for the look to end.
                let _ = self.epoll.remove(fd);
                lock(&self.connections).remove(fd);
                drop(shared);
                lock(&self.retry_accept).now();
            }
            Ok(())
        }

        fn run(self, workers: usize) -> Result<()> {
            run_all((0..workers).map(|_| &self), Self::work)
        }

        fn work(&self) -> Result<()> {
            let (mut events, mut buffer) = ([NO_EVENT; EVENTS], vec![0; READ_BUFFER]);
            loop {
                let timeout_ms = lock(&self.retry_accept).timeout_ms();
                for event in self.epoll.wait(&mut events, timeout_ms).context("epoll_wait")? {
                    match event.u64 as RawFd {
                        fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                        fd if fd == self.listener.as_raw_fd() => self.accept()?,
                        fd => self.serve(fd, event.events, &mut buffer)?,
                    }
                }
                // Here and not by arming it: that would wake another thread to find the same.
                if lock(&self.retry_accept).take_due() {
                    self.accept()?;
                }
            }
        }
    }

    /// A mebibyte there and back for each client, with each order in turn. One thread more than clients, so that one is
    /// always free to come.
    fn demo(workers: usize) -> Result<()> {
        let workers = workers.max(2);
        for early in [false, true] {
            let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 64)?;
            let addr = listener.local_addr()?;
            let server = Server { hold: early, ..Server::new(listener, Shutdown::install()?, early)? };
            std::thread::scope(|scope| {
                let pool = scope.spawn(|| run_all((0..workers).map(|_| &server), Server::work));
                let clients: Vec<_> = (1..workers).map(|_| scope.spawn(move || client(addr))).collect();
                let served = clients.into_iter().try_for_each(|it| it.join().expect("no panic")).context("a client");
                // SAFETY: no pointers; the handler is installed.
                unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
                pool.join().expect("no panic").and(served)
            })?;
            let order = if early { "early" } else { "late " };
            println!("re-armed {order}: two threads met at one connection {} times", server.met.into_inner());
        }
        Ok(())
    }

    fn client(addr: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(addr)?;
        let (sent, mut got) = ([7; 4096], [0; 4096]);
        for _ in 0..256 {
            stream.write_all(&sent)?;
            stream.read_exact(&mut got)?;
        }
        Ok(())
    }
}
