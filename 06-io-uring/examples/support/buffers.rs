//! A provided buffer ring that is used up from front to back: small messages lie side by side in one buffer (Linux 6.12;
//! before, each takes a whole one).
//!
//! Invariant: a buffer goes back to the kernel when the kernel has done with it and nobody holds bytes of it. The memory is
//! never freed, so an operation that outlives the server's loop writes to nothing else.

#![allow(dead_code, clippy::len_without_is_empty)] // Each example uses its part.

use std::io;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};

/// All of them: the most that one turn can bring, of however many connections.
const MEMORY: usize = 256 * 1024;
/// Their number where they are used up bit by bit, and where a message takes a whole one.
const FEW: u16 = 64;
const MANY: u16 = 128;
/// The number by which a receive names this ring.
pub const GROUP: u16 = 0;
/// IOU_PBUF_RING_INC
const INCREMENTAL: u16 = 2;

/// The buffers, and how far each is used.
pub struct Buffers {
    memory: *mut u8,
    count: u16,
    entries: *mut BufRingEntry,
    tail: u16,
    state: [State; MANY as usize],
}

#[derive(Clone, Copy, Default)]
struct State {
    used: usize,
    held: usize,
    finished: bool,
}

/// Received bytes that are still in their buffer.
pub struct Held {
    buffer: u16,
    at: usize,
    /// How many.
    pub len: usize,
}

impl Buffers {
    /// All are the kernel's.
    pub fn new(submitter: &Submitter<'_>) -> Result<Self> {
        let entries_len = MANY as usize * size_of::<BufRingEntry>();
        let len = entries_len + MEMORY;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("buffers");
        }
        // SAFETY: the entries start on a page border and are never unmapped.
        let register = |count, flags| unsafe {
            submitter.register_buf_ring_with_flags(base as u64, count, GROUP, flags).map(|()| count)
        };
        // A kernel that does not know the flag says EINVAL.
        let count = register(FEW, INCREMENTAL).or_else(|_| register(MANY, 0));
        let count = count.context("io_uring: register a buffer ring (Linux 5.19 can)")?;
        // SAFETY: inside the mapping.
        let memory = unsafe { base.cast::<u8>().add(entries_len) };
        let (entries, state) = (base.cast(), [State::default(); MANY as usize]);
        let mut buffers = Self { memory, count, entries, tail: 0, state };
        (0..count).for_each(|buffer| buffers.give(buffer));
        Ok(buffers)
    }

    /// Where they lie, side by side.
    pub fn memory(&self) -> *mut u8 {
        self.memory
    }

    /// How many bytes all of them have.
    pub fn len(&self) -> usize {
        MEMORY
    }

    fn size(&self) -> usize {
        MEMORY / self.count as usize
    }

    fn give(&mut self, buffer: u16) {
        self.state[buffer as usize] = State::default();
        let tail = self.tail;
        self.tail = tail.wrapping_add(1);
        // SAFETY: there are as many entries as buffers, so one is free; the tail lies in the first one's unused field.
        unsafe {
            let entry = self.entries.add((tail % self.count) as usize);
            (*entry).set_addr(self.memory.add(buffer as usize * self.size()) as u64);
            (*entry).set_len(self.size() as u32);
            (*entry).set_bid(buffer);
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()).store(self.tail, Ordering::Release);
        }
    }

    /// What a receive has left in the buffer that its completion names.
    pub fn received(&mut self, flags: u32, len: usize) -> Option<Held> {
        let buffer = cqueue::buffer_select(flags)?;
        let state = &mut self.state[buffer as usize];
        let held = Held { buffer, at: state.used, len };
        state.used += len;
        state.held += 1;
        state.finished = !cqueue::buffer_more(flags);
        Some(held)
    }

    /// The bytes.
    pub fn bytes(&self, held: &Held) -> &[u8] {
        assert!(held.at + held.len <= self.size());
        // SAFETY: inside the mapping, and the kernel writes only behind what is used.
        unsafe { slice::from_raw_parts(self.memory.add(held.buffer as usize * self.size() + held.at), held.len) }
    }

    /// Nobody needs them any more.
    pub fn release(&mut self, held: Held) {
        let state = &mut self.state[held.buffer as usize];
        state.held -= 1;
        if state.held == 0 && state.finished {
            self.give(held.buffer);
        }
    }
}
