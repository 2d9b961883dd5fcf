//! One TCP socket's queues by its addresses, from netlink's sock_diag(7).
//!
//! `/proc/net/tcp` tells the same, but walks all buckets of the kernel's table for it: a quarter of a million on an
//! ordinary machine, which took 40 % of the CPU time of a whole suite. This is one lookup, as for an arriving packet.
//!
//! Invariant: what cannot be asked (no netlink, no tcp_diag module) is an error, and never "there is no such socket".

use std::io::{self, Error, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg` and the header.
const ANSWER: usize = HEADER + 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// In the kernel's numbering, as in the fourth column of /proc/net/tcp.
const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;
/// The attribute that is a `struct tcp_info`, and the bit of a question that asks for it.
const INFO: u16 = 2;
const ASK_FOR_INFO: u8 = 1 << (INFO - 1);

/// The part of an answer that is of use here.
struct Answer {
    state: u8,
    remote_port: u16,
    /// Unread bytes; of a listener, the connections in its accept queue.
    received: u32,
    /// Unacknowledged bytes; of a listener, the length of its accept queue: listen's backlog, cut to
    /// net.core.somaxconn.
    sent: u32,
}

/// (unread, unacknowledged) bytes of the socket at `local`, connected to `remote`; `None` if there is none, or only
/// what is left of it in TIME_WAIT. IPv4-mapped addresses have to be written as IPv4.
///
/// # Errors
/// Where it cannot be asked.
pub fn queues(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<(u32, u32)>> {
    // Where there is no such connection, the lookup finds the listener, as a SYN would.
    let is = |found: &Answer| found.state != TIME_WAIT && found.remote_port == remote.port();
    Ok(ask(local, remote)?.filter(is).map(|found| (found.received, found.sent)))
}

/// (connections that wait, how many there may be) of the accept queue that a connection to this address gets into;
/// `None` if nobody listens there.
///
/// # Errors
/// Where it cannot be asked.
pub fn accept_queue(address: SocketAddr) -> io::Result<Option<(u32, u32)>> {
    let nobody = match address.ip() {
        IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let listens = |found: &Answer| found.state == LISTEN;
    Ok(ask(address, nobody)?.filter(listens).map(|found| (found.received, found.sent)))
}

/// The `struct tcp_info` and the unread bytes (a FIN counts as one) of the socket at `local`, connected to `remote`; `None`
/// if there is none, or only what is left of it after its end.
///
/// # Errors
/// Where it cannot be asked.
pub fn info(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<(Vec<u8>, u32)>> {
    let answer = exchange(&question(local, remote, ASK_FOR_INFO))?;
    let found = parse(&answer)?.filter(|found| found.state != TIME_WAIT && found.remote_port == remote.port());
    Ok(found.and_then(|found| Some((attribute(&answer, INFO)?.to_vec(), found.received))))
}

/// The payload of an attribute, which stands behind the fixed part of an answer.
fn attribute(answer: &[u8], kind: u16) -> Option<&[u8]> {
    let end = u32::from_ne_bytes(answer.get(..4)?.try_into().ok()?) as usize;
    let mut rest = answer.get(ANSWER..end.min(answer.len()))?;
    loop {
        let half = |at: usize| rest.get(at..at + 2).map(|it| u16::from_ne_bytes([it[0], it[1]]));
        let (len, found) = (usize::from(half(0)?), half(2)?);
        let payload = rest.get(4..len)?;
        if found == kind {
            return Some(payload);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Answer>> {
    parse(&exchange(&question(local, remote, 0))?)
}

fn exchange(question: &[u8]) -> io::Result<Vec<u8>> {
    let kind = Type::from(libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    let mut socket =
        Socket::new_raw(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(libc::NETLINK_INET_DIAG)))?;
    socket.send(question)?;
    let mut answer = vec![0; 2048];
    let got = socket.read(&mut answer)?;
    answer.truncate(got);
    Ok(answer)
}

/// A `struct nlmsghdr` and a `struct inet_diag_req_v2`; `attributes` are those that are wanted behind the fixed part.
fn question(local: SocketAddr, remote: SocketAddr, attributes: u8) -> Vec<u8> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut message = Vec::with_capacity(HEADER + 56);
    message.extend(((HEADER + 56) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and sender: one question is asked on one socket.
    message.extend([0; 8]);
    // In any state.
    message.extend([family as u8, libc::IPPROTO_TCP as u8, attributes, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    for ip in [local.ip(), remote.ip()] {
        match ip {
            IpAddr::V4(ip) => message.extend([&ip.octets()[..], &[0; 12]].concat()),
            IpAddr::V6(ip) => message.extend(ip.octets()),
        }
    }
    // Any interface, and no cookie.
    message.extend(0u32.to_ne_bytes());
    message.extend([0xff; 8]);
    message
}

fn parse(answer: &[u8]) -> io::Result<Option<Answer>> {
    let word =
        |at: usize| answer.get(at..at + 4).map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")));
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes(bytes.try_into().expect("two bytes")));
    match kind {
        Some(SOCK_DIAG_BY_FAMILY) if answer.len() >= ANSWER => {
            let (state, remote_port) =
                (answer[HEADER + 1], u16::from_be_bytes([answer[HEADER + 6], answer[HEADER + 7]]));
            let queues = word(HEADER + 56).zip(word(HEADER + 60));
            Ok(queues.map(|(received, sent)| Answer { state, remote_port, received, sent }))
        }
        // struct nlmsgerr begins with minus the error's number.
        Some(kind) if i32::from(kind) == libc::NLMSG_ERROR => match word(HEADER).map(|code| -(code as i32)) {
            Some(libc::ENOENT) => Ok(None),
            Some(code) => Err(Error::from_raw_os_error(code)),
            None => Err(ErrorKind::InvalidData.into()),
        },
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_told_apart() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            // Without IPv6 there is nothing to see there.
            let Ok(listener) = TcpListener::bind(addr) else { continue };
            let (server, mut client) =
                (listener.local_addr().unwrap(), TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (accepted, local) = listener.accept().unwrap();
            client.write_all(b"seven b").unwrap();
            accepted.peek(&mut [0]).unwrap();
            // Without tcp_diag the harness reads /proc, and this test has nothing to say.
            let Ok(at_server) = queues(server, local) else { return };
            assert_eq!(at_server, Some((7, 0)));
            assert!(queues(local, server).unwrap().is_some_and(|(unread, _)| unread == 0));
            drop(accepted);
            let nobody = SocketAddr::new(local.ip(), 1);
            assert_eq!((queues(server, nobody).unwrap(), queues(nobody, server).unwrap()), (None, None));
        }
    }
    #[test]
    fn an_accept_queue_tells_how_many_wait_and_how_many_may() {
        for (bind, host) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1")] {
            let Ok(address) = bind.parse::<SocketAddr>() else { unreachable!() };
            let Ok(listener) = Socket::new(Domain::for_address(address), Type::STREAM, None) else { continue };
            if listener.bind(&address.into()).is_err() {
                continue;
            }
            listener.listen(5).unwrap();
            let port = listener.local_addr().unwrap().as_socket().unwrap().port();
            let address = SocketAddr::new(host.parse().unwrap(), port);
            let _waiting = TcpStream::connect(address).unwrap();
            let Ok(queue) = accept_queue(address) else { return };
            assert_eq!(queue, Some((1, 5)), "{bind}");
            drop(listener);
            assert_eq!(accept_queue(address).unwrap(), None);
        }
    }
}
