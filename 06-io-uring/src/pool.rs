//! Receive buffers that no connection owns while it waits: a "provided buffer ring". The kernel picks one of them when
//! there is something to receive.
//!
//! Invariant: a buffer is the kernel's, or it is a `Lent`. A completion that names a buffer makes it a `Lent`; dropping
//! the `Lent` makes it the kernel's again, wherever that happens. So none can be used twice, and none can get lost.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The size of a buffer: the most that one receive brings, and so the most that is ever owed to one connection.
pub const BUFFER: usize = 24 * 1024;

/// Up to here a copy costs less than to do without the buffer.
const SMALL: usize = 1024;

/// As many as the submission queue has entries, so that the receives of one turn seldom find none. The kernel goes round
/// the ring and thereby touches all of them: with their size, this is the memory that they cost.
const BUFFERS: u16 = 64;

/// The number by which a receive names this pool.
pub(crate) const GROUP: u16 = 0;

const BUFFERS_LEN: usize = BUFFERS as usize * BUFFER;
const LEN: usize = BUFFERS_LEN + BUFFERS as usize * size_of::<BufRingEntry>();

/// One mapping: the buffers, and behind them the ring of entries through which they are handed to the kernel.
pub(crate) struct Pool {
    base: NonNull<u8>,
    /// Counts the entries ever written; the kernel counts those it has used.
    tail: Cell<u16>,
}

impl Pool {
    pub(crate) fn new(submitter: &Submitter<'_>) -> io::Result<Rc<Self>> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pool = Self { base: NonNull::new(base.cast()).expect("no mapping is at 0"), tail: Cell::new(0) };
        // SAFETY: the entries start on a page border, and stay mapped until the ring has no more use for them (`Drop`).
        unsafe { submitter.register_buf_ring_with_flags(pool.entries() as u64, BUFFERS, GROUP, 0)? };
        for buffer in 0..BUFFERS {
            pool.give(buffer);
        }
        Ok(Rc::new(pool))
    }

    fn entries(&self) -> *mut BufRingEntry {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(BUFFERS_LEN) }.cast().as_ptr()
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < BUFFERS);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(buffer as usize * BUFFER) }.as_ptr()
    }

    fn give(&self, buffer: u16) {
        let tail = self.tail.get();
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: there are as many entries as buffers, and this buffer's entry has been used, so an entry is free. The
        // kernel reads it after it has seen the new tail, which lies in a field of the first entry that has no other use.
        unsafe {
            let entry = self.entries().add((tail % BUFFERS) as usize);
            (*entry).set_addr(self.address(buffer) as u64);
            (*entry).set_len(BUFFER as u32);
            (*entry).set_bid(buffer);
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries()).cast_mut())
                .store(self.tail.get(), Ordering::Release);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the last owner is `Flight`, when nothing is in flight any more, or a `Lent` that has outlived it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), LEN) };
    }
}

/// Received bytes that are not yet sent.
pub enum Bytes {
    /// Still where they were received.
    Lent(Lent),
    /// Moved out of the pool, and the number of those sent.
    Own(Box<[u8]>, usize),
}

impl Bytes {
    /// What a receive has left in `buffer`. Few bytes are copied, so that the buffer goes back at once: it is needed by
    /// more connections than there are buffers, when all talk at the same time.
    pub(crate) fn received(pool: &Rc<Pool>, buffer: u16, len: usize) -> Self {
        let lent = Lent { pool: Rc::clone(pool), buffer, len };
        if len <= SMALL { Self::Own(lent.deref().into(), 0) } else { Self::Lent(lent) }
    }

    /// What is left after `sent` more bytes. A socket that does not take all at once has a client that is slow to read;
    /// it may take its time, but not with a buffer of the pool.
    pub(crate) fn after(self, sent: usize) -> Self {
        match self {
            Self::Lent(lent) => Self::Own(lent[sent..].into(), 0),
            Self::Own(bytes, before) => Self::Own(bytes, before + sent),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(lent) => lent,
            Self::Own(bytes, sent) => &bytes[*sent..],
        }
    }
}

/// A buffer of the pool that a completion has named.
pub struct Lent {
    pool: Rc<Pool>,
    buffer: u16,
    len: usize,
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        assert!(self.len <= BUFFER);
        // SAFETY: inside the mapping, and the kernel does not write to a buffer that is lent.
        unsafe { slice::from_raw_parts(self.pool.address(self.buffer), self.len) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give(self.buffer);
    }
}
