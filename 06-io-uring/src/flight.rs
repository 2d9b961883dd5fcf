//! Operations in flight: what the kernel may touch, and who holds it meanwhile. All unsafe code of the chapter is here
//! and in `pool.rs`.
//!
//! Invariant: from before its entry goes into the submission queue until its completion has come out of the completion
//! queue, an operation lies in `Flight::ops` and nowhere else, with its socket and its memory. So a connection is in the
//! server's hand or in the kernel's, never in both. The addresses in an entry are those of boxes and of the pool: moving
//! the operation does not move them.
//!
//! The promise is kept by the compiler. This sends, waits, and looks at the bytes that were not sent:
//!
//! ```
//! # use flight::{Bytes, Flight, Landed, Op};
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
//! And this looks at them while they are the kernel's. `bytes` was moved, so it does not compile:
//!
//! ```compile_fail,E0382
//! # use flight::{Bytes, Flight, Landed, Op};
//! # fn send(flight: &mut Flight, stream: std::net::TcpStream, bytes: Bytes) -> std::io::Result<()> {
//! flight.start(Op::Send(stream, bytes))?;
//! println!("{:?}", &bytes[..]); // error[E0382]: borrow of moved value: `bytes`
//! # Ok(())
//! # }
//! ```

#![cfg(target_os = "linux")]

mod pool;
pub mod setup;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use pool::Pool;
pub use pool::{BUFFER, Bytes};

/// Belongs to no slot: a request to cancel, whose own completion tells nothing.
const NO_SLOT: usize = usize::MAX;

/// What is cancelled lands at once. If it has not by then, something is wrong with the ring.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// An operation that owns everything the kernel needs for it. Sockets are blocking, as accept leaves them: with O_NONBLOCK
/// an operation that the kernel has moved to a worker thread of its own would come back with EAGAIN instead of waiting.
pub enum Op {
    /// Takes the next connection from this listener.
    Accept(RawFd),
    /// Waits for bytes. It owns no memory for them: the kernel takes a buffer of the pool when they come.
    Recv(TcpStream),
    /// Sends bytes: from a buffer of the pool as many as the socket takes at once, others with all the wait it needs.
    Send(TcpStream, Bytes),
    /// Waits for the byte that the handler of a signal writes to this socket.
    Signal(RawFd, Box<[u8; 1]>),
}

/// An operation that has landed: what it owned, and how it went.
pub enum Landed {
    /// Of `Accept`.
    Accepted(io::Result<TcpStream>),
    /// Of `Recv`; `None`: the peer sent FIN.
    Received(TcpStream, io::Result<Option<Bytes>>),
    /// Of `Send`, with the bytes that are still to be sent.
    Sent(TcpStream, io::Result<Bytes>),
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
            Op::Recv(stream) => opcode::Recv::new(Fd(stream.as_raw_fd()), ptr::null_mut(), BUFFER as u32)
                .buf_group(pool::GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            Op::Send(stream, bytes) => {
                let flags = match bytes {
                    Bytes::Lent(_) => libc::MSG_DONTWAIT,
                    // The kernel goes on by itself after a short send, and reports when all is sent.
                    Bytes::Own(..) => libc::MSG_WAITALL,
                };
                opcode::Send::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
                    .flags(flags | libc::MSG_NOSIGNAL)
                    .build()
            }
            Op::Signal(fd, byte) => opcode::Recv::new(Fd(*fd), byte.as_mut_ptr(), 1).build(),
        }
    }

    fn land(self, result: io::Result<usize>, received: Option<Bytes>) -> Landed {
        match self {
            Op::Accept(_) => Landed::Accepted(result.map(|fd| {
                // SAFETY: the descriptor was made for this completion, so it has no other owner.
                unsafe { TcpStream::from_raw_fd(fd as RawFd) }
            })),
            Op::Recv(stream) => Landed::Received(stream, result.map(|n| received.filter(|_| n > 0))),
            Op::Send(stream, bytes) => {
                let sent = result.or_else(|error| if is_transient(&error) { Ok(0) } else { Err(error) });
                Landed::Sent(stream, sent.map(|sent| bytes.after(sent)))
            }
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
    /// Looks for what has landed instead of waiting for it.
    spins: bool,
    pool: Rc<Pool>,
}

impl Flight {
    /// Nothing is in flight yet.
    pub fn new(ring: IoUring) -> io::Result<Self> {
        let pool = Pool::new(&ring.submitter())?;
        Ok(Self { ring, ops: Vec::new(), free: Vec::new(), landed: VecDeque::new(), this_turn: 0, spins: false, pool })
    }

    /// From now on `wait` does not sleep. Where a thread of the kernel looks for submissions (SQPOLL), it makes no call either.
    pub fn spin(&mut self) {
        self.spins = true;
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
        // SAFETY: what the entry points to is owned by an operation that lies in `ops` until its completion has come;
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
        if self.spins {
            self.look(timeout_ms)?;
            self.this_turn = self.landed.len();
            return Ok(());
        }
        survive(match u64::try_from(timeout_ms).map(|ms| Timespec::from(Duration::from_millis(ms))) {
            Err(_) => self.ring.submit_and_wait(1),
            Ok(timeout) => self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
        })?;
        self.reap()?;
        self.this_turn = self.landed.len();
        Ok(())
    }

    fn look(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
        // Only where the kernel's thread has gone to sleep is this a call.
        survive(self.ring.submit())?;
        let timeout = u64::try_from(timeout_ms).map(Duration::from_millis);
        let start = Instant::now();
        loop {
            self.reap()?;
            if !self.landed.is_empty() || timeout.is_ok_and(|timeout| start.elapsed() >= timeout) {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }

    /// Empties the completion queue, so that the kernel has all of it for what comes next.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            for done in self.ring.completion() {
                // An operation completes exactly once (multishot and zero-copy ones, which do not, are not used here),
                // so its slot is free for the next.
                let slot = done.user_data() as usize;
                let Some(op) = self.ops.get_mut(slot).and_then(Option::take) else { continue };
                self.free.push(slot);
                let result = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
                let received = cqueue::buffer_select(done.flags())
                    .map(|buffer| Bytes::received(&self.pool, buffer, *result.as_ref().unwrap_or(&0)));
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
        // One by one. IORING_ASYNC_CANCEL_ANY is a single entry, but for each operation that it cancels the kernel looks
        // through all the others again, and 10,000 of them take it most of a second.
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

/// Closing the ring is no barrier. What is in flight ends at some time after that, and may still write to its memory: a
/// read from a disk does. So nothing is freed before everything has landed.
impl Drop for Flight {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Who knows what the kernel still holds. Memory that is never freed is at least never someone else's.
            mem::forget(mem::take(&mut self.ops));
            mem::forget(Rc::clone(&self.pool));
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

/// EAGAIN: it would have had to wait. EINTR: it did, and was interrupted.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A small ring without the flags that spare it an overflow, or nothing where io_uring is denied.
    fn flight(entries: u32) -> Option<Flight> {
        match IoUring::builder().setup_cqsize(2 * entries).build(entries) {
            Ok(ring) => Some(Flight::new(ring).unwrap()),
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
