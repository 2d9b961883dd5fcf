//! Virtual blocking: whether a call that is about to be made would block, looked up from outside.
//!
//! Invariant: looking takes nothing from the server and lets nothing run.

use std::os::fd::RawFd;

use observe::decode::{self, Patience};
use observe::handle;
use observe::ptrace;
use observe::syscall::{Call, Kind};
use observe::{Handle, Process};

use super::{Position, Tracee};

impl Tracee<'_> {
    /// How long the call may block.
    pub fn patience(&self, tid: i32, call: &Call) -> Patience {
        decode::patience(**self.process_of(tid), call)
    }

    /// The threads that can go on without blocking, oldest first.
    pub fn ready(&self) -> Vec<i32> {
        let can_go_on = |tid: &i32| match self.position(*tid) {
            Some(Position::BetweenCalls) => true,
            Some(Position::AtEntry(call)) => !self.would_block(*tid, &call),
            Some(Position::InCall(_)) | None => false,
        };
        self.tids().into_iter().filter(can_go_on).collect()
    }

    /// Whether a call that is about to be made would block.
    pub fn would_block(&self, tid: i32, call: &Call) -> bool {
        if call.is_wait() && call.kind != Kind::UringEnter {
            if self.is_hidden(call) {
                return false;
            }
            return self.patience(tid, call) != Patience::None
                && !self.has_news(tid, call)
                && !self.lets_signal_in(tid, call);
        }
        let events = match call.kind {
            Kind::Read | Kind::Accept => libc::POLLIN,
            Kind::Write => libc::POLLOUT,
            _ => return false,
        };
        let asks_not_to = matches!(call.name, "recvfrom" | "sendto") && call.args[3] as i32 & libc::MSG_DONTWAIT != 0;
        if asks_not_to {
            return false;
        }
        let Some(fd) = self.process_of(tid).borrow(call.args[0] as RawFd) else { return false };
        handle::is_blocking(&fd) && !handle::is_ready(&fd, events)
    }

    /// An epoll with a signalfd in it tells other processes of their own signals, so nobody can look at it from outside.
    pub fn hides_epolls(&self) -> bool {
        self.has_signalfd
    }

    /// Whether nobody can see if this wait would block.
    pub fn is_hidden(&self, call: &Call) -> bool {
        self.has_signalfd && call.kind == Kind::EpollWait
    }

    /// A write to a blocking socket may take some bytes and then wait for room.
    pub fn may_block_inside(&self, tid: i32, call: &Call) -> bool {
        if call.kind != Kind::Write {
            return false;
        }
        let fd = self.process_of(tid).borrow(call.args[0] as RawFd);
        fd.is_some_and(|fd| handle::is_blocking(&fd))
    }

    /// Whether a wait would find something.
    fn has_news(&self, tid: i32, call: &Call) -> bool {
        let process = self.process_of(tid);
        match call.kind {
            Kind::EpollWait => {
                process.borrow(call.args[0] as RawFd).is_none_or(|fd| handle::is_ready(&fd, libc::POLLIN))
            }
            Kind::Poll => any_ready(process, &decode::poll_set(**process, call)),
            Kind::Select => any_ready(process, &decode::select_set(**process, call)),
            _ => true,
        }
    }

    /// `pselect6`, `ppoll` and `epoll_pwait` set the signal mask while they wait.
    fn lets_signal_in(&self, tid: i32, call: &Call) -> bool {
        if !self.signalled {
            return false;
        }
        let mask = decode::mask_of_wait(**self.process_of(tid), call);
        let blocked = mask.unwrap_or_else(|| ptrace::blocked_signals(tid).unwrap_or(0));
        let pending = Process { pid: tid }.status().map_or(0, |status| status.sigpnd | status.shdpnd);
        pending & !blocked != 0
    }

    /// Whether the call that a thread is in can end by itself, after some time.
    pub fn ends_by_itself(&self, tid: i32) -> bool {
        let Some(Position::InCall(call)) = self.position(tid) else { return false };
        match call.kind {
            // A timeout may be in the argument, or among the operations in flight, which nobody can see from outside.
            Kind::UringEnter => true,
            _ if call.is_wait() => matches!(self.patience(tid, &call), Patience::Until(_)),
            Kind::Other => match call.name {
                "futex" => call.args[3] != 0,
                "nanosleep" | "clock_nanosleep" => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether an accept would find a connection.
    pub fn accept_would_succeed(&self, tid: i32, call: &Call) -> bool {
        let fd = self.process_of(tid).borrow(call.args[0] as RawFd);
        fd.is_some_and(|fd| handle::is_ready(&fd, libc::POLLIN))
    }
}

fn any_ready(process: &Handle, wanted: &[(RawFd, i16)]) -> bool {
    let borrowed = wanted.iter().map(|(fd, events)| Some((process.borrow(*fd)?, *events)));
    match borrowed.collect::<Option<Vec<_>>>() {
        Some(borrowed) => handle::any_ready(&borrowed),
        // EBADF, or POLLNVAL: an answer at once.
        None => true,
    }
}
