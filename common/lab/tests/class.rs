//! `cargo lab grade --class` and `cargo lab merge`, as a teacher calls them.
//!
//! Invariant: no suite is run here. The attempts do not compile, are untouched or are missing, and one never listens.
#![cfg(target_os = "linux")]

mod attempt;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use attempt::{TURN, exercise, exercises};
use lab::course::Exercise;
use serde_json::Value;

/// A class in a folder that is gone with the test.
struct Class {
    folder: PathBuf,
    exercise: Exercise,
}

impl Class {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lab-class-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("class")).unwrap();
        Self { folder, exercise: exercise() }
    }

    /// A student's attempt; without a text, the student hands in something else.
    fn hand_in(&self, student: &str, text: Option<&str>) {
        let folder = self.folder.join("class").join(student);
        fs::create_dir_all(&folder).unwrap();
        match text {
            Some(text) => fs::write(folder.join(format!("{}.rs", self.exercise.name)), text).unwrap(),
            None => fs::write(folder.join("notes.txt"), "I was ill").unwrap(),
        }
    }

    fn starter(&self) -> String {
        fs::read_to_string(self.exercise.file("starter.rs")).unwrap()
    }

    fn command(&self, results: &str, options: &[&str]) -> Command {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
        lab.args(["grade", "--quick", "--only", &self.exercise.name, "--class"]).arg(self.folder.join("class"));
        lab.arg("--results").arg(self.folder.join(results)).args(options);
        lab.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        lab
    }

    fn grade(&self, results: &str, options: &[&str]) -> Output {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let output = self.command(results, options).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        output
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_class_becomes_a_table_and_what_is_graded_is_not_graded_again() {
    let class = Class::new("table");
    class.hand_in("ada", Some("fn main() { let server: u32 = \"none\"; }\n"));
    class.hand_in("=1+1", Some(&class.starter()));
    class.hand_in("cy, jr", None);
    let (name, points) = (class.exercise.name.clone(), class.exercise.about.points);
    let output = class.grade("results", &["--format", "csv"]);
    let table = text(&output.stdout);
    let rows: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(rows[0], format!("student,folder,{name},total,notes"));
    assert!(rows[1].starts_with("'=1+1,'=1+1,0,0,") && rows[1].contains("1 untouched"), "{table}");
    assert!(rows[2].starts_with("ada,ada,0,0,") && rows[2].contains("1 not compiled"), "{table}");
    assert!(rows[3].starts_with("\"cy, jr\",\"cy, jr\",0,0,") && rows[3].contains("1 missing"), "{table}");
    let said = text(&output.stderr);
    for words in [
        "ada: 1 attempt in . (files named after exercises)",
        "ignored: notes.txt: it is not named after an exercise",
        "[3/3]",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // Nothing has changed; then one text does.
    let said = text(&class.grade("results", &["--format", "json"]).stderr);
    assert!(said.contains("3 of 3 grades are known from before"), "{said}");
    class.hand_in("ada", Some("fn main() { let server: u32 = \"no\"; }\n"));
    let output = class.grade("results", &["--format", "json"]);
    assert!(text(&output.stderr).contains("2 of 3 grades are known from before"), "{output:?}");
    let grades: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ada = &grades["students"][1];
    assert_eq!(
        (&ada["folder"], &ada["score"], &ada["max_score"]),
        (&"ada".into(), &0.0.into(), &f64::from(points).into())
    );
    assert_eq!(ada["exercises"][0]["state"], "not-compiled");
    assert!(!text(&output.stdout).contains(&std::env::current_dir().unwrap().to_string_lossy().into_owned()));
    // Other options are another grade.
    let said = text(&class.grade("results", &["--timeout", "299"]).stderr);
    assert!(!said.contains("known from before"), "{said}");

    let folder = class.file("scope");
    class.grade("results", &["--timeout", "299", "--format", "gradescope", "--output", &folder]);
    let mut files: Vec<String> =
        fs::read_dir(&folder).unwrap().flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    assert!(files.len() == 3 && files[1] == "ada.json" && files[2].starts_with("cy__jr~"), "{files:?}");

    let folder = class.file("pages");
    class.grade("results", &["--timeout", "299", "--format", "html", "--output", &folder]);
    let page = |name: &str| fs::read_to_string(PathBuf::from(&folder).join(name)).expect(name);
    let table = page("index.html");
    for words in ["<bdi>=1+1</bdi>", "<a href=\"students/ada.html\">", "not compiled", "3 students, 1 exercise"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let own = page("students/ada.html");
    assert!(own.contains("mismatched types") && own.contains("0 of "), "{own}");
    assert!(!own.contains("=1+1") && !own.contains("cy, jr"), "a student's page names no other: {own}");
}

/// Without times and hosts.
fn timeless(json: &str) -> String {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    match key.as_str() {
                        "seconds" | "host" => *value = Value::Null,
                        _ => walk(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_str(json).unwrap();
    walk(&mut value);
    value.to_string()
}

#[test]
fn parts_that_are_merged_equal_the_whole_byte_for_byte() {
    let class = Class::new("parts");
    class.hand_in("ada", Some("fn main() { let server: u32 = \"none\"; }\n"));
    // The same but for a name and a comment.
    class.hand_in("bo", Some("fn main() { let it: u32 = \"none\"; } // mine\n"));
    class.hand_in("cy", Some("fn mian() {}\n"));
    class.hand_in("di", None);
    let whole = text(&class.grade("whole", &["--format", "json"]).stdout);
    let parts: Vec<String> = (1..=3)
        .map(|at| {
            let (shard, file) = (format!("{at}/3"), class.file(&format!("{at}.json")));
            let output =
                class.grade(&format!("part-{at}"), &["--shard", &shard, "--format", "json", "--output", &file]);
            assert!(output.stdout.is_empty(), "{output:?}");
            file
        })
        .collect();
    let merge = |options: &[&str], files: &[&String]| {
        Command::new(env!("CARGO_BIN_EXE_lab")).arg("merge").args(options).args(files).output().unwrap()
    };
    let all: Vec<&String> = parts.iter().rev().collect();
    let merged = text(&merge(&["--format", "json"], &all).stdout);
    assert_eq!(timeless(&merged), timeless(&whole));
    let value: Value = serde_json::from_str(&merged).unwrap();
    assert_eq!(value["alike"][0]["whose"], serde_json::json!(["ada", "bo"]), "{}", value["alike"]);
    let csv = text(&class.grade("whole", &["--format", "csv"]).stdout);
    assert_eq!(text(&merge(&["--format", "csv"], &all).stdout), csv);
    assert!(csv.contains("the same text as 1 other student"), "{csv}");

    let missing = merge(&[], &all[1..]);
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(1), 0));
    assert!(text(&missing.stderr).contains("these are missing: 3/3"), "{missing:?}");
    let twice = merge(&[], &[&all[..], &all[..1]].concat());
    assert!(text(&twice.stderr).contains("part 3/3 is there twice"), "{twice:?}");
    let other = class.file("other.json");
    fs::write(&other, fs::read_to_string(&parts[0]).unwrap().replace("\"timeout\": 300", "\"timeout\": 3")).unwrap();
    let other = merge(&[], &[&other, &parts[1], &parts[2]]);
    assert!(text(&other.stderr).contains("--timeout is 300 s and 3 s"), "{other:?}");
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was_and_leaves_nothing_running() {
    let class = Class::new("killed");
    class.hand_in("ada", Some("fn main() { let server: u32 = \"none\"; }\n"));
    class.hand_in("bo", Some("fn main() { loop { std::thread::park(); } }\n"));
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::INT] {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lab = class.command("results", &[]);
        let lab = lab.process_group(0).spawn().unwrap();
        // Ada's grade is on the disk, and Bo's server runs.
        let server = || server_of(&class.exercise.name);
        wait_until("Bo's server runs", || {
            class.folder.join("results/students/ada.json").exists() && server().is_some()
        });
        let pid = rustix::process::Pid::from_raw(lab.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let output = lab.wait_with_output().unwrap();
        wait_until("all has ended", || server().is_none() && jobs_of(pid).is_empty());
        drop(turn);
        if signal == rustix::process::Signal::INT {
            assert_eq!(output.status.code(), Some(130), "{output:?}");
            let said = text(&output.stderr);
            assert!(said.contains("what is graded is kept in"), "{said}");
            assert!(said.contains("1 of 2 grades are known from before"), "{said}");
        }
    }
    class.hand_in("bo", None);
    fs::remove_file(class.folder.join("class/bo").join(format!("{}.rs", class.exercise.name))).unwrap();
    let output = class.grade("results", &[]);
    assert!(text(&output.stderr).contains("1 of 2 grades are known from before"), "{output:?}");
    let left = fs::read_dir(class.folder.join("results/students")).unwrap().flatten().count();
    assert_eq!(left, 2, "no temporary file is left");
}

/// The process of an attempt's server that a grader has started.
fn server_of(exercise: &str) -> Option<PathBuf> {
    let programs = fs::read_dir("/proc").unwrap().flatten().filter_map(|it| fs::read_link(it.path().join("exe")).ok());
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == exercise) && path.to_string_lossy().contains("/lab-grade-")
    };
    programs.into_iter().find(is_it)
}

/// The processes in the group of a lab.
fn jobs_of(group: rustix::process::Pid) -> Vec<String> {
    let is_in = |stat: &String| {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.first() != Some(&"Z") && fields.get(2) == Some(&group.as_raw_nonzero().to_string().as_str())
    };
    let stats =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.filter(is_in).collect()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(300), "not within 300 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_graded() {
    let class = Class::new("refused");
    let class_folder = class.file("class");
    let empty = ["grade", "--class", &class_folder];
    for (args, words) in [
        (&[&empty[..], &[]].concat(), "there is no folder in it, so no student"),
        (&vec!["grade", "--class", "/nonexistent"], "there is no such folder"),
        (&[&empty[..], &["--attempts", "."]].concat(), "cannot be used with"),
        (&[&empty[..], &["--shard", "0/4"]].concat(), "parts are counted from 1"),
        (&[&empty[..], &["--format", "gradescope"]].concat(), "give a folder by --output DIR"),
        (&vec!["grade", "--jobs", "2"], "--class"),
        (&vec!["check", "04", "--fuzz", "--shard", "1/2"], "--seed"),
        (&vec!["merge"], "FILE"),
        (&vec!["merge", "/nonexistent"], "/nonexistent"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(words), "{words}: {output:?}");
    }
    assert!(exercises().count() > 0);
}
