//! select, poll and epoll behind one interface, with the bugs that belong to the call itself.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::mutant::bug;

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

/// What a wait reported of a descriptor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ready {
    pub fd: RawFd,
    pub readable: bool,
    pub writable: bool,
    /// RDHUP: the peer has sent FIN.
    pub finished: bool,
    /// ERR or HUP.
    pub gone: bool,
}

/// A way to wait for many descriptors.
pub trait Poller {
    /// Reports changes and not states.
    fn edge(&self) -> bool {
        false
    }
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()>;
    fn set(&mut self, fd: RawFd, interest: Interest) -> io::Result<()>;
    /// Before `fd` is closed.
    fn remove(&mut self, fd: RawFd);
    /// Fills `ready`; -1 waits for ever.
    fn wait(&mut self, timeout_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()>;
}

const WORDS: usize = 1024 / 64;
/// The listener and the wake socket come before the first connection.
const FIRST: usize = 2;

/// The two bitmaps lie one behind the other, as two `fd_set`s do in C; what is behind them stands for the rest of the
/// program's memory.
pub struct Select {
    bits: [u64; 8 * WORDS],
    highest: RawFd,
    added: usize,
}

impl Select {
    pub fn new() -> Self {
        Self { bits: [0; 8 * WORDS], highest: 0, added: 0 }
    }

    fn put(&mut self, set: usize, fd: RawFd, on: bool) {
        let word = &mut self.bits[set * WORDS + fd as usize / 64];
        let bit = 1 << (fd % 64);
        *word = if on { *word | bit } else { *word & !bit };
    }
}

impl Poller for Select {
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        // FD_SET as C's has no bound: bit 1030 of the first set is bit 6 of the second.
        if fd >= 1024 && !bug!("bit_beyond_the_set") {
            return Err(io::Error::other("select holds only descriptors below 1024"));
        }
        // "One connection more, one number more": so it is where the numbers have no gaps.
        self.added += 1;
        self.highest = match bug!("nfds_counted") && self.added > FIRST + 1 {
            true => (self.highest + 1).min(1023),
            false => self.highest.max(fd),
        };
        self.set(fd, interest)
    }

    fn set(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.put(0, fd, interest.read);
        self.put(1, fd, interest.write);
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) {
        // The classic: close(fd), and FD_CLR is forgotten.
        if !bug!("closed_slot_left") {
            self.put(0, fd, false);
            self.put(1, fd, false);
        }
        // "The highest has gone, so the next below it is": but it was not the highest.
        if bug!("nfds_after_any_close") {
            let listened = |fd: &RawFd| self.bits[*fd as usize / 64] >> (fd % 64) & 1 == 1;
            self.highest = (0..fd).rev().find(listened).unwrap_or(self.highest);
        }
    }

    fn wait(&mut self, timeout_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut answer = self.bits;
        let mut timeout =
            libc::timeval { tv_sec: (timeout_ms / 1000).into(), tv_usec: (timeout_ms % 1000 * 1000).into() };
        let timeout = if timeout_ms < 0 { ptr::null_mut() } else { &raw mut timeout };
        // nfds is the highest descriptor plus one.
        let nfds = self.highest + i32::from(!bug!("nfds_off_by_one"));
        let sets = answer.as_mut_ptr();
        // SAFETY: both sets lie in `answer`, with room behind them for any descriptor of the tests.
        let count = unsafe { libc::select(nfds, sets.cast(), sets.add(WORDS).cast(), ptr::null_mut(), timeout) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        if bug!("set_not_rebuilt") {
            // The answer is the next question: select's sets are in and out parameters.
            self.bits = answer;
        }
        let is_set = |set: usize, fd: RawFd| answer[set * WORDS + fd as usize / 64] >> (fd % 64) & 1 == 1;
        ready.extend((0..nfds).filter(|fd| is_set(0, *fd) || is_set(1, *fd)).map(|fd| Ready {
            fd,
            readable: is_set(0, fd),
            writable: is_set(1, fd),
            ..Ready::default()
        }));
        Ok(())
    }
}

/// Slots in one array, and for each descriptor where its slot is.
pub struct Poll {
    slots: Vec<libc::pollfd>,
    places: HashMap<RawFd, usize>,
    /// The descriptor of the first connection.
    first: RawFd,
}

impl Poll {
    pub fn new() -> Self {
        Self { slots: Vec::new(), places: HashMap::new(), first: 0 }
    }
}

impl Poller for Poll {
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let (new, mut place) = (libc::pollfd { fd, events: 0, revents: 0 }, self.slots.len());
        if bug!("slot_by_number") && place >= FIRST {
            self.first = if place == FIRST { fd } else { self.first };
            place = FIRST + (fd - self.first).max(0) as usize;
        }
        self.places.insert(fd, place);
        match self.slots.get_mut(place) {
            Some(slot) => *slot = new,
            None => self.slots.push(new),
        }
        self.set(fd, interest)
    }

    fn set(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let (read, write) = (i16::from(interest.read), i16::from(interest.write));
        if let Some(slot) = self.slots.get_mut(self.places[&fd]) {
            // "Tell me of errors too."
            let urgent = if bug!("urgent_is_error") { libc::POLLPRI } else { 0 };
            slot.events = (libc::POLLIN * read) | (libc::POLLOUT * write) | urgent;
        }
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) {
        let place = self.places.remove(&fd).expect("added");
        // Free for the next descriptor with this number.
        if let Some(slot) = self.slots.get_mut(place).filter(|_| bug!("slot_by_number")) {
            slot.fd = -1;
            return;
        }
        // The classic: close(fd), and the slot stays. poll answers POLLNVAL at once, for ever.
        if bug!("closed_slot_left") || place >= self.slots.len() {
            return;
        }
        self.slots.swap_remove(place);
        // "A new slot for the one that moves": as new as a connection that nothing is owed to.
        if let Some(moved) = self.slots.get_mut(place).filter(|_| bug!("interest_not_moved")) {
            moved.events = libc::POLLIN;
        }
        // The last slot has moved. If nobody is told, its owner changes another one's events.
        if let Some(moved) = self.slots.get(place).filter(|_| !bug!("slot_not_moved")) {
            self.places.insert(moved.fd, place);
        }
    }

    fn wait(&mut self, timeout_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        // SAFETY: the array is as long as said.
        let count = unsafe { libc::poll(self.slots.as_mut_ptr(), self.slots.len() as libc::nfds_t, timeout_ms) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        // "So many are ready": and they can stand anywhere.
        let bound = if bug!("count_is_bound") { count as usize } else { self.slots.len() };
        // "Enough for one turn": and the next turn begins where this one began.
        let most = if bug!("first_16_of_the_set") { 16 } else { usize::MAX };
        for slot in self.slots[..bound].iter().filter(|slot| slot.revents != 0).take(most) {
            let has = |bits: i16| match bug!("events_compared_for_equality") {
                // ERR and HUP come unasked, and IN and OUT may come together.
                true => slot.revents == bits,
                false => slot.revents & bits != 0,
            };
            let (readable, writable) = (has(libc::POLLIN), has(libc::POLLOUT));
            let urgent = bug!("urgent_is_error") && has(libc::POLLPRI);
            let gone = urgent || !bug!("events_compared_for_equality") && has(libc::POLLERR | libc::POLLHUP);
            ready.push(Ready { fd: slot.fd, readable, writable, gone, finished: false });
        }
        Ok(())
    }
}

/// Level- or edge-triggered.
pub struct Epoll {
    epoll: OwnedFd,
    edge: bool,
    events: Box<[libc::epoll_event]>,
}

impl Epoll {
    pub fn new(edge: bool) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, so nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let most = if bug!("flush_list_full") { 2048 } else { 256 };
        Ok(Self { epoll, edge, events: vec![libc::epoll_event { events: 0, u64: 0 }; most].into() })
    }

    fn control(&self, operation: i32, fd: RawFd, interest: Interest) -> io::Result<()> {
        let bits = match interest {
            // Registered once, for everything.
            _ if self.edge => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
            Interest { read, write } => (libc::EPOLLIN * i32::from(read)) | (libc::EPOLLOUT * i32::from(write)),
        };
        // One event disarms the descriptor, and the server below changes a registration only when its interest changes.
        let once = if bug!("oneshot_not_rearmed") && operation == libc::EPOLL_CTL_MOD { libc::EPOLLONESHOT } else { 0 };
        let mut event = libc::epoll_event { events: (bits | once) as u32, u64: fd as u64 };
        // SAFETY: `event` outlives the call, which only reads it.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Poller for Epoll {
    fn edge(&self) -> bool {
        self.edge
    }

    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest)
    }

    fn set(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        if self.edge { Ok(()) } else { self.control(libc::EPOLL_CTL_MOD, fd, interest) }
    }

    fn remove(&mut self, fd: RawFd) {
        // close(2) does it, where the socket has no other descriptor.
        if bug!("duplicate_deregistered") || bug!("one_of_four_listens") {
            let _ = self.control(libc::EPOLL_CTL_DEL, fd, Interest { read: false, write: false });
        }
    }

    fn wait(&mut self, timeout_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        let (epoll, events) = (self.epoll.as_raw_fd(), &mut self.events);
        // SAFETY: the array is as long as said.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, timeout_ms) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        ready.extend(events[..count as usize].iter().map(|event| {
            let (bits, fd) = (event.events as i32, event.u64 as RawFd);
            let has = |bit: i32| bits & bit != 0;
            // News comes as edges too, and each makes a read worth a try.
            let readable = has(libc::EPOLLIN | libc::EPOLLRDHUP);
            let (writable, finished) = (has(libc::EPOLLOUT), has(libc::EPOLLRDHUP));
            Ready { fd, readable, writable, finished, gone: has(libc::EPOLLERR | libc::EPOLLHUP) }
        }));
        Ok(())
    }
}
