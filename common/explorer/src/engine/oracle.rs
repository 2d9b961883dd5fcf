//! The oracle: what is wrong, now that the server sleeps.
//!
//! Invariant: it looks only while every thread of the server is blocked and nothing is in flight, so whatever is missing
//! then does not come by itself. A client that does not read, or for which no file descriptor is left, is owed nothing.

use super::client::{Client, Wrong};
use super::tracee::Tracee;
use super::world::World;
use crate::run::Verdict;
use crate::script::Step;

/// How a run ends: the verdict, and its sentence.
#[derive(Debug, Clone)]
pub struct Ending(pub Verdict, pub String);

/// What is wrong, if anything is.
pub fn look(world: &World<'_>, tracee: &Tracee<'_>) -> Option<Ending> {
    if tracee.signalled {
        let what = "the signal was delivered and the server did not end: it sleeps in its wait";
        return Some(Ending(Verdict::LostWakeup, what.into()));
    }
    let no_fd_left = world.fds_limited && tracee.has_no_fd_left();
    let expects_eof = match world.to_come().first() {
        Some(Step::ExpectEof(id)) => Some(*id),
        _ => None,
    };
    for (id, client) in world.present().filter(|(_, client)| !client.gone && !world.was_turned_away(client)) {
        if let Some(ending) = wrong_bytes(id, client).or_else(|| ended_early(id, client)) {
            return Some(ending);
        }
        let excused = client.paused || no_fd_left && tracee.end_of(client.port).is_none();
        if !excused && let Some(ending) = missing(id, client, expects_eof == Some(id)) {
            return Some(ending);
        }
    }
    None
}

fn wrong_bytes(id: usize, client: &Client) -> Option<Ending> {
    Some(match client.wrong()? {
        Wrong::Gap(at, len) => {
            let what = format!("c{id} got byte {} right behind byte {at}: {len} bytes are missing", at + len);
            Ending(Verdict::Truncated, what)
        }
        Wrong::Bytes(at) => {
            let what = format!("what came back to c{id} is right up to byte {at} and wrong from there on");
            Ending(Verdict::WrongBytes, what)
        }
    })
}

/// The server closed, or reset, before it was done.
fn ended_early(id: usize, client: &Client) -> Option<Ending> {
    let is_over = client.eof || client.reset;
    if !is_over || client.owed() == 0 && client.finished {
        return None;
    }
    let ended = if client.reset { "reset" } else { "closed" };
    let what = match client.owed() {
        0 => format!("the server {ended} c{id}'s connection, which the client has not finished"),
        _ => format!(
            "the server {ended} c{id}'s connection with {} of {} bytes sent back",
            client.came_back, client.asked
        ),
    };
    Some(Ending(Verdict::Truncated, what))
}

fn missing(id: usize, client: &Client, expects_eof: bool) -> Option<Ending> {
    let (asked, owed) = (client.asked, client.owed());
    if owed > 0 {
        let what = format!("{owed} of c{id}'s {asked} bytes did not come back, and the server sleeps");
        return Some(Ending(Verdict::LostWakeup, what));
    }
    if client.finished && !client.eof && !client.reset {
        let what = format!("c{id} has finished and got its {asked} bytes back, but no FIN");
        return Some(Ending(Verdict::NoEof, what));
    }
    if expects_eof && !client.eof {
        let what = format!("c{id} was to see the server's FIN by now, and did not");
        return Some(Ending(Verdict::NoEof, what));
    }
    None
}
