//! Clients that send as fast as the server takes it, and one quiet client between them.
//!
//! Invariant: between two pieces of the flood, the quiet client's answer is looked for. So what is counted during its
//! round trip is at most one piece more than what the server let pass.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::load::SILENCE;

/// One read or write of the flood.
pub const PIECE: usize = 64 * 1024;

/// What passed during one round trip of the quiet client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passed {
    /// The flood's bytes that came back meanwhile.
    pub bytes: u64,
    /// Whether the answer came at all, before so much had passed that no fair server would let pass.
    pub answered: bool,
}

/// Flooding clients and a quiet one.
#[derive(Debug)]
pub struct Flood {
    clients: Vec<TcpStream>,
    quiet: TcpStream,
    piece: Vec<u8>,
    /// All of the flood's bytes that have come back.
    bytes: u64,
    /// Which client is next.
    next: usize,
}

impl Flood {
    /// Connects all of them.
    pub fn connect(addr: SocketAddr, flooding: usize) -> Result<Self> {
        let connect = || -> Result<TcpStream> {
            let socket = TcpStream::connect(addr).context("connect")?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let clients = (0..flooding).map(|_| connect()).collect::<Result<Vec<TcpStream>>>()?;
        let mut flood = Self { clients, quiet: connect()?, piece: vec![7; PIECE], bytes: 0, next: 0 };
        flood.greet()?;
        Ok(flood)
    }

    /// A round trip of the quiet client before there is a flood: it has been accepted then.
    fn greet(&mut self) -> Result<()> {
        self.quiet.set_nonblocking(false)?;
        self.quiet.set_read_timeout(Some(SILENCE))?;
        self.quiet.write_all(b"q").context("the quiet client writes")?;
        self.quiet.read_exact(&mut [0]).context("the quiet client reads")?;
        self.quiet.set_nonblocking(true)?;
        Ok(())
    }

    /// One piece of the next client: as much as its socket takes and gives at once.
    fn piece(&mut self) -> Result<()> {
        let all = self.clients.len();
        let Some(client) = self.clients.get_mut(self.next) else { return Ok(()) };
        self.next = (self.next + 1) % all;
        match client.write(&self.piece) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a flooding client writes"),
        }
        match client.read(&mut self.piece) {
            Ok(0) => bail!("the server closed a flooding client"),
            Ok(n) => self.bytes += n as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a flooding client reads"),
        }
        Ok(())
    }

    /// Floods for a time.
    pub fn go_on(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time && !self.clients.is_empty() {
            self.piece()?;
        }
        Ok(())
    }

    /// One byte of the quiet client to the server and back, while the others flood. Once `most` bytes of the flood have
    /// passed, it does not wait any longer, and must not ask again: its answer may still be under way. Bytes bound the
    /// wait and not time, because on a busy machine the server may get no processor for a while.
    pub fn round_trip(&mut self, most: u64) -> Result<Passed> {
        let (start, before) = (Instant::now(), self.bytes);
        ensure!(self.quiet.write(b"q").context("the quiet client writes")? == 1, "a full socket");
        let mut answer = [0];
        loop {
            match self.quiet.read(&mut answer) {
                Ok(0) => bail!("the server closed the quiet client"),
                Ok(_) => return Ok(Passed { bytes: self.bytes - before, answered: true }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the quiet client reads"),
            }
            if self.bytes - before > most {
                return Ok(Passed { bytes: self.bytes - before, answered: false });
            }
            ensure!(start.elapsed() < SILENCE, "neither the flood nor the quiet client gets an answer");
            self.piece()?;
        }
    }
}
