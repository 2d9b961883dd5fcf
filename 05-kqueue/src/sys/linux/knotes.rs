//! The knotes of one kqueue, and the three epolls that watch them.
//!
//! The outer epoll is the kqueue's own descriptor. It watches the descriptors that filters have made, and the two inner
//! epolls. READ and WRITE have an inner epoll each: an epoll holds a descriptor once, with one mask and one trigger
//! mode, while the READ and the WRITE knote of a socket know nothing of each other.
//!
//! Invariant: a knote is registered with its epoll for as long as it exists, also while it is disabled. epoll forgets a
//! descriptor when its file is closed, so epoll always knows whether a knote's number still means the same file. epoll
//! also knows which knotes are ready, so a wait costs what is active and not what is registered.
//!
//! A descriptor of the program is registered with EPOLLONESHOT, and armed again by the look at its number that each
//! event needs in any case. So a descriptor that was closed while a dup of it lives is heard of once more, and never
//! again: without its number the registration could not be removed.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD};

use super::abi::*;
use super::calls::*;
use super::filters::{self, Epoll, Modified, Source, Watch};
use super::made::{Made, is_made};

mod report;

/// The flags that a knote keeps from its first EV_ADD, whatever later changes say, and repeats in each event.
const KEPT: u16 = EV_ADD | EV_ONESHOT | EV_CLEAR | EV_RECEIPT | EV_DISPATCH;

/// What the outer epoll says of the inner ones. Its other tokens are knotes: see `Knotes::arm`.
const READERS: u64 = u64::MAX - 2;
pub const WRITERS: u64 = u64::MAX - 1;

pub struct Knotes {
    /// The number by which the program has called, of perhaps several.
    pub outer: RawFd,
    readers: Made,
    writers: Made,
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
    /// What is ready is not enough to report, so epoll is to say when there is more.
    waits_for_more: bool,
    source: Box<dyn Source>,
}

impl Knotes {
    pub fn new() -> Result<Self> {
        let outer = epoll_create()?;
        let (readers, writers) = (Made::new(epoll_create()?)?, Made::new(epoll_create()?)?);
        for (inner, token) in [(&readers, READERS), (&writers, WRITERS)] {
            epoll_ctl(outer.as_raw_fd(), EPOLL_CTL_ADD, inner.as_raw_fd(), IN, token)?;
        }
        set_mark(outer.as_raw_fd(), KQUEUE)?;
        // The caller's from now on, to close at any time.
        let outer = outer.into_raw_fd();
        let (places, slots, free) = (BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { outer, readers, writers, places, slots, free, turn: 0 })
    }

    pub fn writers(&self) -> RawFd {
        self.writers.as_raw_fd()
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
        let filter = filters::of(change)?;
        let known = self.places.get(&(change.filter, change.ident)).map(|&slot| slot as usize);
        match known {
            Some(slot) if !self.forget_if_closed(slot) => match change.flags & EV_DELETE {
                0 => self.modify(slot, change),
                _ => self.remove(slot),
            },
            _ if change.flags & EV_ADD != 0 => self.add(change),
            _ if filter.of_descriptor && !is_open(change.ident as RawFd) => Err(libc::EBADF),
            _ => Err(libc::ENOENT),
        }
    }

    fn add(&mut self, change: &kevent) -> Result {
        let filter = filters::of(change)?;
        filter.check_notes(change)?;
        let flags = change.flags & (KEPT | EV_DISABLE) | filter.implied;
        let source = (filter.open)(change)?;
        self.insert(Knote { change: kevent { flags, ..*change }, waits_for_more: false, source })
    }

    fn insert(&mut self, knote: Knote) -> Result {
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Slot { serial: 0, knote: None });
        }
        self.places.insert((knote.change.filter, knote.change.ident), slot as u32);
        self.slots[slot].knote = Some(knote);
        let added = match self.arm(EPOLL_CTL_ADD, slot) {
            // epoll refuses a descriptor that never blocks, such as a regular file's.
            Err(libc::EPERM) => self.watch_instead(slot),
            // What was left by an earlier knote: its descriptor was closed, and a dup has got the number since.
            Err(libc::EEXIST) => self.arm(EPOLL_CTL_MOD, slot),
            added => added,
        };
        if added.is_err() {
            let _ = self.remove(slot);
        }
        added
    }

    fn watch_instead(&mut self, slot: usize) -> Result {
        let knote = self.knote(slot);
        knote.source = knote.source.instead(&knote.change)?;
        self.arm(EPOLL_CTL_ADD, slot)
    }

    fn modify(&mut self, slot: usize, change: &kevent) -> Result {
        let filter = filters::of(change)?;
        let adds = change.flags & EV_ADD != 0;
        if adds {
            filter.check_notes(change)?;
        }
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
                knote.waits_for_more = false;
                // As on BSD, a change looks at the condition again: what is still ready is reported despite EV_CLEAR.
                self.arm(EPOLL_CTL_MOD, slot)
            }
            Modified::Reopen => {
                let source = (filter.open)(&changed)?;
                self.remove(slot)?;
                self.insert(Knote { change: changed, waits_for_more: false, source })
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Result {
        let removed = self.arm(EPOLL_CTL_DEL, slot);
        self.forget(slot);
        removed
    }

    fn forget(&mut self, slot: usize) {
        let Slot { serial, knote } = &mut self.slots[slot];
        let Knote { change, .. } = knote.take().expect("a knote is removed once");
        *serial = serial.wrapping_add(1);
        self.places.remove(&(change.filter, change.ident));
        self.free.push(slot);
    }

    /// Tells epoll what the knote waits for.
    fn arm(&self, operation: c_int, slot: usize) -> Result {
        self.arm_with(operation, slot, 0)
    }

    fn arm_with(&self, operation: c_int, slot: usize, more: u32) -> Result {
        let Slot { serial, knote: Some(knote) } = &self.slots[slot] else { return Err(libc::ENOENT) };
        let Watch { epoll, fd, of_program, events } = knote.source.watch(&knote.change);
        let events = match knote.change.flags {
            flags if flags & EV_DISABLE != 0 => SILENT,
            _ if !of_program => events,
            flags if flags & EV_CLEAR != 0 || knote.waits_for_more => events | ET,
            flags if flags & (EV_DISPATCH | EV_ONESHOT) != 0 => events | ONESHOT,
            _ => events | ONESHOT | LEVEL | more,
        };
        let token = u64::from(*serial) << 32 | slot as u64;
        epoll_ctl(self.epoll(epoll), operation, fd, events, token)
    }

    /// On BSD, close(2) ends the knotes of a descriptor. The stand-in finds out later, at the latest when it looks at
    /// the knote, and even if the number means another file by then.
    fn forget_if_closed(&mut self, slot: usize) -> bool {
        let knote = self.knote(slot);
        let Watch { epoll, fd, of_program, .. } = knote.source.watch(&knote.change);
        let is_open = match of_program {
            true => !is_another(epoll, fd) && is_registered(self.epoll(epoll), fd),
            false => knote.source.is_same_file(&knote.change),
        };
        if !is_open {
            self.forget_closed(slot);
        }
        !is_open
    }

    fn forget_closed(&mut self, slot: usize) {
        let knote = self.knote(slot);
        let Watch { epoll, fd, of_program, .. } = knote.source.watch(&knote.change);
        if of_program && is_another(epoll, fd) { self.forget(slot) } else { _ = self.remove(slot) }
    }
}

/// The outer epoll also has what was made here. If the program's descriptor was closed, one of those may have its number.
fn is_another(epoll: Epoll, fd: RawFd) -> bool {
    epoll == Epoll::Outer && is_made(fd)
}
