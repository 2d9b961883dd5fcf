//! The TCP sockets with one port, from netlink's sock_diag(7).
//!
//! `/proc/net/tcp` has the same rows and many more. After a few suites there are twenty thousand sockets in TIME_WAIT: the
//! kernel writes a line for each of them, which took 41 ms where this dump takes 5.
//!
//! Invariant: a dump is whole, or it is an error. It never lacks a row.

use std::io::{self, Error, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use procfs::net::TcpState;
use socket2::{Domain, Protocol, Socket, Type};

use crate::sockets::TcpRow;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const ROW: usize = 72;
/// The older of two questions: unlike SOCK_DIAG_BY_FAMILY it is about IPv4 and IPv6 at once, in one walk of the kernel's
/// table, which is what a dump takes its time for.
const TCPDIAG_GETSOCK: u16 = 18;
/// `INET_DIAG_REQ_BYTECODE`: an attribute with a filter that the kernel runs on each socket.
const FILTER: u16 = 1;
/// All states from ESTABLISHED to NEW_SYN_RECV, without TIME_WAIT.
const STATES: u32 = 0x1ffe & !(1 << 6);
/// Listeners are in a small table of their own, and nothing else is looked at for them.
const LISTENING: u32 = 1 << 10;

/// The sockets of both families with this port on either end, but for those in TIME_WAIT, which belong to nobody.
///
/// # Errors
/// Where they cannot be asked for (no netlink, no tcp_diag module).
pub fn with_port(port: u16) -> io::Result<Vec<TcpRow>> {
    in_states(port, STATES)
}

/// Those of them that listen.
///
/// # Errors
/// As `with_port`.
pub fn listening(port: u16) -> io::Result<Vec<TcpRow>> {
    in_states(port, LISTENING)
}

fn in_states(port: u16, states: u32) -> io::Result<Vec<TcpRow>> {
    let kind = Type::from(libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    let protocol = Protocol::from(libc::NETLINK_INET_DIAG);
    let mut socket = Socket::new_raw(Domain::from(libc::AF_NETLINK), kind, Some(protocol))?;
    socket.send(&question(port, states))?;
    let mut rows = Vec::new();
    read_rows(&mut socket, &mut rows)?;
    Ok(rows)
}

fn read_rows(socket: &mut Socket, rows: &mut Vec<TcpRow>) -> io::Result<()> {
    // The kernel fills at most 32 KiB of it at a time.
    let mut buffer = vec![0; 32 << 10];
    loop {
        let got = socket.read(&mut buffer)?;
        let mut rest = &buffer[..got];
        while rest.len() >= HEADER {
            let len = u32::from_ne_bytes(array(rest, 0)) as usize;
            let message = rest.get(HEADER..len).ok_or(ErrorKind::InvalidData)?;
            match u16::from_ne_bytes(array(rest, 4)) {
                TCPDIAG_GETSOCK if message.len() >= ROW => rows.extend(row(message)),
                kind if i32::from(kind) == libc::NLMSG_DONE => return Ok(()),
                // struct nlmsgerr begins with minus the error's number.
                kind if i32::from(kind) == libc::NLMSG_ERROR && message.len() >= 4 => {
                    return Err(Error::from_raw_os_error(-i32::from_ne_bytes(array(message, 0))));
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
            // Messages begin at multiples of four.
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A `struct nlmsghdr`, a `struct inet_diag_req` and the filter.
fn question(port: u16, states: u32) -> Vec<u8> {
    let filter = filter(port);
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut message = Vec::new();
    message.extend(((HEADER + 60 + 4 + filter.len()) as u32).to_ne_bytes());
    message.extend(TCPDIAG_GETSOCK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and sender: one question is asked on one socket.
    message.extend([0; 8]);
    // No family, no prefixes, nothing beyond the fixed part, and no single socket.
    message.extend([0; 4 + 48]);
    message.extend(states.to_ne_bytes());
    // `idiag_dbs`, which the kernel does not look at.
    message.extend([0; 4]);
    message.extend(((4 + filter.len()) as u16).to_ne_bytes());
    message.extend(FILTER.to_ne_bytes());
    message.extend(filter);
    message
}

/// `sport == port || dport == port`, as `struct inet_diag_bc_op`s: each names how far to go on if it holds, and if it does
/// not. To end right behind the program is to accept; to end four bytes later is to refuse.
fn filter(port: u16) -> Vec<u8> {
    const JUMP: u8 = 1;
    const SOURCE_GE: u8 = 2;
    const SOURCE_LE: u8 = 3;
    const DESTINATION_GE: u8 = 4;
    const DESTINATION_LE: u8 = 5;
    let op = |code: u8, yes: u8, no: u16| [&[code, yes][..], &no.to_ne_bytes()].concat();
    let with_port = |code, yes, no| [op(code, yes, no), op(0, 0, port)].concat();
    [
        with_port(SOURCE_GE, 8, 20),
        with_port(SOURCE_LE, 8, 12),
        op(JUMP, 4, 20),
        with_port(DESTINATION_GE, 8, 20),
        with_port(DESTINATION_LE, 8, 12),
    ]
    .concat()
}

/// A `struct inet_diag_msg`.
fn row(message: &[u8]) -> Option<TcpRow> {
    let word = |at| u32::from_ne_bytes(array(message, at));
    let port = |at| u16::from_be_bytes(array(message, at));
    let ip = |at| match i32::from(message[0]) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(array::<4>(message, at))),
        _ => IpAddr::from(Ipv6Addr::from(array::<16>(message, at))),
    };
    let state = TcpState::from_u8(message[1])?;
    // Of a listener, this is the length of its accept queue, and not a number of bytes.
    let tx_queue = if state == TcpState::Listen { 0 } else { word(60) };
    Some(TcpRow {
        local_address: SocketAddr::new(ip(8), port(4)),
        remote_address: SocketAddr::new(ip(24), port(6)),
        state,
        rx_queue: word(56),
        tx_queue,
        inode: word(68).into(),
    })
}

/// The bytes at a place that is known to be there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("so many bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rows_of_a_port_are_those_of_proc() {
        for addr in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            // Without IPv6 there is nothing to see there.
            let Ok(listener) = TcpListener::bind(addr) else { continue };
            let port = listener.local_addr().unwrap().port();
            let host = if addr == "[::1]:0" { "::1" } else { "127.0.0.1" };
            let connect = || TcpStream::connect((host, port)).unwrap();
            let mut clients: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
            clients[3].write_all(b"seven b").unwrap();
            let accepted: Vec<TcpStream> = (0..60).map(|_| listener.accept().unwrap().0).collect();
            drop(clients.split_off(80));
            // Without tcp_diag the harness reads /proc, and this test has nothing to say.
            let Ok(first) = listening(port) else { return };
            assert!(first.len() == 1 && first[0].state == TcpState::Listen, "{first:?}");
            let known = |mut rows: Vec<TcpRow>| -> Vec<_> {
                rows.sort_by_key(|row| (row.local_address, row.remote_address));
                // A FIN may be acknowledged between the two looks, which changes the state and the bytes sent.
                let row = |row: &TcpRow| (row.local_address, row.remote_address, row.rx_queue, row.inode);
                rows.iter().map(row).collect()
            };
            // One that arrives between them counts as a byte received, so they are compared again.
            let mut looks = (0..400).map(|_| {
                std::thread::sleep(Duration::from_millis(5));
                (known(with_port(port).unwrap()), known(crate::sockets::rows_of_proc(port).unwrap()))
            });
            let (rows, _) = looks.find(|(rows, expected)| rows == expected).expect("they agree in the end");
            assert!(rows.len() >= 161, "{}", rows.len());
            drop(accepted);
        }
    }
}
