//! ptrace(2) and waitpid(2), as far as they are needed.
//!
//! Invariant: one thread traces a server, and makes every call here: the kernel takes no other thread's. Waiting is for
//! children of this thread only, so that other threads of the program keep theirs.

use std::io::{Error, Result};
use std::time::{Duration, Instant};

mod allowed;
mod calls;
mod follow;
mod operations;
mod registers;
#[cfg(target_arch = "x86_64")]
mod steps;

pub use allowed::possible;
pub use follow::Follower;
pub use operations::CompletionQueue;
pub use registers::StackRegisters;
#[cfg(target_arch = "x86_64")]
pub use steps::{Breakpoint, program_counter, step};

/// What stopped a thread of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The entry or the exit of a system call.
    Syscall,
    /// A ptrace event, and its message; of PTRACE_EVENT_STOP, the signal.
    Event(i32, i32),
    /// A signal is about to be delivered.
    Signal(i32),
    /// It has ended.
    Exited(i32),
    /// A signal has ended it.
    Killed(i32),
}

const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const GETSIGMASK: libc::c_uint = 0x420a;
const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC;

/// `struct ptrace_syscall_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    ip: u64,
    sp: u64,
    data: [u64; 8],
}

/// Where a thread stands that a system call has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the entry: the number and the arguments.
    Entry(i64, [u64; 6]),
    /// At the exit: the result, or minus the error's number.
    Exit(i64),
    /// Neither.
    Elsewhere,
}

fn request(request: libc::c_uint, tid: i32, at: usize, data: usize) -> Result<i64> {
    // SAFETY: each caller gives as `data` what its request takes: a number, or the address of a variable of `at` bytes.
    let result = unsafe { libc::ptrace(request as _, tid, at, data) };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// For the child, between fork and exec.
///
/// # Errors
/// If this system denies it.
pub fn trace_me() -> Result<()> {
    request(libc::PTRACE_TRACEME as _, 0, 0, 0).map(drop)
}

/// From here on the kernel kills the server when this thread ends, and reports its threads and children.
///
/// # Errors
/// As every request here: if the thread is not stopped, or is not traced by this one.
pub fn set_options(tid: i32) -> Result<()> {
    request(libc::PTRACE_SETOPTIONS as _, tid, 0, OPTIONS as usize).map(drop)
}

/// Traces a process that runs already (its first thread), and stops it. It goes on when it is let go, or when this
/// thread ends.
///
/// # Errors
/// If this system denies it, or the process does not stop.
pub fn seize(pid: i32, deadline: Duration) -> Result<()> {
    request(libc::PTRACE_SEIZE as _, pid, 0, libc::PTRACE_O_TRACESYSGOOD as usize)?;
    stop(pid, deadline)
}

/// Stops a traced thread that runs, or sleeps in a call.
///
/// # Errors
/// If it is not traced by this thread, or does not stop.
pub fn stop(tid: i32, deadline: Duration) -> Result<()> {
    request(libc::PTRACE_INTERRUPT as _, tid, 0, 0)?;
    wait_for(tid, deadline).map(drop)
}

/// Traces a child from now on, and with it all that it starts; it is stopped. It is killed when this thread ends.
///
/// # Errors
/// If this system denies it, or the process does not stop.
fn seize_family(pid: i32, deadline: Duration) -> Result<()> {
    request(libc::PTRACE_SEIZE as _, pid, 0, OPTIONS as usize)?;
    request(libc::PTRACE_INTERRUPT as _, pid, 0, 0)?;
    wait_for(pid, deadline).map(drop)
}

/// Leaves a stopped thread stopped, as its signal wants it, until it is told to continue.
fn listen(tid: i32) -> Result<()> {
    request(libc::PTRACE_LISTEN as _, tid, 0, 0).map(drop)
}

/// Lets a stopped thread go, with a signal if that is not 0. It is not traced any more.
///
/// # Errors
/// If it is not stopped.
pub fn let_go(tid: i32, signal: i32) -> Result<()> {
    request(libc::PTRACE_DETACH as _, tid, 0, signal as usize).map(drop)
}

/// Lets a thread go on to its next system call, entry or exit, with a signal if that is not 0.
///
/// # Errors
/// If it is not stopped; ESRCH if it was killed meanwhile.
pub fn resume(tid: i32, signal: i32) -> Result<()> {
    request(libc::PTRACE_SYSCALL as _, tid, 0, signal as usize).map(drop)
}

/// Where the thread stands.
///
/// # Errors
/// If it is not stopped.
pub fn place(tid: i32) -> Result<Place> {
    let mut info = Info::default();
    request(GET_SYSCALL_INFO, tid, size_of::<Info>(), &raw mut info as usize)?;
    let d = &info.data;
    Ok(match info.op {
        1 => Place::Entry(d[0] as i64, [d[1], d[2], d[3], d[4], d[5], d[6]]),
        2 => Place::Exit(d[0] as i64),
        _ => Place::Elsewhere,
    })
}

/// From where the stack of a thread can be unwound.
///
/// # Errors
/// If it is not stopped.
pub fn stack_registers(tid: i32) -> Result<StackRegisters> {
    registers::of_the_stack(tid)
}

/// The signals that the thread has blocked, a bit each.
///
/// # Errors
/// If it is not stopped.
pub fn blocked_signals(tid: i32) -> Result<u64> {
    let mut mask = 0u64;
    request(GETSIGMASK, tid, size_of::<u64>(), &raw mut mask as usize)?;
    Ok(mask)
}

fn message(tid: i32) -> i32 {
    let mut message: libc::c_ulong = 0;
    match request(libc::PTRACE_GETEVENTMSG as _, tid, 0, &raw mut message as usize) {
        Ok(_) => message as i32,
        Err(_) => 0,
    }
}

/// The next stop of any thread of any server of this thread; `None` if there is none yet (`hang` off).
///
/// # Errors
/// ECHILD if this thread has no server left.
pub fn wait(hang: bool) -> Result<Option<(i32, Stop)>> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD | if hang { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` is an int that outlives the call, which writes no more than that.
        match unsafe { libc::waitpid(-1, &mut status, flags) } {
            0 => return Ok(None),
            -1 if Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
            -1 => return Err(Error::last_os_error()),
            tid => return Ok(Some((tid, decode(tid, status)))),
        }
    }
}

/// The next stop of one thread.
///
/// # Errors
/// If it does not stop before the deadline, or is not traced by this thread.
pub fn wait_for(tid: i32, deadline: Duration) -> Result<Stop> {
    /// Most stops come at once, and a sleep would take longer.
    const LOOKS: u32 = 200;
    let end = Instant::now() + deadline;
    let mut looks = 0;
    loop {
        match look_for(tid)? {
            Some(stop) => return Ok(stop),
            None if looks < LOOKS => {
                looks += 1;
                std::thread::yield_now();
            }
            None if Instant::now() > end => return Err(Error::other("a traced process did not stop")),
            None => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

/// The next stop of one thread, if it has come.
///
/// # Errors
/// If it is not traced by this thread.
pub fn look_for(tid: i32) -> Result<Option<Stop>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is an int that outlives the call, which writes no more than that.
        match unsafe { libc::waitpid(tid, &mut status, libc::__WALL | libc::WNOHANG) } {
            0 => return Ok(None),
            -1 if Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
            -1 => return Err(Error::last_os_error()),
            tid => return Ok(Some(decode(tid, status))),
        }
    }
}

fn decode(tid: i32, status: i32) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed(libc::WTERMSIG(status));
    }
    match (libc::WSTOPSIG(status), status >> 16) {
        (signal, 0) if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        (signal, 0) => Stop::Signal(signal),
        // Which signal has stopped the whole process; SIGTRAP if none has.
        (signal, libc::PTRACE_EVENT_STOP) => Stop::Event(libc::PTRACE_EVENT_STOP, signal),
        (_, event) => Stop::Event(event, message(tid)),
    }
}

/// At the entry of a call: it is not made. At its exit, `give` says what came of it.
///
/// # Errors
/// If the thread is not stopped.
pub fn skip(tid: i32) -> Result<()> {
    registers::set_number(tid, -1)
}

/// For the kernel: make this call anew once the signal's handler has run (include/linux/errno.h). No program ever sees
/// it.
pub const MAKE_IT_ANEW: i64 = -513;

/// At the exit of a call: its result, and the number that it is made anew with, if it is.
///
/// # Errors
/// If the thread is not stopped.
pub fn give(tid: i32, number: i64, result: i64) -> Result<()> {
    registers::set_number(tid, number)?;
    registers::set_result(tid, result)
}
