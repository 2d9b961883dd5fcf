//! The clients: what they send, what came back, and what of it was right.
//!
//! Invariant: every byte that comes back is compared with the pattern. No call here waits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use observe::handle::{out_queue, unpace};
use observe::{TcpEnd, pattern};
use socket2::{Domain, Socket, Type};

/// What a small socket buffer is set to; the kernel doubles it and has a minimum of its own.
pub const SMALL: usize = 32 * 1024;
const CHUNK: usize = 64 * 1024;
/// Where a stream begins in the pattern. At 0 it begins with the same byte on every connection, and a script may send but one.
const BEGIN: u64 = 1;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its number, also in the pattern.
    id: u32,
    socket: Socket,
    /// Its port, by which the server's end of the connection is found.
    pub port: u16,
    /// Bytes that the script wants sent.
    pub asked: u64,
    /// Bytes that its socket has taken.
    pub sent: u64,
    /// Bytes that came back as they should.
    pub came_back: u64,
    /// It does not read.
    pub paused: bool,
    /// FIN belongs behind the last byte.
    finish: bool,
    /// FIN is sent.
    pub finished: bool,
    /// The server has closed.
    pub eof: bool,
    /// The server has reset.
    pub reset: bool,
    /// It has left, or was cut off by a fault: nothing is owed to it.
    pub gone: bool,
    /// It was not accepted before the script left the server no file descriptor, or the server lacked one that it opens
    /// for each connection.
    pub came_without_fds: bool,
    /// What came where something else was due, from there on.
    stray: Vec<u8>,
    /// Its receive buffer as it was at the connect.
    pub receive_room: Option<u64>,
}

/// What is wrong with the bytes that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// As many are missing at this offset, and the stream goes on behind them.
    Gap(u64, u64),
    /// Something else stands at this offset.
    Bytes(u64),
}

impl Client {
    /// Connects; on loopback the connection is there when the call returns.
    pub fn connect(id: usize, to: SocketAddr, small_buffers: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        unpace(&socket);
        if small_buffers {
            socket.set_recv_buffer_size(SMALL)?;
            socket.set_send_buffer_size(4 * SMALL)?;
        }
        socket.connect_timeout(&to.into(), Duration::from_secs(10))?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.as_socket().map_or(0, |addr| addr.port());
        let receive_room = socket.recv_buffer_size().ok().map(|size| size as u64);
        Ok(Self {
            id: id as u32,
            socket,
            port,
            asked: 0,
            sent: 0,
            came_back: 0,
            paused: false,
            finish: false,
            finished: false,
            eof: false,
            reset: false,
            gone: false,
            came_without_fds: false,
            stray: Vec::new(),
            receive_room,
        })
    }

    /// Sends, or what is left of it later.
    pub fn send(&mut self, bytes: u64) -> u64 {
        self.asked += bytes;
        self.push()
    }

    /// Sends FIN behind the last byte.
    pub fn shutdown(&mut self) {
        self.finish = true;
        self.push();
    }

    /// Goes on sending; returns how much its socket has taken.
    pub fn push(&mut self) -> u64 {
        if self.gone || self.finished {
            return 0;
        }
        let before = self.sent;
        let mut piece = Vec::new();
        while self.sent < self.asked {
            piece.resize((self.asked - self.sent).min(CHUNK as u64) as usize, 0);
            pattern::fill(self.id, BEGIN + self.sent, &mut piece);
            match self.socket.write(&piece) {
                Ok(sent) => self.sent += sent as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The read says what has happened to the connection.
                Err(_) => break,
            }
        }
        if self.finish && self.sent == self.asked {
            self.finished = true;
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.sent - before
    }

    /// Reads what is there; returns how much that was.
    pub fn pull(&mut self) -> u64 {
        if self.gone || self.eof || self.reset {
            return 0;
        }
        let mut buffer = vec![0u8; CHUNK];
        let mut total = 0;
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    self.eof = true;
                    break;
                }
                Ok(n) => {
                    self.compare(&buffer[..n]);
                    total += n as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.reset = true;
                    break;
                }
            }
        }
        // An acknowledgement that is delayed would be an event that comes by itself, some time later.
        let _ = self.socket.set_tcp_quickack(true);
        total
    }

    fn compare(&mut self, bytes: &[u8]) {
        let due = (self.asked - self.came_back).min(bytes.len() as u64) as usize;
        let right = match self.stray.is_empty() {
            true => pattern::first_difference(self.id, BEGIN + self.came_back, &bytes[..due]).unwrap_or(due),
            false => 0,
        };
        self.came_back += right as u64;
        self.stray.extend_from_slice(&bytes[right..]);
    }

    /// What is wrong with the bytes that came back, if anything.
    pub fn wrong(&self) -> Option<Wrong> {
        if self.stray.is_empty() {
            return None;
        }
        let (start, stray) = (self.came_back, &self.stray);
        let missing = self.asked.checked_sub(start + stray.len() as u64).filter(|missing| *missing > 0);
        // A hole is told from a mix by what stands behind it: the stream itself, to the end of what came.
        let sample = &stray[..stray.len().min(64)];
        let mut due = [0; 64];
        let mut fits = |skip: &u64| {
            let due = &mut due[..sample.len()];
            pattern::fill(self.id, BEGIN + start + skip, due);
            due == sample
        };
        // A few bytes may fit in many places. If they are the last ones of the stream, that is where they belong.
        let skips = missing.into_iter().chain(1..self.asked - start);
        match missing.and_then(|_| skips.into_iter().find(&mut fits)) {
            Some(skip) => Some(Wrong::Gap(start, skip)),
            None => Some(Wrong::Bytes(start)),
        }
    }

    /// The server has ended the connection, and sent nothing wrong before.
    pub fn has_only_ended(&self) -> bool {
        (self.eof || self.reset) && self.stray.is_empty()
    }

    /// How many bytes of its stream, from `next` on and before `end`, are left out where these bytes come next. 0 if none are,
    /// or if this cannot be told.
    pub fn passed_over(&self, next: u64, end: u64, bytes: &[u8]) -> u64 {
        let mut due = vec![0; bytes.len()];
        let mut fits = |skip: &u64| {
            pattern::fill(self.id, BEGIN + next + skip, &mut due);
            due == bytes
        };
        let last = end.saturating_sub(next);
        if bytes.is_empty() { 0 } else { (0..last).find(&mut fits).unwrap_or(0) }
    }

    /// Bytes that are missing in what it has read, and will not come.
    pub fn gap(&self) -> u64 {
        match self.wrong() {
            Some(Wrong::Gap(_, bytes)) => bytes,
            _ => 0,
        }
    }

    /// Bytes that did not come back yet.
    pub fn owed(&self) -> u64 {
        self.asked - self.came_back
    }

    /// Bytes that came back and were read, right or wrong.
    pub fn read(&self) -> u64 {
        self.came_back + self.stray.len() as u64
    }

    /// Its own end of the connection.
    pub fn end(&self) -> TcpEnd {
        TcpEnd::of_socket(&self.socket).unwrap_or_default()
    }

    /// Its address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// Leaves; with a reset, or in order.
    pub fn leave(&mut self, reset: bool) {
        if reset {
            let _ = self.socket.set_linger(Some(Duration::ZERO));
        }
        self.gone = true;
        // Closed by taking its place: a new socket has never been anywhere.
        if let Ok(other) = Socket::new(Domain::IPV4, Type::STREAM, None) {
            self.socket = other;
        }
    }

    /// Bytes that the peer's socket has not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        out_queue(&self.socket)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // No connection is left behind in TIME_WAIT.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn client(asked: u64) -> (Client, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(0, listener.local_addr().unwrap(), false).unwrap();
        let (peer, _) = listener.accept().unwrap();
        client.send(asked);
        (client, peer)
    }

    fn stream(range: std::ops::Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        pattern::fill(0, BEGIN + range.start, &mut bytes);
        bytes
    }

    #[test]
    fn the_right_bytes_are_right_in_any_pieces() {
        let (mut client, mut peer) = client(1000);
        for range in [0..1, 1..700, 700..1000] {
            peer.write_all(&stream(range)).unwrap();
            client.pull();
        }
        assert_eq!((client.owed(), client.wrong()), (0, None));
    }

    #[test]
    fn a_hole_is_told_from_a_mix() {
        let (mut holed, mut peer) = client(1000);
        peer.write_all(&[stream(0..100), stream(150..900)].concat()).unwrap();
        holed.pull();
        assert_eq!(holed.wrong(), Some(Wrong::Gap(100, 50)));

        // One byte fits in many places.
        let (mut all_but_one, mut peer) = client(100_000);
        peer.write_all(&[stream(0..100), stream(99_999..100_000)].concat()).unwrap();
        all_but_one.pull();
        assert_eq!(all_but_one.wrong(), Some(Wrong::Gap(100, 99_899)));

        let (mut mixed, mut peer) = client(1000);
        peer.write_all(&[stream(0..100), stream(200..1000), stream(100..200)].concat()).unwrap();
        mixed.pull();
        assert_eq!(mixed.wrong(), Some(Wrong::Bytes(100)));
    }
}
