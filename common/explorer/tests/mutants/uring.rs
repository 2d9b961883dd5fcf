//! An echo server on io_uring.
//!
//! Invariant (without a bug): an accept is always in flight, and each connection has one operation in flight. The
//! operation's memory is its connection's, which is dropped only when nothing is in flight on it.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use io_uring::types::{Fd, Timespec};
use io_uring::{IoUring, opcode, squeue};

use super::mutant::bug;

const ACCEPT: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const BUFFER: usize = 4096;

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; BUFFER]>,
    /// Bytes in the buffer that are to be sent, from here on; none: a receive is in flight.
    rest: std::ops::Range<usize>,
}

pub fn run(listener: &TcpListener) -> io::Result<()> {
    let mut ring = IoUring::new(64)?;
    let mut connections: BTreeMap<u64, Connection> = BTreeMap::new();
    let accept = opcode::Accept::new(Fd(listener.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut());
    let accept = accept.build().user_data(ACCEPT);
    // Out of descriptors: the next accept comes after this.
    let pause = Timespec::new().nsec(100_000_000);
    let timer = opcode::Timeout::new(&pause).build().user_data(TIMER);
    start(&mut ring, &accept)?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => drop(other?),
        }
        let done: Vec<(u64, i32)> = ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (id, result) in done {
            if id == ACCEPT {
                if result >= 0 {
                    // SAFETY: the descriptor was made for this completion, so it has no other owner.
                    let stream = unsafe { TcpStream::from_raw_fd(result as RawFd) };
                    let connection = Connection { stream, buffer: Box::new([0; BUFFER]), rest: 0..0 };
                    let id = result as u64;
                    connections.insert(id, connection);
                    next(&mut ring, &mut connections, id, None)?;
                }
                match result {
                    _ if bug!("accept_not_rearmed") => {}
                    result if result == -libc::EMFILE => start(&mut ring, &timer)?,
                    _ => start(&mut ring, &accept)?,
                }
            } else if id == TIMER {
                start(&mut ring, &accept)?;
            } else {
                next(&mut ring, &mut connections, id, Some(result))?;
            }
        }
    }
}

/// What a connection does after an operation of its own has ended with `result`.
fn next(ring: &mut IoUring, all: &mut BTreeMap<u64, Connection>, id: u64, result: Option<i32>) -> io::Result<()> {
    let Some(connection) = all.get_mut(&id) else { return Ok(()) };
    let fd = Fd(connection.stream.as_raw_fd());
    let sending = !connection.rest.is_empty();
    match result {
        Some(result) if result <= 0 => {
            all.remove(&id);
            return Ok(());
        }
        Some(sent) if sending => connection.rest.start += sent as usize,
        Some(received) => connection.rest = 0..received as usize,
        None => {}
    }
    let bytes = connection.buffer.as_mut_ptr();
    let entry = match connection.rest.len() {
        0 => opcode::Recv::new(fd, bytes, BUFFER as u32).build(),
        len => opcode::Send::new(fd, bytes.wrapping_add(connection.rest.start), len as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build(),
    };
    start(ring, &entry.user_data(id))
}

fn start(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: the memory is a connection's box, which stays until this operation has ended, or the timer's time.
    while unsafe { ring.submission().push(entry) }.is_err() {
        ring.submit()?;
    }
    Ok(())
}
