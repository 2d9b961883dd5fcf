//! The table of file reads: each row has its figures or a reason, and no file is left behind.

#![cfg(target_os = "linux")]

use std::process::Command;

use harness::{Launch, Model, Subject};

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Launch::Command(argv) = Subject::example("uring", "file_reads", Model::Completion).launch else {
        unreachable!()
    };
    let output = Command::new(&argv[0]).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_row_has_its_figures_or_a_reason() {
    let dir = std::env::temp_dir().join(format!("file-reads-test-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let (code, stdout, stderr) = run(&["--dir", dir.to_str().unwrap(), "--mib", "4", "--seconds", "0.02"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    for name in ["cached", "O_DIRECT"] {
        let rows: Vec<_> = stdout.lines().filter(|line| line.starts_with(name)).collect();
        if rows.len() == 1 && rows[0].contains("skipped: ") {
            eprintln!("not tested: {}", rows[0]);
            continue;
        }
        let figures: usize = rows.iter().map(|row| row.matches('/').count()).sum();
        assert_eq!((rows.len(), figures), (4, 1 + 3 * 4), "{stdout}");
    }
    std::fs::remove_dir(&dir).expect("the file was removed");
}

#[test]
fn bad_arguments_are_refused_with_the_usage() {
    for args in [&["--mib", "0"][..], &["--mib"], &["--seconds", "x"], &["--depth", "1"]] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(stderr.contains(args[args.len() - 1]) && stderr.contains("usage: "), "{args:?}: {stderr}");
    }
    let (code, _, stderr) = run(&["--dir", "/nonexistent", "--mib", "1"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/nonexistent") && stderr.trim_end().lines().count() == 1, "{stderr}");
}
