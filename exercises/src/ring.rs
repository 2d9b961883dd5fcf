//! io_uring(7): one function for each kind of operation, and `wait`, which hands over what was started and says what has
//! landed.
//!
//! Invariant: memory that an operation has named is never freed and never moves. So a server that is wrong about whose
//! buffer is whose sends wrong bytes, and that is the worst it can do: buffers are numbers here, and not memory.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use common_server::Shutdown;
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

#[path = "../../06-io-uring/src/setup.rs"]
mod setup;

/// The size of a buffer.
pub const BUFFER: usize = 16 * 1024;
/// How many buffers `lend` gives to the kernel.
pub const LENT: usize = 16;
const GROUP: u16 = 0;
const CHUNK: usize = 64;

/// An operation that has landed.
#[derive(Debug)]
pub enum Landed {
    /// Of `accept` and `accept_multishot`.
    Accepted {
        /// The next connection.
        accepted: io::Result<TcpStream>,
        /// The same operation will land again.
        more: bool,
    },
    /// Of a receive into a buffer of the server's choice.
    Received {
        /// What it was started with.
        slot: usize,
        /// How many bytes came; 0 is the peer's FIN.
        received: io::Result<usize>,
    },
    /// Of a receive into a buffer of the kernel's choice.
    ReceivedLent {
        /// What it was started with.
        slot: usize,
        /// How many bytes came; 0 is the peer's FIN.
        received: io::Result<usize>,
        /// Where they are. That buffer is the server's until it gives it back.
        lent: Option<usize>,
    },
    /// Of a send.
    Sent {
        /// What it was started with.
        slot: usize,
        /// How many bytes the socket took, which may be fewer than were to be sent.
        sent: io::Result<usize>,
    },
    /// Of `watch`: the client has sent FIN, or the connection was reset, or both of its directions have ended.
    HungUp {
        /// What it was started with.
        slot: usize,
        /// The same operation will land again. Not so if it was cancelled.
        more: bool,
    },
    /// SIGINT or SIGTERM has come.
    Signalled,
}

#[derive(Clone, Copy)]
enum Kind {
    Signal,
    Accept,
    Receive,
    ReceiveLent,
    Send,
    Watch,
    Cancel,
}

const KINDS: [Kind; 7] =
    [Kind::Signal, Kind::Accept, Kind::Receive, Kind::ReceiveLent, Kind::Send, Kind::Watch, Kind::Cancel];

impl Kind {
    fn with(self, slot: usize) -> u64 {
        (slot as u64) << 3 | self as u64
    }
}

/// A ring, and buffers that are known by number. Buffer `n` is there as soon as somebody names it.
pub struct Ring {
    ring: IoUring,
    chunks: Vec<*mut u8>,
    lent: Option<Lent>,
    landed: VecDeque<Landed>,
}

impl Ring {
    /// io_uring_setup(2), and a line that says what to do where that is denied.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { ring: setup::ring()?, chunks: Vec::new(), lent: None, landed: VecDeque::new() })
    }

    /// Lands as `Signalled`.
    pub fn signal(&mut self, shutdown: &Shutdown) -> io::Result<()> {
        let byte = Box::leak(Box::new(0u8));
        self.push(opcode::Recv::new(Fd(shutdown.as_raw_fd()), byte, 1).build(), Kind::Signal.with(0))
    }

    /// Lands once, as `Accepted`.
    pub fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let listener = Fd(listener.as_raw_fd());
        let entry = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, Kind::Accept.with(0))
    }

    /// Lands as `Accepted` for each connection, until one of them says that there will be no more.
    pub fn accept_multishot(&mut self, listener: &TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, Kind::Accept.with(0))
    }

    /// Lands as `Received`, with the bytes in buffer `buffer`.
    pub fn recv(&mut self, stream: &TcpStream, slot: usize, buffer: usize) -> io::Result<()> {
        let entry = self.recv_entry(stream, buffer, BUFFER);
        self.push(entry, Kind::Receive.with(slot))
    }

    /// Lands as `ReceivedLent`. The kernel takes one of the buffers that it was lent, and fails with ENOBUFS if it has none.
    pub fn recv_lent(&mut self, stream: &TcpStream, slot: usize) -> io::Result<()> {
        let entry = opcode::Recv::new(Fd(stream.as_raw_fd()), ptr::null_mut(), BUFFER as u32).buf_group(GROUP).build();
        self.push(entry.flags(squeue::Flags::BUFFER_SELECT), Kind::ReceiveLent.with(slot))
    }

    /// Lands as `Sent`. Sends these bytes of buffer `buffer`.
    pub fn send(&mut self, stream: &TcpStream, slot: usize, buffer: usize, bytes: Range<usize>) -> io::Result<()> {
        let entry = self.send_entry(stream, buffer, bytes);
        self.push(entry, Kind::Send.with(slot))
    }

    /// Two operations, handed over together and linked: the receive lands as `Received`, and then the kernel itself starts
    /// the send, which lands as `Sent`. A receive that fails cancels the send; one that brings less than `len` does not.
    pub fn recv_then_send(&mut self, stream: &TcpStream, slot: usize, buffer: usize, len: usize) -> io::Result<()> {
        let recv = self.recv_entry(stream, buffer, len).flags(squeue::Flags::IO_LINK);
        let send = self.send_entry(stream, buffer, 0..len);
        let entries = [recv.user_data(Kind::Receive.with(slot)), send.user_data(Kind::Send.with(slot))];
        // SAFETY: as in `push`. Both or none: a chain ends where what is handed over ends.
        while unsafe { self.ring.submission().push_multiple(&entries) }.is_err() {
            self.make_room()?;
        }
        Ok(())
    }

    /// Lands as `HungUp`, each time that there is something to say: the client's FIN may be followed by a reset.
    pub fn watch(&mut self, stream: &TcpStream, slot: usize) -> io::Result<()> {
        // What it is to report needs no asking: the end of input, an error, a hang-up.
        self.push(opcode::PollAdd::new(Fd(stream.as_raw_fd()), 0).multi(true).build(), Kind::Watch.with(slot))
    }

    /// Cancels a `watch`, which then lands for the last time.
    pub fn cancel_watch(&mut self, slot: usize) -> io::Result<()> {
        self.push(opcode::AsyncCancel::new(Kind::Watch.with(slot)).build(), Kind::Cancel.with(0))
    }

    /// Lends the buffers 0 to `LENT - 1` to the kernel, for `recv_lent`.
    pub fn lend(&mut self) -> io::Result<()> {
        let entries = Box::leak(Box::new(Entries([[0; size_of::<BufRingEntry>()]; LENT]))).0.as_mut_ptr();
        // SAFETY: entries that are on a page border and are never freed.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(entries as u64, LENT as u16, GROUP, 0)? };
        self.lent = Some(Lent { entries: entries.cast(), tail: 0 });
        (0..LENT).for_each(|buffer| self.give_back(buffer));
        Ok(())
    }

    /// Lends a buffer again that the kernel had given away with a `ReceivedLent`.
    pub fn give_back(&mut self, buffer: usize) {
        assert!(buffer < LENT, "buffer {buffer} is not one of those that were lent");
        let address = self.memory(buffer);
        let Lent { entries, tail } = self.lent.as_mut().expect("lend comes first");
        let entry = (*tail) as usize % LENT;
        *tail = tail.wrapping_add(1);
        // SAFETY: `entry` is one of `LENT`. The kernel reads it after it has seen the new tail, which lies in a field of the
        // first entry that has no other use.
        unsafe {
            let entry = entries.add(entry);
            (*entry).set_addr(address as u64);
            (*entry).set_len(BUFFER as u32);
            (*entry).set_bid(buffer as u16);
            AtomicU16::from_ptr(BufRingEntry::tail(*entries).cast_mut()).store(*tail, Ordering::Release);
        }
    }

    /// io_uring_enter(2): hands over what was started, sleeps until something has landed, and returns all that has; nothing
    /// after `timeout_ms` (-1: never) or a signal.
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<impl Iterator<Item = Landed> + use<>> {
        let timeout_ms = if self.landed.is_empty() { timeout_ms } else { 0 };
        survive(match u64::try_from(timeout_ms).map(|ms| Timespec::from(Duration::from_millis(ms))) {
            Err(_) => self.ring.submit_and_wait(1),
            Ok(timeout) => self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
        })?;
        self.reap()?;
        Ok(std::mem::take(&mut self.landed).into_iter())
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
        // Many at once come from the kernel untouched, and one that is not used costs nothing.
        while self.chunks.len() <= buffer / CHUNK {
            self.chunks.push(Box::leak(vec![0u8; CHUNK * BUFFER].into_boxed_slice()).as_mut_ptr());
        }
        self.chunks[buffer / CHUNK].wrapping_add(buffer % CHUNK * BUFFER)
    }

    fn push(&mut self, entry: squeue::Entry, tag: u64) -> io::Result<()> {
        let entry = entry.user_data(tag);
        // SAFETY: what entries point to is never freed while the process runs.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.make_room()?;
        }
        Ok(())
    }

    fn make_room(&mut self) -> io::Result<()> {
        survive(self.ring.submit())?;
        self.reap()
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            self.landed.extend(self.ring.completion().filter_map(|done| landed(&done)));
            if !self.ring.submission().cq_overflow() {
                return Ok(());
            }
            survive(self.ring.submit())?;
        }
    }
}

/// What is still in flight holds its descriptors, the listener's too, until it has ended.
impl Drop for Ring {
    fn drop(&mut self) {
        // Best effort (Linux 6.0 can): the process ends, and the kernel then does the same a little later.
        let soon = Timespec::from(Duration::from_millis(500));
        let _ = self.ring.submitter().register_sync_cancel(Some(soon), CancelBuilder::any());
    }
}

struct Lent {
    entries: *mut BufRingEntry,
    tail: u16,
}

#[repr(align(4096))]
struct Entries([[u8; size_of::<BufRingEntry>()]; LENT]);

fn landed(done: &cqueue::Entry) -> Option<Landed> {
    let result = match done.result() {
        0.. => Ok(done.result() as usize),
        error => Err(io::Error::from_raw_os_error(-error)),
    };
    let slot = (done.user_data() >> 3) as usize;
    Some(match KINDS[(done.user_data() & 7) as usize] {
        Kind::Signal => Landed::Signalled,
        Kind::Accept => Landed::Accepted {
            // SAFETY: the descriptor was made for this completion, so nobody else owns it.
            accepted: result.map(|fd| unsafe { TcpStream::from_raw_fd(fd as i32) }),
            more: cqueue::more(done.flags()),
        },
        Kind::Receive => Landed::Received { slot, received: result },
        Kind::ReceiveLent => {
            let lent = cqueue::buffer_select(done.flags()).map(usize::from);
            Landed::ReceivedLent { slot, received: result, lent }
        }
        Kind::Send => Landed::Sent { slot, sent: result },
        Kind::Watch => Landed::HungUp { slot, more: cqueue::more(done.flags()) },
        Kind::Cancel => return None,
    })
}

/// Errors of io_uring_enter(2) that end nothing.
fn survive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// An operation that landed with EAGAIN or EINTR has not failed: it is started again.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
