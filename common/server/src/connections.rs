//! The connections of an event loop, indexed by file descriptor.
//!
//! Invariant: an entry exists exactly as long as its descriptor is open. So when the kernel reuses a number, the entry
//! of the earlier owner is gone.

use std::os::fd::RawFd;

/// A table indexed by file descriptor. The kernel gives out the lowest free number, so the table is as dense as the
/// process's descriptor table. A lookup is one index.
#[derive(Debug)]
pub struct Connections<T>(Vec<Option<T>>);

impl<T> Default for Connections<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Connections<T> {
    /// Adds the connection that owns `fd`.
    pub fn insert(&mut self, fd: RawFd, connection: T) {
        let place = fd as usize;
        if place >= self.0.len() {
            self.0.resize_with(place + 1, || None);
        }
        debug_assert!(self.0[place].is_none(), "fd {fd} is in the table twice");
        self.0[place] = Some(connection);
    }

    /// The connection that owns `fd`, if there is one.
    pub fn get_mut(&mut self, fd: RawFd) -> Option<&mut T> {
        self.0.get_mut(fd as usize)?.as_mut()
    }

    /// Removes the connection. Dropping it closes the descriptor.
    pub fn remove(&mut self, fd: RawFd) -> Option<T> {
        self.0.get_mut(fd as usize)?.take()
    }
}
