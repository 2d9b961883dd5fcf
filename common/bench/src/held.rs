//! Counts a server's system calls, when a number of messages lie ready at each of its waits.
//!
//! A tracer makes a server slow. If the client only answered as fast as it can, the next message would have arrived
//! before the server looks for it, and the counts would be those of another load. So the server is held at the entry of
//! its wait until the messages of the round have arrived, and goes on then. What is counted does not depend on speed.
//!
//! Invariant: between two holds every message has been sent once and its answer has come whole. The server has one
//! thread.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use observe::ptrace::{self, Place, Stop};

use crate::Running;

/// A server that makes no system call for so long has gone to sleep with an answer missing.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// At the entry of a wait the last answer may still be on its way. A server that waits more than once in a round is
/// looked at for so long each time.
const ARRIVES_WITHIN: Duration = Duration::from_millis(5);

/// The calls of one round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// By number.
    pub calls: BTreeMap<i64, u64>,
    /// Reads that found nothing.
    pub again: u64,
}

impl Calls {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

/// The calls of each round: in each, all connections have a message of `bytes`.
pub fn rounds(server: &Running, connections: usize, bytes: usize, rounds: usize) -> Result<Vec<Calls>> {
    let mut clients = Clients::connect(server, connections, bytes)?;
    let tid = server.process.pid;
    // The connections are made, and the server goes to sleep.
    clients.send()?;
    clients.wait_for_all()?;
    ptrace::seize(tid, STOPS_WITHIN).context("trace the server")?;
    let counted = held(tid, &mut clients, rounds);
    // It may stand in a call; ptrace lets it go from there.
    let _ = ptrace::let_go(tid, 0);
    counted
}

fn held(tid: i32, clients: &mut Clients, rounds: usize) -> Result<Vec<Calls>> {
    ptrace::resume(tid, 0)?;
    // Interrupted, the wait ends; or it is entered anew.
    let mut ignored = Calls::default();
    run_to_wait(tid, clients, &mut ignored)?;
    let mut counted = Vec::new();
    // One more, because the kernel enters an interrupted poll anew under another name.
    for _ in 0..=rounds {
        clients.send()?;
        let mut calls = Calls::default();
        // The wait at whose entry the server is held.
        *calls.calls.entry(wait_number(tid)?).or_default() += 1;
        ptrace::resume(tid, 0)?;
        run_to_wait(tid, clients, &mut calls)?;
        counted.push(calls);
    }
    counted.remove(0);
    Ok(counted)
}

fn wait_number(tid: i32) -> Result<i64> {
    match ptrace::place(tid)? {
        Place::Entry(number, _) => Ok(number),
        place => bail!("the server is held at {place:?}"),
    }
}

/// Until the server is about to wait, and every answer has come.
fn run_to_wait(tid: i32, clients: &mut Clients, calls: &mut Calls) -> Result<()> {
    let mut last = -1;
    loop {
        let signal =
            match ptrace::wait_for(tid, STOPS_WITHIN).context("the server went to sleep with answers missing")? {
                Stop::Exited(_) | Stop::Killed(_) => bail!("the server has ended"),
                Stop::Signal(signal) => signal,
                Stop::Event(..) => 0,
                Stop::Syscall => {
                    match ptrace::place(tid)? {
                        Place::Entry(number, _) => {
                            if is_wait(number) && clients.all_came_within(ARRIVES_WITHIN)? {
                                return Ok(());
                            }
                            *calls.calls.entry(number).or_default() += 1;
                            last = number;
                        }
                        Place::Exit(result) => {
                            calls.again += u64::from(is_read(last) && result == -i64::from(libc::EAGAIN));
                            // Large answers need room to go on.
                            clients.receive()?;
                        }
                        Place::Elsewhere => {}
                    }
                    0
                }
            };
        ptrace::resume(tid, signal)?;
    }
}

fn is_wait(number: i64) -> bool {
    observe::Call::new(number, [0; 6]).is_wait() || number == libc::SYS_restart_syscall
}

fn is_read(number: i64) -> bool {
    [libc::SYS_read, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_readv].contains(&number)
}

struct Clients {
    sockets: Vec<TcpStream>,
    message: Vec<u8>,
    missing: usize,
    buffer: Vec<u8>,
}

impl Clients {
    fn connect(server: &Running, connections: usize, bytes: usize) -> Result<Self> {
        let mut sockets = Vec::new();
        for number in 0..connections {
            let socket = TcpStream::connect(server.addr).with_context(|| format!("connection {number}"))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            sockets.push(socket);
        }
        Ok(Self { sockets, message: vec![b'x'; bytes], missing: 0, buffer: vec![0; 64 * 1024] })
    }

    /// A message on each connection. All of it fits into the buffers of the socket.
    fn send(&mut self) -> Result<()> {
        for mut socket in &self.sockets {
            let sent = socket.write(&self.message).context("write")?;
            ensure!(sent == self.message.len(), "{} bytes do not fit into a socket", self.message.len());
            self.missing += sent;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        if self.message.len() > 4096 {
            self.receive_all()?;
        }
        Ok(())
    }

    fn receive_all(&mut self) -> Result<()> {
        for mut socket in &self.sockets {
            match socket.read(&mut self.buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => self.missing -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("read"),
            }
        }
        Ok(())
    }

    fn all_came_within(&mut self, time: Duration) -> Result<bool> {
        let end = Instant::now() + time;
        loop {
            self.receive_all()?;
            if self.missing == 0 {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }

    fn wait_for_all(&mut self) -> Result<()> {
        ensure!(self.all_came_within(STOPS_WITHIN)?, "{} bytes did not come back", self.missing);
        Ok(())
    }
}
