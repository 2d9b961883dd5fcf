//! kqueue for Linux: the same two calls, with the same meanings, over the descriptors that Linux has instead.
//!
//! epoll watches descriptors, kqueue watches events. So whatever is not a socket or a pipe must become a descriptor
//! first: `linux/filters.rs` shows which, one filter after the other. Here three epolls tie them together. The outer one
//! is the kqueue's own descriptor, so poll and epoll can wait for a kqueue; it holds the descriptors that were made, and
//! the two inner ones. READ and WRITE have an inner epoll each, for an epoll holds a descriptor once, with one mask and
//! one trigger mode, while the two knotes of a socket know nothing of each other.
//!
//! Invariant: a knote is registered with epoll for as long as it exists, also while it is disabled. epoll forgets a
//! descriptor when its file is closed, so it always knows whether a knote's number still means the same file. Which
//! knotes are ready is epoll's knowledge too, so a wait costs what is active and not what is registered.
//!
//! Limits:
//! - Linux 5.11 or newer, of 64 bits.
//! - SIGNAL blocks the signal in the calling thread. Other threads must block it too (so add it before they start); no
//!   handler runs meanwhile; of two kqueues that watch one signal, one is told.
//! - PROC knows children only, and only their end (no NOTE_FORK, NOTE_EXEC, NOTE_TRACK). Once somebody has reaped the
//!   child, its status reads 0.
//! - VNODE (and READ and WRITE of a regular file) needs /proc and an inotify instance for each knote, of which a user
//!   has 128 by default. It has no NOTE_REVOKE, and the removal of an open directory is not seen.
//! - NOTE_LOWAT is for READ of a TCP socket alone, where it is SO_RCVLOWAT, so a blocking read waits for as much. To
//!   report a socket's error is to take it: a later read sees a plain end of file.
//! - A descriptor that is closed while a dup of it lives is forgotten when it next becomes ready, not at once.
//! - With threads: delete the knotes of a descriptor before you close it, where another thread may be waiting. Its
//!   epoll_wait may be looking at the descriptor, and then keeps it open until that wait returns (since Linux 6.10).
//! - A kqueue is known by one descriptor, not by a dup of it. A thread that waits for it is not woken when another
//!   closes it; what it held is freed when the next one is made.
//!
//! What is not supported is refused, with EINVAL or ENOTSUP.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs::File;
use std::mem;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::process;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, epoll_event, timespec};

mod abi;
mod calls;
mod filters;

pub use abi::*;
use calls::*;
use filters::{Knote, check};

/// The most events that are taken from one epoll at a time.
const BATCH: usize = 256;
const NO_EVENT: epoll_event = epoll_event { events: 0, u64: 0 };

/// The inner epolls, and what the outer one says of each. Any other number there is a knote: its serial above its slot.
const INNER: [(i16, u64); 2] = [(EVFILT_READ, u64::MAX - 1), (EVFILT_WRITE, u64::MAX)];

/// Flags that a knote keeps from its first EV_ADD, whatever later ones say, and repeats in each event.
const KEPT: u16 = EV_ADD | EV_ONESHOT | EV_CLEAR | EV_RECEIPT | EV_DISPATCH;

static KQUEUES: Mutex<BTreeMap<RawFd, Arc<Kqueue>>> = Mutex::new(BTreeMap::new());

struct Kqueue {
    /// A child of fork(2) inherits the descriptor, but not the kqueue.
    process: u32,
    state: Mutex<State>,
}

struct State {
    outer: RawFd,
    inner: [File; 2],
    /// Where in `knotes` each is; 32 bits, for there may be two for each of many connections.
    slots: BTreeMap<(i16, usize), u32>,
    knotes: Vec<Knote>,
    free: Vec<usize>,
    turn: usize,
}

/// # Safety
/// None is asked for; it is `unsafe` to be as libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kqueue() -> c_int {
    answer(State::new().map(|state| {
        let (fd, process) = (state.outer, process::id());
        let mut kqueues = KQUEUES.lock().unwrap();
        // close(2) tells us nothing, so look now which of the others were closed.
        kqueues.retain(|&other, kqueue| {
            kqueue.process != process || other != fd && kqueue.state.lock().unwrap().check_open().is_ok()
        });
        // What was left under this number is a parent's, and its descriptors are not ours to close.
        mem::forget(kqueues.insert(fd, Arc::new(Kqueue { process, state: Mutex::new(state) })));
        fd as usize
    }))
}

/// # Safety
/// `changes` points to `nchanges` entries and `events` to room for `nevents`; they may be one array. `timeout` is null
/// or points to a timespec.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kevent(
    kq: c_int,
    changes: *const kevent,
    nchanges: c_int,
    events: *mut kevent,
    nevents: c_int,
    timeout: *const timespec,
) -> c_int {
    let call = || {
        let (nchanges, room) = (to_usize(nchanges)?, to_usize(nevents)?);
        let kqueue = KQUEUES.lock().unwrap().get(&kq).cloned().filter(|kqueue| kqueue.process == process::id());
        let kqueue = kqueue.ok_or(libc::EBADF)?;
        if nchanges > 0 {
            kqueue.state.lock().unwrap().check_open()?;
        }
        let mut output = Vec::new();
        for i in 0..nchanges {
            // SAFETY: the caller vouches for it, and nothing has been written over it yet.
            let change = unsafe { changes.add(i).read() };
            let result = kqueue.state.lock().unwrap().change(&change);
            if output.len() < room && (result.is_err() || change.flags & EV_RECEIPT != 0) {
                let data = result.err().unwrap_or(0).into();
                output.push(kevent { flags: change.flags | EV_ERROR, data, ..change });
            } else {
                result?;
            }
        }
        if output.is_empty() && room > 0 {
            // SAFETY: the caller vouches for it.
            let timeout = unsafe { timeout.as_ref() }.map(to_duration).transpose()?;
            output = wait(kq, &kqueue.state, room, timeout)?;
        }
        // SAFETY: the caller vouches for `room`, which is the most there can be.
        unsafe { events.copy_from(output.as_ptr(), output.len()) };
        Ok(output.len())
    };
    answer(call())
}

fn wait(kq: RawFd, state: &Mutex<State>, room: usize, timeout: Option<Duration>) -> Result<Vec<kevent>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut ready, mut output) = ([NO_EVENT; BATCH], Vec::new());
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // EINVAL: the number is in use again, for what is no epoll.
        let count = epoll_wait(kq, &mut ready, left).map_err(|e| if e == libc::EINVAL { libc::EBADF } else { e })?;
        state.lock().unwrap().collect(&ready[..count], room, &mut output);
        // What epoll reported may come to nothing: another thread has it, or it is not what the knote asked for.
        if count == 0 || !output.is_empty() || left == Some(Duration::ZERO) {
            return Ok(output);
        }
    }
}

impl State {
    fn new() -> Result<Self> {
        let (outer, inner) = (epoll_create()?, [epoll_create()?, epoll_create()?]);
        for (epoll, (_, token)) in inner.iter().zip(INNER) {
            epoll_ctl(outer.as_raw_fd(), EPOLL_CTL_ADD, epoll.as_raw_fd(), IN, token)?;
        }
        // From now on the caller's, to close when he likes.
        let outer = outer.into_raw_fd();
        Ok(Self { outer, inner, slots: BTreeMap::new(), knotes: Vec::new(), free: Vec::new(), turn: 0 })
    }

    /// Whether the kqueue's number still means the epoll that was made here.
    fn check_open(&self) -> Result {
        epoll_ctl(self.outer, EPOLL_CTL_MOD, self.inner[0].as_raw_fd(), IN, INNER[0].1).or(Err(libc::EBADF))
    }

    fn change(&mut self, change: &kevent) -> Result {
        let known = self.slots.get(&(change.filter, change.ident)).map(|&slot| slot as usize);
        match known.filter(|&slot| !self.drop_if_closed(slot)) {
            Some(slot) if change.flags & EV_DELETE != 0 => self.remove(slot),
            Some(slot) => self.modify(slot, change),
            None if change.flags & EV_ADD != 0 => self.add(change),
            None => Err(libc::ENOENT),
        }
    }

    fn add(&mut self, change: &kevent) -> Result {
        check(change)?;
        let implied = match change.filter {
            EVFILT_TIMER | EVFILT_SIGNAL => EV_CLEAR,
            EVFILT_PROC => EV_CLEAR | EV_ONESHOT,
            _ => 0,
        };
        let disabled = change.flags & EV_DISABLE != 0;
        let mut knote = Knote::open(kevent { flags: change.flags & KEPT | implied, ..*change }, disabled)?;
        let slot = self.free.pop().unwrap_or(self.knotes.len());
        match self.knotes.get_mut(slot) {
            None => self.knotes.push(knote),
            Some(vacant) => {
                knote.serial = vacant.serial;
                *vacant = knote;
            }
        }
        self.slots.insert((change.filter, change.ident), slot as u32);
        let added = match self.arm(EPOLL_CTL_ADD, slot) {
            // epoll does not take what never blocks.
            Err(libc::EPERM) => self.knotes[slot].open_file().and_then(|()| self.arm(EPOLL_CTL_ADD, slot)),
            added => added,
        };
        if added.is_err() {
            let _ = self.remove(slot);
        }
        added
    }

    fn modify(&mut self, slot: usize, change: &kevent) -> Result {
        let adds = change.flags & EV_ADD != 0;
        if adds {
            check(change)?;
        }
        let knote = &mut self.knotes[slot];
        let was_disabled = knote.disabled;
        if change.flags & (EV_ADD | EV_ENABLE | EV_DISABLE) != 0 {
            knote.disabled = change.flags & EV_DISABLE != 0;
        }
        knote.change.udata = change.udata;
        match change.filter {
            EVFILT_USER => knote.touch(change),
            EVFILT_VNODE if adds => knote.set_notes(change.fflags)?,
            EVFILT_SIGNAL | EVFILT_VNODE => {}
            // A timer that goes on begins a new period.
            filter if adds || filter == EVFILT_TIMER && was_disabled && !knote.disabled => {
                let given = if adds { *change } else { knote.change };
                let flags = knote.change.flags | change.flags & EV_DISABLE;
                self.remove(slot)?;
                return self.add(&kevent { flags, ..given });
            }
            _ => {}
        }
        // As on BSD, any change looks at the condition anew: what is ready despite EV_CLEAR is reported again.
        self.arm(EPOLL_CTL_MOD, slot)
    }

    fn remove(&mut self, slot: usize) -> Result {
        let removed = self.arm(EPOLL_CTL_DEL, slot);
        let knote = &mut self.knotes[slot];
        knote.close(removed.is_ok());
        self.slots.remove(&(knote.change.filter, knote.change.ident));
        self.free.push(slot);
        removed
    }

    /// Tells epoll what the knote waits for.
    fn arm(&self, operation: c_int, slot: usize) -> Result {
        let knote = &self.knotes[slot];
        let (epoll, fd, mut events) = match (&knote.source, knote.change.filter) {
            (Some(source), _) => (self.outer, source.as_raw_fd(), IN),
            (None, EVFILT_READ) => (self.inner[0].as_raw_fd(), knote.fd(), IN | RDHUP),
            (None, _) => (self.inner[1].as_raw_fd(), knote.fd(), OUT),
        };
        // EV_CLEAR is EPOLLET. What is made here is cleared by being read.
        if knote.source.is_none() && knote.change.flags & EV_CLEAR != 0 {
            events |= libc::EPOLLET as u32;
        }
        // No mask keeps HUP and ERR away. After EPOLLONESHOT they come at most once, and `report` stops them.
        if knote.is_silent() {
            events = libc::EPOLLONESHOT as u32;
        }
        epoll_ctl(epoll, operation, fd, events, u64::from(knote.serial) << 32 | slot as u64)
    }

    /// On BSD, close(2) ends the knotes of a descriptor. Here it is found out later, at the latest when one is looked
    /// at, and even if the number means another file by then.
    fn drop_if_closed(&mut self, slot: usize) -> bool {
        let knote = &self.knotes[slot];
        let open = match &knote.source {
            None => is_registered(&self.inner[usize::from(knote.change.filter == EVFILT_WRITE)], knote.fd()),
            Some(_) => knote.is_same_file(),
        };
        if !open {
            let _ = self.remove(slot);
        }
        !open
    }

    fn collect(&mut self, ready: &[epoll_event], room: usize, output: &mut Vec<kevent>) {
        // epoll's order is the same each time. Were the start so too, many that read would starve those that write.
        self.turn = self.turn.wrapping_add(1);
        for i in 0..ready.len() {
            let event = ready[(i + self.turn) % ready.len()];
            match INNER.iter().position(|&(_, token)| token == { event.u64 }) {
                _ if output.len() == room => break,
                Some(which) => self.collect_inner(which, room - output.len(), output),
                None => _ = self.report(event.u64, event.events, output),
            }
        }
    }

    fn collect_inner(&mut self, which: usize, room: usize, output: &mut Vec<kevent>) {
        let mut ready = [NO_EVENT; BATCH];
        let ready = &mut ready[..room.min(BATCH)];
        let count = epoll_wait(self.inner[which].as_raw_fd(), ready, Some(Duration::ZERO)).unwrap_or(0);
        let mut lingering = false;
        for event in &ready[..count] {
            lingering |= self.report(event.u64, event.events, output).is_err();
        }
        if lingering {
            let _ = self.renew(which);
        }
    }

    /// A registration outlives its descriptor while a dup keeps the file open. Without the descriptor it cannot be
    /// named, and so not removed: nothing helps but a new epoll.
    fn renew(&mut self, which: usize) -> Result {
        let (filter, token) = INNER[which];
        let old = mem::replace(&mut self.inner[which], epoll_create()?);
        epoll_ctl(self.outer, EPOLL_CTL_DEL, old.as_raw_fd(), 0, 0)?;
        epoll_ctl(self.outer, EPOLL_CTL_ADD, self.inner[which].as_raw_fd(), IN, token)?;
        let slots: Vec<u32> = self.slots.range((filter, 0)..=(filter, usize::MAX)).map(|(_, &slot)| slot).collect();
        for slot in slots.into_iter().map(|slot| slot as usize) {
            let knote = &self.knotes[slot];
            let watched_there = knote.source.is_none();
            if watched_there && !(is_registered(&old, knote.fd()) && self.arm(EPOLL_CTL_ADD, slot).is_ok()) {
                let _ = self.remove(slot);
            }
        }
        Ok(())
    }

    /// Makes a kevent of what epoll said, unless that is out of date. An error if it is of a knote that is gone.
    fn report(&mut self, token: u64, ready: u32, output: &mut Vec<kevent>) -> Result {
        let slot = token as u32 as usize;
        let current = self.knotes.get(slot).is_some_and(|knote| u64::from(knote.serial) == token >> 32);
        if !current || self.drop_if_closed(slot) {
            return Err(libc::ENOENT);
        }
        let knote = &mut self.knotes[slot];
        let mut event = kevent { fflags: 0, data: 0, ..knote.change };
        if knote.is_silent() || !knote.fill_in(ready, &mut event) {
            return Ok(());
        }
        output.push(event);
        if event.flags & EV_ONESHOT != 0 {
            return self.remove(slot);
        }
        if event.flags & EV_DISPATCH != 0 {
            knote.disabled = true;
            return self.arm(EPOLL_CTL_MOD, slot);
        }
        Ok(())
    }
}
