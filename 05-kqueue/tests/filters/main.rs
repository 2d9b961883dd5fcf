//! The meaning of each filter and each flag. These tests do not depend on the system: the kernels of the BSDs and of
//! macOS must pass them, and so must the stand-in.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod closing;
mod flags;
mod process_end;
mod read;
mod timer;
mod user;
mod vnode;
mod waits;
mod write;

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::iter;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{arrived, change, error_of, next, nothing, queue, readable, until};
use kqueue::sys::*;

fn on(fd: &impl AsRawFd, filter: i32, flags: u32) -> Kevent {
    Kevent::new(fd.as_raw_fd() as usize, filter, flags)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Writes until the socket is full.
fn fill(mut stream: &UnixStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 4096]).is_ok() {}
}

/// Reads until the socket is empty.
fn empty(mut stream: &UnixStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
}

/// A folder for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kqueue-{}-{test}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
