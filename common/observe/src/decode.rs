//! A system call as a person reads it: its arguments, what it returned, what came back through its pointers.
//!
//! Invariant: what is behind a pointer is read from the server's memory while the thread stands at the entry or the
//! exit of the call; nothing here runs the server. Addresses and remaining times are left out, so that two runs give
//! the same text.

use std::os::fd::RawFd;
use std::time::Duration;

use crate::mask::Mask;
use crate::process::Process;
use crate::syscall::{Arg, Call, Kind};
use crate::view::{Thread, WaitSet};

/// How long a call may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It does not.
    None,
    /// Until an event or a signal.
    Forever,
    /// Until an event or a signal, or for this long.
    Until(Duration),
}

/// Reads the calls of one process.
pub struct Decoder<'a> {
    /// Whose calls they are.
    pub process: Process,
    /// What to add to the number of a file descriptor (`c0`, `listener`); empty for nothing.
    pub label: &'a dyn Fn(RawFd) -> String,
}

/// How long the call may sleep.
pub fn patience(process: Process, call: &Call) -> Patience {
    match call.kind {
        Kind::EpollWait | Kind::Poll | Kind::Select => {}
        Kind::Read | Kind::Write | Kind::Accept => return Patience::Forever,
        _ => return Patience::None,
    }
    let time = match call.timeout() {
        None | Some((Arg::Timespec | Arg::Timeval, 0)) => return Patience::Forever,
        Some((Arg::Millis, value)) if (value as i32) < 0 => return Patience::Forever,
        Some((Arg::Millis, value)) => Duration::from_millis(value as u32 as u64),
        Some((form, at)) => {
            let seconds = u64::from_le_bytes(process.word(at));
            let scale = if form == Arg::Timeval { 1000 } else { 1 };
            let rest = u64::from_le_bytes(process.word(at + 8)).saturating_mul(scale);
            Duration::from_secs(seconds).saturating_add(Duration::from_nanos(rest))
        }
    };
    if time.is_zero() { Patience::None } else { Patience::Until(time) }
}

/// The signal mask during the wait, if the call sets one (`ppoll`, `pselect6`, `epoll_pwait`).
pub fn mask_of_wait(process: Process, call: &Call) -> Option<u64> {
    let at = call.arguments().find_map(|(arg, value)| match arg {
        Arg::SignalMask => Some(value),
        Arg::SignalMaskAt if value != 0 => Some(u64::from_le_bytes(process.word(value))),
        _ => None,
    })?;
    (at != 0).then(|| u64::from_le_bytes(process.word(at)))
}

/// What poll was asked to look at: file descriptors and events.
pub fn poll_set(process: Process, call: &Call) -> Vec<(RawFd, i16)> {
    let asked = pollfds(process, call).into_iter().map(|(fd, events, _)| (fd, events));
    asked.collect()
}

/// The entries of poll's array that are in use: file descriptor, `events`, `revents`.
fn pollfds(process: Process, call: &Call) -> Vec<(RawFd, i16, i16)> {
    let entry = |at: u64| {
        let bytes: [u8; 8] = process.word(call.args[0] + at * 8);
        let half = |at: usize| i16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), half(4), half(6))
    };
    (0..call.args[1]).map(entry).filter(|(fd, ..)| *fd >= 0).collect()
}

/// What a thread that sleeps in poll or select has passed to it. Of select's sets all bits, also those past `nfds`.
pub fn wait_set(process: Process, thread: &Thread) -> Option<WaitSet> {
    let call = thread.call.as_ref()?;
    let mut set = WaitSet { tid: thread.tid, ..WaitSet::default() };
    match call.kind {
        Kind::Poll => {
            let asked = poll_set(process, call).into_iter();
            set.asked = asked.map(|(fd, events)| (fd, Mask::of_poll(events))).collect();
        }
        Kind::Select => {
            set.nfds = Some(call.args[0] as i32);
            for (at, mask) in [(1, Mask::IN), (2, Mask::OUT), (3, Mask::PRI)] {
                set.asked.extend(bits(process, call.args[at]).into_iter().map(|fd| (fd, mask)));
            }
        }
        _ => return None,
    }
    Some(set)
}

/// The bits of an `fd_set`, as many as glibc's has.
pub fn bits(process: Process, at: u64) -> Vec<RawFd> {
    const FD_SETSIZE: usize = 1024;
    let mut bits = [0u8; FD_SETSIZE / 8];
    if at != 0 {
        process.read_memory(at, &mut bits);
    }
    (0..FD_SETSIZE).filter(|fd| bits[fd / 8] & 1 << (fd % 8) != 0).map(|fd| fd as RawFd).collect()
}

/// What select was asked to look at; after the call, what is ready. An event of poll's stands for each of the three
/// sets.
pub fn select_set(process: Process, call: &Call) -> Vec<(RawFd, i16)> {
    // glibc's fd_set has so many bits; the kernel takes more, and no server here passes more.
    const FD_SETSIZE: u64 = 1024;
    let count = call.args[0].min(FD_SETSIZE) as usize;
    let mut found: Vec<(RawFd, i16)> = Vec::new();
    for (at, event) in [(call.args[1], libc::POLLIN), (call.args[2], libc::POLLOUT), (call.args[3], libc::POLLPRI)] {
        if at == 0 {
            continue;
        }
        let mut bits = [0u8; FD_SETSIZE as usize / 8];
        process.read_memory(at, &mut bits[..count.div_ceil(64) * 8]);
        let set = (0..count).filter(|fd| bits[fd / 8] & 1 << (fd % 8) != 0);
        found.extend(set.map(|fd| (fd as RawFd, event)));
    }
    found
}

impl Decoder<'_> {
    /// `7`, or `7 c0` where the descriptor has a label.
    fn fd(&self, fd: RawFd) -> String {
        let label = (self.label)(fd);
        if label.is_empty() { fd.to_string() } else { format!("{fd} {label}") }
    }

    fn fds(&self, set: &[(RawFd, i16)], event: i16) -> String {
        let picked = set.iter().filter(|(_, events)| events & event != 0).map(|(fd, _)| self.fd(*fd));
        picked.collect::<Vec<_>>().join(", ")
    }

    /// `recvfrom(7 c0, 4096)`.
    pub fn call(&self, call: &Call) -> String {
        format!("{}({})", call.name, self.arguments(call))
    }

    /// The arguments: `7 c0, 4096`.
    pub fn arguments(&self, call: &Call) -> String {
        let mut parts: Vec<String> = match call.kind {
            Kind::Quick | Kind::Duplicate | Kind::Other | Kind::Exit => return String::new(),
            Kind::Select => self.sets(call),
            _ => call.arguments().filter_map(|(arg, value)| self.argument(call, arg, value)).collect(),
        };
        if call.is_wait() && call.kind != Kind::UringEnter {
            match patience(self.process, call) {
                Patience::None => parts.push("timeout 0".into()),
                Patience::Until(_) => parts.push("with a timeout".into()),
                Patience::Forever => {}
            }
        }
        parts.join(", ")
    }

    fn argument(&self, call: &Call, arg: Arg, value: u64) -> Option<String> {
        Some(match arg {
            Arg::Fd => self.fd(value as RawFd),
            Arg::Length => value.to_string(),
            Arg::Operation => operation(value).into(),
            // EPOLL_CTL_DEL has none.
            Arg::Event if operation(call.args[1]) == "DEL" => return None,
            Arg::Event => {
                let events: [u8; 4] = if value == 0 { [0; 4] } else { self.process.word(value) };
                Mask::of_epoll(u32::from_le_bytes(events)).to_string()
            }
            Arg::How => (*["SHUT_RD", "SHUT_WR", "SHUT_RDWR"].get(value as usize).unwrap_or(&"?")).into(),
            Arg::Submit => format!("submit {value}"),
            Arg::WaitFor => {
                const GETEVENTS: u64 = 1;
                if call.args[3] & GETEVENTS == 0 {
                    return None;
                }
                format!("wait for {value}")
            }
            Arg::PollSet => {
                let entry = |(fd, events): (RawFd, i16)| format!("{} {}", self.fd(fd), Mask::of_poll(events));
                let entries: Vec<String> = poll_set(self.process, call).into_iter().map(entry).collect();
                format!("[{}]", entries.join(", "))
            }
            _ => return None,
        })
    }

    fn sets(&self, call: &Call) -> Vec<String> {
        let set = select_set(self.process, call);
        let mut parts = vec![format!("read [{}]", self.fds(&set, libc::POLLIN))];
        let write = self.fds(&set, libc::POLLOUT);
        if !write.is_empty() {
            parts.push(format!("write [{write}]"));
        }
        parts
    }

    /// What came back besides the number: events, ready file descriptors, whose connection was accepted.
    pub fn outcome(&self, call: &Call, value: i64) -> String {
        if value < 0 {
            return String::new();
        }
        match call.kind {
            Kind::EpollWait => self.events(call, value as u64),
            Kind::Poll => {
                let ready = pollfds(self.process, call).into_iter().filter(|(.., revents)| *revents != 0);
                let entry = |(fd, _, revents): (RawFd, i16, i16)| format!("{} {}", self.fd(fd), Mask::of_poll(revents));
                ready.map(entry).collect::<Vec<_>>().join(", ")
            }
            Kind::Select => {
                let entry = |(fd, event): &(RawFd, i16)| {
                    let what = if event & libc::POLLIN != 0 { "read" } else { "write" };
                    format!("{} {what}", self.fd(*fd))
                };
                select_set(self.process, call).iter().map(entry).collect::<Vec<_>>().join(", ")
            }
            Kind::Accept => (self.label)(value as RawFd),
            _ => String::new(),
        }
    }

    /// epoll tells the server's own data with an event; the registration with the same data names the descriptor.
    fn events(&self, call: &Call, count: u64) -> String {
        // On x86-64 the struct is packed, elsewhere its data are aligned; they are its last 8 bytes in both.
        let size = size_of::<libc::epoll_event>() as u64;
        let known = self.process.registrations(call.args[0] as RawFd);
        let event = |at: u64| {
            let at = call.args[1] + at * size;
            let mask = Mask(u32::from_le_bytes(self.process.word(at)));
            let data = u64::from_le_bytes(self.process.word(at + size - 8));
            let registration = known.iter().find(|registration| registration.data == data);
            let who = registration.map_or_else(|| "?".into(), |registration| self.fd(registration.fd));
            format!("{who} {mask}")
        };
        (0..count).map(event).collect::<Vec<_>>().join(", ")
    }
}

fn operation(value: u64) -> &'static str {
    match value as i32 {
        libc::EPOLL_CTL_ADD => "ADD",
        libc::EPOLL_CTL_MOD => "MOD",
        libc::EPOLL_CTL_DEL => "DEL",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(number: i64, args: [u64; 6]) -> String {
        // Its own memory will do.
        let process = Process { pid: std::process::id() as i32 };
        let label = |fd| if fd == 7 { "c0".into() } else { String::new() };
        Decoder { process, label: &label }.call(&Call::new(number, args))
    }

    #[test]
    fn calls_read_as_in_a_manual() {
        assert_eq!(decoded(libc::SYS_recvfrom, [7, 1, 4096, 64, 0, 0]), "recvfrom(7 c0, 4096)");
        assert_eq!(decoded(libc::SYS_close, [7, 0, 0, 0, 0, 0]), "close(7 c0)");
        assert_eq!(decoded(libc::SYS_shutdown, [7, 1, 0, 0, 0, 0]), "shutdown(7 c0, SHUT_WR)");
        assert_eq!(decoded(libc::SYS_listen, [3, 128, 0, 0, 0, 0]), "listen(3)");
        assert_eq!(decoded(libc::SYS_io_uring_enter, [3, 2, 1, 1, 0, 0]), "io_uring_enter(3, submit 2, wait for 1)");
        assert_eq!(decoded(libc::SYS_io_uring_enter, [3, 2, 1, 0, 0, 0]), "io_uring_enter(3, submit 2)");
        assert_eq!(decoded(libc::SYS_epoll_pwait, [4, 1, 64, 0, 0, 0]), "epoll_pwait(4, timeout 0)");
        assert_eq!(decoded(libc::SYS_epoll_pwait, [4, 1, 64, u64::MAX, 0, 0]), "epoll_pwait(4)");
        let fds =
            [libc::pollfd { fd: 7, events: libc::POLLIN, revents: 0 }, libc::pollfd { fd: -1, events: 1, revents: 0 }];
        let (time, pointer) = ([0i64, 5], fds.as_ptr() as u64);
        let until = time.as_ptr() as u64;
        assert_eq!(decoded(libc::SYS_ppoll, [pointer, 2, until, 0, 0, 0]), "ppoll([7 c0 IN], with a timeout)");
        let event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 7 };
        let added = [4, libc::EPOLL_CTL_ADD as u64, 7, &raw const event as u64, 0, 0];
        assert_eq!(decoded(libc::SYS_epoll_ctl, added), "epoll_ctl(4, ADD, 7 c0, IN|ET)");
        let removed = [4, libc::EPOLL_CTL_DEL as u64, 7, 0, 0, 0];
        assert_eq!(decoded(libc::SYS_epoll_ctl, removed), "epoll_ctl(4, DEL, 7 c0)");
    }
}
