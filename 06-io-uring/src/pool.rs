//! Receive buffers that no connection owns while it waits: the kernel picks one when there is something to receive.
//!
//! Invariant: a buffer is the kernel's, or it is a `Lent`. A completion that names a buffer makes it a `Lent`; dropping
//! the `Lent`, wherever that happens, gives the buffer back to the kernel. So no buffer is used twice, and none is lost.

use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;

use io_uring::Submitter;

use crate::buffer_ring::BufferRing;

/// The size of a buffer: the most that one receive brings, and so the most that is ever owed to one connection.
pub const BUFFER: usize = 24 * 1024;

/// Up to here, a copy costs less than to do without the buffer.
const SMALL: usize = 1024;

/// As many as the submission queue has entries, so that the receives of one turn seldom find none. The kernel goes round
/// the ring and so touches all of them: this number and their size are the memory that they cost.
const BUFFERS: u16 = 64;

/// The number by which a receive names this pool.
pub(crate) const GROUP: u16 = 0;

const LEN: usize = BUFFERS as usize * BUFFER;

/// The memory of all buffers, one mapping, and the ring through which they are given to the kernel.
pub(crate) struct Pool {
    base: NonNull<u8>,
    ring: BufferRing,
}

impl Pool {
    pub(crate) fn new(submitter: &Submitter<'_>) -> io::Result<Rc<Self>> {
        let ring = BufferRing::register(submitter, GROUP, BUFFERS, 0)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let base = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pool = Self { base: NonNull::new(base.cast()).expect("no mapping is at 0"), ring };
        for buffer in 0..BUFFERS {
            pool.give(buffer);
        }
        Ok(Rc::new(pool))
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < BUFFERS);
        self.base.as_ptr().wrapping_add(usize::from(buffer) * BUFFER)
    }

    fn give(&self, buffer: u16) {
        // SAFETY: the bytes are mapped while anything is in flight (`Drop`). No `Lent` refers to them: this is called once
        // for a new buffer, and then each time that its `Lent` is dropped. So at most `BUFFERS` are given.
        unsafe { self.ring.give(buffer, self.address(buffer), BUFFER) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the mapping is this pool's. The last owner is `Flight`, when nothing is in flight any more, or a `Lent`
        // that has outlived `Flight`. So neither the kernel nor anybody here uses the memory.
        unsafe { libc::munmap(self.base.as_ptr().cast(), LEN) };
    }
}

/// Received bytes that are not yet sent.
pub enum Bytes {
    /// The bytes are still where they were received.
    Lent(Lent),
    /// The bytes were copied out of the pool; the number of those that are sent.
    Own(Box<[u8]>, usize),
}

impl Bytes {
    /// What a receive has left in `buffer`. A few bytes are copied, so that the buffer goes back at once: when all
    /// connections talk at the same time, there are more of them than buffers.
    pub(crate) fn received(pool: &Rc<Pool>, buffer: u16, len: usize) -> Self {
        let lent = Lent { pool: Rc::clone(pool), buffer, len };
        if len <= SMALL { Self::Own(lent.deref().into(), 0) } else { Self::Lent(lent) }
    }

    /// What is left after `sent` more bytes. A socket that does not take all at once belongs to a slow reader. The slow
    /// reader may take its time, but not with a buffer of the pool.
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
        // SAFETY: `len` bytes of a buffer are inside the mapping, which the pool keeps. A completion has named the buffer, so
        // the kernel does not write to it until this `Lent` is dropped.
        unsafe { slice::from_raw_parts(self.pool.address(self.buffer), self.len) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give(self.buffer);
    }
}
