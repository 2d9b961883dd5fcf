//! What the kernel's view shows beyond one thread and one descriptor: other threads, other processes, other listeners,
//! the sets of poll and select, the queues of a ring.
//!
//! Invariant: each function is one fact, claims what the view shows, and has `None` where it does not show it.

use observe::view::{Epoll, Holder, ProcessView, Socket, WaitSet};
use observe::{Call, Kind, Mask, Thread, View};

/// `fd 7`; with several processes, whose: `fd 7 of process 12 (server), fd 7 of process 13 (sleep)`.
pub fn whose(view: &View, holders: &[Holder]) -> String {
    let one = |holder: &Holder| match &view.processes[..] {
        [] | [_] => format!("fd {}", holder.fd),
        many => {
            let name = many.iter().find(|process| process.pid == holder.pid).map_or("", |process| &process.name);
            format!("fd {} of process {} ({name})", holder.fd, holder.pid)
        }
    };
    const SHOWN: usize = 3;
    let more = if holders.len() > SHOWN { format!(", and {} more", holders.len() - SHOWN) } else { String::new() };
    holders.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(", ") + &more
}

fn process_of(view: &View, holder: Holder) -> Option<&ProcessView> {
    view.processes.iter().find(|process| process.pid == holder.pid)
}

/// The thread that should wait for this connection (or for the listener, if it was not accepted) and sleeps in another
/// call: nobody sleeps in the wait of the epoll instance that it is registered with.
pub fn elsewhere<'a>(view: &'a View, socket: Option<&Socket>) -> Option<(&'a Thread, &'a Call)> {
    let accepted = socket.filter(|socket| !socket.holders.is_empty());
    let watched = match accepted {
        Some(socket) => socket,
        None => view.sockets.iter().find(|socket| socket.listening)?,
    };
    view.processes.iter().filter(|process| process.threads.len() > 1).find_map(|process| {
        let holds = |fd: i32| watched.holders.contains(&Holder { pid: process.pid, fd });
        let calls = || process.threads.iter().filter_map(|thread| Some((thread, thread.call.as_ref()?)));
        let waited_for =
            |epoll: &&Epoll| calls().any(|(_, call)| call.kind == Kind::EpollWait && call.args[0] as i32 == epoll.fd);
        let epolls = || process.descriptors.epolls.iter();
        let registered = epolls().find(|epoll| epoll.registrations.iter().any(|watch| holds(watch.fd)));
        // One that was accepted and handed to a thread that has not yet registered it, because it sleeps elsewhere.
        let handed_over = || epolls().find(|epoll| accepted.is_some() && !waited_for(epoll));
        registered.or_else(handed_over).filter(|epoll| !waited_for(epoll))?;
        let may_be_it = |kind: Kind| matches!(kind, Kind::Read | Kind::Write | Kind::Close);
        let on_a_socket = calls().find(|(_, call)| may_be_it(call.kind));
        on_a_socket.or_else(|| calls().find(|(_, call)| call.name == "futex"))
    })
}

/// The connection is held by processes that do nothing with it: a child that inherited it, or a parent that kept its
/// copy.
pub fn held_by_another(view: &View, socket: &Socket) -> Option<String> {
    // A child may have ended, and the copy is its parent's, who sleeps in accept.
    let accepts = view.threads().count() == 1
        && view.threads().all(|thread| thread.call.is_some_and(|it| it.kind == Kind::Accept));
    if view.processes.len() < 2 && !accepts {
        return None;
    }
    let serves = |holder: &Holder| {
        let Some(process) = process_of(view, *holder) else { return true };
        let registered = process.descriptors.epolls.iter().flat_map(|epoll| &epoll.registrations);
        let in_a_set = process.sets.iter().any(|set| set.of(holder.fd).is_some());
        let in_a_call = process
            .threads
            .iter()
            .filter_map(|thread| thread.call)
            .any(|call| matches!(call.kind, Kind::Read | Kind::Write) && call.args[0] as i32 == holder.fd);
        registered.into_iter().any(|watch| watch.fd == holder.fd) || in_a_set || in_a_call
    };
    if socket.holders.is_empty() || socket.holders.iter().any(serves) {
        return None;
    }
    Some(format!(
        "The connection is still open as {}, which does nothing with it: close gives up one process's descriptor, and FIN \
         is sent when the last copy is closed. A program that is started must not inherit it (accept4 with SOCK_CLOEXEC), \
         and the parent of a fork closes its copy.",
        whose(view, &socket.holders)
    ))
}

/// Connections that other processes than this one have open: `: it is fd 7 of process 12 (sleep)`.
pub fn held_elsewhere(view: &View, pid: i32) -> String {
    let of_others = |socket: &&Socket| {
        !socket.listening && !socket.holders.is_empty() && socket.holders.iter().all(|holder| holder.pid != pid)
    };
    let held = view.sockets.iter().find(of_others);
    held.map_or_else(String::new, |socket| format!(": one is {}", whose(view, &socket.holders)))
}

/// Connections wait at a listener that nobody looks at, beside one that is served.
pub fn unserved_listener(view: &View) -> Option<String> {
    let listeners: Vec<&Socket> = view.sockets.iter().filter(|socket| socket.listening).collect();
    let full = listeners.iter().find(|socket| socket.rx > 0)?;
    let others = listeners.len() - 1;
    if others == 0 || is_watched(view, full) {
        return None;
    }
    Some(format!(
        "{} sockets listen on this port (SO_REUSEPORT), and the kernel spreads the connections over them. {} \
         at the one that is {}, and no thread waits for that one. Accept from each of them, or have only one.",
        listeners.len(),
        connections_wait(full.rx),
        whose(view, &full.holders)
    ))
}

fn is_watched(view: &View, socket: &Socket) -> bool {
    let in_a_set = |holder: &Holder| {
        let process = process_of(view, *holder);
        process.is_some_and(|process| process.sets.iter().any(|set| set.of(holder.fd).is_some()))
    };
    let in_accept = |holder: &Holder| {
        let accepts = |thread: &Thread| {
            thread.call.is_some_and(|call| call.kind == Kind::Accept && call.args[0] as i32 == holder.fd)
        };
        process_of(view, *holder).is_some_and(|process| process.threads.iter().any(accepts))
    };
    view.registration(socket).is_some()
        || view.rings().next().is_some()
        || socket.holders.iter().any(|holder| in_a_set(holder) || in_accept(holder))
}

/// Whether a thread sleeps until somebody comes to this listener: in accept, or in a wait that is asked for input on it.
pub fn is_waited_for(view: &View, listener: &Socket) -> bool {
    let asks = |mask: Option<Mask>| mask.is_some_and(|mask| mask.has(Mask::IN));
    let by_a_thread = |holder: &Holder| {
        let Some(process) = process_of(view, *holder) else { return false };
        let accepts = |call: &Call| call.kind == Kind::Accept && call.args[0] as i32 == holder.fd;
        process.sets.iter().any(|set| asks(set.of(holder.fd)))
            || process.threads.iter().filter_map(|thread| thread.call.as_ref()).any(accepts)
    };
    asks(view.registration(listener).map(|watch| watch.mask)) || listener.holders.iter().any(by_a_thread)
}

/// `2 connections wait`.
pub fn connections_wait(count: u32) -> String {
    if count == 1 { "1 connection waits".to_owned() } else { format!("{count} connections wait") }
}

/// `12 bytes wait`.
pub fn waiting(bytes: u32) -> String {
    if bytes == 1 { "1 byte waits".to_owned() } else { format!("{bytes} bytes wait") }
}

/// Fewer bytes wait than the socket was told to call readable.
pub fn low_water(socket: &Socket, holder: Holder) -> Option<String> {
    let low_water = observe::low_water(holder)?;
    (socket.rx < low_water).then(|| {
        format!(
            "{} unread, and fd {} has SO_RCVLOWAT at {low_water}: it counts as readable only from {low_water} \
             bytes on. Leave SO_RCVLOWAT at 1.",
            waiting(socket.rx),
            holder.fd
        )
    })
}

/// `2 operations are`.
fn are(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what} is") } else { format!("{count} {what}s are") }
}

/// A ring with something in its queues while the server sleeps.
pub fn ring(view: &View) -> Option<String> {
    let wait = view.wait().map_or("a call", |call| call.name);
    let ring = view.rings().find(|ring| ring.not_submitted > 0 || ring.not_taken > 0)?;
    if ring.not_submitted > 0 {
        let how = if ring.polled {
            "The kernel's thread that polls it (SQPOLL) sleeps: when the ring's flags have IORING_SQ_NEED_WAKEUP, call \
             io_uring_enter with IORING_ENTER_SQ_WAKEUP, and look at the flags after a full barrier."
        } else {
            "Call io_uring_enter with their number before you wait."
        };
        return Some(format!(
            "{} in the submission queue of the ring (fd {}) and never handed over: SqHead differs from SqTail while the \
             server sleeps in {wait}. {how}",
            are(ring.not_submitted, "operation"),
            ring.fd
        ));
    }
    Some(format!(
        "{} in the completion queue of the ring (fd {}) while the server sleeps in {wait}. Take all of them before you wait: \
         those that are there already wake nobody.",
        are(ring.not_taken, "completion"),
        ring.fd
    ))
}

/// Why a descriptor is not among what poll or select waits for.
pub fn not_in_the_set(view: &View, holder: Holder) -> Option<String> {
    let fd = holder.fd;
    let process = process_of(view, holder)?;
    let sets = &process.sets;
    let select = process.threads.iter().find_map(|thread| thread.call.filter(|call| call.kind == Kind::Select));
    let Some(set) = sets.iter().find(|set| set.of(fd).is_some()) else {
        let name = sets
            .first()
            .map(|_| if select.is_some() { "the sets of its last select" } else { "the list of its last poll" })?;
        let why = match (select, sets.len()) {
            (Some(_), _) => "they were not rebuilt before the call, or",
            (None, 1) => "its slot was lost, or",
            (None, _) => "its slot was lost, a hand-over by another thread was not heard, or",
        };
        return Some(format!(
            "fd {fd} is not in {name}: {why} reading was paused and not resumed. {}",
            self::sets(view).join("; ")
        ));
    };
    let mask = set.of(fd)?;
    if set.nfds.is_some_and(|nfds| nfds <= fd) {
        return Some(format!(
            "The bit of fd {fd} is set, and nfds is too small: {}. select looks at the descriptors below nfds only, so it \
             has to be the highest one plus 1.",
            set.nfds?
        ));
    }
    if mask == Mask(0) {
        return Some(format!(
            "fd {fd} is in the list, and nothing is asked of it: IN was not asked for, or reading was paused and not resumed \
             when there was room for output."
        ));
    }
    if !mask.has(Mask::IN) {
        return Some(format!(
            "fd {fd} is asked for {mask} only, and not for reading: reading was paused and not resumed when there was room for \
             output."
        ));
    }
    Some(format!("fd {fd} is asked for {mask}, and the server does not act on it."))
}

/// A line for each thread in poll or select: what it has passed.
pub fn sets(view: &View) -> Vec<String> {
    const SHOWN: usize = 12;
    let line = |set: &WaitSet| {
        let list = |mask: Mask| {
            let fds: Vec<i32> = set.asked.iter().filter(|(_, asked)| asked.has(mask)).map(|(fd, _)| *fd).collect();
            let shown: Vec<String> = fds.iter().take(SHOWN).map(i32::to_string).collect();
            let more = if fds.len() > SHOWN { ", ..." } else { "" };
            format!("[{}{more}]", shown.join(", "))
        };
        match set.nfds {
            Some(nfds) => format!("select has nfds {nfds}, read {}, write {}", list(Mask::IN), list(Mask::OUT)),
            None => format!("poll waits for IN on {}, for OUT on {}", list(Mask::IN), list(Mask::OUT)),
        }
    };
    view.processes.iter().flat_map(|process| &process.sets).take(4).map(line).collect()
}
