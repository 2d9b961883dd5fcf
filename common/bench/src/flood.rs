//! Clients that send as fast as the server takes it, and one quiet client between them.
//!
//! Invariant: between two pieces of the flood, the quiet client's answer is looked for. So what is counted during its
//! round trip is at most one piece more than what the server let pass.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// One read or write of the flood.
pub const PIECE: usize = 64 * 1024;

/// What passed during one round trip of the quiet client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passed {
    /// The flood's bytes that came back meanwhile.
    pub bytes: u64,
    /// Whether the answer came at all, before the patience ended.
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
        Ok(Self { clients, quiet: connect()?, piece: vec![7; PIECE], bytes: 0, next: 0 })
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

    /// One byte of the quiet client to the server and back, while the others flood. A server that has not answered
    /// within `patience` is not asked again: its answer may still be under way.
    pub fn round_trip(&mut self, patience: Duration) -> Result<Passed> {
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
            if start.elapsed() > patience {
                return Ok(Passed { bytes: self.bytes - before, answered: false });
            }
            self.piece()?;
        }
    }
}
