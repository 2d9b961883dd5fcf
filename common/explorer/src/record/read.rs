//! A recording from its text.
//!
//! Invariant: what is not a recording of this version is refused with a sentence that says what to do. What is one has
//! no index that leads nowhere, so that whoever shows it cannot fall.

use serde_json::Value;

use super::{Event, FORMAT, Frame, RecordedRun, Recording, State, VERSION};

/// Reads a recording. Fields that it does not know are passed over.
///
/// # Errors
/// A sentence: what is wrong with the text, and what to do.
pub fn read(text: &str) -> Result<Recording, String> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| format!("this is no recording: it is not JSON ({error}); {}", again(&Value::Null)))?;
    if value["format"] != FORMAT {
        return Err(format!("this is no recording: its 'format' is not '{FORMAT}'; {}", again(&Value::Null)));
    }
    match value["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) if version > u64::from(VERSION) => {
            return Err(format!(
                "this recording has version {version}, and this program reads version {VERSION}: bring the workspace up \
                 to date (git pull)"
            ));
        }
        Some(version) => {
            return Err(format!(
                "this recording has version {version}, and this program reads version {VERSION}; {}",
                again(&value)
            ));
        }
        None => return Err(format!("this recording has no version; {}", again(&value))),
    }
    let recording: Recording = serde_json::from_value(value.clone())
        .map_err(|error| format!("this recording is damaged ({error}); {}", again(&value)))?;
    sound(&recording).map_err(|what| format!("this recording is damaged ({what}); {}", again(&value)))?;
    Ok(recording)
}

/// How to make the recording anew, as far as the old one says what it shows.
fn again(old: &Value) -> String {
    let field = |name: &str| old[name].as_str().filter(|text| !text.contains('\''));
    let (script, server) = (field("script").unwrap_or("close"), field("server").unwrap_or("SERVER"));
    // Version 1 has its one run at the top.
    let schedule = field("schedule").or_else(|| old["runs"][0]["schedule"].as_str());
    let schedule = schedule.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit() || byte == b','));
    let replay = schedule.map_or_else(String::new, |schedule| format!(" --replay {schedule}"));
    format!("record it anew: cargo lab explore '{server}' --script '{script}'{replay} --record FILE.json")
}

/// Whether each index leads to an entry.
fn sound(recording: &Recording) -> Result<(), String> {
    if recording.runs.is_empty() {
        return Err("it has no run".into());
    }
    if recording.passing.is_some_and(|at| at >= recording.runs.len()) {
        return Err("'passing' is the place of no run".into());
    }
    recording.runs.iter().try_for_each(|run| run_is_sound(recording, run))
}

fn run_is_sound(recording: &Recording, run: &RecordedRun) -> Result<(), String> {
    let frames = |frames: &[Frame], meaning: Option<usize>| {
        let sourced = frames.iter().filter_map(|frame| frame.source).all(|at| at < recording.sources.len());
        if sourced && meaning.is_none_or(|at| at < frames.len()) {
            Ok(())
        } else {
            Err("a frame leads to no source, or 'meaning' to no frame".to_owned())
        }
    };
    let state = |state: &State| state.threads.iter().try_for_each(|thread| frames(&thread.frames, thread.meaning));
    for event in &run.events {
        match event {
            Event::Call(call) => frames(&call.frames, call.meaning)?,
            Event::Step(step) if step.script_step.is_some_and(|at| at >= recording.steps.len()) => {
                return Err(format!("'{}' is no step of its script", step.step));
            }
            _ => {}
        }
        event.state().map_or(Ok(()), state)?;
    }
    run.end.as_ref().map_or(Ok(()), state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Found;
    use crate::run::{Faults, Verdict};
    use crate::script::Script;

    fn recording() -> Recording {
        let run = RecordedRun {
            schedule: "0".into(),
            verdict: Verdict::Ok,
            what: String::new(),
            diagnosis: String::new(),
            events: Vec::new(),
            end: None,
            found: Found::default(),
        };
        let script = Script::standard("close").expect("it ships");
        Recording::of_runs("et", &script, Faults::default(), vec![run])
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&recording().to_json()), Ok(recording()));
        let newer = recording().to_json().replacen('{', "{\"colour\": 3,", 1);
        assert_eq!(read(&newer), Ok(recording()), "an unknown field is passed over");
    }

    #[test]
    fn another_version_is_refused_with_what_to_do() {
        let old =
            r#"{"format":"event-loop-run","version":1,"server":"epoll-et","script":"c0 connect","schedule":"0,1"}"#;
        let said = read(old).unwrap_err();
        assert!(said.contains("version 1, and this program reads version 2"), "{said}");
        let command = "cargo lab explore 'epoll-et' --script 'c0 connect' --replay 0,1 --record FILE.json";
        assert!(said.contains(command), "{said}");
        let newer = recording().to_json().replace("\"version\": 2", "\"version\": 3");
        assert!(read(&newer).unwrap_err().contains("git pull"));
        for foreign in
            ["", "{}", "[1]", "{\"format\":\"event-loop-run\"}", "{\"format\":\"event-loop-run\",\"version\":2}"]
        {
            let said = read(foreign).unwrap_err();
            assert!(said.contains("cargo lab explore"), "{foreign}: {said}");
        }
    }

    #[test]
    fn an_index_that_leads_nowhere_is_damage() {
        let passing = Recording { passing: Some(1), ..recording() };
        assert!(read(&passing.to_json()).unwrap_err().contains("'passing'"));
        let empty = Recording { runs: Vec::new(), ..recording() };
        assert!(read(&empty.to_json()).unwrap_err().contains("no run"));
    }
}
