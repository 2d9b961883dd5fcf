//! What a wait reports: events made of what the epolls say.
//!
//! Invariant: an event is made only of a knote that still means the same file, after a look at its number. What epoll says
//! once finds room, or waits as a level.

use std::time::Duration;

use libc::{EPOLL_CTL_MOD, epoll_event};

use super::super::abi::*;
use super::super::calls::*;
use super::super::filters::{Epoll, Watch};
use super::{Knote, Knotes, READERS, Slot, WRITERS, is_another};

impl Knotes {
    /// Makes events of what the outer epoll has reported, which is at most `room`. EPOLLET and EPOLLONESHOT say
    /// everything once, so all of it must find room.
    pub fn collect(&mut self, ready: &[epoll_event], room: usize, output: &mut Vec<kevent>) {
        let is_inner = |event: &&epoll_event| matches!({ event.u64 }, READERS | WRITERS);
        for event in ready.iter().filter(|event| !is_inner(event)) {
            self.report(event.u64, event.events, output);
        }
        let mut inner: Vec<u64> = ready.iter().filter(is_inner).map(|event| event.u64).collect();
        // epoll's order is the same each time. If the start were so too, a crowd of readers would starve the writers.
        self.turn = self.turn.wrapping_add(1);
        let turns = self.turn % inner.len().max(1);
        inner.rotate_left(turns);
        while let Some(token) = inner.pop() {
            let epoll = if token == READERS { Epoll::Readers } else { Epoll::Writers };
            // The other one keeps a place.
            self.collect_inner(epoll, room - output.len() - inner.len(), output);
        }
    }

    fn collect_inner(&mut self, inner: Epoll, room: usize, output: &mut Vec<kevent>) {
        let mut ready = vec![NO_EVENT; room.min(MOST)];
        let count = epoll_wait(self.epoll(inner), &mut ready, Some(Duration::ZERO)).unwrap_or(0);
        for event in &ready[..count] {
            self.report(event.u64, event.events, output);
        }
    }

    /// Makes an event of what epoll said, unless that is out of date.
    fn report(&mut self, token: u64, ready: u32, output: &mut Vec<kevent>) {
        let slot = token as u32 as usize;
        let is_current = |it: &Slot| it.knote.is_some() && u64::from(it.serial) == token >> 32;
        if !self.slots.get(slot).is_some_and(is_current) || !self.look(slot) {
            return;
        }
        let Knote { change, source, waits_for_more } = self.knote(slot);
        if change.flags & EV_DISABLE != 0 {
            return;
        }
        let mut event = kevent { fflags: 0, data: 0, ..*change };
        let (is_due, waited) = (source.fill_in(change, ready, &mut event), *waits_for_more);
        let of_program = source.watch(change).of_program;
        if is_due {
            output.push(event);
        }
        match event.flags {
            flags if is_due && flags & EV_ONESHOT != 0 => _ = self.remove(slot),
            flags if is_due && flags & EV_DISPATCH != 0 => {
                change.flags |= EV_DISABLE;
                *waits_for_more = false;
                // EPOLLONESHOT has disabled it already.
                if !of_program || waited || flags & EV_CLEAR != 0 {
                    let _ = self.arm(EPOLL_CTL_MOD, slot);
                }
            }
            // Edge-triggered until there is enough, and level-triggered again then.
            flags if of_program && flags & EV_CLEAR == 0 && waited == is_due => {
                *waits_for_more = !is_due;
                let _ = self.arm(EPOLL_CTL_MOD, slot);
            }
            _ => {}
        }
    }

    /// Looks whether a knote that epoll has reported still means the same file, and arms it again if it is
    /// level-triggered: the same call can do both.
    fn look(&mut self, slot: usize) -> bool {
        let knote = self.knote(slot);
        let Watch { epoll, fd, of_program, .. } = knote.source.watch(&knote.change);
        let is_other = knote.change.flags & (EV_DISABLE | EV_CLEAR | EV_DISPATCH | EV_ONESHOT) != 0;
        if !of_program || is_other || knote.waits_for_more {
            return !self.forget_if_closed(slot);
        }
        let is_open = !is_another(epoll, fd) && self.arm_with(EPOLL_CTL_MOD, slot, LOOK).is_ok();
        if !is_open {
            self.forget_closed(slot);
        }
        is_open
    }
}
