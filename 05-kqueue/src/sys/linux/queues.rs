//! The kqueues of this process, and how the stand-in learns that one was closed.
//!
//! Invariant: a number means a kqueue only if the kernel says so at this call. close(2) and dup(2) tell the stand-in
//! nothing. So each call asks whether the number is still an epoll that has the kqueue's own epoll of writers in it. A
//! duplicate is known by the same question.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock};

use super::calls::*;
use super::knotes::{Knotes, WRITERS};
use super::made::Made;
use super::process::state;

/// The most kqueues that a new one looks at: more than one, so that the closed ones cannot pile up.
const LOOKS: usize = 2;
/// A look for duplicates asks each number, so it waits until there is one kqueue to free for as many numbers as this.
const NUMBERS: usize = 256;

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
    /// Those that have lost their last known number. Another may be found.
    numberless: Vec<Arc<StandIn>>,
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
    state().queues.lock().unwrap().look_at(LOOKS);
    free_closed(NUMBERS);
    let knotes = Knotes::new().or_else(|errno| match errno {
        libc::EMFILE | libc::ENFILE => {
            free_all_closed();
            Knotes::new()
        }
        _ => Err(errno),
    })?;
    let (number, writers) = (knotes.outer, knotes.writers());
    let new = Arc::new(StandIn { knotes: Mutex::new(knotes), writers, closed: OnceLock::new() });
    state().queues.lock().unwrap().give(number, new);
    free_closed(NUMBERS);
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
    let all = queues.by_number.values().chain(&queues.numberless);
    let original = all.into_iter().find(|it| it.has(number)).cloned().ok_or(libc::EBADF)?;
    queues.give(number, Arc::clone(&original));
    Ok(original)
}

/// Whether the number is known to mean a kqueue.
pub fn is_kqueue(number: RawFd) -> bool {
    let known = state().queues.lock().unwrap().by_number.get(&number).cloned();
    known.is_some_and(|it| it.has(number))
}

impl Queues {
    fn give(&mut self, number: RawFd, to: Arc<StandIn>) {
        self.numberless.retain(|it| !Arc::ptr_eq(it, &to));
        if let Some(before) = self.by_number.insert(number, to) {
            self.take(before);
        }
    }

    /// A number of the kqueue was closed.
    fn take(&mut self, from: Arc<StandIn>) {
        if !self.by_number.values().any(|it| Arc::ptr_eq(it, &from)) {
            self.numberless.push(from);
        }
    }

    /// Looks whether some of the numbers were closed, others each time.
    fn look_at(&mut self, most: usize) {
        let (from, numbers) = (self.looked_at, &self.by_number);
        let in_turn = numbers.range((Excluded(from), Unbounded)).chain(numbers.range(..=from)).take(most);
        let looked_at: Vec<(RawFd, bool)> = in_turn.map(|(&number, it)| (number, it.has(number))).collect();
        self.looked_at = looked_at.last().map_or(0, |&(number, _)| number);
        for (number, _) in looked_at.into_iter().filter(|(_, is_open)| !is_open) {
            if let Some(closed) = self.by_number.remove(&number) {
                self.take(closed);
            }
        }
    }

    /// Gives the numberless back what duplicates they have. No call has used those yet, so only the kernel knows them.
    fn find_duplicates(&mut self) {
        let made = state().made.lock().unwrap();
        let is_made = |number: RawFd| made.get(number as usize).is_some_and(|it| *it != 0);
        let unknown = (0..descriptors_end()).filter(|number| !is_made(*number) && !self.by_number.contains_key(number));
        let duplicates: Vec<RawFd> = unknown.filter(|number| mark(*number) == Some(KQUEUE)).collect();
        drop(made);
        for number in duplicates {
            if let Some(original) = self.numberless.iter().find(|it| it.has(number)).cloned() {
                self.give(number, original);
            }
        }
    }
}

/// Frees what closed kqueues held, if there are enough of them for the numbers to look at.
fn free_closed(numbers: usize) {
    let mut queues = state().queues.lock().unwrap();
    let all_numbers = state().made.lock().unwrap().len();
    if queues.numberless.is_empty() || queues.numberless.len().saturating_mul(numbers) < all_numbers {
        return;
    }
    queues.find_duplicates();
    let closed = mem::take(&mut queues.numberless);
    // What they held is freed without the lock.
    drop(queues);
    closed.iter().filter(|it| Arc::strong_count(it) > 1).for_each(|it| it.end_waits());
}

/// For a program that is out of descriptors.
pub fn free_all_closed() {
    state().queues.lock().unwrap().look_at(usize::MAX);
    free_closed(usize::MAX);
}
