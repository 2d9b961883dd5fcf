//! A descriptor that the stand-in has made.
//!
//! Invariant: the stand-in never closes a descriptor of the program's. The program may close any number
//! (closefrom(3) does), and its own next file gets that number. So a descriptor bears two marks. One is in the kernel, on
//! the open file. The other is in `State::made`, and tells the descriptors of the stand-in apart.

use std::fs::File;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::calls::*;
use super::process::state;

/// Closed when it is dropped, if it is still the stand-in's.
pub struct Made {
    file: ManuallyDrop<File>,
    number: u32,
}

impl Made {
    pub fn new(file: File) -> Result<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(1);
        set_mark(file.as_raw_fd(), MADE)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let place = file.as_raw_fd() as usize;
        let mut made = state().made.lock().unwrap();
        if made.len() <= place {
            made.resize(place + 1, 0);
        }
        // Whatever else was said to be here has been closed, or the kernel would not have given the number away.
        made[place] = number;
        Ok(Self { file: ManuallyDrop::new(file), number })
    }

    pub fn is_ours(&self) -> bool {
        let place = self.as_raw_fd() as usize;
        state().made.lock().unwrap().get(place) == Some(&self.number) && mark(self.as_raw_fd()) == Some(MADE)
    }

    /// Reads the counter of a timerfd or an eventfd, and so resets it. None: it was 0.
    pub fn read_counter(&self) -> Option<u64> {
        let mut counter = [0; 8];
        // Both descriptors give all eight bytes, or EAGAIN.
        (&**self).read_exact(&mut counter).ok()?;
        Some(u64::from_ne_bytes(counter))
    }
}

/// Whether the stand-in has made what now has this number.
pub fn is_made(fd: RawFd) -> bool {
    let is_known = state().made.lock().unwrap().get(fd as usize).is_some_and(|number| *number != 0);
    is_known && mark(fd) == Some(MADE)
}

impl Deref for Made {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_ours() {
            state().made.lock().unwrap()[self.as_raw_fd() as usize] = 0;
            // SAFETY: it is dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}
