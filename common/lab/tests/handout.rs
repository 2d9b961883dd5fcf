//! `cargo lab handout`: what students get, and what they do not.
//!
//! Invariant: the handout of a test is not built. That a student's first hour works in one is tried by hand.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use lab::class::handout::{Piece, pieces};

#[test]
fn nothing_with_an_answer_in_it_is_handed_out() {
    let root = lab::workspace::root().unwrap();
    let exercises = vec!["08_nfds".to_owned(), "19_accept_queue".to_owned()];
    let pieces = pieces(&root, &exercises).unwrap();
    assert!(pieces.contains_key("exercises/08_nfds/starter.rs") && pieces.contains_key("01-select/src/server.rs"));
    assert!(!pieces.contains_key("exercises/07_the_sets/starter.rs"));
    let solutions: Vec<String> = exercises
        .iter()
        .map(|name| fs::read_to_string(root.join("exercises").join(name).join("solution.rs")).unwrap())
        .collect();
    for (name, piece) in &pieces {
        let Piece::File(bytes, _) = piece else { continue };
        let is_of_an_exercise = name.starts_with("exercises/");
        assert!(!is_of_an_exercise || !["/solution.rs", "/fixes.toml"].iter().any(|it| name.ends_with(it)), "{name}");
        assert!(!name.contains("mutant") && !name.ends_with("INSTRUCTORS.md"), "{name}");
        assert!(!solutions.iter().any(|it| it.as_bytes() == bytes), "{name}");
    }
    let text = |name: &str| match &pieces[name] {
        Piece::File(bytes, _) => String::from_utf8_lossy(bytes).into_owned(),
        Piece::Link(_) => panic!("{name} is a link"),
    };
    assert!(!text("Cargo.toml").contains("fixes") && text("Cargo.toml").contains("\"exercises\","));
    assert!(!text("Cargo.lock").contains("name = \"fixes\""));
    assert!(!text("exercises/starters.toml").contains("07_the_sets"));
    assert!(text("exercises/starters.toml").contains("08_nfds"));
    for manifest in pieces.keys().filter(|name| name.ends_with("Cargo.toml")) {
        let table: toml::Table = toml::from_str(&text(manifest)).unwrap();
        for kind in ["test", "bin"] {
            let targets = table.get(kind).and_then(toml::Value::as_array).into_iter().flatten();
            for path in targets.filter_map(|it| it.get("path").and_then(toml::Value::as_str)) {
                let path = format!("{}{path}", manifest.trim_end_matches("Cargo.toml"));
                assert!(pieces.contains_key(&path), "{manifest} names {path}");
            }
        }
    }
    assert_eq!(pieces["exercises/attempts/examples"], Piece::Link(".".into()));
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lab-handout-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn hand_out(&self, options: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lab")).arg("handout").arg(&self.0).args(options).output().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn news_come_and_nothing_of_the_students_is_touched() {
    let folder = Folder::new("news");
    let output = folder.hand_out(&["--only", "08", "19"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains(": 2 exercises from commit "), "{output:?}");
    let history = Command::new("git").arg("-C").arg(&folder.0).args(["log", "--oneline"]).output();
    assert!(history.is_ok_and(|log| text(&log.stdout).lines().count() == 1), "one commit, and not ours");

    // An attempt; a file that somebody has changed; a mended exercise; one more exercise.
    let attempt = "exercises/attempts/08_nfds.rs";
    fs::write(folder.0.join(attempt), "mine").unwrap();
    fs::write(folder.0.join("README.md"), "mine too").unwrap();
    let old = folder.read("exercises/handout.toml");
    let starter = "exercises/08_nfds/starter.rs";
    let wanted = folder.read(starter);
    let digest = |text: &str| lab::class::digest::Digest::of(text).to_string();
    fs::write(folder.0.join(starter), "old").unwrap();
    fs::write(folder.0.join("exercises/handout.toml"), old.replace(&digest(&wanted), &digest("old"))).unwrap();
    let output = folder.hand_out(&["--only", "08", "09"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((folder.read(attempt), folder.read("README.md")), ("mine".into(), "mine too".into()));
    assert!(text(&output.stderr).contains("kept: README.md was changed in the handout"), "{output:?}");
    assert_eq!(folder.read(starter), wanted);
    assert!(folder.0.join("exercises/09_fd_1024/starter.rs").exists());
    assert!(!folder.0.join("exercises/19_accept_queue").exists(), "it is no longer handed out");
    assert!(text(&folder.hand_out(&["--only", "08", "09"]).stdout).contains("; 0 files written"));
}

#[test]
fn a_folder_with_something_else_in_it_is_refused() {
    let folder = Folder::new("other");
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("thesis.txt"), "years").unwrap();
    let output = folder.hand_out(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("is no handout"), "{output:?}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    let inside = lab::workspace::root().unwrap().join("target/handout");
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("handout").arg(inside).output().unwrap();
    assert!(text(&output.stderr).contains("lies in the course itself"), "{output:?}");
}
