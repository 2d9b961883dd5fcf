//! Servers that are correct, and odd: detached ones, daemons, a `main` that ends before its threads, IPv6 only, a wrong
//! port, a tick of their own, another user's, one that something else listens for; and next to each the bug that must
//! not hide behind the oddity.
//!
//! Invariant: this binary is the server too (`--serve KIND TAG PORT`), so that nothing but Rust is needed. Whatever a
//! server detaches has its tag on the command line, by which a test sees that none of it is left.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod seen;
#[cfg(target_os = "linux")]
mod serve;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => serve::serve(&args[1], &args[2], &args[3]),
        Some("--one") => seen::one(&args[1]),
        Some("--as-another-user") => seen::as_another_user(&args[1]),
        _ => seen::tests(),
    }
}

/// What is odd about a server is seen in /proc.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: needs Linux's /proc");
    ExitCode::SUCCESS
}
