//! A pool of threads on one kqueue, with EV_DISPATCH: an event disables its knote, so it hands the connection to one
//! thread, and no other hears of it until that thread enables a knote again. It is what EPOLLONESHOT is for
//! `04-epoll-et/examples/oneshot.rs`, with one trap more: READ and WRITE are two knotes, and disabling one leaves the
//! other.
//!
//! Invariant: of a connection's two knotes at most one is enabled, WRITE while bytes are owed and READ otherwise, and none
//! while a thread works on it. So its lock is always free and its bytes keep their order. A connection is in the table
//! before its READ knote is added, because another thread may have the first event at once.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use common_server::{
    ACCEPT_BATCH, AcceptError, Args, Connections, Given, Notice, Opt, Pending, READ_BUFFER, Received, Retry, Sent,
    Shutdown, Takes, listen, main_with, receive, send,
};
use kqueue::sys::{
    EV_ADD, EV_DELETE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_ERROR, EVFILT_READ, EVFILT_WRITE, Kevent, Kqueue,
};

/// Few: what one thread has taken, no idle one can.
const EVENTS: usize = 8;
const OPTIONS: &[Opt] = &[Opt { name: "--workers", takes: Takes::Number(1, 64), help: "threads (default 4)" }];

fn main() -> ExitCode {
    main_with("dispatch", OPTIONS, Server::new, |(server, workers)| server.run(workers))
}

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
    peer_finished: bool,
}

struct Server {
    kqueue: Kqueue,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Mutex<Connections<Arc<Mutex<Connection>>>>,
    retry_accept: Mutex<Retry>,
    out_of_fds: Mutex<Notice>,
    refused: Mutex<Notice>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, (Self, usize))> {
        let listener = listen(args.addr, args.backlog)?;
        let server = Self {
            kqueue: Kqueue::new().context("kqueue")?,
            listener,
            shutdown,
            connections: Mutex::default(),
            retry_accept: Mutex::default(),
            out_of_fds: Mutex::default(),
            refused: Mutex::default(),
        };
        server.change(server.listener.as_raw_fd(), EVFILT_READ, EV_ADD | EV_DISPATCH).context("watch the listener")?;
        // No DISPATCH, and never drained: it ends the wait of one thread after the other. (EVFILT_SIGNAL would tell one.)
        server.change(server.shutdown.as_raw_fd(), EVFILT_READ, EV_ADD).context("watch the shutdown socket")?;
        Ok((server.listener.local_addr()?, (server, given.number("--workers").unwrap_or(4))))
    }

    /// One change at once: a list that waits for the thread's next wait would leave the connection without a knote
    /// until then.
    fn change(&self, fd: RawFd, filter: i32, flags: u32) -> io::Result<()> {
        let change = Kevent::new(fd as usize, filter, flags);
        self.kqueue.kevent(&[change], &mut [], Some(Duration::ZERO)).map(|_| ())
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
                    // The listener is disabled already, and stays so until the retry.
                    lock(&self.retry_accept).later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        self.change(self.listener.as_raw_fd(), EVFILT_READ, EV_ENABLE).context("watch the listener again")
    }

    fn register(&self, stream: TcpStream) -> io::Result<()> {
        let fd = stream.as_raw_fd();
        stream.set_nonblocking(true)?;
        let connection = Connection { stream, pending: Pending::new(), peer_finished: false };
        lock(&self.connections).insert(fd, Arc::new(Mutex::new(connection)));
        let added = self.change(fd, EVFILT_READ, EV_ADD | EV_DISPATCH);
        if added.is_err() {
            lock(&self.connections).remove(fd);
        }
        added
    }

    fn serve(&self, event: &Kevent, buffer: &mut [u8]) {
        let fd = event.ident() as RawFd;
        let Some(shared) = lock(&self.connections).get_mut(fd).cloned() else { return };
        let mut connection = lock(&shared);
        let served = match event.filter() {
            _ if event.flags() & EV_ERROR != 0 => Err(io::ErrorKind::Other.into()),
            // The peer takes nothing any more. (Of READ, EV_EOF is its FIN, and bytes may still wait before it.)
            EVFILT_WRITE if event.flags() & EV_EOF != 0 => Err(io::ErrorKind::ConnectionReset.into()),
            EVFILT_WRITE => connection.write(),
            _ => connection.read(buffer),
        };
        let over = served.is_err() || connection.peer_finished && connection.pending.is_empty();
        let (wanted, flags) = match connection.pending.is_empty() {
            true => (EVFILT_READ, EV_ENABLE),
            // Most connections never need it, so it is added when it is needed, and stays.
            false => (EVFILT_WRITE, EV_ADD | EV_ENABLE | EV_DISPATCH),
        };
        // Before a knote is enabled: the next thread may come at once.
        drop(connection);
        if over || self.change(fd, wanted, flags).is_err() {
            // close(2) deletes knotes, and is enough on a BSD. Under the stand-in another thread's epoll_wait may be looking
            // at the descriptor, which holds its file since Linux 6.10, so that no FIN is sent until that wait returns;
            // deleting waits for the look to end. (Of WRITE there may be no knote.)
            let _ = self.change(fd, EVFILT_READ, EV_DELETE);
            let _ = self.change(fd, EVFILT_WRITE, EV_DELETE);
            lock(&self.connections).remove(fd);
            drop(shared);
            lock(&self.retry_accept).now();
        }
    }

    /// The first worker is this thread. One that fails stops all of them, as a signal does.
    fn run(self, workers: usize) -> Result<()> {
        let work = || {
            self.work().inspect_err(|_| {
                // SAFETY: no pointers; the handler is installed, and every worker watches what it writes to.
                unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
            })
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let joined = others.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked"))));
            std::iter::once(work()).chain(joined).collect()
        })
    }

    fn work(&self) -> Result<()> {
        let (mut events, mut buffer) = ([Kevent::default(); EVENTS], vec![0; READ_BUFFER]);
        loop {
            let timeout = u64::try_from(lock(&self.retry_accept).timeout_ms()).ok().map(Duration::from_millis);
            for event in self.kqueue.kevent(&[], &mut events, timeout).context("kevent")? {
                match event.ident() as RawFd {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    _ => self.serve(event, &mut buffer),
                }
            }
            // Here and not by enabling it: that would wake another thread to find the same.
            if lock(&self.retry_accept).take_due() {
                self.accept()?;
            }
        }
    }
}

impl Connection {
    /// One read: if there is more, the knote says so again when it is enabled.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => {
                let sent = send(&self.stream, &buffer[..n])?.bytes();
                self.pending.push(&buffer[sent..n]);
            }
            Received::WouldBlock => {}
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => break,
            }
        }
        Ok(())
    }
}
