//! EVFILT_SIGNAL. The descriptor that Linux needs for it: an eventfd, which a signal handler writes to.
//!
//! On BSD the filter counts what is sent, and then the signal's action follows, as it would without a knote. Here the
//! stand-in puts a handler before the action. The handler counts, makes all kqueues that watch the signal ready, and
//! then does what the program has asked for.
//!
//! A signal that the program blocks reaches no handler. A signalfd takes it while it is pending.

use std::ffi::{c_int, c_void};
use std::io::Read;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering::SeqCst};

use libc::{siginfo_t, signalfd_siginfo};

use super::super::process::state;
use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_SIGNAL, of_descriptor: false, notes: 0, implied: EV_CLEAR, open };

/// What the handler needs to know of a signal.
struct Heard {
    count: AtomicU64,
    /// An eventfd of this process, or -1.
    bell: AtomicI32,
    /// The action that the program has asked for. Never freed, since a handler may be using it.
    action: AtomicPtr<libc::sigaction>,
}

static HEARD: [Heard; 65] =
    [const { Heard { count: AtomicU64::new(0), bell: AtomicI32::new(-1), action: AtomicPtr::new(ptr::null_mut()) } };
        65];
/// The signals that did nothing but interrupt: on BSD they would not have done that either.
static UNFELT: AtomicU64 = AtomicU64::new(0);

/// The knotes of a signal in this process.
pub struct Listeners {
    knotes: usize,
    bell: Made,
}

enum Signal {
    Heard { signal: c_int, reported: u64, bell: RawFd },
    Pending(Made),
}

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    let signal = c_int::try_from(knote.ident).or(Err(libc::EINVAL))?;
    if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
        return Err(libc::EINVAL);
    }
    let signalfd = signalfd(signal)?;
    if is_blocked(signal) {
        return Ok(Box::new(Signal::Pending(Made::new(signalfd)?)));
    }
    let mut listeners = state().listeners.lock().unwrap();
    // The program may have closed the bell (closefrom(3)), with all kqueues that watched it.
    if !listeners.get(&signal).is_some_and(|all| all.bell.is_ours()) {
        let bell = Made::new(eventfd(0)?)?;
        HEARD[signal as usize].bell.store(bell.as_raw_fd(), SeqCst);
        let knotes = listeners.get(&signal).map_or(0, |all| all.knotes);
        listeners.insert(signal, Listeners { knotes, bell });
    }
    let all = listeners.get_mut(&signal).expect("it was there or has just been made");
    all.knotes += 1;
    let bell = all.bell.as_raw_fd();
    let knote = Signal::Heard { signal, reported: HEARD[signal as usize].count.load(SeqCst), bell };
    drop(listeners);
    // If it fails, dropping the knote undoes the rest.
    listen(signal)?;
    state().waits.store(0, SeqCst);
    Ok(Box::new(knote))
}

/// Puts the handler before the program's action, unless it is there.
fn listen(signal: c_int) -> Result {
    let wanted = action(signal, None)?;
    if wanted.sa_sigaction == handler_address() {
        return Ok(());
    }
    let ignores = wanted.sa_sigaction == libc::SIG_IGN;
    let mut ours = wanted;
    ours.sa_sigaction = handler_address();
    ours.sa_flags = wanted.sa_flags & !libc::SA_RESETHAND | libc::SA_SIGINFO;
    if ignores || wanted.sa_sigaction == libc::SIG_DFL {
        ours.sa_flags |= libc::SA_RESTART;
    }
    if ignores && signal == libc::SIGCHLD {
        // Children of a program that ignores their end leave no zombies.
        ours.sa_flags |= libc::SA_NOCLDWAIT;
    }
    HEARD[signal as usize].action.store(Box::into_raw(Box::new(wanted)), SeqCst);
    action(signal, Some(&ours)).map(drop)
}

/// A program may ask for an action after EV_ADD, in the place of the handler. Usually it does so before its next wait. To
/// look at each wait would cost a system call for each signal, so later ones are only looked at now and then. (By their
/// number and not by the clock, so that the explorer sees the same calls each time.)
pub fn keep_listening() {
    const SELDOM: u32 = 256;
    let listeners = state().listeners.lock().unwrap();
    if !listeners.is_empty() && state().waits.fetch_add(1, SeqCst).is_multiple_of(SELDOM) {
        for signal in listeners.keys() {
            let _ = listen(*signal);
        }
    }
}

/// Gives a signal back to the program's action when its last knote has gone.
fn stop_listening(signal: c_int) {
    let mut listeners = state().listeners.lock().unwrap();
    let Some(all) = listeners.get_mut(&signal) else { return };
    all.knotes -= 1;
    if all.knotes > 0 {
        return;
    }
    let heard = &HEARD[signal as usize];
    heard.bell.store(-1, SeqCst);
    let is_ours = action(signal, None).is_ok_and(|now| now.sa_sigaction == handler_address());
    // SAFETY: null, or an action that is never freed.
    if let (true, Some(wanted)) = (is_ours, unsafe { heard.action.load(SeqCst).as_ref() }) {
        let _ = action(signal, Some(wanted));
    }
    listeners.remove(&signal);
}

/// In a child of fork(2): the bells are its parent's.
pub fn silence() {
    HEARD.iter().for_each(|heard| heard.bell.store(-1, SeqCst));
}

/// Counts the signals that the program must not feel.
pub fn unfelt() -> u64 {
    UNFELT.load(SeqCst)
}

fn handler_address() -> libc::sighandler_t {
    hear as *const () as libc::sighandler_t
}

/// The handler. It uses atomics and calls of signal-safety(7) only.
extern "C" fn hear(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let heard = &HEARD[signal as usize];
    heard.count.fetch_add(1, SeqCst);
    with_errno_kept(|| {
        let bell = heard.bell.load(SeqCst);
        // The program may have closed the bell and opened something else.
        if bell >= 0 && mark(bell) == Some(MADE) {
            ring(bell);
        }
    });
    // SAFETY: null, or an action that is never freed.
    let Some(wanted) = (unsafe { heard.action.load(SeqCst).as_ref() }) else { return };
    match wanted.sa_sigaction {
        libc::SIG_IGN => _ = UNFELT.fetch_add(1, SeqCst),
        libc::SIG_DFL => act_by_default(signal),
        // SAFETY: the program has given this address as that of a handler, and the flag says which of the two kinds.
        handler if wanted.sa_flags & libc::SA_SIGINFO != 0 => unsafe {
            mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(handler)(signal, info, context);
        },
        // SAFETY: the same.
        handler => unsafe { mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal) },
    }
    if wanted.sa_flags & libc::SA_RESETHAND != 0 {
        let _ = action(signal, Some(&default_action()));
    }
}

fn default_action() -> libc::sigaction {
    // SAFETY: a zeroed sigaction is SIG_DFL with an empty mask and no flags.
    unsafe { mem::zeroed() }
}

fn act_by_default(signal: c_int) {
    match signal {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT => _ = UNFELT.fetch_add(1, SeqCst),
        // SAFETY: raise takes a number.
        libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => _ = unsafe { libc::raise(libc::SIGSTOP) },
        _ => {
            let _ = action(signal, Some(&default_action()));
            // SAFETY: raise takes a number. The signal is blocked until the handler returns, and then ends the process.
            unsafe { libc::raise(signal) };
        }
    }
}

impl Source for Signal {
    fn watch(&self, _knote: &kevent) -> Watch {
        match self {
            // Nobody reads the bell, since it rings for several kqueues: each ring is an edge.
            Signal::Heard { bell, .. } => Watch::made(*bell, IN | ET),
            Signal::Pending(signalfd) => Watch::made(signalfd.as_raw_fd(), IN),
        }
    }

    fn fill_in(&mut self, _knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        match self {
            Signal::Heard { signal, reported, .. } => {
                let now = HEARD[*signal as usize].count.load(SeqCst);
                event.data = (now - mem::replace(reported, now)) as i64;
            }
            Signal::Pending(signalfd) => {
                const SIZE: usize = size_of::<signalfd_siginfo>();
                let mut infos = [0; 8 * SIZE];
                while let Ok(length) = (&**signalfd).read(&mut infos) {
                    event.data += (length / SIZE) as i64;
                }
            }
        }
        event.data > 0
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        state().waits.store(0, SeqCst);
        Ok(Modified::InPlace)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        if let Signal::Heard { signal, .. } = self {
            stop_listening(*signal);
        }
    }
}
