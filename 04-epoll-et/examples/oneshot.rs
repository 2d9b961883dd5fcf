//! A pool of threads that share one epoll, with EPOLLONESHOT: an event gives a connection to one thread, and no other
//! thread gets an event of this connection until the first thread re-arms it.
//!
//! The order matters: re-arm after the work, not before. `--demo` counts how often two threads meet at one connection,
//! in either order (`--rearm early` is the wrong order).
//!
//! Invariant: a descriptor is armed only while no thread works on it. So its lock is always free (with `--rearm late`),
//! and the bytes of one connection keep their order. A connection is in the table before it is armed for the first
//! time, because another thread may get its first event before epoll_ctl returns in this thread.

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

    /// Few, because an idle thread cannot take events that another thread has taken already.
    const EVENTS: usize = 8;
    /// Ends the demonstration's wait for a thread that does not come.
    const BACKSTOP: Duration = Duration::from_secs(30);
    const OPTIONS: &[Opt] = &[
        Opt { name: "--workers", takes: Takes::Number(1, 64), help: "threads (default 4)" },
        Opt {
            name: "--rearm",
            takes: Takes::OneOf(&["late", "early"]),
            help: "'late': after the work; 'early': before it (default late)",
        },
        Opt {
            name: "--demo",
            takes: Takes::Nothing,
            help: "count how often two threads meet, in either order, and exit",
        },
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
        /// How often a thread got an event of a connection while another thread held it.
        met: AtomicU64,
        /// In the demonstration of the wrong order, a thread that holds a connection waits until another thread comes.
        hold: bool,
    }

    /// If a thread panicked with the lock, the others go on. The connection of that thread is lost anyway.
    fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    impl Server {
        fn new(listener: TcpListener, shutdown: Shutdown, early: bool) -> Result<Self> {
            let epoll = Epoll::new().context("epoll_create1")?;
            epoll.add(listener.as_raw_fd(), LISTEN | ONESHOT).context("register the listener")?;
            // Not ONESHOT, and never drained: so it wakes every thread, one after the other.
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
                        // The event has disarmed the listener. It stays disarmed until the retry.
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
            // Re-arming reports unread bytes again, as in level-triggered mode. So the two flags last for one turn
            // only, and one read is enough: no second read has to get EAGAIN.
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
            // Release the lock before the descriptor is armed again: the next thread may come at once.
            drop(connection);
            if over || self.epoll.modify(fd, wanted).is_err() {
                // The descriptor is disarmed, but the epoll_wait of another thread may be checking it: an event during
                // the last wait put it on the ready list again. Since Linux 6.10, epoll_wait holds a reference to the
                // file during the check. If that is the last reference, the FIN is sent only when that epoll_wait
                // returns. EPOLL_CTL_DEL waits until the check is over.
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
                // This thread accepts, instead of re-arming the listener, which would wake another thread for it.
                if lock(&self.retry_accept).take_due() {
                    self.accept()?;
                }
            }
        }
    }

    /// Each client sends 1 MiB and reads the echo, first with one order, then with the other. There is one thread more
    /// than clients, so that one thread is always free to take an event.
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
