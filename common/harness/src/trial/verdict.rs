//! How a trial ends: the steps are added to a failure, and the death of the server goes before all else.
//!
//! Invariant: a server that has ended is `Exited`, whatever the check saw of it, unless its end is what the check is
//! about.

use std::time::Duration;

use observe::errno::end_of_process;

use super::Trial;
use crate::diagnose;
use crate::failure::{Failure, Step, Stop, Symptom};
use crate::said;
use crate::server::{self, Server};

impl Trial<'_> {
    /// A failure with the threads' state as the kernel's view.
    pub fn with_view(&mut self, symptom: Symptom, what: String, cause: &str) -> Stop {
        crate::rerun::snapshot(None);
        let view = self.server.as_ref().and_then(|server| server.process?.view(server.addr.port()));
        let kernel = view.as_ref().map(diagnose::threads).unwrap_or_default();
        Stop::Fail(Box::new(Failure { kernel, ..Failure::new(symptom, what, cause) }))
    }

    /// Ends the trial: adds the steps to a failure, and turns it into `Exited` if the server is dead.
    pub(crate) fn finish(mut self, result: Step) -> Step {
        // Its sockets close a moment before its status can be read.
        const DYING: Duration = Duration::from_millis(500);
        let cut_off = matches!(&result, Err(Stop::Fail(failure))
            if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated | Symptom::Refused));
        let patience = if cut_off { DYING } else { Duration::ZERO };
        let died = self.server.as_mut().and_then(|server| server.wait_exit(patience));
        let hides = || self.server.as_ref().and_then(|server| server.process).is_some_and(|process| process.hides());
        let mut failure = match (result, died) {
            (Ok(()) | Err(Stop::Skip(_)), None) if self.subject.own && hides() => {
                Box::new(Failure::new(Symptom::Contract, server::HIDES, server::WHY_IT_HIDES))
            }
            (Err(Stop::Fail(failure)), None) => failure,
            (Err(Stop::Fail(failure)), Some(_)) if failure.symptom == Symptom::Contract => failure,
            (Err(Stop::Fail(failure)), Some(status)) => {
                let what = format!("the server ended with {}; {}", end_of_process(status), failure.what);
                Box::new(Failure {
                    symptom: Symptom::Exited,
                    what,
                    kernel: Vec::new(),
                    cause: self.death(status),
                    said: self.said(),
                    ..*failure
                })
            }
            (Ok(()) | Err(Stop::Broken(_)), Some(status)) => Box::new(Failure {
                said: self.said(),
                ..Failure::new(
                    Symptom::Exited,
                    format!("the server ended with {} during the check", end_of_process(status)),
                    self.death(status),
                )
            }),
            (other, _) => return other,
        };
        if let Some(front) = self.server.as_ref().and_then(Server::front) {
            let port = self.server.as_ref().map_or(0, |server| server.addr.port());
            if failure.symptom == Symptom::Refused && self.clients().0 < 2 && observe::is_listening(port) == Some(false)
            {
                return Err(Stop::skip(format!("{front}, and has left before the first client came")));
            }
            failure.kernel.push(format!("{front}: what a client meets may be its doing, and not the server's"));
        }
        failure.steps = self.log.steps();
        Err(Stop::Fail(failure))
    }

    /// What the server, which has ended, wrote to stderr last.
    fn said(&self) -> Vec<String> {
        let said = |server: &Server| {
            server.output();
            server.said()
        };
        self.server.as_ref().map(said).unwrap_or_default()
    }

    fn death(&self, status: std::process::ExitStatus) -> String {
        use std::os::unix::process::ExitStatusExt;
        let known = match status.signal() {
            Some(libc::SIGPIPE) => {
                "It wrote to a connection that was reset: ignore SIGPIPE, or send with MSG_NOSIGNAL."
            }
            Some(libc::SIGABRT) => aborted(&self.said()),
            Some(libc::SIGSEGV | libc::SIGBUS) => "It touched memory that is not its own.",
            _ => "What a client or the machine's state can cause must not end a server.",
        };
        // What the server itself says comes first: the check's own suspicion may be about something else.
        let words = Some(said::in_short(&self.said())).filter(|words| !words.is_empty());
        let suspicion = Some(self.suspicion).filter(|suspicion| !suspicion.is_empty());
        let suspicion = suspicion.map(|suspicion| format!("This check is about: {suspicion}"));
        [words, Some(known.to_owned()), suspicion].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Why a program aborts: the C library says what it found.
fn aborted(said: &[String]) -> &'static str {
    let says = |words: &[&str]| said.iter().any(|line| words.iter().any(|word| line.contains(word)));
    if says(&["double free", "corruption", "corrupted", "free(): ", "malloc(): ", "realloc(): ", "munmap_chunk(): "]) {
        return "The allocator aborted it: memory was freed twice, used after it was freed, or written past its end. A \
                connection that is closed twice does that, and so does an event that finds a connection which was freed.";
    }
    if said.is_empty() || says(&["buffer overflow detected", "bit out of range"]) {
        return "It aborted; glibc's fortify does that at FD_SET of a descriptor of 1024 or more.";
    }
    "It aborted, as a failed assertion does."
}

/// `finish` turns it into a failure that says how the server ended.
pub(super) fn gone() -> Stop {
    Stop::Broken("the server has gone".into())
}

#[cfg(test)]
mod tests {
    use super::aborted;

    #[test]
    fn what_the_c_library_says_decides_why_it_aborted() {
        let why = |line: &str| aborted(&[line.to_owned()]);
        assert!(why("double free or corruption (!prev)").contains("allocator"));
        assert!(why("free(): invalid pointer").contains("allocator"));
        assert!(why("*** buffer overflow detected ***: terminated").contains("FD_SET"));
        assert!(why("server: a.c:7: main: Assertion `n > 0' failed.").contains("assertion"));
        assert!(aborted(&[]).contains("FD_SET"));
    }
}
