//! kevent(2) on Linux: the calls of the stand-in, and not the calls that it makes instead.
//!
//! A server on the stand-in for kqueue (05-kqueue) makes several system calls for each kevent. A reader wants the kevent:
//! its changes, its events, and the line that calls it. Three ways lead there. The stack says which kevent an inner call
//! belongs to, but its lists are not there: they are in registers and on the stack in places that only full debug
//! information would tell. A breakpoint on the symbol `kevent` has them in registers, but it writes into the server's code,
//! and a compiler may inline the function. So the stand-in says it: if the environment asks for it, it makes, before and
//! after each kevent, a system call that no kernel has, and passes the addresses of the lists. (rr and its preloaded library
//! talk in the same way.)
//!
//! The environment asks only if events are kept, so all other runs are as they always were. A call that announces is
//! answered with ENOSYS by the kernel, and passed over by the explorer: it is no place for a step, is not counted, and does
//! not go into the hash. So a schedule means the same with it and without it.
//!
//! Invariant: what is shown of a kevent is what its caller passed and got. A registration of READ or WRITE is one that the
//! kernel has now, and its flags are those that were passed.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::rc::Rc;

use observe::decode::Patience;
use observe::handle;
use observe::{Handle, Process, errno};

use super::frames::Located;
use super::machine::Machine;
use super::scene::Scene;
use super::tracee::Returned;
use crate::record::{Cost, Event, KnoteState, KqueueState, ServerCall};

/// The number of the call that announces; the stand-in has the same (05-kqueue/src/sys/linux/announce.rs).
pub const ANNOUNCE: i64 = 0x6b71;
/// The variable that asks for it.
pub const VARIABLE: &str = "KQUEUE_ANNOUNCE";

const KQUEUE: u64 = 1;
const KQUEUE_DONE: u64 = 2;
const KEVENT: u64 = 3;
const KEVENT_DONE: u64 = 4;

/// The size of a `struct kevent`.
const SIZE: u64 = 32;
/// More changes or events than any server here passes.
const MOST: u64 = 4096;

const READ: i16 = -1;
const WRITE: i16 = -2;
const VNODE: i16 = -4;
const SIGNAL: i16 = -6;
const FILTERS: [(i16, &str); 7] = [
    (READ, "READ"),
    (WRITE, "WRITE"),
    (VNODE, "VNODE"),
    (-5, "PROC"),
    (SIGNAL, "SIGNAL"),
    (-7, "TIMER"),
    (-11, "USER"),
];

const ADD: u16 = 0x1;
const DELETE: u16 = 0x2;
const ENABLE: u16 = 0x4;
const DISABLE: u16 = 0x8;
const ONESHOT: u16 = 0x10;
const CLEAR: u16 = 0x20;
const DISPATCH: u16 = 0x80;
const ERROR: u16 = 0x4000;
const EOF: u16 = 0x8000;
const FLAGS: [(u16, &str); 10] = [
    (ADD, "ADD"),
    (DELETE, "DELETE"),
    (ENABLE, "ENABLE"),
    (DISABLE, "DISABLE"),
    (ONESHOT, "ONESHOT"),
    (CLEAR, "CLEAR"),
    (0x40, "RECEIPT"),
    (DISPATCH, "DISPATCH"),
    (EOF, "EOF"),
    (ERROR, "ERROR"),
];
/// What stays with a registration, and is shown.
const KEPT: u16 = ONESHOT | CLEAR | DISPATCH;

/// What an epoll of the stand-in has for what is no knote: from here on. Of the outer one, the lowest such number is the inner
/// epoll of READ, and the next one that of WRITE.
const NO_KNOTE: u64 = u64::MAX - 15;

/// An entry of either list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kevent {
    ident: u64,
    filter: i16,
    flags: u16,
    data: i64,
}

impl Kevent {
    fn read(process: Process, at: u64) -> Self {
        let bytes: [u8; SIZE as usize] = process.word(at);
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _, _, _, o, p, q, r, s, t, u, v, ..] = bytes;
        Self {
            ident: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            filter: i16::from_ne_bytes([i, j]),
            flags: u16::from_ne_bytes([k, l]),
            data: i64::from_ne_bytes([o, p, q, r, s, t, u, v]),
        }
    }

    fn list(process: Process, at: u64, count: u64) -> Vec<Self> {
        (0..count.min(MOST)).map(|place| Self::read(process, at + place * SIZE)).collect()
    }
}

/// A kqueue(2) or kevent(2) that a thread is in.
#[derive(Debug)]
pub struct Entered {
    is_kevent: bool,
    kq: RawFd,
    changes: Vec<Kevent>,
    /// How many changes were passed.
    passed: u64,
    /// How many events there is room for.
    room: u64,
    patience: Patience,
    /// Where in the source it is called.
    pub located: Rc<Located>,
    /// The calls that the stand-in has made for it.
    inner: Vec<String>,
}

/// One that has returned.
#[derive(Debug)]
pub struct Left {
    entered: Entered,
    events: Vec<Kevent>,
    /// Negative for an error.
    value: i64,
}

/// The server's kqueues, and the threads that are in a kevent.
#[derive(Debug, Default)]
pub struct Kqueues {
    inside: HashMap<i32, Entered>,
    /// By process and number: the flags of each registration, by filter and ident, as the server has asked for them.
    known: BTreeMap<(i32, RawFd), BTreeMap<(i16, u64), u16>>,
    /// What has returned and is not recorded yet.
    left: Vec<(i32, Left)>,
}

impl Kqueues {
    /// A thread has announced something. `located` is where it stands.
    pub fn announced(&mut self, process: Process, tid: i32, args: [u64; 6], located: impl FnOnce() -> Rc<Located>) {
        match args[0] {
            KQUEUE | KEVENT => {
                let is_kevent = args[0] == KEVENT;
                let (kq, changes) = match is_kevent {
                    true => (args[1] as RawFd, Kevent::list(process, args[2], args[3])),
                    false => (-1, Vec::new()),
                };
                let (passed, room, patience) = (args[3], args[4], patience(process, args[5]));
                let (located, inner) = (located(), Vec::new());
                let entered = Entered { is_kevent, kq, changes, passed, room, patience, located, inner };
                self.inside.insert(tid, entered);
            }
            KQUEUE_DONE | KEVENT_DONE => {
                let Some(entered) = self.inside.remove(&tid) else { return };
                let value = args[2] as i64;
                let events = Kevent::list(process, args[1], u64::try_from(value).unwrap_or(0));
                let left = match entered.is_kevent {
                    true => Left { entered, events, value },
                    false => Left { entered: Entered { kq: value as RawFd, ..entered }, events: Vec::new(), value },
                };
                self.learn(process.pid, &left);
                self.left.push((tid, left));
            }
            _ => {}
        }
    }

    /// What has returned since the last time, oldest first.
    pub fn take_left(&mut self) -> Vec<(i32, Left)> {
        std::mem::take(&mut self.left)
    }

    /// The kqueue(2) or kevent(2) that a thread is in.
    pub fn inside(&self, tid: i32) -> Option<&Entered> {
        self.inside.get(&tid)
    }

    /// The stand-in has made a call.
    pub fn add_inner(&mut self, tid: i32, text: String) {
        if let Some(entered) = self.inside.get_mut(&tid) {
            entered.inner.push(text);
        }
    }

    /// The process has closed a descriptor: registrations go with it.
    pub fn closed(&mut self, pid: i32, fd: RawFd) {
        self.known.remove(&(pid, fd));
        let of_it = |(filter, ident): &(i16, u64)| matches!(*filter, READ | WRITE | VNODE) && *ident == fd as u64;
        for ((of, _), known) in &mut self.known {
            if *of == pid {
                known.retain(|at, _| !of_it(at));
            }
        }
    }

    /// The process runs another program now.
    pub fn forget(&mut self, pid: i32) {
        self.known.retain(|(of, _), _| *of != pid);
    }

    /// What is registered, as far as what was passed and returned tells. A change that failed is answered by an event.
    fn learn(&mut self, pid: i32, left: &Left) {
        let Left { entered, events, value } = left;
        if !entered.is_kevent {
            if *value >= 0 {
                self.known.insert((pid, entered.kq), BTreeMap::new());
            }
            return;
        }
        // Without room for events, nothing says which change has failed.
        let changes = if *value < 0 && *value != -i64::from(libc::EINTR) { &[][..] } else { &entered.changes[..] };
        let known = self.known.entry((pid, entered.kq)).or_default();
        let failed = |change: &Kevent| {
            let is_it = |event: &&Kevent| (event.ident, event.filter) == (change.ident, change.filter);
            events.iter().filter(is_it).any(|event| event.flags & ERROR != 0 && event.data != 0)
        };
        for change in changes.iter().filter(|change| !failed(change)) {
            let at = (change.filter, change.ident);
            if change.flags & DELETE != 0 {
                known.remove(&at);
                continue;
            }
            let flags = known.entry(at).or_insert(change.flags & KEPT);
            if change.flags & (ADD | ENABLE | DISABLE) != 0 {
                *flags = *flags & !DISABLE | change.flags & DISABLE;
            }
        }
        for event in events.iter().filter(|event| event.flags & ERROR == 0) {
            let at = (event.filter, event.ident);
            if event.flags & ONESHOT != 0 {
                known.remove(&at);
            } else if event.flags & DISPATCH != 0
                && let Some(flags) = known.get_mut(&at)
            {
                *flags |= DISABLE;
            }
        }
    }
}

/// The frames of the kevent itself: what announces it is inside.
pub fn without_the_announcement(located: &Located) -> Located {
    let announces = |file: &Option<String>| file.as_ref().is_some_and(|file| file.ends_with("/sys/linux/announce.rs"));
    let inner = located.frames.iter().take_while(|frame| announces(&frame.file)).count();
    let meaning = located.meaning.and_then(|at| at.checked_sub(inner));
    Located { frames: located.frames[inner..].to_vec(), meaning }
}

fn patience(process: Process, timeout: u64) -> Patience {
    match timeout {
        0 => Patience::Forever,
        at if process.word::<16>(at) == [0; 16] => Patience::None,
        _ => Patience::Until(std::time::Duration::ZERO),
    }
}

impl Machine<'_> {
    /// Records the kevents that have returned.
    pub fn note_kevents(&mut self) {
        for (tid, left) in self.tracee.kqueues.take_left() {
            if self.world.listener.is_some() && self.recorder.keeps() {
                let event = self.scene().kevent_call(tid, left);
                self.recorder.events.push(Event::Call(event));
            }
        }
    }

    /// A call that was made inside a kevent is a part of it.
    pub fn note_inner(&mut self, returned: &Returned) {
        let Returned { tid, call, value } = returned;
        if self.tracee.kqueues.inside(*tid).is_none() || !call.kind.is_shown() {
            return;
        }
        let (text, out) = self.scene().decode(*tid, |decoder| (decoder.call(call), decoder.outcome(call, *value)));
        let out = if out.is_empty() { out } else { format!(": {out}") };
        self.tracee.kqueues.add_inner(*tid, format!("{text} = {}{out}", errno::result(*value)));
    }
}

impl Scene<'_> {
    /// The kevent(2) that a thread is in.
    pub fn inside(&self, tid: i32) -> Option<String> {
        let pid = self.tracee.thread(tid)?.process;
        self.tracee.kqueues.inside(tid).map(|entered| self.kevent_text(pid, entered))
    }

    fn kevent_call(&self, tid: i32, left: Left) -> ServerCall {
        let Left { entered, events, value } = left;
        let pid = self.tracee.process_of(tid).pid;
        let number = |number: u64| Some(number as i64);
        let is_kevent = entered.is_kevent;
        let raw = match is_kevent {
            true => [Some(entered.kq.into()), None, number(entered.passed), None, number(entered.room), None],
            false => [None; 6],
        };
        let cost = Cost {
            looked_at: events.len() as u64,
            copied_in: SIZE * entered.passed,
            copied_out: SIZE * events.len() as u64,
        };
        ServerCall {
            thread: self.tracee.index(tid),
            name: entered.name().into(),
            arguments: self.kevent_arguments(pid, &entered),
            result: errno::result(value),
            out: self.kevent_events(pid, &events),
            raw,
            value,
            fd: is_kevent.then_some(entered.kq),
            client: None,
            wait: entered.room > 0,
            cost: is_kevent.then_some(cost),
            inner: entered.inner,
            ring: None,
            frames: entered.located.frames.clone(),
            meaning: entered.located.meaning,
            state: self.snapshot(),
        }
    }

    /// `4, [5 c0 READ ADD|CLEAR]`
    pub fn kevent_arguments(&self, pid: i32, entered: &Entered) -> String {
        if !entered.is_kevent {
            return String::new();
        }
        let change = |change: &Kevent| format!("{} {}", self.knote(pid, change), flags(change.flags));
        let changes: Vec<String> = entered.changes.iter().map(change).collect();
        let mut parts = vec![entered.kq.to_string()];
        if !changes.is_empty() {
            parts.push(format!("[{}]", changes.join(", ")));
        }
        match (entered.room, entered.patience) {
            (0, _) => parts.push("no room for events".into()),
            (_, Patience::None) => parts.push("timeout 0".into()),
            (_, Patience::Until(_)) => parts.push("with a timeout".into()),
            (_, Patience::Forever) => {}
        }
        parts.join(", ")
    }

    /// `kevent(4, [5 c0 READ ADD])`
    pub fn kevent_text(&self, pid: i32, entered: &Entered) -> String {
        format!("{}({})", entered.name(), self.kevent_arguments(pid, entered))
    }

    /// `5 c0 READ 4096, 6 c1 READ 0 EOF`. Of READ, how many bytes or connections wait; the room that WRITE reports, and
    /// how often a timer went off, are not the same in each run.
    pub fn kevent_events(&self, pid: i32, events: &[Kevent]) -> String {
        let event = |event: &Kevent| {
            let mut words = vec![self.knote(pid, event)];
            match event.flags & ERROR {
                0 if event.filter == READ => words.push(event.data.to_string()),
                0 => {}
                _ => words.push(errno::result(-event.data)),
            }
            words.extend([flags(event.flags & (EOF | ERROR))].into_iter().filter(|it| !it.is_empty()));
            words.join(" ")
        };
        events.iter().map(event).collect::<Vec<_>>().join(", ")
    }

    /// `5 c0 READ`, `SIGTERM SIGNAL`
    fn knote(&self, pid: i32, kevent: &Kevent) -> String {
        let filter = filter(kevent.filter);
        let label = self.label_of_ident(pid, kevent.filter, kevent.ident);
        match kevent.filter {
            SIGNAL => format!("{label} {filter}"),
            _ if label.is_empty() => format!("{} {filter}", kevent.ident),
            _ => format!("{} {label} {filter}", kevent.ident),
        }
    }

    fn label_of_ident(&self, pid: i32, filter: i16, ident: u64) -> String {
        match filter {
            READ | WRITE => self.name(self.tracee.label(pid, ident as RawFd)),
            SIGNAL => signal(ident as i32),
            _ => String::new(),
        }
    }

    /// The kqueues that are open, and the epolls that they are made of.
    pub fn kqueues(&self) -> (Vec<KqueueState>, Vec<(i32, RawFd)>) {
        let (mut states, mut parts) = (Vec::new(), Vec::new());
        for ((pid, kq), known) in &self.tracee.kqueues.known {
            let Some(process) = self.tracee.process(*pid) else { continue };
            // Closed, or closed and now something else.
            let Some([readers, writers]) = inner(**process, *kq) else { continue };
            parts.extend([*kq, readers, writers].map(|fd| (*pid, fd)));
            let mut interests = Vec::new();
            for (epoll, filter) in [(readers, READ), (writers, WRITE)] {
                let registered = process.registrations(epoll).into_iter().filter(|it| it.data < NO_KNOTE);
                let flags = |ident: u64| known.get(&(filter, ident)).copied().unwrap_or(0);
                interests.extend(registered.map(|it| self.knote_of(*pid, filter, it.fd as u64, flags(it.fd as u64))));
            }
            let ready = self.is_pending(process, *kq, &interests);
            let others = known.iter().filter(|((filter, _), _)| !matches!(*filter, READ | WRITE));
            interests.extend(others.map(|((filter, ident), flags)| self.knote_of(*pid, *filter, *ident, *flags)));
            states.push(KqueueState { fd: *kq, ready, interests });
        }
        (states, parts)
    }

    /// Whether a kevent would report something. The outer epoll does not know of a level-triggered knote that was reported: the
    /// stand-in arms it again at the next call.
    fn is_pending(&self, process: &Handle, kq: RawFd, knotes: &[KnoteState]) -> bool {
        let is_ready = |fd: RawFd| process.borrow(fd).is_some_and(|fd| handle::is_ready(&fd, libc::POLLIN));
        let is_level = |knote: &&KnoteState| {
            knote.filter == "READ" && !knote.flags.contains("CLEAR") && !knote.flags.contains("DISABLE")
        };
        !self.tracee.hides_epolls() && (is_ready(kq) || knotes.iter().filter(is_level).any(|knote| is_ready(knote.fd)))
    }

    fn knote_of(&self, pid: i32, which: i16, ident: u64, kept: u16) -> KnoteState {
        let label = self.label_of_ident(pid, which, ident);
        KnoteState { fd: ident as i32, label, filter: filter(which).into(), flags: flags(kept) }
    }
}

impl Entered {
    pub fn name(&self) -> &'static str {
        if self.is_kevent { "kevent" } else { "kqueue" }
    }
}

/// `SIGTERM`
fn signal(number: i32) -> String {
    let name = errno::signal_name(number);
    let known = name.split_once('(').and_then(|(_, name)| name.strip_suffix(')'));
    known.map_or(name.clone(), str::to_owned)
}

/// The two epolls inside a kqueue's own.
fn inner(process: Process, kq: RawFd) -> Option<[RawFd; 2]> {
    let mut inner: Vec<(u64, RawFd)> = process
        .registrations(kq)
        .into_iter()
        .filter(|it| it.data >= NO_KNOTE && process.link(it.fd).contains("[eventpoll]"))
        .map(|it| (it.data, it.fd))
        .collect();
    inner.sort_unstable();
    match inner[..] {
        [(_, readers), (_, writers)] => Some([readers, writers]),
        _ => None,
    }
}

fn filter(number: i16) -> &'static str {
    FILTERS.iter().find(|(filter, _)| *filter == number).map_or("?", |(_, name)| name)
}

fn flags(bits: u16) -> String {
    let names: Vec<&str> = FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    names.join("|")
}
