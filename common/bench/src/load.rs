//! The load: connections that send, wait for the echo, and send again.
//!
//! Invariant: every connection has exactly one message in flight while a load runs, and none before and after, so that
//! the size of the server's batches comes from the number of connections and not from pipelining.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A server that does not answer for so long will not answer.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Connections to one server.
pub struct Load {
    sockets: Vec<TcpStream>,
    message: Vec<u8>,
}

impl Load {
    /// Opens `connections` to `addr`, for messages of `bytes` (they have to fit into a socket buffer).
    pub fn connect(addr: SocketAddr, connections: usize, bytes: usize) -> Result<Self> {
        ensure!((1..=64 * 1024).contains(&bytes), "--bytes has to be from 1 to 65536");
        let mut load = Self { sockets: Vec::new(), message: (0..bytes).map(|i| (i % 251) as u8).collect() };
        load.grow(addr, connections)?;
        Ok(load)
    }

    /// Opens more, until there are so many.
    pub fn grow(&mut self, addr: SocketAddr, connections: usize) -> Result<()> {
        for number in self.sockets.len()..connections {
            let socket = TcpStream::connect(addr).with_context(|| format!("connection {number} to {addr}"))?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(SILENCE))?;
            self.sockets.push(socket);
        }
        Ok(())
    }

    /// Makes one round trip on each connection.
    pub fn once(&self) -> Result<()> {
        self.once_from(0)
    }

    /// As [`Load::once`], on the connections from this one on. A server that looks at all connections in each wait would
    /// take minutes for thousands of single round trips, so 64 are in flight at a time.
    pub fn once_from(&self, first: usize) -> Result<()> {
        let mut answer = vec![0; self.message.len()];
        for together in self.sockets[first..].chunks(64) {
            for mut socket in together {
                socket.write_all(&self.message)?;
            }
            for mut socket in together {
                socket.read_exact(&mut answer).context("echo")?;
                ensure!(answer == self.message, "the echo differs from what was sent");
            }
        }
        Ok(())
    }

    /// Makes round trips on all connections for `time`; returns how many there were, and how long they took.
    pub fn run(&self, time: Duration) -> Result<(u64, Duration)> {
        let start = std::time::Instant::now();
        let trips = self.run_while(|_| start.elapsed() < time)?;
        Ok((trips, start.elapsed()))
    }

    /// Makes round trips on all connections, and begins new ones as long as `goes_on` says so of their number. Returns
    /// how many there were: each that began has ended.
    #[cfg(target_os = "linux")]
    pub fn run_while(&self, mut goes_on: impl FnMut(u64) -> bool) -> Result<u64> {
        use std::io::ErrorKind;

        use anyhow::bail;
        use rustix::event::{Timespec, epoll};

        let silence = Timespec { tv_sec: SILENCE.as_secs() as i64, tv_nsec: 0 };
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (i, socket) in self.sockets.iter().enumerate() {
            socket.set_nonblocking(true)?;
            epoll::add(&set, socket, epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)?;
        }
        let mut got = vec![0; self.sockets.len()];
        let mut buffer = vec![0; 64 * 1024];
        let mut events = Vec::with_capacity(1024);
        let (mut trips, mut flying) = (0, self.sockets.len());
        for mut socket in &self.sockets {
            socket.write_all(&self.message)?;
        }
        while flying > 0 {
            events.clear();
            let ready = match epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&silence)) {
                // A tracee's stop is a signal to this program.
                Err(rustix::io::Errno::INTR) => continue,
                ready => ready?,
            };
            ensure!(ready > 0, "the server has answered nothing for {} s", SILENCE.as_secs());
            let again = goes_on(trips);
            for event in &events {
                let i = event.data.u64() as usize;
                let mut socket = &self.sockets[i];
                match socket.read(&mut buffer) {
                    Ok(0) => bail!("the server closed connection {i}"),
                    Ok(n) => got[i] += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("read"),
                }
                if got[i] == self.message.len() {
                    got[i] = 0;
                    trips += 1;
                    if again {
                        socket.write_all(&self.message).context("write")?;
                    } else {
                        flying -= 1;
                    }
                }
            }
        }
        for socket in &self.sockets {
            socket.set_nonblocking(false)?;
        }
        Ok(trips)
    }

    /// Nothing is measured here, because the figures come from Linux's /proc.
    #[cfg(not(target_os = "linux"))]
    pub fn run_while(&self, _goes_on: impl FnMut(u64) -> bool) -> Result<u64> {
        anyhow::bail!("needs Linux's /proc")
    }

    /// The connections.
    pub fn sockets(&self) -> &[TcpStream] {
        &self.sockets
    }
}
