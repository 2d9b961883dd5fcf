//! Why a server with nothing to do is not at rest: what its waits report, and what it does about that.
//!
//! Invariant: each rule looks at one thread, at the last calls of the one that did most.

use std::collections::BTreeMap;

use observe::Mask;
use observe::made::Made;
use observe::syscall::Kind;

use super::{Case, Rule};
use crate::failure::Symptom::{self, Spinning};

const SPINS: &[Symptom] = &[Spinning];

const fn rule(about: &'static str, holds: fn(&Case<'_>) -> Option<String>) -> Rule {
    Rule { about, symptoms: SPINS, holds }
}

pub(super) const RULES: &[Rule] = &[
    rule("an accept that fails and is repeated", accept),
    rule("a descriptor in the set that is not open", not_open),
    rule("end of input that is not acted on", end_of_input),
    rule("an error queue that is never read", error_queue),
    rule("an event that nothing is done about", ignored),
    rule("urgent data that splice does not pass", splice_at_urgent),
    rule("a call that fails and is repeated", repeated),
    rule("a wait that ends by its time", ticks),
];

/// The calls of the thread that was at work last, and most; nothing if no thread repeats itself.
fn calls<'a>(case: &Case<'a>) -> Vec<&'a Made> {
    let busiest = case.record.threads.values().max_by_key(|thread| thread.calls.len());
    busiest.into_iter().flat_map(|thread| &thread.calls).filter(|made| made.value.is_some()).collect()
}

/// The one of these calls that was made most often, if it is among what the thread does all the time. Errors of several
/// descriptors count as one.
fn often<'a>(calls: &[&'a Made], wanted: impl Fn(&Made) -> bool) -> Option<(&'a Made, usize)> {
    let mut counts: BTreeMap<String, (&Made, usize)> = BTreeMap::new();
    for made in calls.iter().filter(|made| wanted(made)) {
        let key = if made.error().is_some() { format!("{} {:?}", made.name, made.error()) } else { made.to_string() };
        counts.entry(key).or_insert((made, 0)).1 += 1;
    }
    let most = counts.into_values().max_by_key(|(_, count)| *count)?;
    (most.1 > 3 && most.1 * 8 >= calls.len()).then_some(most)
}

fn accept(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (made, count) =
        often(&calls, |made| made.kind == Kind::Accept && made.error().is_some_and(|it| it != libc::EAGAIN))?;
    let left = match made.fd {
        Some(fd) if calls.iter().any(|made| made.kind.is_wait() && made.said_of(fd).is_some()) => {
            "The listener stays readable, so each wait ends at once: stop watching it until one is free, or a while has \
             passed."
        }
        _ => "Nothing waits between them: accept again when a file descriptor is free, or a while has passed.",
    };
    Some(format!("{made}, {count} times among its last {} calls. {left}", calls.len()))
}

fn not_open(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (wait, fd) = calls.iter().find_map(|made| {
        let (fd, _) = made.events.iter().find(|(_, mask)| mask.has(Mask::NVAL))?;
        Some((made, *fd))
    })?;
    Some(format!(
        "{} reports NVAL for fd {fd}: a closed descriptor was left in the list, and each wait ends at once. Take it out \
         of the list with the close, also when the last entry is moved to a free place.",
        wait.name
    ))
}

fn end_of_input(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (read, count) =
        often(&calls, |made| made.kind == Kind::Read && made.value == Some(0) && made.length != Some(0))?;
    Some(format!(
        "{read}, {count} times among its last {} calls: end of input that it did not act on. A read that returned 0 \
         returns 0 for ever, and the socket stays readable: stop watching for input, and close when nothing is owed.",
        calls.len()
    ))
}

fn error_queue(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (wait, _) =
        often(&calls, |made| made.events.iter().any(|(_, mask)| mask.has(Mask::ERR) && !mask.has(Mask::HUP)))?;
    let (sends, taken) = case.record.zero_copy;
    (sends > 0).then(|| {
        format!(
            "{wait}, again and again. After {sends} sends with MSG_ZEROCOPY their notifications wait in the error queue, \
             and EPOLLERR is set until they are taken ({taken} were): read it (recvmsg with MSG_ERRQUEUE)."
        )
    })
}

fn ignored(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (wait, count) = often(&calls, |made| made.kind.is_wait() && !made.events.is_empty())?;
    let since = |made: &&&Made| made.at > wait.at;
    let (fd, mask) = *wait.events.iter().find(|(fd, mask)| {
        let reads = mask.has(Mask(Mask::IN.0 | Mask::PRI.0 | Mask::RDHUP.0 | Mask::HUP.0 | Mask::ERR.0));
        let on_it = |kind: Kind| calls.iter().filter(since).any(|made| made.kind == kind && made.fd == Some(*fd));
        !(reads && (on_it(Kind::Read) || on_it(Kind::Accept)) || mask.has(Mask::OUT) && on_it(Kind::Write))
    })?;
    let places = wait.events.iter().map(|(fd, _)| wait.asked.iter().position(|(asked, _)| asked == fd));
    let places: Option<Vec<usize>> = places.collect();
    let ready = usize::try_from(wait.value.unwrap_or(0)).unwrap_or(0);
    let place = wait.asked.iter().position(|(asked, _)| *asked == fd).map_or(0, |place| place + 1);
    let behind = format!(
        "fd {fd} is number {place} of its list: what poll returns is how many entries are ready, and not how many have to be \
         looked at. Look at all of them."
    );
    let is_behind = wait.kind == Kind::Poll && places.is_some_and(|places| places.iter().all(|place| *place >= ready));
    let what = match mask {
        mask if is_behind && (mask == Mask::IN || mask == Mask::OUT) => behind.as_str(),
        mask if mask == Mask::OUT => "An idle socket is always writable: watch for OUT only while bytes are owed.",
        mask if mask.has(Mask(Mask::RDHUP.0)) => {
            "RDHUP stays set after the client's FIN: stop watching for input, or ask edge-triggered."
        }
        mask if mask.has(Mask(Mask::ERR.0 | Mask::HUP.0)) => {
            "ERR and HUP are reported whether they were asked for or not, and stay set: close the connection."
        }
        mask if mask.has(Mask::PRI) => "Urgent data stays until it is read: do not wait for it.",
        _ => "Stop watching for what is not dealt with now.",
    };
    Some(format!(
        "{} reports fd {fd} {mask}, {count} times among its last {} calls, and nothing is done about it. {what}",
        wait.name,
        calls.len()
    ))
}

/// The bytes behind the urgent one make the socket readable, and FIONREAD counts none of them before it is passed.
fn splice_at_urgent(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (splice, count) = often(&calls, |made| made.name == "splice" && made.failed_with(libc::EAGAIN))?;
    let fd = splice.fd?;
    let reports = |made: &&&Made| made.said_of(fd).is_some_and(|mask| mask.has(Mask::IN));
    let wait = calls.iter().rfind(reports)?;
    (splice.unread == 0 && case.owed() == 0).then(|| {
        format!(
            "{} reports fd {fd} IN, and {splice}, {count} times among its last {} calls, although nothing is in the pipe. \
             splice stops before an urgent byte, and does not pass it. Where a wait says IN and splice says EAGAIN, read \
             with recv, which does.",
            wait.name,
            calls.len()
        )
    })
}

fn repeated(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (made, count) = often(&calls, |made| made.error().is_some()).filter(|(_, count)| count * 3 >= calls.len())?;
    let what = match (made.is_operation(), made.error()) {
        (true, Some(libc::EAGAIN)) => {
            "Its operations complete at once and are submitted again: with MSG_DONTWAIT, or on a socket with O_NONBLOCK, \
             the kernel does not wait. Leave both out."
        }
        (true, Some(libc::ENOBUFS)) => {
            "Its operations complete at once and are submitted again: there is no buffer. Give buffers back first."
        }
        (true, _) => "Its operations complete at once and are submitted again, and the error is not acted on.",
        (false, Some(libc::EAGAIN)) => "It asks again and again, and does not wait until there is something.",
        (false, Some(libc::EBADF)) => "A closed descriptor is still in use.",
        (false, Some(libc::EINTR)) => "It is interrupted all the time.",
        _ => "The error is not acted on.",
    };
    Some(format!("{made}, {count} times among its last {} calls. {what}", calls.len()))
}

fn ticks(case: &Case<'_>) -> Option<String> {
    let calls = calls(case);
    let (made, count) = often(&calls, |made| made.kind.is_wait() && made.value == Some(0))?;
    let why = match made.timed {
        true => "it wakes by its own clock",
        false => "it asks, and does not wait, as if a flag or a list of its own said that there is work",
    };
    Some(format!(
        "{made}, {count} times among its last {} calls: {why}. Wait without a timeout while nothing is due.",
        calls.len()
    ))
}
