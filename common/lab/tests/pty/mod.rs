//! A command on a terminal of its own.
//!
//! Invariant: the terminal has no end of its own; what was written to it is complete once the command has ended.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;

/// What a command prints on a terminal with this many columns, and its exit code.
pub fn on_a_terminal(command: &mut Command, columns: u16) -> (i32, String) {
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the two numbers and the size outlive the call; no name and no modes are asked for.
    let opened = unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just opened, and nobody else has them.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let again = || slave.try_clone().expect("a copy");
    let mut child = command.stdin(again()).stdout(again()).stderr(again()).spawn().expect("it starts");
    // The command keeps its copies, as would this process.
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    drop(slave);
    let mut written = Vec::new();
    // EIO: nobody has the other end any more.
    let _ = master.read_to_end(&mut written);
    let code = child.wait().expect("it ends").code().unwrap_or(-1);
    (code, String::from_utf8_lossy(&written).replace("\r\n", "\n"))
}
