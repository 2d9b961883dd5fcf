//! The recordings as the player reads them.
//!
//! Invariant: the text has letters, digits, `+`, `/` and `=`, whatever stands in a recording; and what it decodes to has no
//! character that cannot be seen.

use std::collections::HashMap;
use std::io::Write;

use explorer::record::Recording;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::markup::Trusted;
use crate::{gaps, sentences, visible, words};

/// A JSON array of the recordings, compressed by gzip, in base64. Each event has its `sentence`, and each recording its
/// `gaps` and their `title`. Runs of one server have most events in common, so each recording has each of its events once,
/// and a run has their numbers.
pub fn data(recordings: &[&Recording]) -> Trusted {
    let all = Value::Array(recordings.iter().map(|recording| each_event_once(with_words(recording))).collect());
    let text = serde_json::to_vec(&all).expect("strings and numbers only");
    // No name and no time stand in the header, so the same recordings give the same bytes.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&text).expect("a vector takes all");
    Trusted::base64(&encoder.finish().expect("a vector takes all"))
}

/// A recording with what this crate adds to it.
pub fn with_words(recording: &Recording) -> Value {
    let mut value = serde_json::to_value(recording).expect("strings and numbers only");
    for (run, value) in recording.runs.iter().zip(each(&mut value, "runs")) {
        for (sentence, event) in sentences(run).into_iter().zip(each(value, "events")) {
            event["sentence"] = json!(sentence);
        }
        value["letter"] = json!(words::letter(run.verdict));
    }
    let gaps = gaps::gaps(recording);
    value["gaps_title"] = json!(gaps::title(&gaps));
    value["gaps"] = json!(gaps);
    make_visible(&mut value);
    value
}

fn each_event_once(mut recording: Value) -> Value {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut all = Vec::new();
    for run in each(&mut recording, "runs") {
        for event in each(run, "events") {
            let place = *places.entry(event.to_string()).or_insert_with(|| {
                all.push(event.clone());
                all.len() - 1
            });
            *event = json!(place);
        }
    }
    recording["events"] = Value::Array(all);
    recording
}

/// The elements of an array inside an object.
fn each<'a>(value: &'a mut Value, name: &str) -> std::slice::IterMut<'a, Value> {
    match value.get_mut(name) {
        Some(Value::Array(elements)) => elements.iter_mut(),
        _ => [].iter_mut(),
    }
}

fn make_visible(value: &mut Value) {
    match value {
        Value::String(text) => *text = visible(text).into_owned(),
        Value::Array(elements) => elements.iter_mut().for_each(make_visible),
        Value::Object(fields) => fields.values_mut().for_each(make_visible),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
