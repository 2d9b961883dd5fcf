//! The action that checks a server in somebody else's repository: its script, with a lab that has a stand-in.
//!
//! Invariant: a server's words are text in an annotation, whatever stands in them. Without bash and jq nothing is tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.github/actions/check");

/// A folder for the files of a step. It is removed when this is dropped.
struct Step(PathBuf);

impl Step {
    /// A step whose lab prints this and ends with this code.
    fn new(test: &str, results: &str, code: u8) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("action-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let step = Self(folder);
        fs::write(step.0.join("results"), results).expect("a file");
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$RUNNER_TEMP/words\"\ncat \"$RUNNER_TEMP/results\"\nexit {code}\n"
        );
        fs::write(step.0.join("lab"), script).expect("a file");
        fs::set_permissions(step.0.join("lab"), fs::Permissions::from_mode(0o755)).expect("it is ours");
        step
    }

    fn run(&self, arguments: &str) -> Output {
        let mut bash = Command::new("bash");
        bash.arg(Path::new(FOLDER).join("check.sh")).env("LAB", self.0.join("lab"));
        for (name, value) in [("NAME", "a/b"), ("COMMAND", "./server {port}"), ("PROFILE", "quick")] {
            bash.env(name, value);
        }
        bash.env("ARGUMENTS", arguments).env("RUNNER_TEMP", &self.0);
        bash.env("GITHUB_OUTPUT", self.0.join("output")).env("GITHUB_STEP_SUMMARY", self.0.join("summary"));
        bash.output().expect("bash starts")
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// What `cargo lab check --json` prints of a server with one failure.
const FAILED: &str = r#"[{"name": "a", "passed": 1, "failed": 1, "skipped": 2, "not_run": 0, "reports": [
    {"check": "echo::x", "outcome": "pass"},
    {"check": "drain::y", "outcome": "fail", "what": "100% lost\n::set-output name=x::y", "cause": "It read once."}]}]"#;

#[test]
fn a_failure_is_an_annotation_and_the_results_are_kept() {
    if !is_here("bash") || !is_here("jq") {
        eprintln!("skipped: the action needs bash and jq, as GitHub's machines have them");
        return;
    }
    let step = Step::new("failed", FAILED, 1);
    let output = step.run("--except interleaving\n--model readiness");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "::error title=a%3A drain%3A%3Ay::100%25 lost%0A::set-output name=x::y%0AIt read once.",
            "a: 1 passed, 1 failed, 2 skipped, 0 not run"
        ]
    );
    assert_eq!(
        step.file("words").lines().collect::<Vec<_>>(),
        [
            "check",
            "--cmd",
            "./server {port}",
            "--name",
            "a/b",
            "--profile",
            "quick",
            "--json",
            "--except",
            "interleaving",
            "--model",
            "readiness"
        ]
    );
    let kept = step.file("output").trim().strip_prefix("json=").map(PathBuf::from).expect("the file's name");
    assert_eq!(fs::read_to_string(kept).expect("the file").trim(), FAILED);
    assert!(step.file("summary").contains("1 failed"));
}

#[test]
fn a_run_without_results_is_an_annotation_with_its_code() {
    if !is_here("bash") || !is_here("jq") {
        eprintln!("skipped: the action needs bash and jq, as GitHub's machines have them");
        return;
    }
    let step = Step::new("none", "", 2);
    let output = step.run("");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no check was run (exit code 2)"), "{output:?}");
    assert_eq!(step.file("output"), "");
}
