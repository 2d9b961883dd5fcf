//! The operations of the server's io_urings: what was queued, what is in flight, what has completed, and whose it is.
//!
//! The kernel shows the entries that it has not taken (`/proc/PID/fdinfo`), and how many it has taken. So an entry that was
//! there at one look and is gone at the next is in flight, until a completion with its `user_data` comes. Completions are
//! read where the program reads them: one that came and was taken between two looks still stands there.
//!
//! Invariant: an operation is known from its entry, and never guessed; a completion without an entry that was seen is named
//! `?`. The client of an operation is looked up while its descriptor is still that client's. No address and no `user_data`
//! comes out of here: `user_data` is often an address.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use observe::ptrace::CompletionQueue;
use observe::ring::{Completion, RingInfo, Submission};
use observe::syscall::Kind;
use observe::{Process, TcpEnd};

use super::machine::Machine;
use super::scene::Scene;
use super::tracee::Returned;
use crate::record::{Operation, RingCall, RingState};
use crate::run::Error;

/// The size of a `struct io_uring_params`.
const PARAMS: usize = 120;
/// More completions that the program has not taken than a player can show.
const NOT_TAKEN: usize = 1024;

/// The client at the other end of a file descriptor.
type ClientOf<'a> = &'a dyn Fn(RawFd) -> Option<usize>;

/// Bytes that an operation has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub client: usize,
    pub bytes: u64,
    /// From the connection to the program; otherwise the other way.
    pub to_program: bool,
}

/// The rings that the server has set up, by process and file descriptor.
#[derive(Debug, Default)]
pub struct Rings(BTreeMap<(i32, RawFd), Ring>);

#[derive(Debug, Clone)]
struct Entry {
    user_data: u64,
    operation: Operation,
    /// The flags of a receive or a send.
    message_flags: u32,
}

#[derive(Debug)]
struct Ring {
    params: [u8; PARAMS],
    queue: Option<CompletionQueue>,
    /// How many entries the kernel had taken at the last look.
    taken: u32,
    /// Queued, and not taken at the last look.
    queued: Vec<Entry>,
    in_flight: Vec<Entry>,
    /// Posted, with their numbers, and not taken by the program at the last look.
    posted: Vec<(u32, Operation)>,
    /// How many completions were posted by the last look.
    count: u32,
    /// Since the last `io_uring_enter` that has returned.
    since: RingCall,
}

impl Rings {
    /// `io_uring_setup` has returned; `params` is where it has left what it did.
    pub fn set_up(&mut self, process: Process, fd: RawFd, params: u64) {
        let ring = Ring {
            params: process.word(params),
            queue: None,
            taken: 0,
            queued: Vec::new(),
            in_flight: Vec::new(),
            posted: Vec::new(),
            count: 0,
            since: RingCall::default(),
        };
        self.0.insert((process.pid, fd), ring);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at the rings of one process. Nothing of the server may run meanwhile.
    pub fn look(&mut self, process: Process, client_of: ClientOf<'_>) -> Vec<Transfer> {
        let own = self.0.range_mut((process.pid, RawFd::MIN)..=(process.pid, RawFd::MAX));
        own.flat_map(|((_, fd), ring)| ring.look(process, *fd, client_of)).collect()
    }

    /// The processes that have rings.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.0.keys().map(|(pid, _)| *pid).collect();
        pids.dedup();
        pids
    }

    /// What the `io_uring_enter` that returns now has submitted, and what was completed since the one before.
    pub fn of_call(&self, pid: i32, args: &[u64; 6]) -> Option<RingCall> {
        self.0.get(&self.named(pid, args)?).map(|ring| ring.since.clone())
    }

    /// That call is recorded.
    pub fn call_ended(&mut self, pid: i32, args: &[u64; 6]) {
        if let Some(ring) = self.named(pid, args).and_then(|at| self.0.get_mut(&at)) {
            ring.since = RingCall::default();
        }
    }

    /// With IORING_ENTER_REGISTERED_RING the call names a slot, which only the kernel knows: if there is one ring, it is meant.
    fn named(&self, pid: i32, args: &[u64; 6]) -> Option<(i32, RawFd)> {
        const REGISTERED_RING: u64 = 1 << 4;
        if args[3] & REGISTERED_RING == 0 {
            return Some((pid, args[0] as RawFd));
        }
        let mut own = self.0.keys().filter(|(of, _)| *of == pid);
        own.next().copied().filter(|_| own.next().is_none())
    }

    /// Whether a send to a client is in flight: the kernel may have taken a part of it.
    pub fn is_sending(&self, client: usize) -> bool {
        let sends = |entry: &Entry| entry.operation.client == Some(client) && moves_to_program(entry) == Some(false);
        self.0.values().any(|ring| ring.in_flight.iter().any(sends))
    }

    /// What the last look has seen of the rings that are still open.
    pub fn states(&self, is_open: impl Fn(i32, RawFd) -> bool) -> Vec<RingState> {
        let operations = |entries: &[Entry]| entries.iter().map(|entry| entry.operation.clone()).collect();
        let open = self.0.iter().filter(|((pid, fd), _)| is_open(*pid, *fd));
        open.map(|((_, fd), ring)| RingState {
            fd: *fd,
            submitted: operations(&ring.queued),
            completed: ring.posted.iter().map(|(_, operation)| operation.clone()).collect(),
            in_flight: operations(&ring.in_flight),
        })
        .collect()
    }
}

impl Ring {
    fn look(&mut self, process: Process, fd: RawFd, client_of: ClientOf<'_>) -> Vec<Transfer> {
        let info = RingInfo::parse(&process.fd_info(fd));
        self.see_submissions(&info, client_of);
        let completions = self.new_completions(process, fd, &info);
        let mut transfers = Vec::new();
        for (number, completion) in completions {
            let (operation, transfer) = self.complete(completion, client_of);
            transfers.extend(transfer);
            self.since.completed.push(operation.clone());
            self.posted.push((number, operation));
        }
        if let Some((head, _)) = info.completed {
            self.posted.retain(|(number, _)| number.wrapping_sub(head) <= u32::MAX / 2);
        }
        let too_many = self.posted.len().saturating_sub(NOT_TAKEN);
        self.posted.drain(..too_many);
        transfers
    }

    /// What the kernel has taken since the last look is in flight; what stands in the queue now is queued.
    fn see_submissions(&mut self, info: &RingInfo, client_of: ClientOf<'_>) {
        let Some(taken) = info.taken else { return };
        let count = taken.wrapping_sub(self.taken) as usize;
        self.taken = taken;
        for entry in self.queued.drain(..count.min(self.queued.len())) {
            self.since.submitted.push(entry.operation.clone());
            self.in_flight.push(entry);
        }
        if let Some(submissions) = &info.submissions {
            self.queued = submissions.iter().map(|submission| entry(submission, client_of)).collect();
        }
    }

    /// With their numbers. Without the queue itself, those that the program has not taken.
    fn new_completions(&mut self, process: Process, fd: RawFd, info: &RingInfo) -> Vec<(u32, Completion)> {
        if self.queue.is_none() {
            self.queue = CompletionQueue::find(process, fd, &self.params);
        }
        let numbered = |first: u32, all: Vec<Completion>| -> Vec<(u32, Completion)> {
            (0..).map(|at| first.wrapping_add(at)).zip(all).collect()
        };
        let news = match (&mut self.queue, info.completed, &info.completions) {
            (Some(queue), ..) => {
                let news = queue.news(process);
                numbered(queue.posted().wrapping_sub(news.len() as u32), news)
            }
            (None, Some((head, _)), Some(all)) => {
                let mut news = numbered(head, all.clone());
                news.retain(|(number, _)| number.wrapping_sub(self.count) <= u32::MAX / 2);
                news
            }
            _ => Vec::new(),
        };
        if let Some((last, _)) = news.last() {
            self.count = last.wrapping_add(1);
        }
        news
    }

    fn complete(&mut self, completion: Completion, client_of: ClientOf<'_>) -> (Operation, Option<Transfer>) {
        let Completion { user_data, result, .. } = completion;
        let Some(at) = self.in_flight.iter().position(|entry| entry.user_data == user_data) else {
            let unknown = Operation { operation: "?".into(), fd: None, client: None, result: Some(result) };
            return (unknown, None);
        };
        let entry = match completion.has_more() {
            true => self.in_flight[at].clone(),
            false => self.in_flight.remove(at),
        };
        let is_accept = entry.operation.operation == "ACCEPT";
        let client = match i32::try_from(result) {
            Ok(accepted) if is_accept && accepted >= 0 => client_of(accepted),
            _ => entry.operation.client,
        };
        let bytes = u64::try_from(result).unwrap_or(0);
        let transfer = match (client, moves_to_program(&entry)) {
            (Some(client), Some(to_program)) if bytes > 0 && !completion.is_notice() => {
                Some(Transfer { client, bytes, to_program })
            }
            _ => None,
        };
        (Operation { client, result: Some(result), ..entry.operation }, transfer)
    }
}

fn entry(submission: &Submission, client_of: ClientOf<'_>) -> Entry {
    let Submission { user_data, operation, fd, message_flags } = submission;
    // Some operations name none, and then the field is idle.
    let fd = fd.filter(|_| {
        !matches!(operation.as_str(), "NOP" | "TIMEOUT" | "TIMEOUT_REMOVE" | "ASYNC_CANCEL" | "LINK_TIMEOUT")
    });
    let operation = Operation { operation: operation.clone(), fd, client: fd.and_then(client_of), result: None };
    Entry { user_data: *user_data, operation, message_flags: *message_flags }
}

/// Whether an operation moves bytes from a connection to the program, or the other way.
fn moves_to_program(entry: &Entry) -> Option<bool> {
    let name = entry.operation.operation.as_str();
    let peeks = name.starts_with("RECV") && entry.message_flags as i32 & libc::MSG_PEEK != 0;
    if (name.starts_with("RECV") || name.starts_with("READ")) && !peeks {
        return Some(true);
    }
    (name.starts_with("SEND") || name.starts_with("WRITE")).then_some(false)
}

impl Machine<'_> {
    /// Looks at the server's rings, if events are kept, and counts the bytes that completions have moved.
    pub fn look_at_rings(&mut self) -> Result<(), Error> {
        if !self.order.keep || self.tracee.rings.is_empty() {
            return Ok(());
        }
        // What arrives now completes a receive: the state to show is the one after.
        self.scene().let_arrive();
        for tid in self.tracee.in_call() {
            self.tracee.is_still_in_call(tid)?;
        }
        let mut rings = std::mem::take(&mut self.tracee.rings);
        let mut moved = Vec::new();
        for pid in rings.processes() {
            let Some(process) = self.tracee.process(pid).map(|handle| **handle) else { continue };
            moved.extend(rings.look(process, &|fd| self.scene().client_at(pid, fd)));
        }
        self.tracee.rings = rings;
        for Transfer { client, bytes, to_program } in moved {
            match to_program {
                true => self.world.ledger.took(client, bytes),
                false => self.world.ledger.gave(client, bytes, 0),
            }
        }
        Ok(())
    }
}

impl Machine<'_> {
    /// What an `io_uring_enter` has shown, no later one shows.
    pub fn note_enter(&mut self, returned: &Returned) {
        let pid = self.tracee.process_of(returned.tid).pid;
        if returned.call.kind == Kind::UringEnter {
            self.tracee.rings.call_ended(pid, &returned.call.args);
        }
    }
}

impl Scene<'_> {
    /// The rings that are open, as they were at the last look.
    pub fn rings(&self) -> Vec<RingState> {
        self.tracee
            .rings
            .states(|pid, fd| self.tracee.process(pid).is_some_and(|process| process.link(fd).contains("io_uring")))
    }

    /// Bytes of a send in flight that the kernel has taken already: with MSG_WAITALL it completes when all are taken. They
    /// have arrived, or wait in the server's socket.
    pub fn taken_of_a_send(&self, client: usize, there: TcpEnd, server: TcpEnd) -> u64 {
        match self.tracee.rings.is_sending(client) {
            true => (there.arrived + server.not_sent).saturating_sub(self.world.ledger.given(client)),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(user_data: u64, operation: &str, fd: RawFd) -> Submission {
        Submission { user_data, operation: operation.into(), fd: Some(fd), message_flags: 0 }
    }

    fn ring() -> Ring {
        let mut rings = Rings::default();
        // Its own memory will do: nothing is read there.
        rings.set_up(Process { pid: std::process::id() as i32 }, 3, 0);
        rings.0.into_values().next().expect("one ring")
    }

    #[test]
    fn an_entry_is_queued_then_in_flight_then_complete() {
        let (mut ring, client_of) = (ring(), |fd: RawFd| (fd == 7).then_some(0));
        let queued = vec![submission(5, "RECV", 7), submission(6, "ACCEPT", 4)];
        let info = RingInfo { taken: Some(0), submissions: Some(queued), ..RingInfo::default() };
        ring.see_submissions(&info, &client_of);
        assert_eq!((ring.queued.len(), ring.in_flight.len()), (2, 0));
        let info = RingInfo { taken: Some(2), submissions: Some(Vec::new()), ..RingInfo::default() };
        ring.see_submissions(&info, &client_of);
        assert_eq!((ring.queued.len(), ring.in_flight.len(), ring.since.submitted.len()), (0, 2, 2));

        let (operation, transfer) = ring.complete(Completion { user_data: 5, result: 40, flags: 2 }, &client_of);
        assert_eq!((operation.client, operation.result), (Some(0), Some(40)));
        assert_eq!(transfer, Some(Transfer { client: 0, bytes: 40, to_program: true }));
        assert_eq!(ring.in_flight.len(), 2, "a multishot receive goes on");
        let (operation, transfer) = ring.complete(Completion { user_data: 6, result: 7, flags: 0 }, &client_of);
        assert_eq!((operation.operation.as_str(), operation.fd, operation.client), ("ACCEPT", Some(4), Some(0)));
        assert_eq!((transfer, ring.in_flight.len()), (None, 1));
        let (operation, _) = ring.complete(Completion { user_data: 9, result: -125, flags: 0 }, &client_of);
        assert_eq!((operation.operation.as_str(), operation.result), ("?", Some(-125)));
    }

    #[test]
    fn without_the_queue_each_completion_is_seen_once() {
        let mut ring = ring();
        let done = |user_data| Completion { user_data, result: 0, flags: 0 };
        let info = |head, all: Vec<Completion>| RingInfo {
            completed: Some((head, 0)),
            completions: Some(all),
            ..RingInfo::default()
        };
        let process = Process { pid: std::process::id() as i32 };
        assert_eq!(ring.new_completions(process, -1, &info(0, vec![done(1), done(2)])), [(0, done(1)), (1, done(2))]);
        assert_eq!(ring.new_completions(process, -1, &info(1, vec![done(2), done(3)])), [(2, done(3))]);
        assert_eq!(ring.new_completions(process, -1, &RingInfo::default()), []);
    }
}
