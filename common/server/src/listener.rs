//! The listening socket.
//!
//! Invariant: every listener is close-on-exec, and a listener of a readiness loop never blocks. Between "readable" and
//! `accept` the connection may disappear, and a blocking `accept` would then stop the whole event loop.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Opens a non-blocking, close-on-exec listener on `addr`.
///
/// SO_REUSEADDR lets a server restart while connections of its previous run are in TIME_WAIT. TCP_NODELAY sends an echo
/// at once, without a wait for the peer's delayed acknowledgement. It is set here because accepted sockets inherit it,
/// on Linux and on the BSDs, so no accept needs a syscall for it.
///
/// An error is one line: what failed, for which address, why, and what to do.
pub fn listen(addr: SocketAddr, backlog: i32) -> Result<TcpListener> {
    open(addr, backlog, false)
}

/// Like [`listen`], with SO_REUSEPORT: other listeners of the same user that also set it may use the same address.
pub fn listen_beside(addr: SocketAddr, backlog: i32) -> Result<TcpListener> {
    open(addr, backlog, true)
}

fn open(addr: SocketAddr, backlog: i32, beside_others: bool) -> Result<TcpListener> {
    let attempt = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if beside_others {
            socket.set_reuse_port(true)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog)?;
        Ok(socket)
    };
    let socket = attempt().map_err(|error| explain(&error)).with_context(|| format!("listen on {addr}"))?;
    Ok(socket.into())
}

fn explain(error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "address in use (another process listens there; choose another port, or port 0 for any free port)"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!(
                "this machine has no such address (use 127.0.0.1 or [::1], or 0.0.0.0 for all its addresses)"
            )
        }
        io::ErrorKind::PermissionDenied => anyhow::anyhow!("permission denied (ports below 1024 need root)"),
        _ => match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => {
                anyhow::anyhow!("address family not supported (is IPv6 off? use an IPv4 address)")
            }
            Some(libc::EMFILE) => anyhow::anyhow!("too many open files (raise the limit: ulimit -n 4096)"),
            _ => anyhow::anyhow!("{error}"),
        },
    }
}
