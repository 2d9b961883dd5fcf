//! System calls that a server has made, in the order in which they were made: what a rerun under a tracer has seen.
//!
//! Invariant: a record is bounded, whatever the server does. Of each thread and of each connection the last calls are
//! kept, and of a connection also the totals since its accept.

mod buffers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

pub use buffers::Buffers;

use crate::errno;
use crate::mask::Mask;
use crate::syscall::Kind;

/// Calls that are kept of each thread.
const OF_A_THREAD: usize = 256;
/// Calls that are kept of each connection.
const OF_A_CONNECTION: usize = 16;
/// Connections that are kept; those that come later are not.
const CONNECTIONS: usize = 4096;
/// Threads that are kept: the last ones.
const THREADS: usize = 64;
/// Of a wait with more events, or of more descriptors, so many are shown.
const SHOWN: usize = 8;
/// MSG_ZEROCOPY.
pub const ZERO_COPY: u64 = 0x400_0000;
/// MSG_ERRQUEUE.
pub const ERROR_QUEUE: u64 = 0x2000;
/// MSG_PEEK.
pub const PEEK: u64 = 0x2;
/// How a linked operation is shown.
pub(crate) const LINKED: &str = "IO_LINK";
/// MSG_OOB.
pub const URGENT: u64 = 0x1;

/// A file descriptor and events.
pub type Event = (i32, Mask);

/// A system call, or an operation of an io_uring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its place among all that the server did.
    pub at: u64,
    /// The process that made it.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// `recvfrom`; of an operation, its code: `RECV`.
    pub name: String,
    /// What it means to an event loop.
    pub kind: Kind,
    /// Which file descriptor it is about.
    pub fd: Option<i32>,
    /// The port of the client at the other end of that descriptor.
    pub client: Option<u16>,
    /// What it returned: minus the error's number, if it failed. `None` as long as it has not returned.
    pub value: Option<i64>,
    /// How many bytes were asked for.
    pub length: Option<u64>,
    /// The flags of a receive or a send.
    pub flags: u64,
    /// The buffer's address in the server's memory; 0 where there are several.
    pub buffer: u64,
    /// What it has to say besides, ready to be shown: `MOD`, `IN|OUT`.
    pub words: Vec<String>,
    /// What a wait asked for (poll, select), or what `epoll_ctl` registers.
    pub asked: Vec<Event>,
    /// What a wait reported.
    pub events: Vec<Event>,
    /// A wait: it had a timeout that is not 0.
    pub timed: bool,
    /// A completion after which the operation goes on (IORING_CQE_F_MORE).
    pub more: bool,
    /// A close, or a splice that found one of its ends not ready: bytes in its socket that were not read.
    pub unread: u64,
    /// A close: bytes that the server had read from this connection, and not written to it.
    pub owed: u64,
    /// A close: SO_LINGER was on with a time of 0, so that the kernel sends a reset.
    pub lingers_not: bool,
}

impl Made {
    /// A call that has not returned.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            at: 0,
            pid: 0,
            tid: 0,
            name: name.into(),
            kind,
            fd: None,
            client: None,
            value: None,
            length: None,
            flags: 0,
            buffer: 0,
            words: Vec::new(),
            asked: Vec::new(),
            events: Vec::new(),
            timed: false,
            more: false,
            unread: 0,
            owed: 0,
            lingers_not: false,
        }
    }

    /// It failed with this error.
    pub fn failed_with(&self, error: i32) -> bool {
        self.value == Some(-i64::from(error))
    }

    /// The number of its error, if it failed.
    pub fn error(&self) -> Option<i32> {
        self.value.filter(|value| *value < 0).map(|value| -value as i32)
    }

    /// Bytes that it moved.
    pub fn moved(&self) -> u64 {
        self.value.map_or(0, |value| value.max(0) as u64)
    }

    /// What a wait said of a file descriptor.
    pub fn said_of(&self, fd: i32) -> Option<Mask> {
        let of_it = self.events.iter().filter(|(it, _)| *it == fd);
        of_it.map(|(_, mask)| *mask).reduce(|one, other| Mask(one.0 | other.0))
    }

    /// An operation after which the next one begins (IOSQE_IO_LINK).
    pub fn is_linked(&self) -> bool {
        self.words.iter().any(|word| word == LINKED)
    }

    /// It is an operation of an io_uring.
    pub fn is_operation(&self) -> bool {
        self.name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    }
}

/// Bytes with separators: `4,096 bytes`.
pub fn bytes(count: u64) -> String {
    let digits = count.to_string();
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    format!("{} byte{}", grouped.join(","), if count == 1 { "" } else { "s" })
}

fn list(events: &[Event]) -> String {
    let shown = events.iter().take(SHOWN).map(|(fd, mask)| format!("{fd} {mask}"));
    let mut shown: Vec<String> = shown.collect();
    if events.len() > SHOWN {
        shown.push(format!("{} more", events.len() - SHOWN));
    }
    shown.join(", ")
}

impl fmt::Display for Made {
    /// `recvfrom(7, len 4096) = EAGAIN`, `close(7) with 4,096 bytes unread`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arguments: Vec<String> = Vec::new();
        let about = |fd: i32| (fd >= 0).then(|| fd.to_string());
        match self.kind {
            Kind::Poll if self.asked.is_empty() => arguments.extend(self.fd.and_then(about)),
            Kind::Poll => arguments.push(format!("[{}]", list(&self.asked))),
            Kind::Select => arguments.extend(self.words.iter().cloned()),
            // The words begin with the epoll instance.
            Kind::EpollCtl => {}
            _ => arguments.extend(self.fd.and_then(about)),
        }
        arguments.extend(self.length.map(|length| format!("len {length}")));
        match self.kind {
            Kind::Select | Kind::Poll => {}
            _ => arguments.extend(self.words.iter().cloned()),
        }
        let flags =
            [(ZERO_COPY, "MSG_ZEROCOPY"), (ERROR_QUEUE, "MSG_ERRQUEUE"), (PEEK, "MSG_PEEK"), (URGENT, "MSG_OOB")];
        arguments.extend(flags.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| (*name).to_owned()));
        if self.timed {
            arguments.push("with a timeout".into());
        }
        write!(f, "{}({})", self.name, arguments.join(", "))?;
        match self.value {
            None if self.is_operation() => f.write_str(" submitted")?,
            None => f.write_str(", which has not returned")?,
            // Where it works it says nothing.
            Some(0) if matches!(self.kind, Kind::Close | Kind::Shutdown | Kind::EpollCtl | Kind::Listen) => {}
            Some(value) => write!(f, " = {}", errno::result(value))?,
        }
        if self.more {
            f.write_str(" with F_MORE")?;
        }
        if !self.events.is_empty() {
            write!(f, " [{}]", list(&self.events))?;
        }
        if self.unread > 0 {
            write!(f, " with {} unread", bytes(self.unread))?;
        }
        if self.owed > 0 {
            write!(f, "{} {} owed", if self.unread > 0 { " and" } else { " with" }, bytes(self.owed))?;
        }
        if self.lingers_not {
            f.write_str(" with SO_LINGER 0")?;
        }
        Ok(())
    }
}

/// What a thread did last.
#[derive(Debug, Clone, Default)]
pub struct ThreadCalls {
    /// Its process.
    pub pid: i32,
    /// Its id.
    pub tid: i32,
    /// The last calls, oldest first.
    pub calls: VecDeque<Made>,
}

/// What was done with a connection.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCalls {
    /// The call that accepted it.
    pub accepted: Option<Made>,
    /// The last calls on it, oldest first; of a wait, only what it said of this connection.
    pub calls: VecDeque<Made>,
    /// The last read. A server that sends what it owes may make many calls after that.
    pub last_read: Option<Made>,
    /// Bytes that were read from it.
    pub read: u64,
    /// Bytes that were written to it.
    pub wrote: u64,
    /// Calls that were made on it in all.
    pub count: u64,
    /// The processes that have closed their descriptor of it.
    pub closed_by: BTreeSet<i32>,
}

/// Everything that is kept.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// By thread id, in the order of birth where ids are not reused.
    pub threads: BTreeMap<i32, ThreadCalls>,
    /// By the client's port.
    pub connections: BTreeMap<u16, ConnectionCalls>,
    /// `IORING_SETUP_*` of the io_urings that were set up.
    pub ring_flags: u64,
    /// Sends with MSG_ZEROCOPY, and receives that took something of an error queue.
    pub zero_copy: (u64, u64),
    /// The first write by which a connection got more bytes than were read from it, and how many more.
    pub overfilled: Option<(Made, u64)>,
    /// Whose bytes the server's buffers held.
    pub buffers: Buffers,
    /// How many calls were seen.
    pub count: u64,
}

fn push(calls: &mut VecDeque<Made>, made: Made, most: usize) {
    if calls.len() == most {
        calls.pop_front();
    }
    calls.push_back(made);
}

impl Record {
    /// Adds a call that has returned, or an operation that was submitted or has completed.
    pub fn add(&mut self, mut made: Made) {
        self.count += 1;
        made.at = self.count;
        if made.flags & ZERO_COPY != 0 && made.moved() > 0 {
            self.zero_copy.0 += 1;
        }
        if made.flags & ERROR_QUEUE != 0 && made.error().is_none() {
            self.zero_copy.1 += 1;
        }
        let totals = made.client.and_then(|port| self.connections.get(&port));
        let owed = totals.map_or(0, |connection| connection.read.saturating_sub(connection.wrote));
        self.buffers.see(&made, owed);
        if let Some(port) = made.client {
            self.add_to_connection(port, &mut made);
        }
        if !self.threads.contains_key(&made.tid) && self.threads.len() == THREADS {
            // The one that did nothing for the longest time.
            let last = |thread: &ThreadCalls| thread.calls.back().map_or(0, |made| made.at);
            if let Some(oldest) = self.threads.values().min_by_key(|thread| last(thread)).map(|thread| thread.tid) {
                self.threads.remove(&oldest);
            }
        }
        let thread = self.threads.entry(made.tid).or_default();
        (thread.pid, thread.tid) = (made.pid, made.tid);
        push(&mut thread.calls, made, OF_A_THREAD);
    }

    fn add_to_connection(&mut self, port: u16, made: &mut Made) {
        if !self.connections.contains_key(&port) && self.connections.len() == CONNECTIONS {
            return;
        }
        if made.kind == Kind::Accept && made.value.is_some() {
            // A port may come again. And another thread may use the descriptor before this call is seen to return.
            let known = self.connections.get(&port);
            if known.is_none_or(|connection| connection.accepted.is_some()) {
                self.connections.insert(port, ConnectionCalls::default());
            }
        }
        let connection = self.connections.entry(port).or_default();
        connection.count += 1;
        if made.kind == Kind::Read {
            connection.last_read = Some(made.clone());
        }
        match made.kind {
            Kind::Read if made.flags & (PEEK | ERROR_QUEUE | URGENT) == 0 => connection.read += made.moved(),
            Kind::Write => {
                connection.wrote += made.moved();
                let more = connection.wrote.saturating_sub(connection.read);
                if more > 0 && self.overfilled.is_none() {
                    self.overfilled = Some((made.clone(), more));
                }
            }
            Kind::Close => {
                made.owed = connection.read.saturating_sub(connection.wrote);
                connection.closed_by.insert(made.pid);
            }
            Kind::Accept if made.value.is_some() => connection.accepted = Some(made.clone()),
            _ => {}
        }
        push(&mut connection.calls, made.clone(), OF_A_CONNECTION);
    }

    /// What a wait said of one connection, for the list of that connection.
    pub fn add_event(&mut self, port: u16, wait: &Made, event: Event) {
        if let Some(connection) = self.connections.get_mut(&port) {
            let (name, kind) = (wait.name.clone(), wait.kind);
            let (pid, tid, value) = (wait.pid, wait.tid, wait.value);
            let of_it = Made {
                at: self.count + 1,
                pid,
                tid,
                value,
                fd: wait.fd.filter(|_| wait.kind == Kind::EpollWait),
                client: Some(port),
                events: vec![event],
                ..Made::new(name, kind)
            };
            push(&mut connection.calls, of_it, OF_A_CONNECTION);
        }
    }

    /// A process listens now, and nobody has come yet: what it did before (the loader, a shim, a runtime) was its start.
    pub fn begins(&mut self, pid: i32) {
        if self.connections.is_empty() {
            self.threads.retain(|_, thread| thread.pid != pid);
        }
    }

    /// A copy; of the connections, the one with this client's port, or all.
    pub fn of(&self, client: Option<u16>) -> Self {
        let Some(port) = client else { return self.clone() };
        let connection = self.connections.get(&port).map(|connection| (port, connection.clone()));
        Self {
            threads: self.threads.clone(),
            connections: connection.into_iter().collect(),
            ring_flags: self.ring_flags,
            zero_copy: self.zero_copy,
            overfilled: self.overfilled.clone(),
            buffers: self.buffers.clone(),
            count: self.count,
        }
    }

    /// All threads' calls in one list, oldest first.
    pub fn in_order(&self) -> Vec<&Made> {
        let mut all: Vec<&Made> = self.threads.values().flat_map(|thread| &thread.calls).collect();
        all.sort_by_key(|made| made.at);
        all
    }
}

/// Calls as lines, of which equal ones that follow each other (or pairs, or triples of them) are one with their number.
pub fn lines<'a>(calls: impl IntoIterator<Item = &'a Made>) -> Vec<String> {
    let all: Vec<&Made> = calls.into_iter().collect();
    let threads = all.iter().any(|made| made.tid != all[0].tid);
    let processes = all.iter().any(|made| made.pid != all[0].pid);
    let text = |made: &&Made| match (processes, threads) {
        (true, _) => format!("process {}: {made}", made.pid),
        (false, true) => format!("thread {}: {made}", made.tid),
        (false, false) => made.to_string(),
    };
    fold(all.iter().map(text).collect())
}

/// `a, b, a, b` as `a; b (2 times)`.
fn fold(lines: Vec<String>) -> Vec<String> {
    const LONGEST: usize = 6;
    let mut folded = Vec::new();
    let mut rest = &lines[..];
    while !rest.is_empty() {
        let times = |len: usize| rest.chunks_exact(len).take_while(|chunk| *chunk == &rest[..len]).count();
        let best = (1..=LONGEST.min(rest.len())).map(|len| (len, times(len))).filter(|(_, times)| *times > 1);
        match best.max_by_key(|(len, times)| (len * times, std::cmp::Reverse(*len))) {
            Some((len, times)) => {
                folded.push(format!("{} ({times} times)", rest[..len].join("; ")));
                rest = &rest[len * times..];
            }
            None => {
                folded.push(rest[0].clone());
                rest = &rest[1..];
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: i64) -> Made {
        Made {
            fd: Some(7),
            client: Some(9),
            value: Some(value),
            length: Some(4096),
            ..Made::new("recvfrom", Kind::Read)
        }
    }

    #[test]
    fn a_call_reads_as_in_a_manual() {
        assert_eq!(read(-11).to_string(), "recvfrom(7, len 4096) = EAGAIN");
        let close = Made { fd: Some(7), value: Some(0), unread: 4096, owed: 1, ..Made::new("close", Kind::Close) };
        assert_eq!(close.to_string(), "close(7) with 4,096 bytes unread and 1 byte owed");
        let wait = Made {
            fd: Some(4),
            value: Some(1),
            events: vec![(7, Mask::IN)],
            ..Made::new("epoll_wait", Kind::EpollWait)
        };
        assert_eq!(wait.to_string(), "epoll_wait(4) = 1 [7 IN]");
        let words = vec!["4".into(), "ADD".into(), "7".into()];
        let add = Made { fd: Some(7), value: Some(0), words, ..Made::new("epoll_ctl", Kind::EpollCtl) };
        assert_eq!(add.to_string(), "epoll_ctl(4, ADD, 7)");
        let operation = Made { fd: Some(7), ..Made::new("RECV", Kind::Read) };
        assert_eq!(operation.to_string(), "RECV(7) submitted");
        let goes_on = Made { fd: Some(7), value: Some(1), more: true, ..Made::new("POLL_ADD", Kind::Poll) };
        assert_eq!(goes_on.to_string(), "POLL_ADD(7) = 1 with F_MORE");
        assert_eq!(bytes(1_234_567), "1,234,567 bytes");
    }

    #[test]
    fn what_repeats_is_one_line() {
        let lines = |text: &str| fold(text.chars().map(String::from).collect());
        assert_eq!(lines("xababab"), ["x", "a; b (3 times)"]);
        assert_eq!(lines("aaab"), ["a (3 times)", "b"]);
        assert_eq!(lines("abc"), ["a", "b", "c"]);
    }

    #[test]
    fn what_a_process_did_before_it_listened_is_forgotten_while_nobody_has_come() {
        let load = |pid: i32| Made { pid, tid: pid, fd: Some(3), ..Made::new("read", Kind::Read) };
        let mut record = Record::default();
        record.add(load(1));
        record.add(load(2));
        record.begins(1);
        assert_eq!(record.in_order().iter().map(|made| made.pid).collect::<Vec<_>>(), [2]);
        record.add(read(5));
        record.begins(2);
        assert_eq!(record.in_order().len(), 2);
    }

    #[test]
    fn a_record_keeps_the_last_calls_and_all_totals() {
        let mut record = Record::default();
        for _ in 0..1000 {
            record.add(read(5));
        }
        record.add(Made { fd: Some(7), client: Some(9), value: Some(0), ..Made::new("close", Kind::Close) });
        let connection = &record.connections[&9];
        assert_eq!((connection.calls.len(), connection.read, connection.count), (16, 5000, 1001));
        assert_eq!(connection.calls.back().map(|made| made.owed), Some(5000));
        assert_eq!(record.threads[&0].calls.len(), 256);
    }
}
