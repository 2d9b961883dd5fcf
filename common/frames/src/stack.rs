//! The return addresses of a stopped thread.
//!
//! Invariant: a stack is followed for so far at most, because a broken one can lead round in a circle.

use std::rc::Rc;

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{CacheAarch64 as Cache, PtrAuthMask, UnwindRegsAarch64, UnwinderAarch64 as Native};
#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64, UnwinderX86_64 as Native};
use framehop::{Module, Unwinder};

/// The deepest stack of a server here has twenty.
const DEEPEST: usize = 128;

/// What unwinding needs of a thread's registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// The next instruction.
    pub pc: u64,
    /// The stack.
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// Where a leaf function returns to, on processors that keep this in a register; otherwise 0.
    pub lr: u64,
}

pub struct Stack {
    unwinder: Native<Rc<[u8]>>,
    cache: Cache,
}

impl Stack {
    pub fn new() -> Self {
        Self { unwinder: Native::new(), cache: Cache::new() }
    }

    pub fn add(&mut self, module: Module<Rc<[u8]>>) {
        self.unwinder.add_module(module);
    }

    /// An address in each call that is not finished, the innermost first. `word` reads the thread's memory.
    pub fn addresses(&mut self, registers: Registers, word: &mut dyn FnMut(u64) -> Option<u64>) -> Vec<u64> {
        let mut read = |at: u64| word(at).ok_or(());
        let start = self.start(registers);
        let mut frames = self.unwinder.iter_frames(registers.pc, start, &mut self.cache, &mut read);
        let mut found = Vec::new();
        while found.len() < DEEPEST
            && let Ok(Some(frame)) = frames.next()
        {
            found.push(frame.address_for_lookup());
        }
        // The thread stands behind the instruction that makes the call, which may be the last one of its line.
        if let Some(innermost) = found.first_mut() {
            *innermost = innermost.saturating_sub(1);
        }
        found
    }

    #[cfg(target_arch = "x86_64")]
    fn start(&self, registers: Registers) -> UnwindRegsX86_64 {
        UnwindRegsX86_64::new(registers.pc, registers.sp, registers.fp)
    }

    /// Libraries may sign their return addresses: the signature stands in the bits that no address uses.
    #[cfg(target_arch = "aarch64")]
    fn start(&self, registers: Registers) -> UnwindRegsAarch64 {
        let mask = PtrAuthMask::from_max_known_address(self.unwinder.max_known_code_address());
        UnwindRegsAarch64::new_with_ptr_auth_mask(mask, registers.lr, registers.sp, registers.fp)
    }
}
