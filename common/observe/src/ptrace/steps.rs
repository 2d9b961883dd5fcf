//! Single instructions of a stopped thread: steps, and a breakpoint.
//!
//! Invariant: a breakpoint is taken out again before anybody else could run into it: the program has one thread.

use std::io::{Error, Result};
use std::mem::offset_of;

use super::request;

/// The instruction int3, of one byte.
const INT3: i64 = 0xcc;
const COUNTER: usize = offset_of!(libc::user, regs) + offset_of!(libc::user_regs_struct, rip);

/// Lets a stopped thread execute one instruction. A system call is one.
///
/// # Errors
/// If the thread is not stopped.
pub fn step(tid: i32) -> Result<()> {
    request(libc::PTRACE_SINGLESTEP as _, tid, 0, 0).map(drop)
}

/// The address of the next instruction.
///
/// # Errors
/// If the thread is not stopped.
pub fn program_counter(tid: i32) -> Result<u64> {
    peek(libc::PTRACE_PEEKUSER, tid, COUNTER)
}

/// An instruction at which the program stops with SIGTRAP.
#[derive(Debug)]
pub struct Breakpoint {
    at: u64,
    word: u64,
}

impl Breakpoint {
    /// Puts it into the program.
    ///
    /// # Errors
    /// If the thread is not stopped, or the address is not mapped.
    pub fn set(tid: i32, at: u64) -> Result<Self> {
        let word = peek(libc::PTRACE_PEEKTEXT, tid, at as usize)?;
        let with_trap = (word & !0xff) | INT3 as u64;
        request(libc::PTRACE_POKETEXT as _, tid, at as usize, with_trap as usize)?;
        Ok(Self { at, word })
    }

    /// Takes it out. A thread that stands behind it goes back to the instruction that was there.
    ///
    /// # Errors
    /// If the thread is not stopped.
    pub fn remove(self, tid: i32) -> Result<()> {
        request(libc::PTRACE_POKETEXT as _, tid, self.at as usize, self.word as usize)?;
        if program_counter(tid)? == self.at + 1 {
            request(libc::PTRACE_POKEUSER as _, tid, COUNTER, self.at as usize)?;
        }
        Ok(())
    }
}

/// The kernel's own call stores the word, where the C library's function returns it.
fn peek(what: libc::c_uint, tid: i32, at: usize) -> Result<u64> {
    let mut word = 0u64;
    // SAFETY: the kernel writes one word to `word`, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_ptrace, libc::c_long::from(what), tid, at, &raw mut word) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(word),
    }
}
