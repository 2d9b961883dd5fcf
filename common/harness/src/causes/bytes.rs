//! Why other bytes came back than were sent: whose buffer was used when.
//!
//! Invariant: each rule is about two calls that name one buffer, and shows both.

use super::{Case, Rule};
use crate::failure::Symptom::{self, WriteLost, WrongBytes};
use observe::made::bytes;

const WRONG: &[Symptom] = &[WrongBytes];

const fn rule(about: &'static str, holds: fn(&Case<'_>) -> Option<String>) -> Rule {
    Rule { about, symptoms: WRONG, holds }
}

pub(super) const RULES: &[Rule] = &[
    rule("a zero-copy buffer used again before its notification", reused),
    rule("two sends in flight on one connection", two_sends),
    rule("a buffer lent to two operations", lent_twice),
    rule("one buffer for what two connections are owed", shared),
    rule("more written to a connection than was read from it", too_long),
    rule("a short write's rest overtaken by later bytes", overtaken),
    Rule { about: "notifications of zero-copy sends that are not taken", symptoms: &[WriteLost], holds: not_notified },
];

fn reused(case: &Case<'_>) -> Option<String> {
    let (sent, read) = case.record.buffers.reused.as_ref()?;
    Some(format!(
        "The buffer of a zero-copy send was used again before its notification: {sent}, and then {read} into the same \
         memory. The kernel sends from the buffer itself until the error queue says that it is done (recvmsg with \
         MSG_ERRQUEUE): use it again only then."
    ))
}

fn lent_twice(case: &Case<'_>) -> Option<String> {
    let (first, second) = case.record.buffers.lent_twice.as_ref()?;
    Some(format!(
        "One buffer was lent to two operations at once: {} was in flight on fd {} when {} was submitted on fd {} with \
         the same address. The kernel uses it until the completion: each operation in flight needs memory of its own.",
        first.name,
        first.fd.unwrap_or(-1),
        second.name,
        second.fd.unwrap_or(-1)
    ))
}

fn two_sends(case: &Case<'_>) -> Option<String> {
    let (first, second) = case.record.buffers.two_sends.as_ref()?;
    Some(format!(
        "Two sends were in flight on fd {} at once ({} and {}). The kernel may carry them out in any order, so the \
         later bytes can come first: submit the next one when the first has completed, or link them.",
        second.fd.unwrap_or(-1),
        first.name,
        second.name
    ))
}

fn shared(case: &Case<'_>) -> Option<String> {
    let (short, other) = case.record.buffers.shared.as_ref()?;
    Some(format!(
        "One buffer holds what two connections are owed: {short} left a rest, and {other} sent to another client from \
         where this rest lay. Keep what is owed in memory of its own for each connection."
    ))
}

fn overtaken(case: &Case<'_>) -> Option<String> {
    // A rest that was dropped brings later bytes of the same client.
    if case.has_others_bytes {
        return None;
    }
    let (short, next) = case.record.buffers.overtaken.get(&case.client?)?;
    Some(format!(
        "A short write's rest was dropped, or overtaken by later bytes: {short} left {} unsent, and the next was \
         {next}, of newer bytes. Keep what write() did not take, send it when the socket is writable, and send nothing \
         else before it.",
        bytes(short.length.unwrap_or(0).saturating_sub(short.moved()))
    ))
}

fn too_long(case: &Case<'_>) -> Option<String> {
    let (write, extra) = case.record.overfilled.as_ref()?;
    let what = if case.client == write.client { "this connection" } else { "another client" };
    Some(format!(
        "By {write} it had written {} more to {what} than it had read from there: bytes of another connection, or memory that \
         nothing was read into. Send as many bytes as the read returned, and keep what is owed in memory of its own for each \
         connection.",
        bytes(*extra)
    ))
}

fn not_notified(case: &Case<'_>) -> Option<String> {
    let (sends, taken) = case.record.zero_copy;
    (sends > 0 && taken == 0).then(|| {
        format!(
            "It made {sends} sends with MSG_ZEROCOPY, and took no notification: the error queue was never read (recvmsg \
             with MSG_ERRQUEUE). EPOLLERR is set until it is."
        )
    })
}
