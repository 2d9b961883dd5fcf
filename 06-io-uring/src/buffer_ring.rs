//! The ring of entries through which a program gives buffers to the kernel ("provided buffers", Linux 5.19).
//!
//! Invariant: the kernel reads an entry only after it has seen the tail that counts the entry, and the entry is complete by
//! then. The entries are never freed, so it does not matter when the kernel looks at them for the last time.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The most entries that fit on one page, which is where the kernel wants them to begin.
const MOST: usize = 256;

#[repr(C, align(4096))]
struct Page([[u8; size_of::<BufRingEntry>()]; MOST]);

/// The entries of one buffer group.
pub struct BufferRing {
    entries: *mut BufRingEntry,
    count: u16,
    /// Counts the entries that were ever written; the kernel counts those it has used.
    tail: Cell<u16>,
}

impl BufferRing {
    /// Registers `count` entries, a power of two up to 256, under the number `group`. No buffer is given yet.
    pub fn register(submitter: &Submitter<'_>, group: u16, count: u16, flags: u16) -> io::Result<Self> {
        assert!(count.is_power_of_two() && usize::from(count) <= MOST, "{count} entries");
        let mut page = Box::new(Page([[0; size_of::<BufRingEntry>()]; MOST]));
        let entries: *mut BufRingEntry = page.0.as_mut_ptr().cast();
        // SAFETY: the page has room for `count` entries and starts on a page border. It is leaked as soon as the kernel
        // knows of it.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, count, group, flags)? };
        Box::leak(page);
        Ok(Self { entries, count, tail: Cell::new(0) })
    }

    /// Gives a buffer to the kernel, which takes it when there is something to receive.
    ///
    /// # Safety
    /// The kernel may write to the `len` bytes at `address` until a completion names `buffer` (and, with IOU_PBUF_RING_INC,
    /// says that it is the last). No more than `count` buffers are the kernel's at a time.
    pub unsafe fn give(&self, buffer: u16, address: *mut u8, len: usize) {
        let tail = self.tail.get();
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: there are `count` entries, so this is one of them, and at most `count - 1` others are in use: the kernel
        // does not read this one before it sees the new tail. The tail is a field of the first entry that has no other use.
        unsafe {
            let entry = self.entries.add(usize::from(tail % self.count));
            (*entry).set_addr(address as u64);
            (*entry).set_len(len as u32);
            (*entry).set_bid(buffer);
            let shared_tail = AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut());
            shared_tail.store(self.tail.get(), Ordering::Release);
        }
    }
}
