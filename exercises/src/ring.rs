//! io_uring(7): one function for each kind of operation, and `wait`, which hands over what was started and returns what
//! has landed. Below it are the two queues of 06-io-uring.
//!
//! Invariant: memory that an operation has named is never freed and never moves. A buffer is a number to a server. So the
//! worst that a server can do with a wrong buffer is to send wrong bytes.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::time::Duration;

use common_server::Shutdown;
use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{opcode, squeue};
use uring::buffer_ring::BufferRing;
use uring::queues::{Completion, Queues, user_data};

pub use uring::queues::is_transient;

/// The size of a buffer.
pub const BUFFER: usize = 16 * 1024;
/// How many buffers `lend` gives to the kernel.
pub const LENT: usize = 16;
const GROUP: u16 = 0;
const CHUNK: usize = 64;
/// The operations that one call hands over at most, and the completions that their queue has room for.
const ENTRIES: u32 = 64;
const COMPLETIONS: u32 = 1024;

/// An operation that has landed.
#[derive(Debug)]
pub enum Landed {
    /// An `accept` or `accept_multishot` has landed.
    Accepted {
        /// The next connection.
        accepted: io::Result<TcpStream>,
        /// The same operation will land again.
        more: bool,
    },
    /// A receive into a buffer of the server's choice has landed.
    Received {
        /// The slot that it was started with.
        slot: usize,
        /// How many bytes came; 0 is the peer's FIN.
        received: io::Result<usize>,
    },
    /// A receive into a buffer of the kernel's choice has landed.
    ReceivedLent {
        /// The slot that it was started with.
        slot: usize,
        /// How many bytes came; 0 is the peer's FIN.
        received: io::Result<usize>,
        /// The buffer that holds them. It is the server's until the server gives it back.
        lent: Option<usize>,
    },
    /// A send has landed.
    Sent {
        /// The slot that it was started with.
        slot: usize,
        /// How many bytes the socket took, which may be fewer than were to be sent.
        sent: io::Result<usize>,
    },
    /// A `watch` has landed: the client has sent FIN, or the connection was reset, or both of its directions have ended.
    HungUp {
        /// The slot that it was started with.
        slot: usize,
        /// The same operation will land again, unless it was cancelled.
        more: bool,
    },
    /// SIGINT or SIGTERM has come.
    Signalled,
}

// What a completion is of.
const SIGNAL: u8 = 0;
const ACCEPT: u8 = 1;
const RECEIVE: u8 = 2;
const RECEIVE_LENT: u8 = 3;
const SEND: u8 = 4;
const WATCH: u8 = 5;
const CANCEL: u8 = 6;

/// A ring, and buffers that are known by number. A buffer is there as soon as somebody names it.
pub struct Ring {
    queues: Queues,
    chunks: Vec<*mut u8>,
    lent: Option<BufferRing>,
}

impl Ring {
    /// io_uring_setup(2), and a line that says what to do where it is denied.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { queues: Queues::open(ENTRIES, COMPLETIONS)?, chunks: Vec::new(), lent: None })
    }

    /// Lands as `Signalled`.
    pub fn signal(&mut self, shutdown: &Shutdown) -> io::Result<()> {
        self.queues.push_signal(shutdown, SIGNAL)
    }

    /// Lands once, as `Accepted`.
    pub fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let listener = Fd(listener.as_raw_fd());
        let entry = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, ACCEPT, 0)
    }

    /// Lands as `Accepted` for each connection, until one of them says that there will be no more.
    pub fn accept_multishot(&mut self, listener: &TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, ACCEPT, 0)
    }

    /// Lands as `Received`, with the bytes in buffer `buffer`.
    pub fn recv(&mut self, stream: &TcpStream, slot: usize, buffer: usize) -> io::Result<()> {
        let entry = self.recv_entry(stream, buffer, BUFFER);
        self.push(entry, RECEIVE, slot)
    }

    /// Lands as `ReceivedLent`. The kernel takes one of the buffers that it was lent, and fails with ENOBUFS if it has none.
    pub fn recv_lent(&mut self, stream: &TcpStream, slot: usize) -> io::Result<()> {
        let entry = opcode::Recv::new(Fd(stream.as_raw_fd()), ptr::null_mut(), BUFFER as u32).buf_group(GROUP).build();
        self.push(entry.flags(squeue::Flags::BUFFER_SELECT), RECEIVE_LENT, slot)
    }

    /// Lands as `Sent`. Sends these bytes of buffer `buffer`.
    pub fn send(&mut self, stream: &TcpStream, slot: usize, buffer: usize, bytes: Range<usize>) -> io::Result<()> {
        let entry = self.send_entry(stream, buffer, bytes);
        self.push(entry, SEND, slot)
    }

    /// Two linked operations, handed over together. The receive lands as `Received`, and then the kernel itself starts
    /// the send, which lands as `Sent`. A receive that fails cancels the send; a receive of less than `len` does not.
    pub fn recv_then_send(&mut self, stream: &TcpStream, slot: usize, buffer: usize, len: usize) -> io::Result<()> {
        // A chain ends where what is handed over ends, so both have to fit before the next submission.
        while self.queues.room() < 2 {
            self.queues.submit()?;
        }
        let recv = self.recv_entry(stream, buffer, len).flags(squeue::Flags::IO_LINK);
        let send = self.send_entry(stream, buffer, 0..len);
        self.push(recv, RECEIVE, slot)?;
        self.push(send, SEND, slot)
    }

    /// Lands as `HungUp`, perhaps several times: the client's FIN may be followed by a reset.
    pub fn watch(&mut self, stream: &TcpStream, slot: usize) -> io::Result<()> {
        // The mask is empty: what it is to report (the end of input, an error, a hang-up) is reported in any case.
        self.push(opcode::PollAdd::new(Fd(stream.as_raw_fd()), 0).multi(true).build(), WATCH, slot)
    }

    /// Cancels a `watch`, which then lands for the last time.
    pub fn cancel_watch(&mut self, slot: usize) -> io::Result<()> {
        self.push(opcode::AsyncCancel::new(user_data(WATCH, slot)).build(), CANCEL, 0)
    }

    /// Lends the buffers 0 to `LENT - 1` to the kernel, for `recv_lent`.
    pub fn lend(&mut self) -> io::Result<()> {
        self.lent = Some(BufferRing::register(&self.queues.submitter(), GROUP, LENT as u16, 0)?);
        (0..LENT).for_each(|buffer| self.give_back(buffer));
        Ok(())
    }

    /// Lends a buffer again that the kernel had given away with a `ReceivedLent`.
    pub fn give_back(&mut self, buffer: usize) {
        assert!(buffer < LENT, "buffer {buffer} is not one of those that were lent");
        let address = self.memory(buffer);
        let lent = self.lent.as_ref().expect("lend comes first");
        // SAFETY: the kernel may write to the memory at any time: it is never freed, and no Rust value is in it. A wrong server
        // can give a buffer back twice, and so more than `LENT`. That overwrites an entry, and one buffer is filled twice.
        unsafe { lent.give(buffer as u16, address, BUFFER) }
    }

    /// io_uring_enter(2): hands over what was started, sleeps until something has landed, and returns all that has; nothing
    /// after `timeout_ms` (-1: never) or a signal.
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<impl Iterator<Item = Landed> + use<>> {
        self.queues.wait(timeout_ms)?;
        let mut all = Vec::new();
        while let Some(done) = self.queues.land() {
            all.extend(landed(done));
        }
        Ok(all.into_iter())
    }

    fn recv_entry(&mut self, stream: &TcpStream, buffer: usize, len: usize) -> squeue::Entry {
        assert!(len <= BUFFER);
        opcode::Recv::new(Fd(stream.as_raw_fd()), self.memory(buffer), len as u32).build()
    }

    fn send_entry(&mut self, stream: &TcpStream, buffer: usize, bytes: Range<usize>) -> squeue::Entry {
        assert!(bytes.start <= bytes.end && bytes.end <= BUFFER);
        let start = self.memory(buffer).wrapping_add(bytes.start);
        opcode::Send::new(Fd(stream.as_raw_fd()), start, bytes.len() as u32).flags(libc::MSG_NOSIGNAL).build()
    }

    fn memory(&mut self, buffer: usize) -> *mut u8 {
        // Buffers are allocated many at a time. Untouched ones cost nothing.
        while self.chunks.len() <= buffer / CHUNK {
            self.chunks.push(Box::leak(vec![0u8; CHUNK * BUFFER].into_boxed_slice()).as_mut_ptr());
        }
        self.chunks[buffer / CHUNK].wrapping_add(buffer % CHUNK * BUFFER)
    }

    fn push(&mut self, entry: squeue::Entry, what: u8, slot: usize) -> io::Result<()> {
        // SAFETY: all memory that entries name is in `chunks`, which are leaked. The kernel may write to it at any time: the
        // server never sees it as a Rust value.
        unsafe { self.queues.push(entry, what, slot) }
    }
}

/// An operation in flight keeps its sockets open, the listener too, until it has ended.
impl Drop for Ring {
    fn drop(&mut self) {
        // If this fails (it needs Linux 6.0), the kernel does the same a little later, when the process ends.
        let soon = Timespec::from(Duration::from_millis(500));
        let _ = self.queues.submitter().register_sync_cancel(Some(soon), CancelBuilder::any());
    }
}

fn landed(done: Completion) -> Option<Landed> {
    let (slot, more, lent) = (done.index, done.more(), done.buffer().map(usize::from));
    Some(match done.what {
        SIGNAL => Landed::Signalled,
        ACCEPT => Landed::Accepted {
            // SAFETY: the kernel made the descriptor for this completion, which is handed back once. So nothing else owns it.
            accepted: done.result.map(|fd| unsafe { TcpStream::from_raw_fd(fd as i32) }),
            more,
        },
        RECEIVE => Landed::Received { slot, received: done.result },
        RECEIVE_LENT => Landed::ReceivedLent { slot, received: done.result, lent },
        SEND => Landed::Sent { slot, sent: done.result },
        WATCH => Landed::HungUp { slot, more },
        _ => return None,
    })
}
