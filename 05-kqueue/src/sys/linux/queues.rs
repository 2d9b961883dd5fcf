//! The kqueues of this process, and how the stand-in learns that one was closed.
//!
//! Invariant: a number means a kqueue only if the kernel says so at this call. close(2) and dup(2) tell the stand-in
//! nothing. So each call asks whether the number is still an epoll that has the kqueue's own epoll of writers in it. A
//! duplicate is known by the same question.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock};

use super::calls::*;
use super::knotes::{Knotes, WRITERS};
use super::made::{Made, is_made};
use super::process::state;

/// The most kqueues that a new one looks at: more than one, so that the closed ones cannot pile up.
const LOOKS: usize = 2;

/// What is behind the numbers of one kqueue.
pub struct StandIn {
    pub knotes: Mutex<Knotes>,
    writers: RawFd,
    /// Set when all numbers of the kqueue were closed. It is readable, and so ends the waits of other threads.
    closed: OnceLock<Option<Made>>,
}

#[derive(Default)]
pub struct Queues {
    /// A kqueue has more than one number once a duplicate was used.
    by_number: BTreeMap<RawFd, Arc<StandIn>>,
    looked_at: RawFd,
}

impl StandIn {
    /// Whether the number means this kqueue. (A stranger among the epolls answers ENOENT and is not changed.)
    fn has(&self, number: RawFd) -> bool {
        epoll_ctl(number, libc::EPOLL_CTL_MOD, self.writers, IN, WRITERS).is_ok()
    }

    pub fn check_not_closed(&self) -> Result {
        if self.closed.get().is_some() { Err(libc::EBADF) } else { Ok(()) }
    }

    fn end_waits(&self) {
        self.closed.get_or_init(|| {
            let bell = Made::new(eventfd(1).ok()?).ok()?;
            // Its token is that of no knote.
            epoll_ctl(self.writers, libc::EPOLL_CTL_ADD, bell.as_raw_fd(), IN, u64::MAX).ok()?;
            Some(bell)
        });
    }
}

/// Makes a kqueue and returns its number.
pub fn make() -> Result<RawFd> {
    forget_closed(LOOKS);
    let knotes = Knotes::new().or_else(|errno| match errno {
        libc::EMFILE | libc::ENFILE => {
            forget_closed(usize::MAX);
            Knotes::new()
        }
        _ => Err(errno),
    })?;
    let (number, writers) = (knotes.outer, knotes.writers());
    let new = Arc::new(StandIn { knotes: Mutex::new(knotes), writers, closed: OnceLock::new() });
    let before = state().queues.lock().unwrap().by_number.insert(number, new);
    if let Some(before) = before {
        settle(before);
    }
    Ok(number)
}

/// The kqueue that has this number, or of which it is a duplicate.
pub fn find(number: RawFd) -> Result<Arc<StandIn>> {
    let known = state().queues.lock().unwrap().by_number.get(&number).cloned();
    if let Some(known) = known.filter(|it| it.has(number)) {
        return Ok(known);
    }
    if !is_open(number) {
        return Err(libc::EBADF);
    }
    let mut queues = state().queues.lock().unwrap();
    let original = queues.by_number.values().find(|it| it.has(number)).cloned().ok_or(libc::EBADF)?;
    let before = queues.by_number.insert(number, Arc::clone(&original));
    drop(queues);
    if let Some(before) = before {
        settle(before);
    }
    Ok(original)
}

/// Whether the number is known to mean a kqueue.
pub fn is_kqueue(number: RawFd) -> bool {
    let known = state().queues.lock().unwrap().by_number.get(&number).cloned();
    known.is_some_and(|it| it.has(number))
}

/// Looks at some kqueues, others each time, and frees what the closed ones held.
pub fn forget_closed(most: usize) {
    let mut queues = state().queues.lock().unwrap();
    let (from, numbers) = (queues.looked_at, &queues.by_number);
    let in_turn = numbers.range((Excluded(from), Unbounded)).chain(numbers.range(..=from)).take(most);
    let looked_at: Vec<(RawFd, bool)> = in_turn.map(|(&number, it)| (number, it.has(number))).collect();
    queues.looked_at = looked_at.last().map_or(0, |&(number, _)| number);
    let closed = looked_at.into_iter().filter(|(_, is_open)| !is_open);
    let closed: Vec<_> = closed.filter_map(|(number, _)| queues.by_number.remove(&number)).collect();
    // What they held is freed without the lock.
    drop(queues);
    closed.into_iter().for_each(settle);
}

/// One number of the kqueue was closed. Without any other number the kqueue is, too.
fn settle(stand_in: Arc<StandIn>) {
    let mut queues = state().queues.lock().unwrap();
    if queues.by_number.values().any(|it| Arc::ptr_eq(it, &stand_in)) {
        return;
    }
    // A duplicate that no call has used yet can only be found by looking at each descriptor.
    let duplicate = open_numbers()
        .find(|&number| !queues.by_number.contains_key(&number) && !is_made(number) && stand_in.has(number));
    if let Some(number) = duplicate {
        queues.by_number.insert(number, stand_in);
        return;
    }
    drop(queues);
    if Arc::strong_count(&stand_in) > 1 {
        stand_in.end_waits();
    }
}

fn open_numbers() -> Box<dyn Iterator<Item = RawFd>> {
    match fs::read_dir("/proc/self/fd") {
        Ok(entries) => Box::new(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())),
        // Out of descriptors, so all numbers below the limit are taken.
        Err(_) => Box::new(0..descriptor_limit()),
    }
}
