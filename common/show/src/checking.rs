//! The players in a report of `cargo lab check --html`.
//!
//! Invariant: a run that cannot be recorded is left out, and the reason is on stderr; the report has it in words all the same.

use explorer::Recording;
use harness::Launch;
use lab::checking::servers::TestedServer;
use lab::error::LabError;
use lab::explored::{self, WithoutAttempt};
use lab::interrupt::Interrupt;
use lab::report::{FoundRun, Players};
use lab::terminal;
use markup::Markup;

use crate::making::{Making, Shown};

/// Explores once more, and keeps what happens.
pub struct Recorder;

impl Players for Recorder {
    fn record(&self, server: &TestedServer, run: &FoundRun, interrupt: &Interrupt) -> Option<Recording> {
        let name = &server.subject.name;
        terminal::complain(&format!("recording {name} under the script '{}' for the report", run.script.name));
        record(server, run, interrupt)
            .inspect_err(|why| terminal::complain(&format!("the report has no player of this run: {}", why.message)))
            .ok()
    }

    fn write(&self, page: &mut Markup, at: usize, recording: &Recording, id: &str) {
        page::report::player(page, at, recording, id);
    }

    fn file(&self, title: &str, style: &str, main: &Markup, recordings: &[Recording]) -> String {
        page::report::with_players(title, style, main, recordings)
    }
}

fn record(server: &TestedServer, run: &FoundRun, interrupt: &Interrupt) -> Result<Recording, LabError> {
    let is_attempt = matches!(&server.subject.launch, Launch::Command(argv) if argv.is_empty());
    // An attempt was built for its checks already, so that this is quick.
    let subject = match is_attempt {
        true => explored::named(&server.words)?.build(WithoutAttempt::Refuse, interrupt)?,
        false => explored::started(server.subject.clone())?,
    };
    let making = Making::new(vec![run.script.clone()], true, run.faults, Some(&run.schedule), interrupt);
    let mut recordings = making.recordings(vec![Shown::Server { subject, exercise: is_attempt }])?;
    recordings.pop().ok_or_else(|| LabError::failed("nothing was recorded"))
}
