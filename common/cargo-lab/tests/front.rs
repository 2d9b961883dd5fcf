//! The program behind `cargo lab`: what it does itself, and what it leaves to `lab`.
//!
//! Invariant: cargo is never called; a script stands in for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with the program in it, and with `lab` beside it or not. It is removed when this is dropped.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        // Not a copy: the kernel does not start a program that a child of another test has open for writing.
        fs::hard_link(env!("CARGO_BIN_EXE_lab-front"), folder.join("lab-front")).expect("a link");
        Self(folder)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.0.join("lab-front"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cargo.sh");
        command.args(args).env("CARGO", script).env("CALLS", self.0.join("calls"));
        command
    }

    /// What cargo was called with, and forget it.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.0.join("calls"));
        calls.lines().map(str::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[test]
fn what_needs_only_files_builds_nothing() {
    let place = Place::new("files");
    for args in [&[][..], &["list"], &["--help"], &["help"], &["diff", "03", "04"], &["start", "--help"]] {
        let (code, out, err) = ended(&mut place.command(args));
        assert!(code == 0 && !out.is_empty(), "{args:?}: {out}{err}");
    }
    for args in [&["start", "99"][..], &["diff", "--fulll", "03", "04"], &["hint", "nothing"]] {
        assert_eq!(ended(&mut place.command(args)).0, 2, "{args:?}");
    }
    assert_eq!(place.calls(), [""; 0]);
}

#[test]
fn the_other_commands_are_labs_with_all_their_words_and_its_exit_code() {
    let place = Place::new("lab");
    fs::write(place.0.join("lab"), "").expect("a file");
    for args in
        [&["check", "08", "--json"][..], &["check", "--help"], &["help", "check"], &["chekc"], &["grade", "-x", "--"]]
    {
        let (code, out, err) = ended(place.command(args).env("CODE_OF_run", "7"));
        assert_eq!((code, out.as_str(), err.as_str()), (7, "", ""), "{args:?}");
        let calls = place.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert!(calls[0].starts_with("run --package lab "), "{calls:?}");
        assert!(calls[0].ends_with(&format!("--quiet -- {}", args.join(" "))), "{calls:?}");
    }
}

#[test]
fn lab_is_built_first_with_a_word_about_it() {
    let place = Place::new("build");
    let (code, out, err) = ended(place.command(&["check", "08"]).env("CODE_OF_run", "7"));
    assert_eq!((code, out.as_str()), (7, ""));
    assert!(err.contains("needs the harness and the explorer"), "{err}");
    let calls = place.calls();
    assert!(calls.len() == 2 && calls[0].starts_with("build --package lab "), "{calls:?}");
    let (code, _, err) = ended(place.command(&["check", "08"]).env("CODE_OF_build", "101"));
    assert_eq!(code, 1);
    assert!(err.ends_with("error: lab could not be built; cargo says why above\n"), "{err}");
    assert_eq!(place.calls().len(), 1);
}

#[test]
fn what_makes_pages_is_built_for_show_and_for_nothing_else() {
    let place = Place::new("show");
    fs::write(place.0.join("lab"), "").expect("a file");
    let (code, _, err) = ended(place.command(&["show", "24", "--open"]).env("CODE_OF_run", "7"));
    assert_eq!(code, 7);
    assert!(err.contains("what makes a page"), "{err}");
    let calls = place.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls.iter().all(|call| call.contains(" --package lab-show --bin lab-show ")), "{calls:?}");
    assert!(calls[1].ends_with("--quiet -- show 24 --open"), "{calls:?}");
}
