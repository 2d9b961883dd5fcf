//! A regular file never blocks a read for want of a sender, so poll calls it ready at once, and epoll refuses it.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

#[test]
fn poll_reports_a_file_that_is_read_to_its_end_as_readable() {
    let mut file = File::open(file!()).or_else(|_| File::open("tests/regular_file.rs")).expect("this file");
    file.read_to_string(&mut String::new()).expect("text");
    let mut polled = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `polled` is one pollfd, and its descriptor is open.
    let ready = unsafe { libc::poll(&mut polled, 1, 0) };
    assert_eq!((ready, polled.revents), (1, libc::POLLIN), "nothing more will ever come, and it is ready");
}

#[test]
fn epoll_refuses_a_regular_file() {
    let file = File::open("/proc/self/exe").expect("this program");
    // SAFETY: the call takes no memory of ours, and what it returns is ours.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: both descriptors are open, and `event` outlives the call.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, file.as_raw_fd(), &mut event) };
    assert_eq!(result, -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
}
