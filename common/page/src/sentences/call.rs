//! A system call of the server, in a sentence.

use explorer::record::{Cost, Operation, RingCall, ServerCall, State};

use super::{bytes, connection, counted, listed};

/// `recvfrom takes 3 bytes of c0 from fd 7; 4997 are still unread.`
pub fn sentence(call: &ServerCall, before: &State) -> String {
    match call.name.as_str() {
        "listen" => format!("the server listens on {}.", descriptor(call)),
        "epoll_ctl" => registered(call),
        "io_uring_enter" => ring(call),
        "kevent" if call.value >= 0 => kevent(call),
        "kqueue" if call.value >= 0 => format!("the server makes a kqueue, fd {}.", call.result),
        "accept" | "accept4" => accepted(call),
        "read" | "recv" | "recvfrom" | "recvmsg" | "readv" => read(call),
        "write" | "send" | "sendto" | "sendmsg" | "writev" | "sendfile" | "splice" => written(call),
        "close" => closed(call, before),
        "shutdown" if call.value >= 0 => {
            format!("the server sends its FIN on {} ({}).", descriptor(call), text(call))
        }
        _ if call.wait => waited(call),
        _ => plain(call),
    }
}

/// `recvfrom(7 c0, 4096)`.
fn text(call: &ServerCall) -> String {
    format!("{}({})", call.name, call.arguments)
}

fn plain(call: &ServerCall) -> String {
    let out = if call.out.is_empty() { String::new() } else { format!(": {}", call.out) };
    format!("{} returns {}{out}.", text(call), call.result)
}

/// `fd 7 (c0)`.
fn descriptor(call: &ServerCall) -> String {
    match (call.fd, call.client) {
        (Some(fd), Some(client)) => format!("fd {fd} (c{client})"),
        (Some(fd), None) => format!("fd {fd}"),
        (None, Some(client)) => format!("c{client}'s connection"),
        (None, None) => "a file descriptor".to_owned(),
    }
}

/// `c0`, or the descriptor.
fn whose(call: &ServerCall) -> String {
    call.client.map_or_else(|| descriptor(call), |client| format!("c{client}"))
}

/// `4, ADD, 5 c0, IN|ET` as `fd 5 (c0)` and `IN|ET`.
fn registered(call: &ServerCall) -> String {
    let parts: Vec<&str> = call.arguments.split(", ").collect();
    if call.value < 0 {
        return plain(call);
    }
    match parts.as_slice() {
        [epoll, "ADD", fd, mask] => format!("the server registers {} with epoll {epoll} for {mask}.", named(fd)),
        [epoll, "MOD", fd, mask] => format!("the server asks epoll {epoll} for {mask} of {}.", named(fd)),
        [epoll, "DEL", fd] => format!("the server takes {} out of epoll {epoll}.", named(fd)),
        _ => plain(call),
    }
}

/// `5 c0` as `fd 5 (c0)`.
fn named(word: &str) -> String {
    match word.split_once(' ') {
        Some((fd, label)) => format!("fd {fd} ({label})"),
        None => format!("fd {word}"),
    }
}

fn waited(call: &ServerCall) -> String {
    let cost = call.cost.as_ref().map_or(String::new(), cost);
    match call.result.as_str() {
        "EINTR" => format!("{} is interrupted: EINTR.", text(call)),
        "0" if call.arguments.contains("timeout") => format!("{} finds no event{cost}.", text(call)),
        "0" => format!("{} returns 0 events{cost}.", text(call)),
        _ if call.value < 0 => plain(call),
        _ if call.out.is_empty() => plain(call),
        _ => {
            let events: Vec<String> = call.out.split(", ").map(event).collect();
            format!("{} reports {}{cost}.", call.name, listed(&events.iter().map(String::as_str).collect::<Vec<_>>()))
        }
    }
}

/// `5 c0 IN|OUT` as `IN|OUT of fd 5 (c0)`; of a kqueue, the filter is followed by its data: `READ 3 of fd 5 (c0)`.
fn event(entry: &str) -> String {
    let client = |word: &str| word.strip_prefix('c').is_some_and(|rest| rest.parse::<usize>().is_ok());
    match entry.split_whitespace().collect::<Vec<_>>().as_slice() {
        [fd, label, what @ ..] if !what.is_empty() && (*label == "listener" || client(label)) => {
            format!("{} of fd {fd} ({label})", what.join(" "))
        }
        [fd, what @ ..] if !what.is_empty() && fd.parse::<i32>().is_ok() => format!("{} of fd {fd}", what.join(" ")),
        _ => entry.to_owned(),
    }
}

fn kevent(call: &ServerCall) -> String {
    let changes = call.arguments.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(changes, _)| changes);
    let mut parts = Vec::new();
    if let Some(changes) = changes.filter(|changes| !changes.is_empty()) {
        let count = changes.split(", ").count() as u64;
        parts.push(format!("makes {} ({changes})", counted(count, "change")));
    }
    let events: Vec<String> = call.out.split(", ").filter(|entry| !entry.is_empty()).map(event).collect();
    if !events.is_empty() {
        parts.push(format!("reports {}", listed(&events.iter().map(String::as_str).collect::<Vec<_>>())));
    } else if !call.arguments.ends_with("no room for events") {
        parts.push("finds no event".to_owned());
    }
    if parts.is_empty() {
        return plain(call);
    }
    format!("kevent {}{}.", parts.join(" and "), call.cost.as_ref().map_or(String::new(), cost))
}

fn cost(cost: &Cost) -> String {
    let copied = cost.copied_in + cost.copied_out;
    format!("; the kernel looked at {} and copied {}", counted(cost.looked_at, "descriptor"), bytes(copied))
}

fn accepted(call: &ServerCall) -> String {
    match call.result.as_str() {
        "EAGAIN" => format!("{} finds the accept queue empty: EAGAIN.", call.name),
        error @ ("EMFILE" | "ENFILE") => {
            format!("{} fails with {error}: no file descriptor is free, and the client stays in the queue.", call.name)
        }
        "ECONNABORTED" => format!("{} fails with ECONNABORTED: this client has gone.", call.name),
        _ if call.value < 0 => plain(call),
        fd if call.out.is_empty() => format!("{} takes a connection from the accept queue as fd {fd}.", call.name),
        fd => format!("{} takes {} from the accept queue as fd {fd}.", call.name, call.out),
    }
}

fn read(call: &ServerCall) -> String {
    let still = call.client.and_then(|client| connection(&call.state, client)).map_or(0, |it| it.unread);
    match call.result.as_str() {
        "EAGAIN" => format!("{} finds nothing to read in {}: EAGAIN.", call.name, descriptor(call)),
        "ECONNRESET" => format!("{} fails with ECONNRESET: {} has reset the connection.", call.name, whose(call)),
        "0" => format!("{} returns 0, because all bytes are read and {} has sent its FIN.", call.name, whose(call)),
        _ if call.value < 0 => plain(call),
        _ => {
            let rest = if still > 0 { format!("; {still} are still unread") } else { String::new() };
            format!("{} takes {} from {}{rest}.", call.name, bytes(call.value.unsigned_abs()), descriptor(call))
        }
    }
}

fn written(call: &ServerCall) -> String {
    let asked = call.raw[2].filter(|asked| *asked > call.value).map(i64::unsigned_abs);
    match (call.result.as_str(), asked) {
        ("EAGAIN", Some(asked)) => {
            format!("{} takes none of {} for {}: EAGAIN, the socket is full.", call.name, bytes(asked), whose(call))
        }
        ("EAGAIN", None) => format!("{} takes nothing for {}: EAGAIN, the socket is full.", call.name, whose(call)),
        (error @ ("EPIPE" | "ECONNRESET"), _) => {
            format!("{} fails with {error}: nobody reads {} any more.", call.name, descriptor(call))
        }
        _ if call.value < 0 => plain(call),
        (_, Some(asked)) => format!(
            "{} takes only {} of {asked} bytes for {}, because the socket is full.",
            call.name,
            call.value,
            whose(call)
        ),
        (_, None) => {
            format!("{} hands {} to {}.", call.name, bytes(call.value.unsigned_abs()), descriptor(call))
        }
    }
}

fn closed(call: &ServerCall, before: &State) -> String {
    let unread = call.client.and_then(|client| connection(before, client)).map_or(0, |it| it.unread);
    match unread {
        0 => format!("the server closes {}.", descriptor(call)),
        n => {
            let unread = counted(n, "unread byte");
            format!("the server closes {} with {unread}, so the kernel resets the connection.", descriptor(call))
        }
    }
}

fn ring(call: &ServerCall) -> String {
    let Some(RingCall { submitted, completed }) = &call.ring else { return plain(call) };
    if call.value < 0 && completed.is_empty() && submitted.is_empty() {
        return plain(call);
    }
    let operations = |some: &[Operation]| {
        let words: Vec<String> = some.iter().map(operation).collect();
        listed(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut parts = Vec::new();
    if !submitted.is_empty() {
        parts.push(format!("submits {}", operations(submitted)));
    }
    if !completed.is_empty() {
        parts.push(format!("finds completed: {}", operations(completed)));
    }
    match parts.is_empty() {
        true => format!("{} submits nothing and finds nothing completed.", call.name),
        false => format!("{} {}.", call.name, parts.join(", and ")),
    }
}

/// `RECV of fd 7 (c0) = 3`.
fn operation(it: &Operation) -> String {
    let whose = it.client.map_or(String::new(), |client| format!(" (c{client})"));
    let place = it.fd.map_or(whose.clone(), |fd| format!(" of fd {fd}{whose}"));
    let result = it.result.map_or(String::new(), |result| format!(" = {result}"));
    format!("{}{place}{result}", it.operation)
}
