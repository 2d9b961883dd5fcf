//! The connections of a loop, found by their file descriptor.
//!
//! Invariant: an entry lives exactly as long as its descriptor is open, so that the next owner of a number the kernel
//! gives out again finds an empty place.

use std::os::fd::RawFd;

/// A table indexed by descriptor. The kernel gives out the lowest free number, so the table stays as dense as the
/// process's own descriptor table, and a lookup is one index.
#[derive(Debug)]
pub struct Connections<T>(Vec<Option<T>>);

impl<T> Default for Connections<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Connections<T> {
    /// Enters the connection that owns `fd`.
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

    /// Takes the connection out; dropping it closes the descriptor.
    pub fn remove(&mut self, fd: RawFd) -> Option<T> {
        self.0.get_mut(fd as usize)?.take()
    }
}
