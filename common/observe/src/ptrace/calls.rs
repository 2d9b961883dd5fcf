//! What a stopped thread's call says: read from the server's memory and descriptors at its entry and at its exit.
//!
//! Invariant: nothing is taken and nothing changed. A borrowed descriptor is closed before the thread goes on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;

use socket2::SockRef;

use super::operations::Operations;
use crate::decode::bits;
use crate::handle::{self, Handle, Label};
use crate::made::{Event, Made, Record};
use crate::mask::Mask;
use crate::process::Process;
use crate::syscall::{Call, Kind, RESTART};

/// For the kernel: go on by `restart_syscall` (include/linux/errno.h).
const RESTART_BLOCK: i64 = -516;
/// Of a wait with more events, or more descriptors, the first ones are kept.
const KEPT: u64 = 1024;

/// A call that was entered.
pub struct Entered {
    /// What is known of it so far.
    pub made: Made,
    call: Call,
}

impl Entered {
    /// It never returns.
    pub fn is_last(&self) -> bool {
        self.call.kind == Kind::Exit
    }
}

/// The server's processes, and what their descriptors stand for.
#[derive(Default)]
pub struct Families {
    handles: HashMap<i32, Handle>,
    /// By process and number: the client's port, if it is a client's connection.
    clients: HashMap<(i32, i32), Option<u16>>,
    /// By process, epoll instance, and what the server wants to be told with an event.
    epolls: HashMap<(i32, i32, u64), i32>,
    operations: Operations,
    /// Waits with a timeout that were interrupted: `restart_syscall` goes on with them. By thread.
    interrupted: HashMap<i32, Call>,
}

impl Families {
    /// Any of its file descriptors may stand for something else now.
    pub fn forget(&mut self, pid: i32) {
        self.clients.retain(|(of, _), _| *of != pid);
    }

    /// It has ended.
    pub fn ended(&mut self, pid: i32) {
        self.forget(pid);
        self.handles.remove(&pid);
    }

    fn borrow(&mut self, pid: i32, fd: i32) -> Option<OwnedFd> {
        match self.handles.entry(pid) {
            Entry::Occupied(handle) => handle.get().borrow(fd),
            Entry::Vacant(place) => place.insert(Handle::open(pid).ok()?).borrow(fd),
        }
    }

    /// The port of the client at the other end of a descriptor.
    fn client(&mut self, pid: i32, fd: i32) -> Option<u16> {
        if let Some(known) = self.clients.get(&(pid, fd)) {
            return *known;
        }
        let borrowed = self.borrow(pid, fd)?;
        let client = match handle::label(&borrowed, String::new) {
            Label::Peer(port) => Some(port),
            _ => None,
        };
        self.clients.insert((pid, fd), client);
        client
    }

    /// The call that a thread is about to make, if it belongs into a record.
    pub fn enter(&mut self, pid: i32, tid: i32, number: i64, args: [u64; 6]) -> Option<Entered> {
        let call = match self.interrupted.remove(&tid) {
            Some(interrupted) if number == RESTART => interrupted,
            _ => Call::new(number, args),
        };
        let process = Process { pid };
        let mut made = Made { pid, tid, ..Made::new(call.name, call.kind) };
        match call.kind {
            Kind::Quick => return None,
            Kind::Other => return self.enter_other(call, made),
            Kind::Exit => made.words.push((args[0] as i32).to_string()),
            Kind::EpollWait => {
                made.fd = Some(args[0] as i32);
                made.timed = is_timed(process, &call);
            }
            Kind::Poll => {
                made.timed = is_timed(process, &call);
                made.asked = pollfds(process, &call).map(|(fd, asked, _)| (fd, asked)).collect();
            }
            Kind::Select => {
                made.timed = is_timed(process, &call);
                made.words = select_words(process, &call);
            }
            Kind::UringEnter => {
                made.fd = Some(args[0] as i32);
                made.words = enter_words(&args);
            }
            Kind::Read | Kind::Write => self.enter_transfer(process, &call, &mut made),
            Kind::Close => self.enter_close(&call, &mut made),
            Kind::Shutdown => {
                made.fd = Some(args[0] as i32);
                made.client = self.client(pid, args[0] as i32);
                made.words.push((*["SHUT_RD", "SHUT_WR", "SHUT_RDWR"].get(args[1] as usize).unwrap_or(&"?")).into());
            }
            Kind::EpollCtl => self.enter_epoll_ctl(process, &args, &mut made),
            Kind::Accept | Kind::Listen | Kind::Duplicate => made.fd = Some(args[0] as i32),
        }
        Some(Entered { made, call })
    }

    /// Of the calls that say little about an event loop, a few say something about a connection.
    fn enter_other(&mut self, call: Call, mut made: Made) -> Option<Entered> {
        let (pid, args) = (made.pid, &call.args);
        match call.name {
            "splice" | "sendfile" => {
                // splice names the source first, sendfile the target.
                let (from, to) = if call.name == "splice" { (args[0], args[2]) } else { (args[1], args[0]) };
                let (from, to) = (from as i32, to as i32);
                (made.kind, made.fd) = (Kind::Read, Some(from));
                made.client = self.client(pid, from);
                made.words.push(format!("to {to}"));
                if made.client.is_none() {
                    (made.kind, made.fd) = (Kind::Write, Some(to));
                    made.client = self.client(pid, to);
                    made.words = vec![format!("from {from}")];
                }
            }
            "io_uring_setup" | "nanosleep" | "clock_nanosleep" | "connect" => {}
            _ => return None,
        }
        Some(Entered { made, call })
    }

    fn enter_transfer(&mut self, process: Process, call: &Call, made: &mut Made) {
        let args = &call.args;
        made.fd = Some(args[0] as i32);
        made.client = self.client(made.pid, args[0] as i32);
        let (vectors, count) = match call.name {
            "readv" | "writev" => (args[1], args[2]),
            "recvmsg" | "sendmsg" => {
                made.flags = args[2];
                let word = |at: u64| u64::from_le_bytes(process.word(args[1] + at));
                (word(16), word(24))
            }
            name => {
                (made.length, made.buffer) = (Some(args[2]), args[1]);
                // read and write have no flags.
                made.flags = if matches!(name, "recvfrom" | "sendto") { args[3] } else { 0 };
                return;
            }
        };
        // The kernel takes no more than IOV_MAX.
        let lengths = (0..count.min(1024)).map(|at| u64::from_le_bytes(process.word(vectors + at * 16 + 8)));
        made.length = Some(lengths.sum());
        made.words.push(format!("{count} pieces"));
        if count == 1 {
            made.words.clear();
            made.buffer = u64::from_le_bytes(process.word(vectors));
        }
    }

    fn enter_close(&mut self, call: &Call, made: &mut Made) {
        let (pid, fd) = (made.pid, call.args[0] as i32);
        made.fd = Some(fd);
        made.client = self.client(pid, fd);
        if made.client.is_some()
            && let Some(socket) = self.borrow(pid, fd)
        {
            made.unread = handle::in_queue(&socket);
            made.lingers_not =
                SockRef::from(&socket).linger().is_ok_and(|linger| linger == Some(std::time::Duration::ZERO));
        }
        // From here on the number may be another one's.
        self.clients.remove(&(pid, fd));
    }

    fn enter_epoll_ctl(&mut self, process: Process, args: &[u64; 6], made: &mut Made) {
        let (epoll, fd) = (args[0] as i32, args[2] as i32);
        made.fd = Some(fd);
        made.client = self.client(made.pid, fd);
        let operation = match args[1] as i32 {
            libc::EPOLL_CTL_ADD => "ADD",
            libc::EPOLL_CTL_MOD => "MOD",
            libc::EPOLL_CTL_DEL => "DEL",
            _ => "?",
        };
        made.words = vec![epoll.to_string(), operation.into(), fd.to_string()];
        if args[1] as i32 != libc::EPOLL_CTL_DEL && args[3] != 0 {
            let (mask, data) = epoll_event(process, args[3]);
            made.words.push(mask.to_string());
            made.asked = vec![(fd, mask)];
            self.epolls.insert((made.pid, epoll, data), fd);
        }
    }

    /// The call has returned.
    pub fn leave(&mut self, entered: Entered, value: i64, record: &mut Record) {
        let Entered { mut made, call } = entered;
        let process = Process { pid: made.pid };
        made.value = Some(value);
        if value == RESTART_BLOCK {
            self.interrupted.insert(made.tid, call);
        }
        match call.kind {
            Kind::Accept if value >= 0 => {
                self.clients.remove(&(made.pid, value as i32));
                made.client = self.client(made.pid, value as i32);
            }
            // Either end may be the one that would block.
            _ if call.name == "splice" && made.kind == Kind::Read && made.failed_with(libc::EAGAIN) => {
                made.unread =
                    made.fd.and_then(|fd| self.borrow(made.pid, fd)).map_or(0, |from| handle::in_queue(&from));
            }
            Kind::EpollWait if value > 0 => made.events = self.epoll_events(process, &call, value as u64),
            Kind::Poll if value > 0 => {
                let ready = pollfds(process, &call).filter(|(.., ready)| ready.0 != 0);
                made.events = ready.map(|(fd, _, ready)| (fd, ready)).collect();
            }
            Kind::Select if value > 0 => made.events = select_set(process, &call),
            // dup2 and close_range close, and the others may be about anything.
            Kind::Duplicate => self.forget(made.pid),
            Kind::Other if call.name == "io_uring_setup" && value >= 0 => {
                record.ring_flags |= u64::from(u32::from_le_bytes(process.word(call.args[1] + 8)));
                self.operations.set_up(process, value as i32, call.args[1]);
            }
            _ => {}
        }
        let events: Vec<(u16, Event)> =
            made.events.iter().filter_map(|event| Some((self.client(made.pid, event.0)?, *event))).collect();
        for (client, event) in events {
            record.add_event(client, &made, event);
        }
        if call.kind == Kind::UringEnter {
            self.ring(process, &made, &call, record);
            return;
        }
        record.add(made);
    }

    /// The call itself, and what has completed.
    fn ring(&mut self, process: Process, made: &Made, call: &Call, record: &mut Record) {
        let ring = call.args[0] as i32;
        let completed = self.operations.after(process, ring);
        record.add(made.clone());
        self.add_operations(completed, made, record);
    }

    fn add_operations(&mut self, operations: Vec<Made>, call: &Made, record: &mut Record) {
        for operation in operations {
            let (pid, tid) = (call.pid, call.tid);
            let client = match (operation.kind, operation.value) {
                (Kind::Accept, Some(fd)) if fd >= 0 => self.client(pid, fd as i32),
                (Kind::Accept, _) => None,
                _ => operation.fd.and_then(|fd| self.client(pid, fd)),
            };
            record.add(Made { pid, tid, client, ..operation });
        }
    }

    /// At the entry of `io_uring_enter`: what it is about to submit, and what has completed since the last one.
    pub fn before_enter(&mut self, entered: &Entered, record: &mut Record) {
        if entered.call.kind == Kind::UringEnter {
            let process = Process { pid: entered.made.pid };
            let (completed, submitted) = self.operations.before(process, entered.call.args[0] as i32);
            self.add_operations(completed, &entered.made, record);
            // Now, because the call may sleep.
            self.add_operations(submitted, &entered.made, record);
        }
    }

    fn epoll_events(&mut self, process: Process, call: &Call, count: u64) -> Vec<Event> {
        let size = size_of::<libc::epoll_event>() as u64;
        let epoll = call.args[0] as i32;
        let raw: Vec<(Mask, u64)> =
            (0..count.min(KEPT)).map(|at| epoll_event(process, call.args[1] + at * size)).collect();
        raw.into_iter()
            .map(|(mask, data)| {
                let key = (process.pid, epoll, data);
                if !self.epolls.contains_key(&key) {
                    // Registered by another process, or before this one was forked.
                    let known = process.registrations(epoll).into_iter();
                    self.epolls.extend(known.map(|it| ((process.pid, epoll, it.data), it.fd)));
                }
                (self.epolls.get(&key).copied().unwrap_or(-1), mask)
            })
            .collect()
    }
}

fn is_timed(process: Process, call: &Call) -> bool {
    matches!(crate::decode::patience(process, call), crate::decode::Patience::Until(_))
}

/// On x86-64 the struct is packed, elsewhere its data are aligned; they are its last 8 bytes in both.
fn epoll_event(process: Process, at: u64) -> (Mask, u64) {
    let size = size_of::<libc::epoll_event>() as u64;
    (Mask::of_epoll(u32::from_le_bytes(process.word(at))), u64::from_le_bytes(process.word(at + size - 8)))
}

/// The entries of poll's array that are in use: file descriptor, `events`, `revents`.
fn pollfds(process: Process, call: &Call) -> impl Iterator<Item = (i32, Mask, Mask)> + use<> {
    let count = call.args[1].min(4 * KEPT) as usize;
    let mut bytes = vec![0; count * 8];
    process.read_memory(call.args[0], &mut bytes);
    let entry = |entry: &[u8; 8]| {
        let half = |at: usize| Mask::of_poll(i16::from_le_bytes([entry[at], entry[at + 1]]));
        (i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]), half(4), half(6))
    };
    let entries: Vec<_> = bytes.as_chunks().0.iter().map(entry).filter(|(fd, ..)| *fd >= 0).collect();
    entries.into_iter()
}

fn select_words(process: Process, call: &Call) -> Vec<String> {
    let mut words = vec![format!("nfds {}", call.args[0] as i32)];
    for (name, at) in [("read", 1), ("write", 2), ("except", 3)] {
        let set = bits(process, call.args[at]);
        if !set.is_empty() || name == "read" {
            let shown: Vec<String> = set.iter().take(16).map(i32::to_string).collect();
            let more = if set.len() > shown.len() { ", ..." } else { "" };
            words.push(format!("{name} [{}{more}]", shown.join(", ")));
        }
    }
    words
}

/// After the call: what is ready. `PRI` stands for the third set.
fn select_set(process: Process, call: &Call) -> Vec<Event> {
    let mut found = Vec::new();
    for (at, mask) in [(1, Mask::IN), (2, Mask::OUT), (3, Mask::PRI)] {
        let below = |fd: &i32| *fd < call.args[0] as i32;
        found.extend(bits(process, call.args[at]).into_iter().filter(below).map(|fd| (fd, mask)));
    }
    found
}

fn enter_words(args: &[u64; 6]) -> Vec<String> {
    const GETEVENTS: u64 = 1;
    const WAKEUP: u64 = 2;
    let mut words = vec![format!("submit {}", args[1] as u32)];
    if args[3] & GETEVENTS != 0 {
        words.push(format!("wait for {}", args[2] as u32));
    }
    if args[3] & WAKEUP != 0 {
        words.push("SQ_WAKEUP".into());
    }
    words
}
