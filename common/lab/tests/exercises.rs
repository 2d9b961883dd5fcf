//! A student's way through an exercise, in a folder of its own: start, check, hint, solution, watch, reset.
//!
//! Invariant: the workspace's own attempts are not touched.

#![cfg(target_os = "linux")]

mod pty;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

const NAME: &str = "19_accept_queue";

/// The two packages of attempts have one target directory, and in it one name for their programs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A copy of one exercise; removed when dropped.
struct Folder(PathBuf, #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Folder {
    fn new(test: &str) -> Self {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a workspace");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let (exercise, attempts) = (folder.join(NAME), folder.join("attempts"));
        fs::create_dir_all(&exercise).expect("a folder");
        fs::create_dir_all(&attempts).expect("a folder");
        for file in ["starter.rs", "solution.rs", "exercise.toml", "README.md"] {
            fs::copy(workspace.join("exercises").join(NAME).join(file), exercise.join(file)).expect("a copy");
        }
        let package = workspace.join("exercises/attempts");
        let manifest = fs::read_to_string(package.join("Cargo.toml")).expect("a manifest");
        let absolute = manifest
            .replace("\"../..", &format!("\"{}", workspace.display()))
            .replace("\"..\"", &format!("\"{}/exercises\"", workspace.display()));
        fs::write(attempts.join("Cargo.toml"), absolute).expect("a manifest");
        fs::copy(package.join("Cargo.lock"), attempts.join("Cargo.lock")).expect("a copy");
        symlink(".", attempts.join("examples")).expect("a link");
        Self(folder, guard)
    }

    fn attempt(&self) -> PathBuf {
        self.0.join("attempts").join(format!("{NAME}.rs"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(args).env("LAB_EXERCISES", &self.0);
        command
    }

    fn lab(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(args).output().expect("the lab starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    fn solve(&self) {
        fs::copy(self.0.join(NAME).join("solution.rs"), self.attempt()).expect("a copy");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn from_the_start_to_the_solution() {
    let folder = Folder::new("way");
    let (code, out, _) = folder.lab(&[]);
    assert!(code == 0 && out.contains("0 of 1 exercise") && out.contains("next: cargo lab start 19"), "{out}");
    let (code, _, err) = folder.lab(&["check", "19"]);
    assert!(code == 2 && err.contains("cargo lab start 19"), "{err}");

    // Where nothing can be explored, that is said first.
    if explorer::possible().is_ok() {
        let (code, _, err) = folder.lab(&["explore", "19"]);
        assert!(code == 2 && err.contains("cargo lab start 19"), "{err}");
    }

    let (code, out, _) = folder.lab(&["start", "19"]);
    assert!(code == 0 && out.contains("19_accept_queue.rs"), "{out}");
    let (code, out, _) = folder.lab(&["check", "19"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("connections wait in the accept queue while the"), "{out}");
    assert!(out.contains("0 of 2 points (the attempt is still the starter)"), "{out}");
    let (code, _, err) = folder.lab(&["solution"]);
    assert!(code == 1 && err.contains("--spoil"), "{err}");
    assert!(err.contains("19_accept_queue, which was checked last"), "{err}");
    assert_eq!(folder.lab(&["diff", "19"]).0, 1);

    for hints in [1, 2, 3, 3] {
        let (code, out, _) = folder.lab(&["hint", "19"]);
        assert!(code == 0 && out.matches("hint ").count() >= hints, "{out}");
        assert!(!out.contains(&format!("hint {} of 3", hints + 1)), "{out}");
    }

    fs::write(folder.attempt(), "pub fn main() { nonsense() }").expect("a file");
    let (code, out, _) = folder.lab(&["check", "accept_queue"]);
    assert!(code == 1 && out.contains("does not compile") && out.contains("nonsense"), "{out}");

    folder.solve();
    assert!(folder.lab(&["list"]).1.contains("begun"), "what was checked is another text");
    let (code, out, _) = folder.lab(&["check", "19_accept_queue"]);
    assert!(code == 0 && out.contains("passed 19"), "{out}");
    let (_, out, _) = folder.lab(&["list"]);
    assert!(out.contains("passed") && out.contains("2 of 2 points"), "{out}");
    assert!(folder.lab(&["solution", "19"]).1.contains("ACCEPT_BATCH"));
    assert!(folder.lab(&["diff", "19"]).1.contains("they are the same"));
    assert!(folder.lab(&["diff", "19", "--starter"]).1.contains("TODO"));

    let mut text = fs::read_to_string(folder.attempt()).expect("a file");
    text.push_str("// one more line\n");
    fs::write(folder.attempt(), &text).expect("a file");
    assert!(folder.lab(&["list"]).1.contains("changed"));
    let (code, out, _) = folder.lab(&["reset", "19"]);
    assert!(code == 0 && out.contains("19_accept_queue.rs.1"), "{out}");
    assert_eq!(fs::read_to_string(folder.attempt().with_extension("rs.1")).expect("kept"), text);
}

#[test]
fn watch_checks_at_each_save_and_answers_while_a_server_hangs() {
    let folder = Folder::new("watch");
    let mut child =
        folder.command(&["watch", "19"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the lab starts");
    let mut keys = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut until = |what: &str| {
        let seen: Vec<String> = lines.by_ref().take_while(|line| !line.contains(what)).collect();
        assert!(!seen.iter().any(|line| line.contains("waiting for the next save")), "no '{what}' in {seen:#?}");
    };
    until("not yet 19");
    until("waiting for the next save");
    let (code, _, err) = folder.lab(&["watch"]);
    assert!(code == 1 && err.contains("runs already: process ") && err.contains(", on 19_accept_queue"), "{err}");
    assert!(folder.lab(&["solution"]).2.contains("19_accept_queue, which is being watched"));
    folder.solve();
    until("passed 19");
    until("waiting for the next save");
    keys.write_all(b"h").expect("it reads");
    until("hint 1 of 3");
    // This one never listens: nobody may have to wait for it.
    fs::write(folder.attempt(), "pub fn main() { loop { std::thread::park(); } }").expect("a file");
    until("c check again");
    keys.write_all(b"l").expect("it reads");
    until("of 2 points");
    // A slip of the finger leads nowhere.
    keys.write_all(b"nln").expect("it reads");
    until("press n again to go to 19");
    until("of 2 points");
    until("press n again to go to 19");
    fs::remove_file(folder.attempt()).expect("it is there");
    until("19_accept_queue.rs was deleted or renamed");
    keys.write_all(b"r").expect("it reads");
    until("19_accept_queue.rs is the starter again");
    assert!(folder.attempt().exists());
    keys.write_all(b"q").expect("it reads");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_command_without_a_number_says_which_exercise_it_took() {
    let folder = Folder::new("which");
    let (code, out, _) = folder.lab(&["hint"]);
    assert!(code == 0 && out.starts_with("19_accept_queue, the first that is not begun\n"), "{out}");
    let (code, _, err) = folder.lab(&["reset"]);
    assert!(code == 2 && err.contains("no exercise is begun; name one"), "{err}");
    let (code, out, _) = folder.lab(&["start"]);
    assert!(code == 0 && out.starts_with("19_accept_queue, the first that is not begun\n"), "{out}");
    for command in ["hint", "reset"] {
        let (code, out, _) = folder.lab(&[command]);
        assert!(code == 0 && out.starts_with("19_accept_queue, which is begun and does not pass\n"), "{out}");
    }
    // What is named is not told.
    assert!(folder.lab(&["hint", "accept_queue"]).1.starts_with("hint 1 of 3"));
}

#[test]
fn a_diff_fits_a_terminal_of_100_columns_and_goes_through_the_pager() {
    let folder = Folder::new("pager");
    let diff = |pager: &str, columns| {
        let mut command = folder.command(&["diff", "03", "04"]);
        let (code, text) = pty::on_a_terminal(command.env("PAGER", pager), columns);
        assert_eq!(code, 0, "{text}");
        console::strip_ansi_codes(&text).into_owned()
    };
    let narrow = diff("sed s/^/P:/", 100);
    assert!(narrow.lines().all(|line| line.starts_with("P:")), "{narrow}");
    assert!(narrow.lines().all(|line| line.chars().count() <= 102), "{narrow}");
    assert!(narrow.contains("\nP:-  ") && narrow.contains("\nP:+  "), "{narrow}");
    // Most lines of code are not broken: in two columns on this terminal, most are.
    let broken = narrow.lines().filter(|line| line.starts_with("P:       ")).count();
    assert!(4 * broken < narrow.lines().count(), "{broken} of {}", narrow.lines().count());
    let wide = diff("cat", 200);
    assert!(wide.lines().any(|line| line.contains(" | ")), "{wide}");
    assert!(diff("no-such-pager", 100).contains("04-epoll-et/src/server.rs"));
    // Ctrl-C reaches both. The pager goes on, so the lab must too.
    assert!(diff("kill -INT $PPID; cat", 100).contains("04-epoll-et/src/server.rs"));
    let (_, piped, _) = folder.lab(&["diff", "03", "04"]);
    assert!(piped.starts_with("- 03-epoll-lt"), "{piped}");
}

#[test]
fn what_is_not_the_attempts_fault_is_not_called_so() {
    let folder = Folder::new("fault");
    folder.solve();
    let check = |cargo: &str| {
        let Output { status, stdout, .. } = folder.command(&["check", "19"]).env("CARGO", cargo).output().expect("lab");
        (status.code(), String::from_utf8_lossy(&stdout).into_owned())
    };
    let (code, out) = check("false");
    assert!(code == Some(1) && out.contains("19_accept_queue.rs could not be built; cargo says why above"), "{out}");
    // Nobody can write there.
    fs::create_dir(folder.attempt().with_file_name("progress.json.new")).expect("a folder");
    let (code, out, err) = folder.lab(&["hint", "19"]);
    assert!(code == 0 && out.contains("hint 1 of 3"), "{out}");
    assert!(err.starts_with("your progress is not noted: cannot write "), "{err}");
    fs::write(folder.attempt(), b"fn main() {}\xff").expect("a file");
    let (code, out, _) = folder.lab(&["check", "19"]);
    assert!(code == 1 && out.contains("valid UTF-8") && out.contains("does not compile"), "{out}");
}

/// A process that waits to be reaped by somebody else runs no more.
fn is_running(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn a_signal_ends_the_build_and_says_nothing_else() {
    let folder = Folder::new("signal");
    folder.solve();
    let (file, begun) = (folder.0.join("building"), std::time::Instant::now());
    for args in [["check", "19"], ["watch", "19"]] {
        let cargo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slow_cargo.sh");
        let mut command = folder.command(&args);
        command.env("CARGO", cargo).env("BUILDING", &file).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.stderr(Stdio::piped()).spawn().expect("the lab starts");
        while !file.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let cargo = fs::read_to_string(&file).expect("its number").trim().to_owned();
        fs::remove_file(&file).expect("it is there");
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(status.code(), Some(130), "{out}{err}");
        assert!(!out.contains("compile") && !out.contains("built") && err.contains("interrupted"), "{out}{err}");
        while is_running(&cargo) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(begun.elapsed().as_secs() < 600, "cargo ran on to its end");
    }
}

#[test]
fn what_does_not_exist_is_a_usage_error() {
    let folder = Folder::new("usage");
    for args in [&["start", "99"][..], &["check", "19", "drain"], &["diff", "03"], &["reset"], &["hint", "acept_queue"]]
    {
        let (code, _, err) = folder.lab(args);
        assert!(code == 2 && !err.is_empty(), "{args:?}: {code} {err}");
    }
    let manifest = folder.0.join("attempts/Cargo.toml");
    fs::rename(&manifest, manifest.with_extension("away")).expect("a file");
    let (code, _, err) = folder.lab(&["start", "19"]);
    assert!(code == 1 && err.contains("Cargo.toml is missing: git checkout"), "{err}");
    folder.solve();
    let (code, _, err) = folder.lab(&["check", "19"]);
    assert!(code == 1 && err.contains("Cargo.toml is missing: git checkout"), "{err}");
    let (_, _, err) = folder.lab(&["hint", "acept_queue"]);
    assert!(err.contains("Did you mean 19_accept_queue?"), "{err}");
    fs::write(folder.0.join(NAME).join("exercise.toml"), "title = 3\n").expect("a file");
    let (code, _, err) = folder.lab(&["list"]);
    assert!(code == 1 && err.contains("exercise.toml"), "{err}");
}
