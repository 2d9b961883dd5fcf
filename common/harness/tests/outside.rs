//! The harness as somebody else's dev-dependency.
//!
//! Invariant: the crate is compiled outside of this repository, by a cargo that knows nothing of this workspace, and its
//! tests run there. So a name of the public interface that changes fails here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// A copy of the example's folder. It is removed when this is dropped.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("harness-outside-{}", std::process::id()));
        for file in ["Cargo.toml", "src/main.rs", "tests/conformance.rs"] {
            let from = Path::new(HERE).join("outside").join(file);
            let text = fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            // Only this line knows where the harness is.
            let text = text.replace(r#"{ path = ".." }"#, &format!("{{ path = {HERE:?} }}"));
            let to = folder.join(file);
            fs::create_dir_all(to.parent().expect("in the folder")).expect("a folder");
            fs::write(to, text).expect("a file");
        }
        // The same versions as here, which are on this machine.
        fs::copy(Path::new(HERE).join("../../Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file");
        Self(folder)
    }

    fn test(&self, words: &[&str]) -> Output {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--offline", "--test", "conformance"]).args(words).current_dir(&self.0);
        // A build folder that stays, so that only the first run compiles the harness.
        cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG")) {
            cargo.env_remove(name);
        }
        cargo.env_remove("CARGO_MANIFEST_DIR").output().expect("cargo starts")
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_crate_of_somebody_else_checks_its_server_with_the_harness() {
    let crate_of_somebody = Elsewhere::new();
    let output = crate_of_somebody.test(&["close::fin_alone_is_answered_with_fin"]);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("test result: ok. 1 passed; 0 failed"), "{said}{errors}");
    let output = crate_of_somebody.test(&["--", "--list"]);
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    for check in harness::all_checks() {
        assert!(listed.contains(&format!("{}: test", check.full_name())), "{}: {listed}", check.full_name());
    }
}
