//! An echo server with a pool of threads on one epoll. EPOLLONESHOT gives each event to one of them.
//!
//! Invariant: a connection is armed, or a worker has it, and never both.

// TODO: when one client sends many messages, some come back in another order than they were sent.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, Received, Retry, Sent, Shutdown, receive, send,
};
use exercises::epoll::{ERR, Epoll, Event, HUP, IN, ONESHOT, OUT};

const WORKERS: usize = 2;
const BUFFER: usize = 4096;
const READS_PER_TURN: usize = 4;

struct Connection {
    stream: TcpStream,
    output: Mutex<Output>,
}

struct Output {
    pending: Pending,
    peer_finished: bool,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Mutex<Connections<Arc<Connection>>>,
    retry_accept: Mutex<Retry>,
    out_of_fds: Mutex<Notice>,
}

pub fn main() -> ExitCode {
    common_server::main("oneshot", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let epoll = Epoll::new().context("epoll_create1")?;
    epoll.add(listener.as_raw_fd(), IN | ONESHOT).context("register the listener")?;
    epoll.add(shutdown.as_raw_fd(), IN).context("register the shutdown socket")?;
    let (connections, retry_accept, out_of_fds) = Default::default();
    Ok(Server { epoll, listener, shutdown, connections, retry_accept, out_of_fds })
}

fn run(server: Server) -> Result<()> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..WORKERS).map(|_| scope.spawn(|| server.work())).collect();
        let first = server.work();
        others.into_iter().fold(first, |all, other| all.and(other.join().expect("a worker does not panic")))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no worker panics while it holds this")
}

impl Server {
    fn work(&self) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let timeout_ms = lock(&self.retry_accept).timeout_ms();
            // One event at a time, so that no worker holds events for which another worker has time.
            if let Some(event) = self.epoll.wait_for_one(timeout_ms).context("epoll_wait")? {
                match event.fd() {
                    // Never read and not one-shot, so that it wakes every worker.
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    _ => self.serve(event, &mut buffer),
                }
            }
            if lock(&self.retry_accept).take_due() {
                self.accept()?;
            }
        }
    }

    fn accept(&self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => break,
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    lock(&self.out_of_fds).say(format_args!("accept: {error}; waiting clients stay queued"));
                    lock(&self.retry_accept).later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        self.epoll.modify(self.listener.as_raw_fd(), IN | ONESHOT).context("arm the listener")
    }

    fn register(&self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        let output = Mutex::new(Output { pending: Pending::new(), peer_finished: false });
        let nonblocking = stream.set_nonblocking(true);
        // In the table before it is registered: another worker may get its first event at once.
        lock(&self.connections).insert(fd, Arc::new(Connection { stream, output }));
        if let Err(error) = nonblocking.and_then(|()| self.epoll.add(fd, IN | ONESHOT)) {
            lock(&self.out_of_fds).say(format_args!("register fd {fd}: {error}; connection closed"));
            lock(&self.connections).remove(fd);
        }
    }

    fn serve(&self, event: Event, buffer: &mut [u8]) {
        let fd = event.fd();
        let Some(connection) = lock(&self.connections).get_mut(fd).cloned() else { return };
        // Armed here, so that other workers have time for what comes next while this worker is still busy.
        let served = match event.events & (ERR | HUP) {
            0 => self.epoll.modify(fd, IN | ONESHOT).and_then(|()| connection.echo(buffer)),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        };
        let next = served.ok().and_then(|()| connection.interest());
        if next.is_none_or(|mask| self.epoll.modify(fd, mask | ONESHOT).is_err()) {
            // Removed from the epoll first: another worker's epoll_wait may be looking at the socket, and would keep it
            // open.
            let _ = self.epoll.delete(fd);
            lock(&self.connections).remove(fd);
            lock(&self.retry_accept).now();
        }
    }
}

impl Connection {
    /// What to wait for next, or nothing if the connection is finished.
    fn interest(&self) -> Option<u32> {
        let output = lock(&self.output);
        let input = if output.may_read() { IN } else { 0 };
        let owed = if output.pending.is_empty() { 0 } else { OUT };
        (!output.peer_finished || owed != 0).then_some(input | owed)
    }

    fn echo(&self, buffer: &mut [u8]) -> io::Result<()> {
        lock(&self.output).write(&self.stream)?;
        for _ in 0..READS_PER_TURN {
            if !lock(&self.output).may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => lock(&self.output).peer_finished = true,
                Received::WouldBlock => break,
                Received::Bytes(n) => {
                    // Sent without the lock: no other worker has this connection now.
                    let owed = !lock(&self.output).pending.is_empty();
                    let sent = if owed { 0 } else { send(&self.stream, &buffer[..n])?.bytes() };
                    lock(&self.output).pending.push(&buffer[sent..n]);
                }
            }
        }
        Ok(())
    }
}

impl Output {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.pending.is_empty() {
            match send(stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => break,
            }
        }
        Ok(())
    }
}
