//! The bytes a server has read and not yet been able to send back.
//!
//! Invariant: at most `MAX_PENDING` bytes are owed to one connection, and memory is held only while bytes are owed.
//! [`return_freed_memory`] makes that true of the process too, and not only of its allocator.

use std::collections::VecDeque;

/// Size in bytes of the one read buffer of a loop.
pub const READ_BUFFER: usize = 64 * 1024;

/// The most bytes a server owes one connection; past it, it stops reading that connection (back-pressure).
pub const MAX_PENDING: usize = 256 * 1024;

/// Has freed output returned to the system at once, where the C library is glibc.
///
/// By itself, glibc raises its threshold for mapped memory to the largest block that was freed. Later blocks come from the
/// heap, which shrinks only at its end: after 100 clients that never read, a server kept up to 22 MB of their 26 MB. That
/// is a bound and no leak, but a growth could hide in it. A threshold that the program sets stays.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes two integers; it is called before the server starts a thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, READ_BUFFER as libc::c_int);
    }
}

/// Output owed to one connection, in order. 32 bytes while nothing is owed.
#[derive(Debug, Default)]
pub struct Pending(VecDeque<u8>);

impl Pending {
    /// Nothing owed, nothing allocated.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// No byte is owed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes owed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a whole read still fits. Asking for a whole one, and not for one byte, keeps a slow client from causing
    /// one tiny read for each little room it makes.
    pub fn has_room(&self) -> bool {
        self.len() + READ_BUFFER <= MAX_PENDING
    }

    /// Adds bytes behind those already owed.
    pub fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.len() + bytes.len() <= MAX_PENDING, "read without has_room()");
        self.0.extend(bytes);
    }

    /// The next bytes to send; empty only when nothing is owed.
    pub fn front(&self) -> &[u8] {
        self.0.as_slices().0
    }

    /// Drops `sent` bytes from the front, and the memory with the last of them.
    pub fn consume(&mut self, sent: usize) {
        if sent == self.0.len() {
            self.0 = VecDeque::new();
        } else {
            self.0.drain(..sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came_whatever_the_steps() {
        let mut pending = Pending::new();
        let (mut pushed, mut taken) = (0u32, 0u32);
        // Steps that share no factor walk the ring buffer's seam through every offset.
        for round in 0..2000u32 {
            let bytes: Vec<u8> = (0..round % 97).map(|i| ((pushed + i) % 251) as u8).collect();
            pending.push(&bytes);
            pushed += bytes.len() as u32;
            let front = pending.front();
            let sent = front.len().min(41);
            for &byte in &front[..sent] {
                assert_eq!(byte, (taken % 251) as u8);
                taken += 1;
            }
            pending.consume(sent);
            assert_eq!(pending.len() as u32, pushed - taken);
        }
    }

    #[test]
    fn memory_goes_with_the_last_byte() {
        let mut pending = Pending::new();
        pending.push(&[7; READ_BUFFER]);
        pending.consume(READ_BUFFER - 1);
        assert_eq!(pending.front(), [7]);
        pending.consume(1);
        assert!(pending.is_empty());
        assert_eq!(pending.0.capacity(), 0);
    }

    #[test]
    fn reading_stops_before_the_bound_and_not_at_it() {
        let mut pending = Pending::new();
        while pending.has_room() {
            pending.push(&[0; READ_BUFFER]);
        }
        assert_eq!(pending.len(), MAX_PENDING);
    }
}
