//! The load: connections that send, wait for the echo, and send again.
//!
//! Invariant: every connection has exactly one message in flight, so that the size of the server's batches comes from
//! the number of connections and not from pipelining.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Connections to one server.
pub struct Load {
    sockets: Vec<TcpStream>,
    message: Vec<u8>,
}

impl Load {
    /// Opens `connections` to `addr`, for messages of `bytes` (they have to fit into a socket buffer).
    pub fn connect(addr: SocketAddr, connections: usize, bytes: usize) -> Result<Self> {
        ensure!((1..=64 * 1024).contains(&bytes), "--bytes has to be from 1 to 65536");
        let mut sockets = Vec::with_capacity(connections);
        for number in 0..connections {
            let socket = TcpStream::connect(addr).with_context(|| format!("connection {number} to {addr}"))?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        Ok(Self { sockets, message: (0..bytes).map(|i| (i % 251) as u8).collect() })
    }

    /// Makes one round trip on each connection, one after the other.
    pub fn once(&self) -> Result<()> {
        let mut answer = vec![0; self.message.len()];
        for mut socket in &self.sockets {
            socket.write_all(&self.message)?;
            socket.read_exact(&mut answer).context("echo")?;
            ensure!(answer == self.message, "the echo differs from what was sent");
        }
        Ok(())
    }

    /// Makes round trips on all connections for `time`; returns how many there were, and how long they took.
    #[cfg(target_os = "linux")]
    pub fn run(&self, time: Duration) -> Result<(u64, Duration)> {
        use std::io::ErrorKind;
        use std::time::Instant;

        use rustix::event::epoll;

        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (i, socket) in self.sockets.iter().enumerate() {
            socket.set_nonblocking(true)?;
            epoll::add(&set, socket, epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)?;
        }
        let mut got = vec![0; self.sockets.len()];
        let mut buffer = vec![0; 64 * 1024];
        let mut events = Vec::with_capacity(1024);
        let mut round_trips = 0;
        let start = Instant::now();
        for mut socket in &self.sockets {
            socket.write_all(&self.message)?;
        }
        while start.elapsed() < time {
            events.clear();
            epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
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
                    round_trips += 1;
                    socket.write_all(&self.message).context("write")?;
                }
            }
        }
        Ok((round_trips, start.elapsed()))
    }

    /// Nothing is measured here, because the figures come from Linux's /proc.
    #[cfg(not(target_os = "linux"))]
    pub fn run(&self, _time: Duration) -> Result<(u64, Duration)> {
        bail!("needs Linux's /proc")
    }
}
