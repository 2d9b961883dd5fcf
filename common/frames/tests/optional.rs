//! Who does not look at frames does not wait for the crates that read debug information.
//!
//! Invariant: asked of cargo, as it would build; nothing is built here.

use std::process::Command;

/// The crates that a program needs if it is built with `features`, by name.
fn needed(package: &str, features: &[&str]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["tree", "--offline", "--locked", "--prefix", "none", "--edges", "normal,build", "--format", "{p}"])
        .args(["--package", package])
        .args(features)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .env_remove("CARGO_MANIFEST_DIR");
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

const READS_DEBUG_INFORMATION: [&str; 6] = ["addr2line", "framehop", "frames", "gimli", "object", "rustc-demangle"];

#[test]
fn a_check_compiles_nothing_that_reads_debug_information() {
    for package in ["lab", "cargo-lab", "explorer", "harness"] {
        let needed = needed(package, &[]);
        assert!(needed.len() > 3, "{package}: {needed:?}");
        let found: Vec<&str> =
            READS_DEBUG_INFORMATION.into_iter().filter(|name| needed.iter().any(|it| it == name)).collect();
        assert!(found.is_empty(), "{package} needs {found:?}");
    }
    let with = needed("explorer", &["--features", "frames"]);
    for name in READS_DEBUG_INFORMATION {
        assert!(with.iter().any(|it| it == name), "the feature has {name}: {with:?}");
    }
}
