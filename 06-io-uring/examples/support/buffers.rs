//! A provided buffer ring that is used up from front to back: small messages lie side by side in one buffer (Linux 6.12;
//! on older kernels each message takes a whole buffer).
//!
//! Invariant: a buffer goes back to the kernel when the kernel has done with it and nobody holds bytes of it. The memory is
//! never freed, so an operation that outlives the server's loop writes to nothing else.

use std::slice;

use anyhow::{Context, Result};
use io_uring::Submitter;
use uring::buffer_ring::BufferRing;
use uring::queues::Completion;

const PAGE: usize = 4096;
/// The memory of all buffers: the most that one turn can bring, of however many connections.
const MEMORY: usize = 64 * PAGE;
/// The number of buffers where they are used up bit by bit, and where a message takes a whole one.
const FEW: u16 = 64;
const MANY: u16 = 128;
/// The number by which a receive names this ring.
pub const GROUP: u16 = 0;
/// IOU_PBUF_RING_INC
const INCREMENTAL: u16 = 2;

#[repr(align(4096))]
#[derive(Clone)]
struct Page {
    _bytes: [u8; PAGE],
}

/// The buffers, and how far each is used.
pub struct Buffers {
    memory: *mut u8,
    count: u16,
    ring: BufferRing,
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
    len: usize,
}

impl Buffers {
    /// All buffers are the kernel's.
    pub fn new(submitter: &Submitter<'_>) -> Result<Self> {
        // A kernel that does not know the flag says EINVAL.
        let (count, ring) = match BufferRing::register(submitter, GROUP, FEW, INCREMENTAL) {
            Ok(ring) => (FEW, ring),
            Err(_) => {
                let ring = BufferRing::register(submitter, GROUP, MANY, 0);
                (MANY, ring.context("io_uring: register a buffer ring (Linux 5.19 can)")?)
            }
        };
        let memory = vec![Page { _bytes: [0; PAGE] }; MEMORY / PAGE].leak().as_mut_ptr().cast();
        let mut buffers = Self { memory, count, ring, state: [State::default(); MANY as usize] };
        (0..count).for_each(|buffer| buffers.give(buffer));
        Ok(buffers)
    }

    /// The memory of all buffers, to be registered.
    #[allow(dead_code)] // `fixed` registers it, `multishot` does not.
    pub fn all(&self) -> libc::iovec {
        libc::iovec { iov_base: self.memory.cast(), iov_len: MEMORY }
    }

    fn size(&self) -> usize {
        MEMORY / usize::from(self.count)
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(buffer) * self.size())
    }

    fn give(&mut self, buffer: u16) {
        self.state[usize::from(buffer)] = State::default();
        // SAFETY: the memory is leaked. Nobody holds bytes of this buffer: it is new, or its last bytes were released. Each
        // buffer is given once until the kernel has finished with it, so at most `count` are given.
        unsafe { self.ring.give(buffer, self.address(buffer), self.size()) }
    }

    /// What a receive has left in the buffer that its completion names.
    pub fn received(&mut self, done: &Completion) -> Option<Held> {
        let (buffer, len) = (done.buffer()?, *done.result.as_ref().unwrap_or(&0));
        let state = &mut self.state[usize::from(buffer)];
        let held = Held { buffer, at: state.used, len };
        state.used += len;
        state.held += 1;
        state.finished = !io_uring::cqueue::buffer_more(done.flags);
        Some(held)
    }

    /// The bytes that are held.
    pub fn bytes(&self, held: &Held) -> &[u8] {
        assert!(held.at + held.len <= self.size());
        // SAFETY: inside the buffer, by the assertion. The kernel writes only behind what is used, and the buffer is not
        // given again while bytes of it are held.
        unsafe { slice::from_raw_parts(self.address(held.buffer).wrapping_add(held.at), held.len) }
    }

    /// Nobody needs these bytes any more.
    pub fn release(&mut self, held: Held) {
        let state = &mut self.state[usize::from(held.buffer)];
        state.held -= 1;
        if state.held == 0 && state.finished {
            self.give(held.buffer);
        }
    }
}
