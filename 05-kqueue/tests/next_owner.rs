//! A change that waits in `changes` when its connection closes must not reach the next owner of the descriptor.
//!
//! One batch has three events: WRITE and READ of a connection, and READ of the listener. The first event queues an
//! EV_DELETE, the second one closes the connection, and the listener's event gives the descriptor to a new client. The
//! old EV_DELETE would now be made on the new client's descriptor. It fails with ENOENT, and the server closes the
//! connection whose change failed: the new client's.
//!
//! Invariant: nothing here waits for a time. The server is stopped until /proc shows all three conditions.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use observe::{Mask, Process};

/// Bounds the wait for a state that comes at once, unless the test has failed.
const BACKSTOP: Duration = Duration::from_secs(20);
/// As much as the server reads at once. So at most this much is pending, and fits into the send buffer later.
const CHUNK: usize = 64 * 1024;

struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
        let mut child = command.args(["--addr", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
        Self { addr: addr.unwrap_or_else(|| panic!("no address in '{line}'")), child }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(BACKSTOP)).unwrap();
        client
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill takes two numbers, and the child is not reaped before it is dropped.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    fn is(&self, state: char) -> bool {
        Process { pid: self.pid() }.glance(self.pid()).0 == state
    }

    /// Whether an epoll of the server asks for OUT: the WRITE knote of a connection with pending bytes.
    fn has_pending_bytes(&self) -> bool {
        let epolls = Process { pid: self.pid() }.descriptors().epolls;
        epolls.iter().flat_map(|epoll| &epoll.registrations).any(|it| it.mask.has(Mask::OUT))
    }

    /// Unread and unsent bytes of the server's end of a connection. A FIN that has arrived counts as an unread byte.
    fn queues(&self, client: &TcpStream) -> (u32, u32) {
        observe::queues(self.addr, client.local_addr().unwrap()).expect("the connection is open")
    }

    fn accept_queue(&self) -> u32 {
        observe::queues(self.addr, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).expect("the listener is open").0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_it: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_it() {
        assert!(start.elapsed() < BACKSTOP, "waited in vain: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

fn round_trip(mut client: &TcpStream) -> std::io::Result<()> {
    client.write_all(b"hello")?;
    let mut echo = [0; 5];
    client.read_exact(&mut echo)?;
    assert_eq!(&echo, b"hello");
    Ok(())
}

/// Leaves bytes pending for a client that does not read, and returns how many bytes the client sent.
fn leave_pending(server: &Server, mut client: &TcpStream) -> usize {
    let mut sent = 0;
    while !server.has_pending_bytes() {
        client.write_all(&[7; CHUNK]).unwrap();
        sent += CHUNK;
        wait_until("the server reads the chunk", || server.is('S') && server.queues(client).0 == 0);
    }
    sent
}

/// Reads until the server's send buffer is empty, and returns the number of bytes.
fn empty_send_buffer(server: &Server, mut client: &TcpStream) -> usize {
    let mut read = 0;
    client.set_nonblocking(true).unwrap();
    wait_until("the send buffer becomes empty", || {
        while let Ok(n) = client.read(&mut [0; CHUNK]) {
            read += n;
        }
        server.queues(client).1 == 0
    });
    client.set_nonblocking(false).unwrap();
    read
}

#[test]
fn a_client_that_gets_the_descriptor_of_a_closed_connection_is_served() {
    let server = Server::start();
    let other = server.connect();
    round_trip(&other).unwrap();
    // The stand-in takes READ and WRITE first in turn, and only one of the two orders shows the bug. So every second
    // round has one more wait in it.
    for round in 0..8 {
        if round % 2 == 1 {
            round_trip(&other).unwrap();
        }
        let mut leaving = server.connect();
        let sent = leave_pending(&server, &leaving);

        server.signal(libc::SIGSTOP);
        wait_until("the server stops", || server.is('T'));
        let mut read = empty_send_buffer(&server, &leaving);
        leaving.shutdown(Shutdown::Write).unwrap();
        wait_until("the FIN arrives", || server.queues(&leaving).0 == 1);
        let next = server.connect();
        wait_until("the next client is queued", || server.accept_queue() == 1);
        server.signal(libc::SIGCONT);

        read += leaving.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(read, sent, "round {round}: bytes of the client that left");
        round_trip(&next).unwrap_or_else(|error| panic!("round {round}: the next client was not served: {error}"));
    }
}
