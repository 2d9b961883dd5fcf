//! The likely cause of a failing run, in one or two sentences.
//!
//! Invariant: a sentence says only what the trace and the kernel's last state show. If they do not show the cause, the
//! text does not name one.

mod dropped;
mod interest;

use observe::advice;

use crate::record::{ClientStep, ConnectionState, Event, ServerCall, State};
use crate::run::{Run, Verdict};

/// The diagnosis of a failing run.
pub fn diagnose(run: &Run) -> String {
    let nothing = State::default();
    let end = run.end.as_ref().unwrap_or(&nothing);
    match run.verdict {
        Verdict::Ok => String::new(),
        Verdict::LostWakeup => lost_wakeup(run, end),
        Verdict::NoEof => no_eof(run, end),
        Verdict::Truncated => truncated(run),
        Verdict::WrongBytes => wrong_bytes(run),
        Verdict::Exited => exited(run),
        Verdict::Spinning => spinning(run),
        Verdict::NonDeterministic => {
            "The server depends on something that the explorer does not control: time, random numbers, or threads that \
             share memory."
                .into()
        }
    }
}

fn calls(run: &Run) -> impl DoubleEndedIterator<Item = &ServerCall> {
    run.events.iter().filter_map(|event| match event {
        Event::Call(call) => Some(call),
        _ => None,
    })
}

/// `recvfrom(5 c0, 4096) = 3`
fn shown(call: &ServerCall) -> String {
    format!("{}({}) = {}", call.name, call.arguments, call.result)
}

fn steps(run: &Run) -> impl DoubleEndedIterator<Item = &ClientStep> {
    run.events.iter().filter_map(|event| match event {
        Event::Step(step) => Some(step),
        _ => None,
    })
}

fn placed(run: &Run) -> Option<&ClientStep> {
    steps(run).rfind(|step| step.placed)
}

/// ` 'c0 send 3' came before epoll_wait(4, timeout 0).`
fn where_placed(run: &Run, client: usize) -> String {
    match placed(run).filter(|step| step.client == Some(client) && !step.before.is_empty()) {
        Some(step) => format!(" '{}' came before {}.", step.step, step.before),
        None => String::new(),
    }
}

fn last_wait(run: &Run) -> Option<&ServerCall> {
    calls(run).rfind(|call| call.wait)
}

fn lost_wakeup(run: &Run, end: &State) -> String {
    if let Some(step) = steps(run).rfind(|step| step.is_signal()) {
        let wait = if step.before.is_empty() { "its wait".to_owned() } else { step.before.clone() };
        return match step.placed {
            true => format!(
                "The handler ran after the server had last tested its flag, and before {wait}. So the wait does not \
                 return. Block the signal, and let pselect or ppoll unblock it during the wait. Or let the handler \
                 write to a pipe that the wait watches."
            ),
            false => "The handler ran, and the event loop went back to its wait without a test of the flag.".into(),
        };
    }
    if let Some(call) = blocked(run) {
        return format!(
            "The server sleeps in {call}, and not in its wait: the call blocks until its client acts, and until then \
             nobody else is served. The socket lacks O_NONBLOCK."
        );
    }
    if end.accept_queue > 0 {
        return queued(run, end);
    }
    let owed = |it: &&ConnectionState| it.came_back < it.asked;
    let Some(connection) = end.connections.iter().find(owed) else { return String::new() };
    match connection.fd {
        Some(fd) if connection.unread > 0 => unread(run, end, connection, fd),
        Some(fd) => {
            let (client, pending) = (connection.client, connection.asked - connection.came_back);
            let write = dropped::last_incomplete(run, client)
                .map_or_else(String::new, |write| format!(" {write}, and no write followed."));
            format!(
                "The server has read all bytes of c{client}, and {pending} of them are pending.{write} fd {fd} has room, but \
                 no event that the server waits for makes it send them."
            )
        }
        None => String::new(),
    }
}

/// The read or the write in which a server sleeps that has one thread, and that has waited for events before.
fn blocked(run: &Run) -> Option<&str> {
    const BLOCKS: &[&str] =
        &["read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "sendfile", "splice"];
    let sleeps = run.events.iter().rev().find_map(|event| match event {
        Event::Rest { sleeps, .. } => Some(sleeps),
        _ => None,
    })?;
    let [call] = sleeps.as_slice() else { return None };
    let is_of_a_socket = call.split('(').next().is_some_and(|name| BLOCKS.contains(&name));
    (is_of_a_socket && last_wait(run).is_some()).then_some(call.as_str())
}

fn queued(run: &Run, end: &State) -> String {
    let queue = match end.accept_queue {
        1 => "One connection is in the accept queue".to_owned(),
        n => format!("{n} connections are in the accept queue"),
    };
    let listener = interest::of_listener(end);
    let out_of_fds = calls(run)
        .rev()
        .find(|call| call.name.starts_with("accept"))
        .is_some_and(|call| matches!(call.result.as_str(), "EMFILE" | "ENFILE"));
    match listener {
        Some(listener) if listener.edge && out_of_fds => format!(
            "{queue}. The listener's edge was used up when accept failed with EMFILE, and connections that are already \
             queued cause no new edge: {}.",
            advice::RETRY_ACCEPT
        ),
        Some(listener) if listener.edge => format!(
            "{queue}. The listener is registered for {}: one edge reports all queued connections, and the next edge \
             comes only with another client. So {}.",
            listener.shown,
            advice::ACCEPT_UNTIL_EAGAIN
        ),
        Some(listener) if listener.knote && !listener.reads => {
            format!("{queue}, and the listener's knote is {}: the server did not enable it again.", listener.shown)
        }
        Some(listener) if !listener.reads => {
            format!(
                "{queue}, and the listener is registered for {}: the server did not ask for IN again.",
                listener.shown
            )
        }
        Some(_) => format!("{queue}, and the server sleeps in another call."),
        None if last_wait(run).is_some_and(|wait| wait.name == "io_uring_enter") => {
            format!("{queue}, and no accept is in flight: {}.", advice::START_THE_NEXT)
        }
        None => format!("{queue}, and the server does not wait for the listener."),
    }
}

fn unread(run: &Run, end: &State, connection: &ConnectionState, fd: i32) -> String {
    let (client, bytes) = (connection.client, connection.unread);
    let unread = format!("{bytes} bytes of c{client} are unread in fd {fd}");
    let placed = where_placed(run, client);
    match interest::of_fd(end, fd) {
        Some(interest) if interest.edge && interest.reads => format!(
            "{unread}, which is registered for {}.{placed} The edge that reported these bytes is used up, and no new \
             edge comes. {}",
            interest.shown,
            used_up(run, client)
        ),
        Some(interest) if interest.knote && !interest.reads => {
            let why = if interest.once {
                "EV_DISPATCH has disabled its knote"
            } else {
                "it has no READ knote that is enabled"
            };
            format!("{unread}, and {why} ({}): the server did not ask for reading again.", interest.shown)
        }
        Some(interest) if interest.once && !interest.reads => {
            format!("{unread}. {}", advice::not_armed_again(fd, &interest.shown, "reading"))
        }
        Some(interest) if !interest.reads => {
            format!("{unread}. {}", advice::no_read_interest(fd, &interest.shown))
        }
        Some(_) => format!("{unread}, and the server sleeps in another call."),
        None if last_wait(run).is_some_and(|wait| wait.name == "io_uring_enter") => {
            format!("{unread}, and no receive is in flight on it: {}.", advice::START_THE_NEXT)
        }
        None => format!("{unread}, and the server does not wait for this descriptor."),
    }
}

/// What became of the last edge.
fn used_up(run: &Run, client: usize) -> String {
    let name = format!(" c{client} ");
    let reports = |call: &&ServerCall| {
        let told = format!(" {} ", call.out);
        call.wait
            && told.split(',').any(|event| event.contains(&name) && (event.contains("IN") || event.contains("READ")))
    };
    let reads = |call: &&ServerCall| {
        call.client == Some(client) && matches!(call.name.as_str(), "read" | "recvfrom" | "recvmsg" | "readv")
    };
    let mut before = calls(run).rev().skip_while(|call| !reports(call) && !reads(call));
    match before.next() {
        Some(event) if event.wait => {
            let read = before.find(reads).filter(|read| read.result == "EAGAIN");
            let read =
                read.map_or_else(String::new, |read| format!(" (after {}({}) = EAGAIN)", read.name, read.arguments));
            format!(
                "{} reported them{read}, and no read followed: the event set a flag, but the server cleared the flag before it \
                 read, or ignored the flag. Clear a ready flag at EAGAIN, at once, before the next wait.",
                event.name
            )
        }
        _ => {
            "Only EAGAIN shows that a socket is empty: clear a ready flag at EAGAIN, at once, and nowhere else.".into()
        }
    }
}

fn no_eof(run: &Run, end: &State) -> String {
    let open = |it: &&ConnectionState| it.fin_arrived && !it.eof;
    let Some(connection) = end.connections.iter().find(open) else {
        return "The server did not close a finished connection.".into();
    };
    let client = connection.client;
    let Some(fd) = connection.fd else { return format!("The server did not close c{client}'s finished connection.") };
    let edge = interest::of_fd(end, fd).is_some_and(|interest| interest.edge);
    let read =
        calls(run).rfind(|call| call.client == Some(client) && matches!(call.name.as_str(), "read" | "recvfrom"));
    match read {
        Some(read) if edge && read.value > 0 => format!(
            "The FIN came with the bytes, and one edge reported both. {}({}) = {} was the server's last read, so it \
             never saw the read that returns 0: {}.",
            read.name,
            read.arguments,
            read.result,
            advice::READ_UNTIL_EAGAIN
        ),
        Some(read) if read.value == 0 => format!("The server has read c{client}'s FIN, but does not close fd {fd}."),
        _ => format!("c{client}'s FIN is unread in fd {fd}, and the server sleeps in another call."),
    }
}

fn truncated(run: &Run) -> String {
    // The state before an event is the state after the previous event.
    let mut unread_before = [0; crate::script::MAX_CLIENTS];
    let mut closed = None;
    for event in &run.events {
        if let Event::Call(call) = event
            && matches!(call.name.as_str(), "close" | "shutdown")
            && let Some(client) = call.client
            && run.missing.is_none_or(|missing| missing.client == client)
            && unread_before[client] > 0
        {
            closed = Some((call, unread_before[client]));
        }
        for connection in event.state().map_or(&[][..], |state| &state.connections) {
            unread_before[connection.client] = connection.unread;
        }
    }
    if let Some((call, unread)) = closed {
        let told = |name| calls(run).rev().find(|wait| wait.wait && wait.out.contains(name)).map(|wait| (wait, name));
        let told = told("RDHUP").or_else(|| told("EOF"));
        let rdhup = match told {
            Some((wait, name)) => format!(
                " {} had reported {}: {name} means that the client has finished, not that all bytes were read.",
                wait.name, wait.out
            ),
            None => String::new(),
        };
        return format!(
            "{}({}) came while {unread} bytes were unread, and such a close resets the connection.{rdhup}",
            call.name, call.arguments
        );
    }
    let dropped = run.missing.and_then(|missing| dropped::diagnose(run, missing));
    dropped.unwrap_or_else(|| "The server ended the connection before it had echoed all bytes back.".into())
}

fn wrong_bytes(run: &Run) -> String {
    let mut preempted = run.events.iter().filter_map(|event| match event {
        Event::Preempted { thread, instead_of } => Some((*thread, *instead_of)),
        _ => None,
    });
    match preempted.next_back() {
        Some((thread, other)) => format!(
            "Two threads served the same connection: thread {thread} read and sent, while thread {other} had read but \
             not yet sent. A connection belongs to one thread until it is drained, so re-arm ONESHOT after the drain."
        ),
        None => "The bytes that came back are not the bytes that were sent, or their order is different.".into(),
    }
}

fn exited(run: &Run) -> String {
    match calls(run).rev().find(|call| call.value < 0 && call.result != "EAGAIN") {
        Some(call) => {
            let advice = match call.result.as_str() {
                "EINTR" => advice::WAIT_AGAIN,
                "EMFILE" | "ENFILE" => advice::RETRY_ACCEPT,
                "ECONNABORTED" => "this connection is gone, but the next one may be fine",
                "ECONNRESET" | "EPIPE" => advice::END_THAT_ONE,
                _ => "an error of one connection must not end the server",
            };
            format!("The last error before the server ended was {}: {advice}.", shown(call))
        }
        None => String::new(),
    }
}

fn spinning(run: &Run) -> String {
    let last: Vec<String> = calls(run).rev().take(3).map(shown).collect();
    match last.is_empty() {
        true => String::new(),
        false => format!(
            "The server repeats the same calls ({}). It does not handle the event that they report, so they report it \
             again.",
            last.into_iter().rev().collect::<Vec<_>>().join(", ")
        ),
    }
}
