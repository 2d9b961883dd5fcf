//! Operations in flight: what the kernel may touch, and who holds it meanwhile.
//!
//! Invariant: from before its entry goes into the submission queue until its completion has been taken from the completion
//! queue, an operation lies in `Flight::ops` and nowhere else, with its socket and its memory. So a connection is in the
//! server's hand or in the kernel's, never in both.
//!
//! The compiler keeps the promise. This sends, waits, and looks at the bytes that were not sent:
//!
//! ```
//! # use uring::flight::{Bytes, Flight, Landed, Op};
//! # fn send(flight: &mut Flight, stream: std::net::TcpStream, bytes: Bytes) -> std::io::Result<()> {
//! flight.start(Op::Send(stream, bytes))?;
//! flight.wait(-1)?;
//! if let Some(Landed::Sent(_stream, Ok(bytes))) = flight.land() {
//!     println!("{:?}", &bytes[..]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This looks at the bytes while they are the kernel's. `bytes` was moved, so it does not compile:
//!
//! ```compile_fail,E0382
//! # use uring::flight::{Bytes, Flight, Landed, Op};
//! # fn send(flight: &mut Flight, stream: std::net::TcpStream, bytes: Bytes) -> std::io::Result<()> {
//! flight.start(Op::Send(stream, bytes))?;
//! println!("{:?}", &bytes[..]); // error[E0382]: borrow of moved value: `bytes`
//! # Ok(())
//! # }
//! ```

use std::io;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use io_uring::opcode;

use crate::pool::Pool;
use crate::queues::{Queues, user_data};

pub use crate::op::{Landed, Op};
pub use crate::pool::{BUFFER, Bytes};
pub use crate::queues::is_transient;

/// The most operations that one call hands over: as many as the pool has buffers.
const ENTRIES: u32 = 64;

/// The completions that their queue has room for. The kernel keeps those beyond, at a price.
const COMPLETIONS: u32 = 1024;

/// An operation that is cancelled lands at once. If it has not landed by then, something is wrong with the ring.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// What a completion is of: an operation, by its slot, or a request to cancel one, whose own result tells nothing.
const OPERATION: u8 = 0;
const CANCEL: u8 = 1;

/// A ring and the operations that are in flight on it.
pub struct Flight {
    queues: Queues,
    ops: Vec<Option<Op>>,
    free: Vec<usize>,
    pool: Rc<Pool>,
}

impl Flight {
    /// Opens a ring. Nothing is in flight yet.
    pub fn open() -> Result<Self> {
        Self::new(Queues::open(ENTRIES, COMPLETIONS)?)
    }

    /// The same on a ring that was opened otherwise.
    pub fn new(queues: Queues) -> Result<Self> {
        let pool = Pool::new(&queues.submitter()).context("io_uring: register a buffer ring (Linux 5.19 can)")?;
        Ok(Self { queues, ops: Vec::new(), free: Vec::new(), pool })
    }

    /// For a server that does not wait as `wait` does.
    pub fn queues(&mut self) -> &mut Queues {
        &mut self.queues
    }

    /// Takes `op`. The next `wait` hands it to the kernel.
    pub fn start(&mut self, op: Op) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or(self.ops.len());
        if slot == self.ops.len() {
            self.ops.push(None);
        }
        // First into its slot, then its addresses: from here on nobody else can reach it.
        let entry = self.ops[slot].insert(op).entry();
        // SAFETY: the operation in this slot owns all memory that the entry names. It lies there until its completion has
        // come; `Drop` waits for that, or leaks.
        unsafe { self.queues.push(entry, OPERATION, slot) }
    }

    /// Hands over what was started since the last call, and sleeps until something has landed or the timeout has passed
    /// (-1: no timeout).
    pub fn wait(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
        self.queues.wait(timeout_ms)
    }

    /// Hands back one operation that has landed. `None` ends the turn.
    pub fn land(&mut self) -> Option<Landed> {
        loop {
            let done = self.queues.land()?;
            if done.what != OPERATION {
                continue;
            }
            // An operation completes exactly once (multishot and zero-copy operations, which do not, are not used here). So
            // its slot is free for the next.
            let op = self.ops[done.index].take().expect("a completion comes once, and of an operation in flight");
            self.free.push(done.index);
            let len = *done.result.as_ref().unwrap_or(&0);
            let received = done.buffer().map(|buffer| Bytes::received(&self.pool, buffer, len));
            return Some(op.land(done.result, received));
        }
    }

    /// Cancels everything, and returns when nothing is in flight.
    fn stop(&mut self) -> io::Result<()> {
        // One by one. IORING_ASYNC_CANCEL_ANY is a single entry, but for each operation that it cancels the kernel looks
        // through all the others again: 10,000 operations take it most of a second.
        for slot in 0..self.ops.len() {
            if self.ops[slot].is_some() {
                let cancel = opcode::AsyncCancel::new(user_data(OPERATION, slot)).build();
                // SAFETY: the entry names an operation, and no memory.
                unsafe { self.queues.push(cancel, CANCEL, slot)? };
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            // What lands now is dropped. Nothing is started again, not even for the rest of a send that was cancelled.
            while self.land().is_some() {}
            if self.free.len() == self.ops.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wait(STOP_TIMEOUT.as_millis() as libc::c_int)?;
        }
    }
}

/// Closing the ring is no barrier. What is in flight ends some time later, and may still write to its memory: a read from
/// a disk does. So nothing is freed before everything has landed.
impl Drop for Flight {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Nobody knows what the kernel still holds. Memory that is never freed never becomes somebody else's.
            mem::forget(mem::take(&mut self.ops));
            mem::forget(Rc::clone(&self.pool));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use io_uring::IoUring;

    use super::*;

    /// A small ring without the flags that spare it an overflow, or nothing where io_uring is denied.
    fn flight(entries: u32) -> Option<Flight> {
        match IoUring::builder().setup_cqsize(2 * entries).build(entries) {
            Ok(ring) => Some(Flight::new(Queues::new(ring)).unwrap()),
            Err(error) => {
                eprintln!("not tested, no io_uring here: {error}");
                None
            }
        }
    }

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_in_flight_is_cancelled_and_lands() {
        let Some(mut flight) = flight(8) else { return };
        let (mut client, stream) = connected();
        let mut same = stream.try_clone().unwrap();
        let (never_reads, sending) = connected();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        flight.start(Op::Accept(listener.as_raw_fd())).unwrap();
        flight.start(Op::Recv(stream)).unwrap();
        flight.start(Op::Send(sending, Bytes::Own(vec![0; 64 << 20].into(), 0))).unwrap();
        flight.wait(0).unwrap();
        assert!(flight.land().is_none(), "none of them can land by itself");

        flight.stop().unwrap();
        assert!(flight.ops.iter().all(Option::is_none));

        // The receive takes nothing any more, and the send, although short, is not continued.
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        same.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(flight);
        let received = io::copy(&mut &never_reads, &mut io::sink()).unwrap();
        assert!(0 < received && received < 64 << 20, "{received} bytes");
    }

    #[test]
    fn two_entries_are_enough_for_a_hundred_connections() {
        let Some(mut flight) = flight(2) else { return };
        let (mut clients, mut names) = (Vec::new(), Vec::new());
        for name in 0..100u8 {
            let (client, stream) = connected();
            clients.push(client);
            flight.start(Op::Recv(stream)).unwrap();
            names.push(name);
        }
        flight.wait(0).unwrap();
        for (mut client, name) in clients.iter().zip(&names) {
            client.write_all(&[*name; 2000]).unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < names.len() {
            flight.wait(-1).unwrap();
            while let Some(landed) = flight.land() {
                match landed {
                    Landed::Received(_, Ok(Some(bytes))) => {
                        assert_eq!(&bytes[..], [bytes[0]; 2000]);
                        seen.push(bytes[0]);
                    }
                    Landed::Received(stream, Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        flight.start(Op::Recv(stream)).unwrap();
                    }
                    _ => panic!("neither bytes nor ENOBUFS"),
                }
            }
        }
        seen.sort();
        assert_eq!(seen, names);
    }
}
