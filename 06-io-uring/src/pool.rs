//! Receive buffers that belong to no connection: a "provided buffer ring".
//!
//! Invariant: a buffer is the kernel's from `give` until a completion names it, and ours from there until the next
//! `give`, which `take` makes before it returns. So no connection ever holds one, however long its client does not read.

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The size of one buffer: the most that one receive brings, and so the most that is ever owed to one connection.
pub const BUFFER: usize = 32 * 1024;

/// How many receives can land before the completion queue is emptied. The kernel goes round the ring, so all of it gets
/// used, and 1 MiB in all is what the server's memory grows by however few clients it has.
const BUFFERS: u16 = 32;

/// The group number by which a receive names this pool.
pub(crate) const GROUP: u16 = 0;

const BUFFERS_LEN: usize = BUFFERS as usize * BUFFER;
const LEN: usize = BUFFERS_LEN + BUFFERS as usize * size_of::<BufRingEntry>();

/// One mapping: the buffers, and behind them the ring of entries in which we offer them.
pub(crate) struct Pool {
    base: NonNull<u8>,
    /// Counts the entries ever written; the kernel counts those it has used.
    tail: u16,
}

impl Pool {
    pub(crate) fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut pool = Self { base: NonNull::new(base.cast()).expect("mmap gives no null"), tail: 0 };
        // SAFETY: the entries lie in the mapping, on a page border, and are mapped until `Pool` is dropped.
        unsafe { submitter.register_buf_ring_with_flags(pool.entries() as u64, BUFFERS, GROUP, 0)? };
        for buffer in 0..BUFFERS {
            pool.give(buffer);
        }
        Ok(pool)
    }

    fn entries(&self) -> *mut BufRingEntry {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(BUFFERS_LEN) }.cast().as_ptr()
    }

    fn buffer(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < BUFFERS);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(buffer as usize * BUFFER) }.as_ptr()
    }

    /// A copy of what the kernel received into a buffer, which it gets back.
    pub(crate) fn take(&mut self, buffer: u16, len: usize) -> Box<[u8]> {
        assert!(len <= BUFFER);
        // SAFETY: inside the mapping; a completion has named this buffer, so the kernel does not touch it.
        let bytes = unsafe { slice::from_raw_parts(self.buffer(buffer), len) }.into();
        self.give(buffer);
        bytes
    }

    fn give(&mut self, buffer: u16) {
        let address = self.buffer(buffer) as u64;
        // SAFETY: as many entries as buffers, so the kernel has used the one that is overwritten here. It reads the
        // entry after it has seen the new tail, which lies in an unused field of the first entry.
        unsafe {
            let entry = self.entries().add((self.tail % BUFFERS) as usize);
            (*entry).set_addr(address);
            (*entry).set_len(BUFFER as u32);
            (*entry).set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries()).cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: `Flight` drops its pool only when no receive is in flight.
        unsafe { libc::munmap(self.base.as_ptr().cast(), LEN) };
    }
}
