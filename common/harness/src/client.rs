//! The harness's clients: non-blocking, many at once, every byte compared, every step remembered.
//!
//! Invariant: a client that sends a plan reads at the same time. A correct server has to stop reading a client that does
//! not read, so one that writes everything first would lock up against it.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockRef, Socket, Type};

use crate::child;
use crate::diagnose::{self, Stalled};
use crate::failure::{Failure, Step, Stop, Symptom};
use crate::kernel::{self, Process, Thread, View};
use crate::pattern;

/// A server that does nothing for this long, with work at hand, has failed whatever else is known.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(30);
/// Without /proc nothing tells slow from stuck, so the backstop is all there is.
const BACKSTOP_UNSEEN: Duration = Duration::from_secs(8);
/// How long a server may sleep in a wait that could have a timeout before that counts as stuck.
const NAP: Duration = Duration::from_secs(2);
/// The same for a server that wakes by itself now and then, and does nothing about the work at hand.
const DOZE: Duration = Duration::from_secs(3);
/// A server that works this long (in clock ticks of 10 ms) and moves nobody's bytes is not slow: it spins.
const BUSY_TICKS: u64 = 200;
const STEPS_KEPT: usize = 24;
const CHUNK: usize = 256 * 1024;

/// The steps taken so far, shared by all clients of a check.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Remembers a step.
    pub fn step(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic while locked").push(what.into());
    }

    /// The last steps, with a line for those left out.
    pub fn steps(&self) -> Vec<String> {
        let steps = self.0.lock().expect("no panic while locked");
        let left_out = steps.len().saturating_sub(STEPS_KEPT);
        let mut shown = Vec::new();
        if left_out > 0 {
            shown.push(format!("({left_out} earlier steps)"));
        }
        shown.extend(steps[left_out..].iter().cloned());
        shown
    }
}

/// Socket options that have to be set before the connect.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectOptions {
    /// SO_RCVBUF in bytes; the kernel doubles it.
    pub receive_buffer: Option<usize>,
    /// SO_SNDBUF in bytes; the kernel doubles it.
    pub send_buffer: Option<usize>,
    /// TCP_MAXSEG in bytes. The server's end learns of it, and sizes its own send buffer by it.
    pub max_segment: Option<u32>,
    /// What is sent goes at once: a congestion control that paces (bbr) sends by a timer, as fast as it believes the server
    /// to be, and a flood runs dry.
    pub unpaced: bool,
}

impl ConnectOptions {
    /// The way back to this client is full after 70 KiB (congestion control cubic) to 200 KiB (bbr), where it takes 3 MiB
    /// and more by default: Linux gives a socket room for a number of segments, which on loopback are of 64 KiB. How much it
    /// is for a given server, `Trial::more_than_fits` finds out.
    pub const NARROW: Self =
        Self { receive_buffer: Some(4096), send_buffer: None, max_segment: Some(1400), unpaced: false };
    /// Where the sender must not be what is slow.
    pub const UNPACED: Self = Self { receive_buffer: None, send_buffer: None, max_segment: None, unpaced: true };

    /// A receive buffer of this size, and all else by default.
    pub const fn receive_buffer(size: usize) -> Self {
        Self { receive_buffer: Some(size), send_buffer: None, max_segment: None, unpaced: false }
    }
}

/// A socket that is closed when no server is being started, so that it is closed.
#[derive(Debug)]
struct Held(Option<TcpStream>);

impl Deref for Held {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        self.0.as_ref().expect("open until it is dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _starts = child::hold_starts();
        drop(self.0.take());
    }
}

/// One connection to the server.
#[derive(Debug)]
pub struct Client {
    /// The connection's number in the pattern and in the steps (`c3`).
    pub id: u32,
    /// The client's end.
    pub local: SocketAddr,
    /// Bytes handed to the socket so far.
    pub sent: u64,
    /// Bytes that came back and were right.
    pub received: u64,
    /// Bytes to be sent in all: `sent` goes up to this.
    pub planned: u64,
    /// The server has finished: a read returned 0.
    pub eof: bool,
    half_closed: bool,
    /// What the socket will probably take: filling more with the pattern would be work for nothing.
    stride: usize,
    socket: Held,
    server: SocketAddr,
    process: Option<Process>,
    log: Log,
}

impl Client {
    pub(crate) fn connect(
        id: u32,
        server: SocketAddr,
        options: ConnectOptions,
        process: Option<Process>,
        patience: Duration,
        log: Log,
    ) -> Step<Self> {
        let attempt = || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
            if let Some(size) = options.receive_buffer {
                socket.set_recv_buffer_size(size)?;
            }
            if let Some(size) = options.send_buffer {
                socket.set_send_buffer_size(size)?;
            }
            if let Some(size) = options.max_segment {
                socket.set_tcp_mss(size)?;
            }
            socket.set_tcp_nodelay(true)?;
            #[cfg(any(target_os = "linux", target_os = "freebsd"))]
            if options.unpaced {
                // Every Linux has reno, and lets everybody use it. Elsewhere nothing paces by default.
                let _ = socket.set_tcp_congestion(b"reno");
            }
            // The connect itself may block: on loopback the kernel answers for the server, frozen or not.
            socket.connect_timeout(&server.into(), patience)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        };
        let socket = attempt().map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => {
                Stop::Broken(format!("the harness itself has no descriptors left ({error}); raise ulimit -n"))
            }
            _ => {
                let cause = "The listener is closed, or its queue is full and stays full.";
                Stop::fail(Symptom::Refused, format!("c{id} cannot connect to {server}: {error}"), cause)
            }
        })?;
        let local = socket.local_addr()?;
        Ok(Self {
            id,
            local,
            sent: 0,
            received: 0,
            planned: 0,
            eof: false,
            half_closed: false,
            stride: CHUNK,
            socket: Held(Some(socket)),
            server,
            process,
            log,
        })
    }

    /// Of the bytes outstanding, those that the server has not read, and those that it has read and not written. `None`
    /// without /proc.
    pub(crate) fn at_server(&self) -> Option<(u64, u64)> {
        let (received, under_way) = kernel::queues(self.local, self.server)?;
        let (unread, unacknowledged) = kernel::queues(self.server, self.local)?;
        let in_sockets = [received, under_way, unread, unacknowledged].map(u64::from).iter().sum();
        Some((unread.into(), self.outstanding().saturating_sub(in_sockets)))
    }

    /// Bytes sent that have not come back.
    pub fn outstanding(&self) -> u64 {
        self.sent - self.received
    }

    /// Adds to what is to be sent; `echo`, `echo_all` and `receive` send it while they read.
    pub fn plan(&mut self, bytes: u64) {
        self.planned += bytes;
    }

    /// Sends `bytes` and gets them back, writing and reading at once.
    pub fn echo(&mut self, bytes: u64) -> Step {
        self.log.step(format!("c{} sends {} and reads it back", self.id, size(bytes)));
        self.plan(bytes);
        echo_all(std::slice::from_mut(self))
    }

    /// Sends `bytes` without reading. They have to fit into the socket buffers (64 KiB always do).
    pub fn send(&mut self, bytes: u64) -> Step {
        self.log.step(format!("c{} sends {}", self.id, size(bytes)));
        self.send_quietly(bytes)
    }

    /// As `send`, without a step in the log.
    pub fn send_quietly(&mut self, bytes: u64) -> Step {
        self.plan(bytes);
        let end = Instant::now() + BACKSTOP;
        let mut stall = Stall::new();
        while self.sent < self.planned {
            if self.write_some(CHUNK)? > 0 {
                stall = Stall::new();
                continue;
            }
            if Instant::now() > end {
                return Err(Stop::Broken(format!("c{} cannot send {} without reading", self.id, size(bytes))));
            }
            stall.check(self)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Reads until all that was sent has come back.
    pub fn expect_echo(&mut self) -> Step {
        self.log.step(format!("c{} reads the {} outstanding", self.id, size(self.outstanding())));
        echo_all(std::slice::from_mut(self))
    }

    /// Reads `bytes` more (writing what is planned at the same time).
    pub fn receive(&mut self, bytes: u64) -> Step {
        self.log.step(format!("c{} reads {}", self.id, size(bytes)));
        self.receive_quietly(bytes)
    }

    /// As `receive`, without a step in the log.
    pub fn receive_quietly(&mut self, bytes: u64) -> Step {
        let target = self.received + bytes;
        drive(std::slice::from_mut(self), target, |client| client.received >= target)
    }

    /// Sends without reading until the server takes no more: until the socket is full and everything is at rest.
    /// Returns the bytes that were taken; stops at `limit`.
    pub fn send_until_stuck(&mut self, limit: u64) -> Step<u64> {
        self.log.step(format!("c{} sends without reading until the server takes no more, or {}", self.id, size(limit)));
        let taken = send_all_until_stuck(std::slice::from_mut(self), limit)?;
        self.log.step(format!("{} were taken", size(taken)));
        Ok(taken)
    }

    /// Sends FIN; reading goes on.
    pub fn half_close(&mut self) -> Step {
        self.log.step(format!("c{} sends FIN (half-close)", self.id));
        self.half_close_quietly()
    }

    /// As `half_close`, without a step in the log.
    pub fn half_close_quietly(&mut self) -> Step {
        self.half_closed = true;
        match self.socket.shutdown(Shutdown::Write) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.ended(&error)),
        }
    }

    /// Reads all that is outstanding and then the server's FIN.
    pub fn expect_eof(&mut self) -> Step {
        self.log.step(format!("c{} reads the {} outstanding and then FIN", self.id, size(self.outstanding())));
        // The end is news only to a read, so no bound but what there is.
        drive(std::slice::from_mut(self), u64::MAX, |client| client.eof)
    }

    /// Waits until the server closes this connection, by FIN or reset, whatever was owed.
    pub fn expect_closed(&mut self) -> Step {
        self.log.step(format!("c{} waits to be closed", self.id));
        match drive(std::slice::from_mut(self), u64::MAX, |client| client.eof) {
            Err(Stop::Fail(failure)) if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated) => Ok(()),
            other => other,
        }
    }

    /// Closes with a reset (SO_LINGER 0), so that the server's end gets ECONNRESET.
    pub fn reset(self) {
        self.log.step(format!("c{} resets the connection", self.id));
        self.reset_quietly();
    }

    /// As `reset`, without a step in the log.
    pub fn reset_quietly(self) {
        let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Closes.
    pub fn close(self) {
        self.log.step(format!("c{} closes", self.id));
    }

    /// Sends one byte of urgent data (MSG_OOB), which is no part of the stream.
    pub fn send_urgent(&mut self) -> Step {
        self.log.step(format!("c{} sends a byte of urgent data", self.id));
        SockRef::from(&*self.socket).send_out_of_band(b"!").map(|_| ()).map_err(|error| self.ended(&error))
    }

    /// One attempt to send what is planned, at most `most` bytes; 0 if the socket is full or nothing is planned.
    pub fn write_some(&mut self, most: usize) -> Step<usize> {
        const LEAST: usize = 4096;
        let len = (self.planned - self.sent).min(most.min(self.stride) as u64) as usize;
        if len == 0 {
            return Ok(0);
        }
        let result = with_scratch(len, |bytes| {
            pattern::fill(self.id, self.sent, bytes);
            uninterrupted(|| (&*self.socket).write(bytes))
        });
        match result {
            Ok(n) => {
                self.sent += n as u64;
                self.stride = if n < len { n.max(LEAST) } else { (self.stride * 2).min(CHUNK) };
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stride = (self.stride / 2).max(LEAST);
                Ok(0)
            }
            // What the server said before it closed may still be readable, and tells more than EPIPE.
            Err(error) => Err(self.ended(&error)),
        }
    }

    /// One attempt to read, at most `most` bytes, each compared; 0 if there is nothing or the server has finished.
    pub fn read_some(&mut self, most: usize) -> Step<usize> {
        with_scratch(most.min(CHUNK), |buffer| match uninterrupted(|| (&*self.socket).read(buffer)) {
            Ok(0) if most > 0 => {
                self.eof = true;
                Ok(0)
            }
            Ok(n) => self.compare(&buffer[..n]).map(|()| n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(self.ended(&error)),
        })
    }

    fn compare(&mut self, got: &[u8]) -> Step {
        let at = pattern::first_difference(self.id, self.received, got);
        let beyond = (self.received + got.len() as u64).saturating_sub(self.sent);
        if at.is_none() && beyond == 0 {
            self.received += got.len() as u64;
            return Ok(());
        }
        // Never beyond what was sent: c0's first word is zeros, which memory that nobody filled is too.
        let right = at.unwrap_or(got.len()).min(got.len() - beyond as usize);
        let offset = self.received + right as u64;
        let wrong = &got[right..];
        let origin = match pattern::locate(wrong) {
            Some((id, from)) if id == self.id && from > offset => {
                format!(
                    "They are this connection's bytes from offset {from}: {} are missing or late. Was a short write's rest dropped, or overtaken by later bytes?",
                    size(from - offset)
                )
            }
            Some((id, from)) if id == self.id => {
                format!(
                    "They are this connection's bytes from offset {from} once more. Was a buffer sent again from its start after a short write, or lent out twice?"
                )
            }
            Some((id, from)) => {
                format!(
                    "They are c{id}'s bytes from offset {from}. Is one buffer shared by two connections, or did an event of a closed descriptor act on its next owner?"
                )
            }
            None if wrong.iter().all(|byte| *byte == 0) => {
                "They are zeros: memory that nothing was read into was sent.".into()
            }
            None if beyond > 0 && at.is_none() => "More came back than was sent.".into(),
            None => "They are nobody's bytes here: stale memory, or text that an echo server should not add.".into(),
        };
        let what = format!("c{} got wrong bytes at offset {offset} (after {} that were right)", self.id, size(offset));
        Err(self.failed(Symptom::WrongBytes, what, origin))
    }

    fn ended(&self, error: &io::Error) -> Stop {
        let what = format!(
            "c{} was cut off ({error}) with {} sent and {} back",
            self.id,
            size(self.sent),
            size(self.received)
        );
        let cause = match self.half_closed && self.received == self.sent {
            true => {
                "All was echoed, and then it ended with a reset where FIN was due: close without SO_LINGER, and after read has returned 0."
            }
            false => {
                "A server resets a connection when it closes it with unread input, or ends. A slow reader, EAGAIN, a FIN, somebody else's error, or an event of the descriptor's last owner is no reason to close."
            }
        };
        self.failed(Symptom::Reset, what, cause.into())
    }

    fn truncated(&self) -> Stop {
        let what = format!(
            "the server closed c{} with {} of {} back",
            self.id,
            size(self.received),
            size(self.planned.max(self.sent))
        );
        let cause = if self.half_closed {
            "It took the client's FIN as the end of everything: first send what is owed, then close."
        } else {
            "A slow reader, EAGAIN on write, or an error of another connection is no reason to close."
        };
        self.failed(Symptom::Truncated, what, cause.into())
    }

    pub(crate) fn failed(&self, symptom: Symptom, what: String, cause: String) -> Stop {
        Stop::Fail(Box::new(Failure { symptom, what, steps: Vec::new(), kernel: Vec::new(), cause }))
    }

    fn facts(&self) -> Stalled {
        Stalled { client: self.local, sent: self.sent, received: self.received, half_closed: self.half_closed }
    }
}

/// One buffer for each thread: ten thousand clients must not hold one each.
fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]));
    SCRATCH.with_borrow_mut(|scratch| work(&mut scratch[..len]))
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends what every client plans and reads what comes back, all at once, until all is back.
pub fn echo_all(clients: &mut [Client]) -> Step {
    drive(clients, u64::MAX, |client| client.sent == client.planned && client.received == client.sent)
}

/// Hands `bytes` of each client to its socket, and reads nothing.
pub fn send_all(clients: &mut [Client], bytes: u64) -> Step {
    clients.iter_mut().try_for_each(|client| client.send_quietly(bytes))
}

/// Reads on every connection what is outstanding and then the server's FIN, on all at once.
pub fn expect_eof_all(clients: &mut [Client]) -> Step {
    drive(clients, u64::MAX, |client| client.eof)
}

/// Lets every client send without reading until the server takes no more: until their sockets are full and all is at
/// rest. Returns the bytes that were taken in all; stops at `limit` for each.
pub fn send_all_until_stuck(clients: &mut [Client], limit: u64) -> Step<u64> {
    let sent = |clients: &[Client]| clients.iter().map(|client| client.sent).sum::<u64>();
    let before = sent(clients);
    clients.iter_mut().for_each(|client| client.planned = client.sent + limit);
    let end = Instant::now() + BACKSTOP;
    let (mut quiet_since, mut seen) = (Instant::now(), None);
    while clients.iter().any(|client| client.sent < client.planned) && Instant::now() < end {
        let mut wrote = 0;
        for client in clients.iter_mut() {
            wrote += client.write_some(CHUNK)?;
        }
        if wrote > 0 {
            quiet_since = Instant::now();
            continue;
        }
        std::thread::sleep(Duration::from_millis(10));
        let threads = clients[0].process.and_then(|process| process.threads());
        let enough = match &threads {
            None => Duration::from_millis(400),
            // One that waits for a processor may yet take more; one that never sleeps is another check's business.
            Some(threads) if threads.iter().any(|thread| thread.state == 'R') => NAP,
            Some(_) => Duration::from_millis(60),
        };
        // The context switches of one that never sleeps tell nothing.
        let asleep = threads.filter(|threads| threads.iter().all(|thread| thread.state != 'R'));
        let now = (kernel::queues(clients[0].local, clients[0].server), asleep);
        if Some(&now) != seen.as_ref() {
            quiet_since = Instant::now();
            seen = Some(now);
        } else if quiet_since.elapsed() > enough {
            break;
        }
    }
    clients.iter_mut().for_each(|client| client.planned = client.sent);
    Ok(sent(clients) - before)
}

/// Moves bytes on all connections until each is `done`; never reads a connection beyond `most` bytes in all.
fn drive(clients: &mut [Client], most: u64, done: impl Fn(&Client) -> bool) -> Step {
    let mut stall = Stall::new();
    let mut waiting: Vec<usize> = (0..clients.len()).filter(|i| !done(&clients[*i])).collect();
    while !waiting.is_empty() {
        let mut progress = false;
        for i in ready(clients, &waiting, Duration::from_millis(20))? {
            let client = &mut clients[i];
            let (sent, received) = (client.sent, client.received);
            let wrote = client.write_some(CHUNK);
            // Read even after a failed write: the reason may be on its way.
            client.read_some((most - client.received).min(CHUNK as u64) as usize)?;
            if client.eof && (client.received < client.sent || !done(client)) {
                return Err(client.truncated());
            }
            wrote?;
            progress |= client.sent > sent || client.received > received || client.eof;
        }
        waiting.retain(|i| !done(&clients[*i]));
        match (progress, waiting.first()) {
            (true, _) => stall = Stall::new(),
            (false, Some(first)) => stall.check(&clients[*first])?,
            (false, None) => {}
        }
    }
    Ok(())
}

/// Those of `waiting` that have something to read or room to write, after waiting for at most `patience`.
fn ready(clients: &[Client], waiting: &[usize], patience: Duration) -> Step<Vec<usize>> {
    let mut fds: Vec<_> = waiting
        .iter()
        .map(|i| {
            let client = &clients[*i];
            let mut interest = PollFlags::IN;
            if client.sent < client.planned {
                interest |= PollFlags::OUT;
            }
            PollFd::new(&*client.socket, interest)
        })
        .collect();
    let timeout = Timespec { tv_sec: patience.as_secs() as _, tv_nsec: patience.subsec_nanos() as _ };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Stop::Broken(format!("poll of the clients: {error}"))),
    }
    Ok(waiting.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(i, _)| *i).collect())
}

/// Waits until any of them has something to read, or room for what it plans to send; whether that came before `patience`
/// was over.
pub(crate) fn any_ready(clients: &[Client], patience: Duration) -> Step<bool> {
    let all: Vec<usize> = (0..clients.len()).collect();
    Ok(!ready(clients, &all, patience)?.is_empty())
}

/// The server's threads, and the client's queues (unread, unacknowledged), where they can be seen.
type Look = (Vec<Thread>, Option<(u32, u32)>);

/// Watches a server that makes no progress, until it is certain that none will come.
struct Stall {
    since: Instant,
    before: Option<Look>,
    same_since: Instant,
    /// Since when every look has found it asleep, with the client's queues as they are. It may have woken in between.
    dozing_since: Instant,
    /// CPU of the server at the first look.
    ticks: Option<u64>,
}

impl Stall {
    fn new() -> Self {
        let now = Instant::now();
        Self { since: now, before: None, same_since: now, dozing_since: now, ticks: None }
    }

    fn check(&mut self, client: &Client) -> Step {
        let Some(process) = client.process else {
            return if self.since.elapsed() < BACKSTOP_UNSEEN { Ok(()) } else { Err(unseen(client)) };
        };
        let Some(threads) = process.threads() else {
            return if self.since.elapsed() < BACKSTOP_UNSEEN { Ok(()) } else { Err(unseen(client)) };
        };
        if threads.is_empty() || threads.iter().any(|thread| matches!(thread.state, 'Z' | 'X')) {
            // `Trial` adds how it ended.
            let what = format!("the server ended while c{} waited for {}", client.id, awaited(client));
            return Err(client.failed(Symptom::Exited, what, String::new()));
        }
        let queues = || kernel::queues(client.local, client.server);
        let now = (threads, queues());
        let again = self.before.as_ref() == Some(&now);
        if !again {
            self.note(&now);
            let ticks = process.activity().map_or(0, |activity| activity.ticks);
            let spun = ticks.saturating_sub(*self.ticks.get_or_insert(ticks)) > BUSY_TICKS;
            if spun || self.since.elapsed() >= BACKSTOP {
                return Err(explain(client, process));
            }
        }
        let (threads, own) = &now;
        let endless = threads.iter().all(|thread| thread.call.as_ref().is_some_and(kernel::Call::is_endless));
        let enough = if endless { Duration::from_millis(100) } else { NAP };
        if self.since.elapsed() < enough {
            return Ok(());
        }
        // Before the view, which takes its time. By two looks, between which the client has tried to read: where the
        // processor is short, a single one can last as long.
        let long = again && self.same_since.elapsed() >= enough || self.dozing_since.elapsed() >= DOZE;
        // Bytes on their way to the client are the kernel's business, not the server's.
        let view = process.view(client.server.port());
        let under_way =
            view.as_ref().and_then(|view| view.connection(client.local)).is_some_and(|socket| socket.tx > 0);
        let not_delivered = own.is_some_and(|(_, unacknowledged)| unacknowledged > 0)
            && view.as_ref().and_then(|view| view.connection(client.local)).is_none_or(|socket| socket.rx == 0);
        let stuck = long && asleep(threads) && !under_way && !not_delivered;
        // The view is not of one moment: bytes may have arrived, and woken the server, between two of its parts.
        let certain = stuck && process.threads().is_some_and(|threads| (threads, queues()) == now);
        match view {
            // What was judged is what is shown: a moment later a late packet may have changed it.
            Some(view) if certain => Err(explain_view(client, &view)),
            _ if self.since.elapsed() >= BACKSTOP => Err(explain(client, process)),
            _ => Ok(()),
        }
    }

    /// Remembers a look that differs from the one before.
    fn note(&mut self, now: &Look) {
        let dozes = |before: &Look| before.1 == now.1 && asleep(&before.0) && asleep(&now.0);
        self.same_since = Instant::now();
        if !self.before.as_ref().is_some_and(dozes) {
            self.dozing_since = self.same_since;
        }
        self.before = Some(now.clone());
    }
}

fn asleep(threads: &[Thread]) -> bool {
    threads.iter().all(|thread| thread.state == 'S')
}

fn awaited(client: &Client) -> String {
    match client.planned.max(client.sent) - client.received {
        0 => "FIN".into(),
        missing => size(missing),
    }
}

fn stall_text(client: &Client) -> String {
    if client.received == client.sent && client.half_closed {
        return format!(
            "c{} sent FIN, has all its {} back, and the server does not finish",
            client.id,
            size(client.sent)
        );
    }
    format!("c{} sent {} and got {} back", client.id, size(client.sent), size(client.received))
}

fn unseen(client: &Client) -> Stop {
    let what = format!("{}; nothing more came for {} s", stall_text(client), BACKSTOP_UNSEEN.as_secs());
    client.failed(
        Symptom::Slow,
        what,
        "The server's state cannot be seen from here (no /proc, or not started by the harness).".into(),
    )
}

fn explain(client: &Client, process: Process) -> Stop {
    explain_view(client, &process.view(client.server.port()).unwrap_or_default())
}

fn explain_view(client: &Client, view: &View) -> Stop {
    let diagnosis = diagnose::stalled(view, &client.facts());
    Stop::Fail(Box::new(Failure {
        symptom: diagnosis.symptom,
        what: stall_text(client),
        steps: Vec::new(),
        kernel: diagnosis.kernel,
        cause: diagnosis.cause,
    }))
}

/// A number of bytes as a person would write it: `1 byte`, `4097 bytes`, `64 KiB`, `32 MiB`.
pub fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * 1024;
    match bytes {
        1 => "1 byte".into(),
        n if n >= MIB && n % MIB == 0 => format!("{} MiB", n / MIB),
        n if n >= KIB && n % KIB == 0 => format!("{} KiB", n / KIB),
        n => format!("{n} bytes"),
    }
}
