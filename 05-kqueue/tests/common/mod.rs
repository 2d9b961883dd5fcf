//! Helpers that the tests of kqueue share.
#![allow(dead_code)] // Not every test file needs all of it.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use kqueue::sys::{Kevent, Kqueue};

/// Bounds the wait for an event. No test waits this long, unless it has failed.
const BACKSTOP: Duration = Duration::from_secs(20);

pub fn queue() -> Kqueue {
    Kqueue::new().unwrap()
}

/// Makes changes that must succeed.
#[track_caller]
pub fn change(kqueue: &Kqueue, changes: &[Kevent]) {
    kqueue.kevent(changes, &mut [], None).unwrap();
}

/// The error of a change, or `None` if it succeeds.
pub fn error_of(kqueue: &Kqueue, change: Kevent) -> Option<i32> {
    kqueue.kevent(&[change], &mut [], None).err().and_then(|error| error.raw_os_error())
}

/// The next event. It must come.
#[track_caller]
pub fn next(kqueue: &Kqueue) -> Kevent {
    until(kqueue, |_| true)
}

/// Takes events up to the first one that `is_it` accepts. It must come.
#[track_caller]
pub fn until(kqueue: &Kqueue, is_it: impl Fn(&Kevent) -> bool) -> Kevent {
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < BACKSTOP {
        let mut events = [Kevent::default()];
        match kqueue.kevent(&[], &mut events, Some(BACKSTOP)).unwrap() {
            [event] if is_it(event) => return *event,
            others => last = others.first().copied().or(last),
        }
    }
    panic!("the event did not come; the last event: {last:?}");
}

/// Asserts that no event is due.
#[track_caller]
pub fn nothing(kqueue: &Kqueue) {
    let mut events = [Kevent::default(); 8];
    let ready = kqueue.kevent(&[], &mut events, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty(), "{ready:?}");
}

/// Waits until this many bytes have arrived at a socket. (A peek would also wait for the low-water mark.)
#[track_caller]
pub fn arrived(socket: &impl AsRawFd, bytes: libc::c_int) {
    let start = Instant::now();
    let mut there: libc::c_int = 0;
    while there < bytes {
        assert!(start.elapsed() < BACKSTOP, "{there} of {bytes} bytes arrived");
        thread::yield_now();
        // SAFETY: FIONREAD writes one int.
        assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut there) }, 0);
    }
}

/// Whether poll(2) reports the kqueue as readable.
pub fn readable(kqueue: &Kqueue) -> bool {
    let mut poll = libc::pollfd { fd: kqueue.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    assert_ne!(unsafe { libc::poll(&mut poll, 1, 0) }, -1);
    poll.revents & libc::POLLIN != 0
}
