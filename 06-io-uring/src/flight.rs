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
//!         println!("{:?}", connection.owed);
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
//!     println!("{:?}", connection.owed); // error[E0382]: borrow of moved value: `connection`
//!     Ok(())
//! }
//! ```

#![cfg(target_os = "linux")]

mod pool;

use std::collections::VecDeque;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

pub use pool::BUFFER;
use pool::Pool;

/// Belongs to no slot: the completions of cancel requests tell nothing that is not known without them.
const NO_SLOT: usize = usize::MAX;

/// What is cancelled lands at once. If it has not by then, something is wrong with the ring.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// A socket and the bytes that are owed to it.
#[derive(Debug)]
pub struct Connection {
    /// Blocking: with O_NONBLOCK the kernel would answer EAGAIN where it now waits for us.
    pub stream: TcpStream,
    /// Received and not yet sent. Boxed, so that it stays where it is when the connection moves.
    pub owed: Box<[u8]>,
    /// How much of `owed` has been sent.
    pub sent: usize,
}

/// An operation that owns everything the kernel needs for it.
#[derive(Debug)]
pub enum Op {
    /// Takes the next connection from this listener.
    Accept(RawFd),
    /// Waits for bytes. It needs no memory before they come: the kernel then picks a buffer of the pool.
    Recv(Connection),
    /// Sends what is owed, and waits as often as the socket is full.
    Send(Connection),
    /// Waits for the byte that the handler of a signal writes to this socket.
    Signal(RawFd, Box<[u8; 1]>),
}

/// An operation that has landed: what it owned, and how it went.
#[derive(Debug)]
pub enum Landed {
    /// Of `Accept`.
    Accepted(io::Result<TcpStream>),
    /// Of `Recv`. Its bytes are in `owed`; 0 of them: the peer sent FIN.
    Received(Connection, io::Result<usize>),
    /// Of `Send`, which may be short.
    Sent(Connection, io::Result<usize>),
    /// Of `Signal`.
    Signalled,
}

impl Op {
    fn entry(&mut self) -> squeue::Entry {
        match self {
            // Accepted sockets do not inherit close-on-exec.
            Op::Accept(listener) => {
                opcode::Accept::new(Fd(*listener), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
            }
            Op::Recv(connection) => {
                opcode::Recv::new(Fd(connection.stream.as_raw_fd()), ptr::null_mut(), BUFFER as u32)
                    .buf_group(pool::GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Op::Send(connection) => {
                let rest = &connection.owed[connection.sent..];
                opcode::Send::new(Fd(connection.stream.as_raw_fd()), rest.as_ptr(), rest.len() as u32)
                    // WAITALL: the kernel goes on by itself after a short send, and reports when all is sent.
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
            Op::Signal(fd, byte) => opcode::Recv::new(Fd(*fd), byte.as_mut_ptr(), 1).build(),
        }
    }

    fn land(self, result: io::Result<usize>, received: Box<[u8]>) -> Landed {
        match self {
            Op::Accept(_) => Landed::Accepted(result.map(|fd| {
                // SAFETY: the descriptor was made for this completion, so it has no other owner.
                unsafe { TcpStream::from_raw_fd(fd as RawFd) }
            })),
            Op::Recv(connection) => Landed::Received(Connection { owed: received, sent: 0, ..connection }, result),
            Op::Send(connection) => Landed::Sent(connection, result),
            Op::Signal(..) => Landed::Signalled,
        }
    }
}

/// A ring and the operations that are in flight on it.
pub struct Flight {
    ring: IoUring,
    ops: Vec<Option<Op>>,
    free: Vec<usize>,
    /// Come out of the completion queue and not yet handed back.
    landed: VecDeque<Landed>,
    /// How many of them this turn hands back. What lands while it is at work waits for the next turn: clients whose
    /// operations never have to wait could keep a turn going for ever.
    this_turn: usize,
    // Like `ops` it must outlive whatever is in flight.
    pool: ManuallyDrop<Pool>,
}

impl Flight {
    /// Nothing is in flight yet.
    pub fn new(ring: IoUring) -> io::Result<Self> {
        let pool = ManuallyDrop::new(Pool::new(&ring.submitter())?);
        Ok(Self { ring, ops: Vec::new(), free: Vec::new(), landed: VecDeque::with_capacity(1024), this_turn: 0, pool })
    }

    /// Takes `op`; the next `wait` hands it to the kernel.
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
        // SAFETY: the entry points to nothing, or into a box whose owner lies in `ops` until the completion comes;
        // `Drop` waits for that, or leaks.
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
        let timeout_ms = if self.landed.is_empty() { timeout_ms } else { 0 };
        survive(match u64::try_from(timeout_ms).map(|ms| Timespec::from(Duration::from_millis(ms))) {
            Err(_) => self.ring.submit_and_wait(1),
            Ok(timeout) => self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
        })?;
        self.reap()?;
        self.this_turn = self.landed.len();
        Ok(())
    }

    /// Empties the completion queue, so that the kernel has all of it, and all of the pool, for what comes next.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            for done in self.ring.completion() {
                // An operation completes exactly once (multishot and zero-copy ones, which do not, are not used here),
                // so its slot is free for the next.
                let slot = done.user_data() as usize;
                let Some(op) = self.ops.get_mut(slot).and_then(Option::take) else { continue };
                self.free.push(slot);
                let result = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
                let received = match cqueue::buffer_select(done.flags()) {
                    Some(buffer) => self.pool.take(buffer, *result.as_ref().unwrap_or(&0)),
                    None => Box::default(),
                };
                self.landed.push_back(op.land(result, received));
            }
            if !self.ring.submission().cq_overflow() {
                return Ok(());
            }
            // More has landed than fits. The kernel keeps it, and fills it in when it is entered again.
            survive(self.ring.submit())?;
        }
    }

    /// Hands back one operation that has landed; `None` ends the turn.
    pub fn land(&mut self) -> Option<Landed> {
        self.this_turn = self.this_turn.checked_sub(1)?;
        self.landed.pop_front()
    }

    /// Cancels everything, and returns when nothing is in flight.
    fn stop(&mut self) -> io::Result<()> {
        // One by one, which every kernel can: IORING_ASYNC_CANCEL_ANY would be one entry.
        for slot in 0..self.ops.len() {
            if self.ops[slot].is_some() {
                self.push(opcode::AsyncCancel::new(slot as u64).build(), NO_SLOT)?;
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.free.len() < self.ops.len() {
            // What lands now is dropped: nothing is started again, not even for the rest of a send that was cancelled.
            self.landed.clear();
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wait(STOP_TIMEOUT.as_millis() as libc::c_int)?;
        }
        Ok(())
    }
}

/// Closing the ring is no barrier: the kernel cancels what is in flight at some time after that, and writes to the
/// buffers until then. So nothing is freed before everything has landed.
impl Drop for Flight {
    fn drop(&mut self) {
        match self.stop() {
            // SAFETY: dropped once, here, and nothing is in flight.
            Ok(()) => unsafe { ManuallyDrop::drop(&mut self.pool) },
            // Who knows what the kernel still holds. Memory that is never freed is at least never someone else's.
            Err(_) => mem::forget(mem::take(&mut self.ops)),
        }
    }
}

/// Errors of io_uring_enter(2) that end nothing: a signal or a debugger (EINTR), the timeout (ETIME), completions that
/// have to be fetched first (EBUSY), memory that is short at the moment (EAGAIN).
fn survive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
