//! Pending bytes: read from a client, and not yet sent back.
//!
//! Invariant: a connection has at most `MAX_PENDING` pending bytes, and takes memory for them only while it has some.
//! [`return_freed_memory`] makes this true for the process too, and not only for its allocator.

use std::collections::VecDeque;

/// The size in bytes of an event loop's read buffer.
pub const READ_BUFFER: usize = 64 * 1024;

/// The most pending bytes of one connection. Near this limit the server stops reading from it (back-pressure).
pub const MAX_PENDING: usize = 256 * 1024;

/// Makes glibc return freed output to the system at once. Other C libraries do not need this.
///
/// By default glibc raises its threshold for mapped memory to the largest block that was freed. Later blocks come from
/// its heap, and the heap shrinks only at its end: after 100 stuck clients a server kept up to 22 MB of their 26 MB.
/// This is a bound and not a leak, but a growth could hide in it. A threshold that the program sets is not raised.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes two integers; it is called before the server starts a thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, READ_BUFFER as libc::c_int);
    }
}

/// The pending bytes of one connection, in order. Takes 32 bytes when it is empty.
#[derive(Debug, Default)]
pub struct Pending(VecDeque<u8>);

impl Pending {
    /// Empty, without an allocation.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Whether no byte is pending.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of pending bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a whole read still fits. If room for one byte were enough, a slow client would cause many tiny reads.
    pub fn has_room(&self) -> bool {
        self.len() + READ_BUFFER <= MAX_PENDING
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.len() + bytes.len() <= MAX_PENDING, "read without has_room()");
        self.0.extend(bytes);
    }

    /// The next bytes to send. Empty only if no byte is pending.
    pub fn front(&self) -> &[u8] {
        self.0.as_slices().0
    }

    /// Removes `sent` bytes from the front. With the last byte it also frees the memory.
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
    fn bytes_keep_their_order_for_any_sizes_of_reads_and_writes() {
        let mut pending = Pending::new();
        let (mut pushed, mut taken) = (0u32, 0u32);
        // Steps without a common factor make the ring buffer wrap around at every offset.
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
