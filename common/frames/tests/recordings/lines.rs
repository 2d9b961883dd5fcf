//! Frames: each call has its line in the lesson, and no path of the machine comes into a recording.

use explorer::record::{Event, Frame, Recording};

use crate::servers::{CHAPTERS, Foreign, calls, chapter, possible, recording, workspace};

/// Of the calls behind `listen` and the line that says where the server listens, so many have a frame at least.
const SHARE: f64 = 0.9;

fn meaning(frames: &[Frame], at: Option<usize>) -> Option<&Frame> {
    frames.get(at?)
}

#[test]
fn each_call_of_a_chapter_has_its_line_in_server_rs() {
    if !possible() {
        return;
    }
    for (name, folder) in CHAPTERS {
        for script in ["close", "two", "back-pressure"] {
            let recording = recording(&chapter(name), script);
            assert_eq!(recording.no_frames, None, "{name}");
            let server = format!("{folder}/src/server.rs");
            let served = calls(&recording).filter(|call| call.name != "listen" && call.fd != Some(1));
            let (mut all, mut known) = (0, 0);
            for call in served {
                all += 1;
                let Some(frame) = meaning(&call.frames, call.meaning) else { continue };
                known += 1;
                assert_eq!(frame.file.as_deref(), Some(server.as_str()), "{name}: {}({})", call.name, call.arguments);
            }
            assert!(known as f64 > SHARE * all as f64, "{name} {script}: {known} of {all} calls");
            in_the_text(&recording, &server);
        }
    }
}

/// The line of each frame of the lesson is there, and the text is the file's.
fn in_the_text(recording: &Recording, server: &str) {
    let source = recording.sources.iter().find(|source| source.path == server).expect("the lesson's file");
    assert_eq!(source.text, std::fs::read_to_string(workspace().join(server)).expect("it is there"));
    for call in calls(recording) {
        for frame in &call.frames {
            let Some(at) = frame.source else { continue };
            let source = &recording.sources[at];
            assert_eq!(Some(&source.path), frame.file.as_ref());
            let line = frame.line.expect("a line") as usize;
            assert!(line >= 1 && line <= source.text.lines().count(), "{frame:?}");
        }
    }
}

#[test]
fn a_thread_that_rests_has_the_line_of_its_wait() {
    if !possible() {
        return;
    }
    for (name, folder) in CHAPTERS {
        let recording = recording(&chapter(name), "close");
        let mut rests = 0;
        for event in &recording.runs[0].events {
            let Event::Rest { state, .. } = event else { continue };
            rests += 1;
            let thread = &state.threads[0];
            let frame = meaning(&thread.frames, thread.meaning).unwrap_or_else(|| panic!("{name}: {thread:?}"));
            assert_eq!(frame.file, Some(format!("{folder}/src/server.rs")), "{name}");
            // The chapter of select has a thin wrapper for its wait.
            assert_eq!(frame.function, "run", "{name}");
        }
        assert!(rests > 2, "{name}");
    }
}

#[test]
fn a_recording_with_frames_is_the_same_each_time() {
    if !possible() {
        return;
    }
    for (name, _) in CHAPTERS {
        let times = if matches!(name, "epoll-et" | "kqueue" | "uring") { 25 } else { 5 };
        for script in ["close", "two"] {
            let first = recording(&chapter(name), script).to_json();
            for round in 1..times {
                let other = recording(&chapter(name), script).to_json();
                let differ = first.lines().zip(other.lines()).find(|(one, other)| one != other);
                assert_eq!(differ, None, "{name} {script}, round {round}");
                assert_eq!(first.len(), other.len(), "{name} {script}, round {round}");
            }
        }
    }
}

#[test]
fn no_path_of_the_machine_and_no_solution_is_in_a_recording() {
    if !possible() {
        return;
    }
    let root = workspace().to_string_lossy().into_owned();
    for (name, _) in CHAPTERS {
        let recording = recording(&chapter(name), "two");
        let text = recording.to_json();
        assert!(!text.contains(&root) && !text.contains(".cargo/registry") && !text.contains("/rustc/"), "{name}");
        let named = calls(&recording).flat_map(|call| &call.frames).filter_map(|frame| frame.file.as_deref());
        for file in named.chain(recording.sources.iter().map(|source| source.path.as_str())) {
            assert!(!file.starts_with('/') && !file.contains("..") && !file.ends_with("solution.rs"), "{name}: {file}");
        }
    }
}

#[test]
fn a_server_in_c_has_the_name_of_its_file_and_its_text() {
    let Some(server) = Foreign::c("g", &["-g", "-O2"]).filter(|_| possible()) else { return eprintln!("no cc") };
    let recording = recording(&server.subject, "close");
    assert_eq!(recording.no_frames, None);
    let text = recording.to_json();
    assert!(!text.contains(&*server.folder().to_string_lossy()), "{text}");
    let [source] = &recording.sources[..] else { panic!("{:?}", recording.sources) };
    assert_eq!((source.path.as_str(), source.text.as_str()), ("server.c", include_str!("server.c")));
    for (name, line) in
        [("poll", "poll(fds, count, -1);"), ("read", "ssize_t got = read("), ("close", "close(fds[at].fd);")]
    {
        let call = calls(&recording).find(|call| call.name == name).unwrap_or_else(|| panic!("{name}: {text}"));
        let frame = meaning(&call.frames, call.meaning).unwrap_or_else(|| panic!("{call:?}"));
        let shown = source.text.lines().nth(frame.line.expect("a line") as usize - 1).expect("it is there");
        assert!(shown.trim().starts_with(line), "{name}: {shown}");
    }
}

#[test]
fn a_program_without_line_numbers_is_said_to_have_none() {
    if !possible() {
        return;
    }
    let stripped = Foreign::c("s", &["-O2", "-s"]).map(|it| (it, "no line numbers"));
    let python = Foreign::python("py").map(|it| (it, "is an interpreter"));
    for (server, reason) in [stripped, python].into_iter().flatten() {
        let recording = recording(&server.subject, "close");
        let why = recording.no_frames.clone().unwrap_or_default();
        assert!(why.contains(reason), "{}: {why}", server.subject.name);
        assert!(recording.sources.is_empty(), "{}", server.subject.name);
        assert!(calls(&recording).all(|call| call.frames.is_empty() && call.meaning.is_none()));
        assert!(calls(&recording).any(|call| call.client == Some(0)), "everything else is there");
    }
}
