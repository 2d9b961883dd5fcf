//! The registers in which a system call has its number and its result.
//!
//! Invariant: only those two are written.

#[cfg(target_arch = "aarch64")]
pub use arm::{set_number, set_result};
#[cfg(target_arch = "x86_64")]
pub use x86::{set_number, set_result};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::io::Result;
    use std::mem::offset_of;

    const REGS: usize = offset_of!(libc::user, regs);

    fn poke(tid: i32, at: usize, value: i64) -> Result<()> {
        super::super::request(libc::PTRACE_POKEUSER as _, tid, REGS + at, value as usize).map(drop)
    }

    pub fn set_number(tid: i32, number: i64) -> Result<()> {
        poke(tid, offset_of!(libc::user_regs_struct, orig_rax), number)
    }

    pub fn set_result(tid: i32, result: i64) -> Result<()> {
        poke(tid, offset_of!(libc::user_regs_struct, rax), result)
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::io::Result;

    const NT_PRSTATUS: usize = 1;
    const NT_ARM_SYSTEM_CALL: usize = 0x404;

    fn regset<T>(request: libc::c_uint, tid: i32, set: usize, value: &mut T) -> Result<()> {
        let mut vector = libc::iovec { iov_base: (&raw mut *value).cast(), iov_len: size_of::<T>() };
        super::super::request(request, tid, set, &raw mut vector as usize).map(drop)
    }

    pub fn set_number(tid: i32, number: i64) -> Result<()> {
        // At an entry -1 skips the call; at an exit it is what a restarted call is made with.
        regset(libc::PTRACE_SETREGSET as _, tid, NT_ARM_SYSTEM_CALL, &mut (number as i32))
    }

    pub fn set_result(tid: i32, result: i64) -> Result<()> {
        let mut registers = [0u64; 34];
        regset(libc::PTRACE_GETREGSET as _, tid, NT_PRSTATUS, &mut registers)?;
        registers[0] = result as u64;
        regset(libc::PTRACE_SETREGSET as _, tid, NT_PRSTATUS, &mut registers)
    }
}
