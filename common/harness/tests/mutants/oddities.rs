//! What a server may do to a connection that it has just accepted, and had better not.
//!
//! Invariant: without a bug nothing is done.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use socket2::SockRef;

use super::mutant::bug;

/// A connection was accepted.
pub fn accepted(stream: &TcpStream) {
    if bug!("low_water") {
        // "Wake me for a header, and not for less."
        set(stream, libc::SO_RCVLOWAT, 64);
    }
    if bug!("corked") {
        // "So that segments are full."
        let _ = SockRef::from(stream).set_tcp_cork(true);
    }
    if bug!("lingers_not") {
        // "So that no TIME_WAIT is left."
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    if bug!("child_inherits") {
        static ONCE: Once = Once::new();
        // SAFETY: numbers only; the descriptor is the stream's.
        unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_SETFD, 0) };
        ONCE.call_once(|| drop(Command::new("sleep").arg("1000").spawn()));
    }
}

fn set(stream: &TcpStream, option: libc::c_int, value: libc::c_int) {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes one int, and `value` is one that outlives the call.
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), len) };
}
