//! The registers in which a system call has its number and its result, and those that lead through the stack.
//!
//! Invariant: only the first two are written.

#[cfg(target_arch = "aarch64")]
pub use arm::{of_the_stack, set_number, set_result};
#[cfg(target_arch = "x86_64")]
pub use x86::{of_the_stack, set_number, set_result};

/// The registers from which a stack is unwound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackRegisters {
    /// The next instruction.
    pub pc: u64,
    /// The stack.
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// Where a leaf function returns to; 0 on processors that keep this on the stack.
    pub lr: u64,
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::io::Result;
    use std::mem::{offset_of, zeroed};

    use super::StackRegisters;

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

    pub fn of_the_stack(tid: i32) -> Result<StackRegisters> {
        // SAFETY: the struct is made of integers, so all zeros are a value of it.
        let mut regs: libc::user_regs_struct = unsafe { zeroed() };
        super::super::request(libc::PTRACE_GETREGS as _, tid, 0, &raw mut regs as usize)?;
        Ok(StackRegisters { pc: regs.rip, sp: regs.rsp, fp: regs.rbp, lr: 0 })
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::io::Result;

    use super::StackRegisters;

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

    /// `struct user_pt_regs`: x0 to x30, the stack, the next instruction, the flags.
    pub fn of_the_stack(tid: i32) -> Result<StackRegisters> {
        let mut registers = [0u64; 34];
        regset(libc::PTRACE_GETREGSET as _, tid, NT_PRSTATUS, &mut registers)?;
        Ok(StackRegisters { pc: registers[32], sp: registers[31], fp: registers[29], lr: registers[30] })
    }
}
