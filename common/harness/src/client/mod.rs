//! The harness's clients: non-blocking, many at once, every byte compared, every step remembered.
//!
//! Invariant: a client that sends a plan reads at the same time. A correct server has to stop reading a client that
//! does not read, so one that writes everything first would lock up against it.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observe::start::hold_starts;
use observe::{Family, pattern, queues};
use socket2::{Domain, SockRef, Socket, Type};

pub use crate::failure::size;
use crate::failure::{Step, Stop, Symptom};
use crate::steps::Log;

mod ended;
mod many;
mod options;
mod room;
mod stall;

use many::drive;
pub(crate) use many::those_ready;
pub use many::{echo_all, expect_eof_all, send_all, send_all_until_stuck};
pub use options::ConnectOptions;
pub use room::make_room;
pub(crate) use stall::Stall;

/// A server that does nothing for this long, with work at hand, has failed whatever else is known.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(30);
const CHUNK: usize = 256 * 1024;

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
        let _starts = hold_starts();
        drop(self.0.take());
    }
}

/// The byte of urgent data.
const URGENT: u8 = b'!';

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
    /// Bytes that stand in place of the pattern, and their offsets.
    words: Vec<(u64, Vec<u8>)>,
    /// Where a byte of urgent data was sent. A server with SO_OOBINLINE reads the byte there, and echoes it.
    urgent: Vec<u64>,
    /// What the socket will probably take: filling more with the pattern would be work for nothing.
    stride: usize,
    socket: Held,
    server: SocketAddr,
    process: Option<Family>,
    pub(crate) log: Log,
    /// Counts it as connected, as long as it is.
    _counted: Option<Arc<()>>,
}

impl Client {
    pub(crate) fn connect(
        id: u32,
        server: SocketAddr,
        options: ConnectOptions,
        process: Option<Family>,
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
            socket.set_tcp_nodelay(!options.nagle)?;
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
                let limit = crate::trial::raise_fd_limit();
                Stop::skip(format!(
                    "the checks that run at the same time need more than the {limit} descriptors that the harness may have \
                     ({error}): raise the hard limit (ulimit -Hn), or run fewer at once (--jobs 1)"
                ))
            }
            _ => {
                let cause = "The listener is closed, or its queue is full and stays full.";
                Stop::fail(Symptom::Refused, format!("c{id} cannot connect to {server}: {error}"), cause)
            }
        })?;
        let local = socket.local_addr()?;
        log.connected(id, local.port());
        Ok(Self {
            id,
            local,
            sent: 0,
            received: 0,
            planned: 0,
            eof: false,
            half_closed: false,
            words: Vec::new(),
            urgent: Vec::new(),
            stride: CHUNK,
            socket: Held(Some(socket)),
            server,
            process,
            log,
            _counted: None,
        })
    }

    /// Counts it among those that have a copy of this.
    pub(crate) fn of(self, crowd: Arc<()>) -> Self {
        Self { _counted: Some(crowd), ..self }
    }

    /// Of the bytes outstanding, those that the server has not read, and those that it has read and not written. `None`
    /// without /proc.
    pub(crate) fn at_server(&self) -> Option<(u64, u64)> {
        let (received, under_way) = queues(self.local, self.server)?;
        let (unread, unacknowledged) = queues(self.server, self.local)?;
        let in_sockets = [received, under_way, unread, unacknowledged].map(u64::from).iter().sum();
        Some((unread.into(), self.outstanding().saturating_sub(in_sockets)))
    }

    /// Whether the server has something to send on, or to read, that the sockets of the way back do not hold; true where
    /// that cannot be seen.
    pub(crate) fn is_owed(&self) -> bool {
        self.at_server().is_none_or(|(unread, held)| unread + held > 0)
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
        self.log.step(format!("the server takes {}", size(taken)));
        Ok(taken)
    }

    /// Takes the smallness off a `NARROW` client's window: what waits at the server comes in a few segments.
    pub(crate) fn widen(&self) {
        // Without these it takes longer, and that is all.
        let _ = SockRef::from(&*self.socket).set_recv_buffer_size(1 << 17);
        #[cfg(target_os = "linux")]
        options::unclamp(&*self.socket);
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
        self.send_urgent_quietly()
    }

    /// As `send_urgent`, without a step in the log, and without the byte if the socket is full.
    pub(crate) fn send_urgent_quietly(&mut self) -> Step {
        match SockRef::from(&*self.socket).send_out_of_band(&[URGENT]) {
            Ok(_) => {
                self.urgent.push(self.sent);
                Ok(())
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(self.ended(&error)),
            Err(_) => Ok(()),
        }
    }

    /// Sends these bytes in place of the pattern's, and reads them back.
    pub(crate) fn echo_words(&mut self, words: &[u8]) -> Step {
        self.words.push((self.sent, words.to_vec()));
        self.planned = self.sent + words.len() as u64;
        echo_all(std::slice::from_mut(self))
    }

    /// What it sends from this offset on.
    pub(super) fn fill(&self, offset: u64, bytes: &mut [u8]) {
        pattern::fill(self.id, offset, bytes);
        for (at, words) in &self.words {
            for (place, word) in (*at..).zip(words).filter(|(place, _)| *place >= offset) {
                if let Some(byte) = bytes.get_mut((place - offset) as usize) {
                    *byte = *word;
                }
            }
        }
    }

    /// One attempt to send what is planned, at most `most` bytes; 0 if the socket is full or nothing is planned.
    pub fn write_some(&mut self, most: usize) -> Step<usize> {
        const LEAST: usize = 4096;
        let len = (self.planned - self.sent).min(most.min(self.stride) as u64) as usize;
        if len == 0 {
            return Ok(0);
        }
        let result = with_scratch(len, |bytes| {
            self.fill(self.sent, bytes);
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
