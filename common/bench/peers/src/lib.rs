//! What the peers share: their command line, and how they listen.
//!
//! Invariant: each peer is what one writes first with its library, and has the chapters' buffer and accept queue. None
//! of them bounds a turn or stops reading from a client that does not read: they are measured, and not taught.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};

/// Bytes of one read: as in the chapters.
pub const BUFFER: usize = 64 * 1024;

/// Listens where `--addr` says, says so on stdout, and returns the listener, which does not block.
///
/// # Errors
/// If the command line is wrong, or the address cannot be bound.
pub fn listener() -> Result<TcpListener> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let addr: SocketAddr = match &arguments[..] {
        [] => ([127, 0, 0, 1], 7000).into(),
        [option, addr] if option == "--addr" => addr.parse().with_context(|| format!("--addr {addr}"))?,
        _ => bail!("usage: PROGRAM [--addr ADDR:PORT]"),
    };
    let listener = TcpListener::bind(addr).with_context(|| format!("bind {addr}"))?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}
