//! What holds for every recording: it fits the schema, and no byte is lost.
//!
//! Invariant: nothing here knows how a recording is made. Both are judged by the file alone. The tests of the lab, which
//! record the chapters, share this module.

pub mod schema;

use explorer::record::{self, ConnectionState, Event, Recording, State};

/// A state in which bytes are lost, or more than were sent.
#[derive(Debug)]
pub struct Lost {
    pub client: usize,
    /// Negative if there are more bytes than were sent.
    pub bytes: i64,
    pub text: String,
}

/// Whether the text is a sound recording that fits the schema.
pub fn is_valid(text: &str) -> Result<Recording, String> {
    schema::validate(record::SCHEMA, text)?;
    record::read(text)
}

/// The states that break the law of conservation, and how many were looked at.
pub fn broken(recording: &Recording) -> (Vec<Lost>, usize) {
    let (mut all, mut looked_at) = (Vec::new(), 0);
    for run in &recording.runs {
        for (event, happened) in run.events.iter().enumerate() {
            // A server that ends after its signal owes nothing.
            if matches!(happened, Event::Step(step) if step.is_signal()) {
                break;
            }
            let Some(state) = happened.state().filter(|state| !state.threads.is_empty()) else { continue };
            for connection in state.connections.iter().filter(|it| !may_be_in_a_write(state, it.client)) {
                let Some(bytes) = connection.lost() else { continue };
                looked_at += 1;
                if bytes != 0 {
                    let text = text(run.schedule.as_str(), event, happened, connection);
                    all.push(Lost { client: connection.client, bytes, text });
                }
            }
        }
    }
    (all, looked_at)
}

/// A thread sleeps in a write of this client, or the kernel sends for it.
fn may_be_in_a_write(state: &State, client: usize) -> bool {
    let names = ["write(", "sendto(", "writev(", "sendmsg("];
    let of_client = |at: &str| at.contains(&format!(" c{client},")) || at.contains(&format!(" c{client})"));
    let writes = |at: &str| names.iter().any(|name| at.starts_with(name)) && of_client(at);
    state.threads.iter().any(|thread| thread.sleeps && writes(&thread.at))
}

fn text(schedule: &str, event: usize, happened: &Event, connection: &ConnectionState) -> String {
    let what = match happened {
        Event::Call(call) => format!("{}({}) = {}", call.name, call.arguments, call.result),
        Event::Step(step) => step.step.clone(),
        Event::Rest { sleeps, .. } => format!("at rest in {sleeps:?}"),
        Event::Preempted { .. } => "a change of threads".into(),
    };
    format!("schedule {schedule}, event {event}, {what}: {connection:?}")
}

/// Whether every operation of an io_uring can be followed: without that, nobody can say what the program holds.
pub fn can_be_followed(recording: &Recording) -> bool {
    let opaque =
        |event: &Event| matches!(event, Event::Call(call) if call.name == "io_uring_enter" && call.ring.is_none());
    !recording.runs.iter().any(|run| run.events.iter().any(opaque))
}

/// Scripts under which a timer has a say, if the machine is busy: that of a server which pauses when it is out of
/// descriptors, and the kernel's own, which delays acknowledgements, where a full socket waits for them.
pub fn by_the_clock(script: &str) -> bool {
    ["emfile", "back-pressure"].contains(&script)
}
