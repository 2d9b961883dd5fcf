//! From a stopped thread of another process to functions and lines of source.
//!
//! The registers and the stack give the return addresses (framehop), and the program's debug information gives the
//! function, the file and the line of each, inlined functions included (addr2line).
//!
//! Invariant: looking changes nothing in the other process. What cannot be found is left out, and never guessed: a
//! program without debug information has no frames, and [`Locator::nothing`] says why. No path of the machine comes out
//! of here: a file is named from the root of its workspace, or by its name alone.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod files;
mod image;
mod locator;
mod maps;
mod names;
mod stack;

pub use files::Source;
pub use locator::{Frame, Located, Locator};
pub use stack::Registers;
