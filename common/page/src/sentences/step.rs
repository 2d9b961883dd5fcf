//! A step of a client, in a sentence.

use explorer::record::{ClientStep, State};

use super::{bytes, connection, counted, listed, unread};

/// `c0 sends 5000 bytes just before the server calls epoll_wait(6): 5000 bytes of c0 are unread in fd 7.`
pub fn sentence(step: &ClientStep, before: &State) -> String {
    if step.fault {
        return format!("The schedule makes a fault: {}.", step.step);
    }
    if step.implied {
        return implied(&step.step);
    }
    let when = match (step.placed, step.before.as_str()) {
        (true, "") => " while the server runs".to_owned(),
        (true, call) => format!(" just before the server calls {call}"),
        (false, _) => " while the server sleeps".to_owned(),
    };
    let words: Vec<&str> = step.step.split_whitespace().collect();
    let after = &step.state;
    match words.as_slice() {
        [client, "connect"] => format!("{client} connects{when}{}.", queued(after)),
        [client, "send", asked] => format!("{client} {}{when}{}.", sends(step, asked), arrived(step, after)),
        [client, "pause"] => format!("{client} stops reading{when}."),
        [client, "recv"] => format!("{client} reads again{when}."),
        [client, "shutdown"] => format!("{client} sends its FIN{when}{}.", behind(step, after)),
        [client, "expect-eof"] => format!("{client} must have seen the server's FIN by now."),
        [client, "close"] => format!("{client} closes its connection{when}."),
        [client, "reset"] => format!("{client} resets its connection{when}{}.", lost(step, before)),
        ["signal", signal] => format!("the server gets SIG{signal}{when}."),
        ["interrupt"] => "SIGSTOP and SIGCONT interrupt the server's wait.".to_owned(),
        ["fds", "none"] => format!("the server has no free file descriptor from now on{when}."),
        ["fds", "free"] => format!("the server has free file descriptors again{when}."),
        _ => format!("{}{when}.", step.step),
    }
}

/// `c0 reads 3, sees FIN`: what the client did by itself.
fn implied(text: &str) -> String {
    let (client, actions) = text.split_once(' ').unwrap_or((text, ""));
    let action = |action: &str| match action.split_once(' ') {
        Some(("reads", count)) => format!("reads {}", count.parse().map_or(count.to_owned(), bytes)),
        Some(("goes", rest)) => {
            let count = rest.trim_start_matches("on: sends ");
            format!("goes on to send {}", count.parse().map_or(count.to_owned(), bytes))
        }
        Some(("its", _)) => "sends its FIN".to_owned(),
        Some(("sees", _)) => "sees the server's FIN".to_owned(),
        Some(("is", _)) => "finds that its connection is reset".to_owned(),
        _ => action.to_owned(),
    };
    let actions: Vec<String> = actions.split(", ").map(action).collect();
    format!("{client} {}.", listed(&actions.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn queued(after: &State) -> String {
    match after.accept_queue {
        0 => String::new(),
        n => format!(": {} in the accept queue", counted(n.into(), "connection")),
    }
}

fn sends(step: &ClientStep, asked: &str) -> String {
    let asked: u64 = asked.parse().unwrap_or(step.bytes);
    match step.bytes < asked {
        true => format!("sends {} of {asked} bytes, which is all that the sockets take,", step.bytes),
        false => format!("sends {}", bytes(asked)),
    }
}

fn arrived(step: &ClientStep, after: &State) -> String {
    let arrived = step.client.and_then(|client| connection(after, client)).and_then(unread);
    arrived.map_or(String::new(), |unread| format!(": {unread}"))
}

fn behind(step: &ClientStep, after: &State) -> String {
    match step.client.and_then(|client| connection(after, client)) {
        Some(connection) if connection.unread > 0 => {
            format!(", which waits behind {}", counted(connection.unread, "unread byte"))
        }
        _ => String::new(),
    }
}

fn lost(step: &ClientStep, before: &State) -> String {
    match step.client.and_then(|client| connection(before, client)) {
        Some(connection) if connection.unread > 0 => {
            format!(", and {} are gone", counted(connection.unread, "unread byte"))
        }
        _ => String::new(),
    }
}
