//! Operations in flight: what the kernel may touch, and who holds it meanwhile. All unsafe code of the chapter is here.
//!
//! Invariant: from before its entry goes into the submission queue until its completion has come out of the completion
//! queue, an operation lies in `Flight::ops` and nowhere else. So a connection is in the server's hand or in the
//! kernel's, never in both. The addresses in an entry are those of boxes: moving the operation does not move them.
//!
//! The promise is kept by the compiler. This is a receive and its completion:
//!
//! ```
//! # use flight::{Connection, Flight, Landed, Op};
//! fn hand_over(flight: &mut Flight, connection: Connection) -> std::io::Result<()> {
//!     flight.start(Op::Recv(connection))?;
//!     flight.wait(-1)?;
//!     if let Some(Landed::Received(connection, _)) = flight.land() {
//!         println!("{:?}", connection.buffer);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! And this looks into the buffer while the kernel may be writing to it: `connection` was moved, so it does not compile.
//!
//! ```compile_fail,E0382
//! # use flight::{Connection, Flight, Landed, Op};
//! fn hand_over(flight: &mut Flight, connection: Connection) -> std::io::Result<()> {
//!     flight.start(Op::Recv(connection))?;
//!     println!("{:?}", connection.buffer); // error[E0382]: borrow of moved value: `connection`
//!     Ok(())
//! }
//! ```

#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

/// Belongs to no slot: the completions of cancel requests are of no interest.
const NO_SLOT: usize = usize::MAX;

/// Cancelled operations land at once; if they have not by then, something is wrong with the ring.
const STOP_TIMEOUT_MS: libc::c_int = 500;

/// A socket and the memory through which its bytes move.
#[derive(Debug)]
pub struct Connection {
    /// Blocking: O_NONBLOCK would make the kernel answer EAGAIN where it now waits for us.
    pub stream: TcpStream,
    /// Boxed, so that it stays where it is when the connection moves.
    pub buffer: Box<[u8]>,
    /// The part of `buffer` that was received and is not yet sent.
    pub owed: Range<usize>,
}

/// An operation that owns everything the kernel needs for it.
#[derive(Debug)]
pub enum Op {
    /// Takes the next connection from this listener.
    Accept(RawFd),
    /// Waits for bytes and receives them behind those owed.
    Recv(Connection),
    /// The same without the wait: EAGAIN when there is nothing.
    RecvMore(Connection),
    /// Sends what is owed, and waits as often as the socket is full.
    Send(Connection),
    /// Waits for the byte that a signal handler puts into this socket.
    Signal(RawFd, Box<[u8; 1]>),
}

/// An operation that has landed: what it owned, and how it went.
#[derive(Debug)]
pub enum Landed {
    /// Of `Accept`.
    Accepted(io::Result<TcpStream>),
    /// Of `Recv`; 0 bytes: the peer sent FIN.
    Received(Connection, io::Result<usize>),
    /// Of `RecvMore`.
    ReceivedMore(Connection, io::Result<usize>),
    /// Of `Send`, which may be short.
    Sent(Connection, io::Result<usize>),
    /// Of `Signal`.
    Signalled,
}

impl Op {
    fn entry(&mut self) -> squeue::Entry {
        match self {
            // An accepted socket does not inherit the listener's close-on-exec.
            Op::Accept(listener) => {
                opcode::Accept::new(Fd(*listener), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
            }
            Op::Recv(connection) => connection.recv(0),
            Op::RecvMore(connection) => connection.recv(libc::MSG_DONTWAIT),
            Op::Send(connection) => {
                let bytes = &connection.buffer[connection.owed.clone()];
                opcode::Send::new(Fd(connection.stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
                    // WAITALL: the kernel itself goes on after a short send, and needs us only when all is sent.
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
            Op::Signal(fd, byte) => opcode::Recv::new(Fd(*fd), byte.as_mut_ptr(), 1).build(),
        }
    }

    fn land(self, result: io::Result<usize>) -> Landed {
        match self {
            Op::Accept(_) => Landed::Accepted(result.map(|fd| {
                // SAFETY: the descriptor was just made for this completion, so it has no other owner.
                unsafe { TcpStream::from_raw_fd(fd as RawFd) }
            })),
            Op::Recv(connection) => Landed::Received(connection, result),
            Op::RecvMore(connection) => Landed::ReceivedMore(connection, result),
            Op::Send(connection) => Landed::Sent(connection, result),
            Op::Signal(..) => Landed::Signalled,
        }
    }
}

impl Connection {
    fn recv(&mut self, flags: libc::c_int) -> squeue::Entry {
        let room = &mut self.buffer[self.owed.end..];
        opcode::Recv::new(Fd(self.stream.as_raw_fd()), room.as_mut_ptr(), room.len() as u32).flags(flags).build()
    }
}

/// A ring and the operations that are in flight on it.
pub struct Flight {
    ring: IoUring,
    ops: Vec<Option<Op>>,
    free: Vec<usize>,
    /// Completions (slot, result) that have come out of the ring and not yet been handed over.
    landed: VecDeque<(usize, i32)>,
}

impl Flight {
    /// Nothing is in flight yet.
    pub fn new(ring: IoUring) -> Self {
        Self { ring, ops: Vec::new(), free: Vec::new(), landed: VecDeque::new() }
    }

    /// Takes `op`, and hands it to the kernel with the next `wait`.
    pub fn start(&mut self, op: Op) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or(self.ops.len());
        if slot == self.ops.len() {
            self.ops.push(None);
        }
        // First into its slot, then its addresses: from here on nobody else can reach it.
        let entry = self.ops[slot].insert(op).entry();
        self.push(entry, slot)
    }

    fn push(&mut self, entry: squeue::Entry, slot: usize) -> io::Result<()> {
        let entry = entry.user_data(slot as u64);
        // SAFETY: the entry points to nothing (accept, cancel), or into a box whose owner lies in `ops` until the
        // completion comes; `Drop` waits for that or leaks the box.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // The queue is full: make room. To drop the entry would leave its connection waiting for ever.
            survive(self.ring.submit())?;
            self.reap()?;
        }
        Ok(())
    }

    /// One io_uring_enter(2): hands over what was started since the last one, and sleeps until something has landed or
    /// the timeout has passed (-1: none, as in poll(2) and epoll_wait(2)).
    pub fn wait(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
        survive(match u64::try_from(timeout_ms).map(|ms| Timespec::from(Duration::from_millis(ms))) {
            Err(_) => self.ring.submit_and_wait(1),
            Ok(timeout) => self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
        })?;
        self.reap()
    }

    /// Empties the completion queue, so that the kernel has all of it for what comes next.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            self.landed.extend(self.ring.completion().map(|done| (done.user_data() as usize, done.result())));
            if !self.ring.submission().cq_overflow() {
                return Ok(());
            }
            // More have landed than fit. The kernel keeps them, and fills them in when it is entered again.
            survive(self.ring.submit())?;
        }
    }

    /// Hands back one operation that has landed, and frees its slot. An operation completes exactly once (multishot and
    /// zero-copy ones, which do not, are not used here), so the next one may have the slot.
    pub fn land(&mut self) -> Option<Landed> {
        loop {
            let (slot, result) = self.landed.pop_front()?;
            let Some(op) = self.ops.get_mut(slot).and_then(Option::take) else { continue };
            self.free.push(slot);
            return Some(op.land(usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))));
        }
    }

    /// Cancels everything, and returns when nothing is in flight.
    fn stop(&mut self) -> io::Result<()> {
        // One by one, which every kernel can: IORING_ASYNC_CANCEL_ANY would be one entry, from Linux 5.19 on.
        for slot in 0..self.ops.len() {
            if self.ops[slot].is_some() {
                self.push(opcode::AsyncCancel::new(slot as u64).build(), NO_SLOT)?;
            }
        }
        loop {
            // What lands late is dropped here: nothing is sent or received again, not even the rest of a short send.
            while self.land().is_some() {}
            if self.free.len() == self.ops.len() {
                return Ok(());
            }
            self.wait(STOP_TIMEOUT_MS)?;
            if self.landed.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// Closing the ring is no barrier: the kernel cancels what was in flight later, when the descriptor is long gone, and
/// until then it may write to the buffers. So nothing is freed before everything has landed.
impl Drop for Flight {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Who knows what the kernel still holds. Memory that is never freed is at least never someone else's.
            mem::forget(mem::take(&mut self.ops));
        }
    }
}

/// Errors of io_uring_enter(2) that end nothing: a signal or a debugger (EINTR), the timeout (ETIME), completions that
/// want to be fetched first (EBUSY), memory that is short at the moment (EAGAIN).
fn survive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
