//! Runs the tests of `tried`, or is the program that they start.
//!
//! Invariant: only a test starts this program with `--probe`, so nothing is tried without confinement but on purpose.

use std::process::ExitCode;
#[cfg(target_os = "linux")]
use std::sync::Arc;

#[cfg(target_os = "linux")]
mod tried;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, probe, outside, other] = &words[..]
        && probe == "--probe"
    {
        tried::probe(outside, other);
        return ExitCode::SUCCESS;
    }
    let programs = Arc::new(tried::Programs::new());
    let test = |(name, run): &(&'static str, tried::Test)| {
        let (run, programs) = (*run, programs.clone());
        libtest_mimic::Trial::test(*name, move || {
            run(&programs);
            Ok(())
        })
    };
    let tests = tried::TESTS.iter().map(test).collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit_code()
}

/// Servers are confined on Linux only.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
