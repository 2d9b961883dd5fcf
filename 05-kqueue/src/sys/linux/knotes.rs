//! The knotes of one kqueue, and the three epolls that watch them.
//!
//! The outer epoll is the kqueue's own descriptor. It watches the descriptors that filters have made, and the two inner
//! epolls. READ and WRITE have an inner epoll each: an epoll holds a descriptor once, with one mask and one trigger
//! mode, while the READ and the WRITE knote of a socket know nothing of each other.
//!
//! Invariant: a knote is registered with its epoll for as long as it exists, also while it is disabled. epoll forgets a
//! descriptor when its file is closed, so epoll always knows whether a knote's number still means the same file. epoll
//! also knows which knotes are ready, so a wait costs what is active and not what is registered.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs::File;
use std::mem;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::time::Duration;

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, epoll_event};

use super::abi::*;
use super::calls::*;
use super::filters::{self, Epoll, Modified, Source, Watch};

/// The flags that a knote keeps from its first EV_ADD, whatever later changes say, and repeats in each event.
const KEPT: u16 = EV_ADD | EV_ONESHOT | EV_CLEAR | EV_RECEIPT | EV_DISPATCH;

/// An inner epoll, the filter that it serves, and what the outer epoll says of it. The outer epoll's other tokens are
/// knotes: see `Knotes::token`.
const INNER: [(Epoll, i16, u64); 2] =
    [(Epoll::Readers, EVFILT_READ, u64::MAX - 1), (Epoll::Writers, EVFILT_WRITE, u64::MAX)];

pub struct Knotes {
    outer: RawFd,
    readers: File,
    writers: File,
    /// The place of each knote in `slots`. 32 bits, because each of many connections may have two.
    places: BTreeMap<(i16, usize), u32>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    turn: usize,
}

struct Slot {
    /// Counts the knotes that were here, so that an event of an earlier knote is known as such.
    serial: u32,
    knote: Option<Knote>,
}

struct Knote {
    /// As it was changed last, with the flags that it keeps, and with EV_DISABLE while it is disabled.
    change: kevent,
    source: Box<dyn Source>,
}

impl Knotes {
    pub fn new() -> Result<Self> {
        let (outer, readers, writers) = (epoll_create()?, epoll_create()?, epoll_create()?);
        for (inner, (_, _, token)) in [&readers, &writers].into_iter().zip(INNER) {
            epoll_ctl(outer.as_raw_fd(), EPOLL_CTL_ADD, inner.as_raw_fd(), IN, token)?;
        }
        // The caller's from now on, to close at any time.
        let outer = outer.into_raw_fd();
        let (places, slots, free) = (BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { outer, readers, writers, places, slots, free, turn: 0 })
    }

    pub fn outer(&self) -> RawFd {
        self.outer
    }

    /// Whether the kqueue's number still means the epoll that was made here.
    pub fn check_open(&self) -> Result {
        let (inner, _, token) = INNER[0];
        epoll_ctl(self.outer, EPOLL_CTL_MOD, self.epoll(inner), IN, token).or(Err(libc::EBADF))
    }

    fn epoll(&self, which: Epoll) -> RawFd {
        match which {
            Epoll::Outer => self.outer,
            Epoll::Readers => self.readers.as_raw_fd(),
            Epoll::Writers => self.writers.as_raw_fd(),
        }
    }

    fn knote(&mut self, slot: usize) -> &mut Knote {
        self.slots[slot].knote.as_mut().expect("`places` and a current token name occupied slots")
    }

    pub fn change(&mut self, change: &kevent) -> Result {
        let known = self.places.get(&(change.filter, change.ident)).map(|&slot| slot as usize);
        match known {
            Some(slot) if !self.forget_if_closed(slot) => match change.flags & EV_DELETE {
                0 => self.modify(slot, change),
                _ => self.remove(slot),
            },
            _ if change.flags & EV_ADD == 0 => Err(libc::ENOENT),
            _ => self.add(change),
        }
    }

    fn add(&mut self, change: &kevent) -> Result {
        let filter = filters::of(change)?;
        let flags = change.flags & (KEPT | EV_DISABLE) | filter.implied;
        self.insert(Knote { change: kevent { flags, ..*change }, source: (filter.open)(change)? })
    }

    fn insert(&mut self, knote: Knote) -> Result {
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Slot { serial: 0, knote: None });
        }
        self.places.insert((knote.change.filter, knote.change.ident), slot as u32);
        self.slots[slot].knote = Some(knote);
        let added = match self.arm(EPOLL_CTL_ADD, slot) {
            Err(libc::EPERM) => self.watch_instead(slot),
            added => added,
        };
        if added.is_err() {
            let _ = self.remove(slot);
        }
        added
    }

    /// epoll refuses a descriptor that never blocks, such as a regular file's.
    fn watch_instead(&mut self, slot: usize) -> Result {
        let knote = self.knote(slot);
        knote.source = knote.source.instead(&knote.change)?;
        self.arm(EPOLL_CTL_ADD, slot)
    }

    fn modify(&mut self, slot: usize, change: &kevent) -> Result {
        let adds = change.flags & EV_ADD != 0;
        let filter = filters::of(if adds { change } else { &self.knote(slot).change })?;
        let knote = self.knote(slot);
        let mut changed = kevent { udata: change.udata, ..knote.change };
        if adds {
            (changed.fflags, changed.data) = (change.fflags, change.data);
        }
        if change.flags & (EV_ADD | EV_ENABLE | EV_DISABLE) != 0 {
            changed.flags = changed.flags & !EV_DISABLE | change.flags & EV_DISABLE;
        }
        match knote.source.modify(&knote.change, change)? {
            Modified::InPlace => {
                knote.change = changed;
                // As on BSD, a change looks at the condition again: what is still ready is reported despite EV_CLEAR.
                self.arm(EPOLL_CTL_MOD, slot)
            }
            Modified::Reopen => {
                let source = (filter.open)(&changed)?;
                self.remove(slot)?;
                self.insert(Knote { change: changed, source })
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Result {
        let removed = self.arm(EPOLL_CTL_DEL, slot);
        let Slot { serial, knote } = &mut self.slots[slot];
        let Knote { change, mut source } = knote.take().expect("a knote is removed once");
        source.close(&change, removed.is_ok());
        *serial = serial.wrapping_add(1);
        self.places.remove(&(change.filter, change.ident));
        self.free.push(slot);
        removed
    }

    /// Tells epoll what the knote waits for.
    fn arm(&self, operation: c_int, slot: usize) -> Result {
        let Slot { serial, knote: Some(knote) } = &self.slots[slot] else { return Err(libc::ENOENT) };
        let Watch { epoll, fd, mut events } = knote.source.watch(&knote.change);
        if knote.change.flags & EV_DISABLE != 0 {
            events = SILENT;
        }
        let token = u64::from(*serial) << 32 | slot as u64;
        epoll_ctl(self.epoll(epoll), operation, fd, events, token)
    }

    /// On BSD, close(2) ends the knotes of a descriptor. The stand-in finds out later, at the latest when it looks at
    /// the knote, and even if the number means another file by then.
    fn forget_if_closed(&mut self, slot: usize) -> bool {
        let knote = self.knote(slot);
        let Watch { epoll, fd, .. } = knote.source.watch(&knote.change);
        let open = match epoll {
            Epoll::Outer => knote.source.is_same_file(&knote.change),
            inner => is_registered(self.epoll(inner), fd),
        };
        if !open {
            let _ = self.remove(slot);
        }
        !open
    }

    /// Makes events of what the outer epoll has reported.
    pub fn collect(&mut self, ready: &[epoll_event], room: usize, output: &mut Vec<kevent>) {
        // epoll's order is the same each time. If the start were so too, a crowd of readers would starve the writers.
        self.turn = self.turn.wrapping_add(1);
        for i in 0..ready.len() {
            if output.len() == room {
                return;
            }
            let event = ready[(i + self.turn) % ready.len()];
            match INNER.iter().find(|(_, _, token)| *token == { event.u64 }) {
                Some((inner, ..)) => self.collect_inner(*inner, room - output.len(), output),
                None => _ = self.report(event.u64, event.events, output),
            }
        }
    }

    fn collect_inner(&mut self, inner: Epoll, room: usize, output: &mut Vec<kevent>) {
        let mut ready = [NO_EVENT; BATCH];
        let ready = &mut ready[..room.min(BATCH)];
        let count = epoll_wait(self.epoll(inner), ready, Some(Duration::ZERO)).unwrap_or(0);
        let mut lingering = false;
        for event in &ready[..count] {
            lingering |= self.report(event.u64, event.events, output).is_err();
        }
        if lingering {
            let _ = self.renew(inner);
        }
    }

    /// A registration outlives its descriptor while a dup keeps the file open. Without the descriptor the registration
    /// cannot be named, and so not be removed: only a new epoll helps.
    fn renew(&mut self, inner: Epoll) -> Result {
        let Some((_, filter, token)) = INNER.into_iter().find(|(which, ..)| *which == inner) else { return Ok(()) };
        let place = if inner == Epoll::Readers { &mut self.readers } else { &mut self.writers };
        let old = mem::replace(place, epoll_create()?);
        epoll_ctl(self.outer, EPOLL_CTL_DEL, old.as_raw_fd(), 0, 0)?;
        epoll_ctl(self.outer, EPOLL_CTL_ADD, self.epoll(inner), IN, token)?;
        let slots: Vec<u32> = self.places.range((filter, 0)..=(filter, usize::MAX)).map(|(_, &slot)| slot).collect();
        for slot in slots.into_iter().map(|slot| slot as usize) {
            let knote = self.knote(slot);
            let Watch { epoll, fd, .. } = knote.source.watch(&knote.change);
            let stays = epoll != inner || is_registered(old.as_raw_fd(), fd) && self.arm(EPOLL_CTL_ADD, slot).is_ok();
            if !stays {
                let _ = self.remove(slot);
            }
        }
        Ok(())
    }

    /// Makes an event of what epoll said, unless that is out of date. It is an error if the knote is gone.
    fn report(&mut self, token: u64, ready: u32, output: &mut Vec<kevent>) -> Result {
        let slot = token as u32 as usize;
        let is_current = |it: &Slot| it.knote.is_some() && u64::from(it.serial) == token >> 32;
        if !self.slots.get(slot).is_some_and(is_current) || self.forget_if_closed(slot) {
            return Err(libc::ENOENT);
        }
        let Knote { change, source } = self.knote(slot);
        let mut event = kevent { fflags: 0, data: 0, ..*change };
        if change.flags & EV_DISABLE != 0 || !source.fill_in(change, ready, &mut event) {
            return Ok(());
        }
        output.push(event);
        if event.flags & EV_ONESHOT != 0 {
            return self.remove(slot);
        }
        if event.flags & EV_DISPATCH != 0 {
            change.flags |= EV_DISABLE;
            return self.arm(EPOLL_CTL_MOD, slot);
        }
        Ok(())
    }
}
