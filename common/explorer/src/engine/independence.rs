//! Which steps are placed before which calls: the relation that `COMPLETE` rests on.
//!
//! Invariant: if `depends` says no, the call and the step lead to the same state in either order, and each returns the same.
//!
//! The argument. A run is a sequence of the server's calls with the script's steps between them. Take any such sequence, and
//! move each step, the last one first, towards the end of the run, past every call that is independent of it. That changes
//! no result, so it changes no verdict. A step comes to a stop in one of three places: before a call that depends on it;
//! before a step of the script that has stopped already, because the script's order is fixed; or where the server sleeps,
//! and there the script's next step comes anyway. So it is enough to place steps before a call of which at least one, the
//! last of those placed there, depends on the call. `steps_to_place` offers exactly these. Moving a step adds no
//! placement, so if a verdict needs two placements it is found with two. Steps that come together are one step here, which
//! depends on what any of them depends on.
//!
//! Two things are taken for granted. The server's own code between two calls sees of the outside only what calls return:
//! that is not so for signal handlers and for the rings that a process shares with the kernel, so there every call depends
//! on every step. And a client reads only where the server sleeps, `recv` apart.
//!
//! With several threads, a step may also wake another thread, which can then go first at the next call. So each step of a
//! client depends on each call at which the schedule may change threads. Threads that meet in memory alone are not explored.

use observe::handle::{self, Label};
use observe::syscall::{Call, Kind};

use super::scene::Scene;
use crate::reduction::Relation;
use crate::script::Step;

/// Calls of `Kind::Quick` that look at a socket, or change how it behaves.
const LOOKS_AT_SOCKET: [&str; 4] = ["getsockopt", "setsockopt", "ioctl", "getpeername"];
/// Calls of `Kind::Quick` that take a file descriptor.
const TAKES_FD: [&str; 5] = ["socket", "socketpair", "epoll_create1", "eventfd2", "openat"];
/// Calls of `Kind::Other` of which it is known that they touch no socket.
const ELSEWHERE: [&str; 4] = ["futex", "nanosleep", "clock_nanosleep", "wait4"];

/// How many of the script's next steps to place before the call at once: up to the first that depends on it, and those that
/// come together with that one.
pub fn steps_to_place(scene: Scene<'_>, tid: i32, call: &Call, relation: Relation) -> Option<usize> {
    let has_started = scene.world.has_started || waits_for_clients(call);
    let placeable = scene.world.to_come().iter().take_while(|step| can_be_placed(**step, has_started));
    let mut depends = placeable.map(|step| relation(call.name, *step, depends(scene, tid, call, *step)));
    depends.position(|depends| depends).map(|at| scene.world.end_of_moment(at) + 1)
}

/// Some steps come only where the server sleeps: what the client does not do, what it only looks at, and what ends a sleep.
/// Signals and limits are for a server that has started: until its first wait it may still be installing its handlers.
fn can_be_placed(step: Step, has_started: bool) -> bool {
    match step {
        Step::Pause(_) | Step::ExpectEof(_) | Step::Interrupt => false,
        Step::Signal(_) | Step::FdsNone | Step::FdsFree => has_started,
        _ => true,
    }
}

/// A server that comes to such a call has started.
pub fn waits_for_clients(call: &Call) -> bool {
    call.is_wait() || call.kind == Kind::Accept
}

/// Whether the order of the step and the call can make a difference.
fn depends(scene: Scene<'_>, tid: i32, call: &Call, step: Step) -> bool {
    if call.kind == Kind::Exit {
        // Nothing comes after it.
        return false;
    }
    if scene.tracee.has_ring() {
        // The kernel posts completions at the return of any call, and the server reads them without a call.
        return true;
    }
    match step {
        // Its handler changes memory, which the server's code may look at after any call.
        Step::Signal(_) => true,
        Step::FdsNone => takes_fd(call) || call.kind == Kind::Close,
        Step::FdsFree => takes_fd(call),
        Step::Pause(_) | Step::ExpectEof(_) | Step::Interrupt => false,
        Step::Connect(_) | Step::Send(..) | Step::Shutdown(_) | Step::Recv(_) | Step::Close(_) | Step::Reset(_) => {
            depends_on_traffic(scene, tid, call, step)
        }
    }
}

fn takes_fd(call: &Call) -> bool {
    match call.kind {
        Kind::Accept | Kind::Duplicate => true,
        Kind::Quick => TAKES_FD.contains(&call.name),
        Kind::Other => !ELSEWHERE.contains(&call.name),
        _ => false,
    }
}

/// For the steps of a client's socket.
fn depends_on_traffic(scene: Scene<'_>, tid: i32, call: &Call, step: Step) -> bool {
    match call.kind {
        // A wait reports whatever has come.
        Kind::EpollWait | Kind::Poll | Kind::Select | Kind::UringEnter => return true,
        // What is ready already stands in the ready list before what comes later.
        Kind::EpollCtl if registers_ready(scene, tid, call) => return true,
        // These may close any socket, or do what is not known here.
        Kind::Duplicate => return true,
        Kind::Other if !ELSEWHERE.contains(&call.name) => return true,
        _ => {}
    }
    if scene.tracee.threads().len() > 1 && may_change_threads(scene, tid, call) {
        return true;
    }
    let quick = LOOKS_AT_SOCKET.contains(&call.name);
    let label = match call.kind {
        Kind::Quick if !quick => return false,
        Kind::Quick => scene.tracee.thread(tid).map(|it| scene.tracee.label(it.process, call.args[0] as i32)),
        _ => scene.tracee.label_of_call(tid, call),
    };
    let its_own = match label {
        Some(Label::Peer(port)) => step.client().is_some() && scene.world.client_at(port) == step.client(),
        _ => false,
    };
    match step {
        Step::Connect(_) => call.kind == Kind::Accept || label == Some(Label::Listener),
        _ if call.kind == Kind::EpollCtl => its_own,
        // Bytes and FIN are seen by a read, and by a close that resets because it finds them unread; a write goes the other
        // way, and an accept gives the same file descriptor.
        Step::Send(..) | Step::Shutdown(_) => {
            its_own && (quick || matches!(call.kind, Kind::Read | Kind::Close | Kind::Shutdown))
        }
        // What the client takes makes room for a write; a close that resets throws away what it has not taken.
        Step::Recv(_) => its_own && (quick || matches!(call.kind, Kind::Write | Kind::Close | Kind::Shutdown)),
        // A connection that is gone is seen by every call on it, and by the accept.
        Step::Close(_) | Step::Reset(_) => its_own || call.kind == Kind::Accept,
        _ => false,
    }
}

/// Whether an epoll_ctl puts a file descriptor into a ready list.
fn registers_ready(scene: Scene<'_>, tid: i32, call: &Call) -> bool {
    if call.args[1] as i32 == libc::EPOLL_CTL_DEL || call.args[3] == 0 {
        return false;
    }
    let process = scene.tracee.process_of(tid);
    let asked = u32::from_le_bytes(process.word(call.args[3]));
    let Some(fd) = process.borrow(call.args[2] as i32) else { return false };
    // The low half of an epoll mask is a poll mask.
    handle::is_ready(&fd, asked as i16)
}

/// Whether another thread may go first at this call: it is about something that threads share.
pub fn may_change_threads(scene: Scene<'_>, tid: i32, call: &Call) -> bool {
    let shared = |label| matches!(label, Label::Peer(_) | Label::Listener | Label::Epoll);
    call.kind.is_shown() && !call.is_wait() && scene.tracee.label_of_call(tid, call).is_some_and(shared)
}
