//! One end of a TCP connection: what waits in its socket, and what has arrived there.
//!
//! Invariant: bytes are counted, and never a FIN, which has a sequence number as a byte has.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use crate::handle;

/// What the kernel knows of one end of a TCP connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpEnd {
    /// Whether it can still send: it has sent no FIN, and was not reset.
    pub is_open: bool,
    /// Whether the other end's FIN has arrived.
    pub fin_arrived: bool,
    /// Bytes that were not read.
    pub unread: u64,
    /// Bytes that were not sent, because the other end has no room for them. What is under way, or has arrived and is not
    /// acknowledged, is sent.
    pub not_sent: u64,
    /// Bytes that have arrived; with one more for a FIN.
    pub arrived: u64,
}

const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Where these stand in a `struct tcp_info`, since Linux 4.6.
const BYTES_RECEIVED: usize = 128;
const NOTSENT_BYTES: usize = 144;
const LEN: usize = 148;

impl TcpEnd {
    /// From a `struct tcp_info`, the first byte of which is the state.
    fn of(info: &[u8], unread: u64) -> Option<Self> {
        let info = info.get(..LEN)?;
        let state = info[0];
        let arrived = u64::from_ne_bytes(info[BYTES_RECEIVED..BYTES_RECEIVED + 8].try_into().ok()?);
        let not_sent = u32::from_ne_bytes(info[NOTSENT_BYTES..LEN].try_into().ok()?);
        // The own FIN stands behind the last byte.
        let own_fin = not_sent > 0 && matches!(state, FIN_WAIT1 | CLOSING | LAST_ACK);
        Some(Self {
            is_open: matches!(state, ESTABLISHED | CLOSE_WAIT),
            fin_arrived: matches!(state, CLOSE_WAIT | LAST_ACK | CLOSING),
            unread,
            not_sent: u64::from(not_sent) - u64::from(own_fin),
            arrived,
        })
    }

    /// Of a socket.
    pub fn of_socket(socket: &impl AsRawFd) -> Option<Self> {
        let mut info = [0u8; LEN];
        let mut len = LEN as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, which is the size of `info`; both pointers outlive the call.
        let got = unsafe {
            let at = info.as_mut_ptr().cast();
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut len)
        };
        if got < 0 || (len as usize) < LEN {
            return None;
        }
        Self::of(&info, handle::in_queue(socket))
    }

    /// Of the socket at `local` that is connected to `remote`, which may have no file descriptor: not accepted yet, or
    /// closed and still sending. `None` if there is none, or if sock_diag(7) cannot be asked.
    pub fn at(local: SocketAddr, remote: SocketAddr) -> Option<Self> {
        let (info, received) = crate::sock_diag::info(local, remote).ok()??;
        let state = *info.first()?;
        let unread = match state {
            ESTABLISHED => received,
            // Nobody has read the FIN, or this would be 0.
            CLOSE_WAIT => received.saturating_sub(1),
            // Closed: what was unread is gone.
            _ => 0,
        };
        Self::of(&info, unread.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;
    use crate::mask::Mask;

    fn pair() -> (TcpListener, TcpStream, SocketAddr, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ends = (listener.local_addr().unwrap(), client.local_addr().unwrap());
        (listener, client, ends.0, ends.1)
    }

    #[test]
    fn what_waits_is_seen_before_the_accept_and_a_fin_is_no_byte() {
        let (listener, mut client, server, remote) = pair();
        client.write_all(b"seven b").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let Ok(Some(_)) = crate::sock_diag::info(server, remote) else { return };
        let mut seen = TcpEnd::at(server, remote).unwrap();
        while !seen.fin_arrived {
            seen = TcpEnd::at(server, remote).unwrap();
        }
        assert_eq!((seen.unread, seen.not_sent, seen.arrived), (7, 0, 8));
        let (accepted, _) = listener.accept().unwrap();
        let by_socket = TcpEnd::of_socket(&accepted).unwrap();
        assert_eq!(by_socket, seen);
    }

    #[test]
    fn what_a_closed_socket_has_not_sent_is_still_there() {
        let (listener, mut client, server, remote) = pair();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let (mut written, piece) = (0, [7u8; 65536]);
        while let Ok(taken) = accepted.write(&piece) {
            written += taken as u64;
        }
        let arrived = || TcpEnd::of_socket(&client).unwrap();
        let full = TcpEnd::of_socket(&accepted).unwrap();
        assert!(full.not_sent > 0, "{full:?}");
        assert_eq!(handle::level(&accepted), Mask(0));
        assert_eq!(handle::level(&client), Mask(Mask::IN.0 | Mask::OUT.0));
        while arrived().arrived + full.not_sent < written {
            std::thread::yield_now();
        }
        assert_eq!((arrived().unread + full.not_sent, arrived().arrived + full.not_sent), (written, written));
        drop(accepted);
        let Ok(Some(_)) = crate::sock_diag::info(server, remote) else { return };
        let closed = TcpEnd::at(server, remote).unwrap();
        assert_eq!(closed.not_sent, full.not_sent);
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        assert_eq!(read.len() as u64, written);
    }
}
