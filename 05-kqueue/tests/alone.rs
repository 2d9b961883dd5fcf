//! Tests that need a process with only one thread: signals, fork, and the demonstration. So they do not use libtest.

mod common;

use std::env;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{self, Command};
use std::time::Duration;

use common::{change, error_of, next, nothing, queue};
use kqueue::sys::*;

const TESTS: [(&str, fn()); 8] = [
    ("a_signal_is_counted_although_it_is_ignored", a_signal_is_counted_although_it_is_ignored),
    ("a_signal_with_ev_oneshot_is_reported_once", a_signal_with_ev_oneshot_is_reported_once),
    ("a_signal_is_not_reported_after_ev_delete", a_signal_is_not_reported_after_ev_delete),
    ("a_signal_is_reported_by_its_own_knote_only", a_signal_is_reported_by_its_own_knote_only),
    ("a_signal_that_is_not_watched_ends_a_wait", a_signal_that_is_not_watched_ends_a_wait),
    ("a_kqueue_is_not_inherited_by_a_child", a_kqueue_is_not_inherited_by_a_child),
    ("a_closed_kqueue_is_invalid", a_closed_kqueue_is_invalid),
    ("the_demonstration_prints_its_six_lines", the_demonstration_prints_its_six_lines),
];

/// Understands the part of libtest's command line that cargo and nextest use.
fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| match has("--exact") {
        true => filters.iter().any(|filter| *filter == name),
        false => filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())),
    };
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name) && !has("--ignored")) {
        if has("--list") {
            println!("{name}: test");
        } else {
            print!("test {name} ... ");
            std::io::stdout().flush().unwrap();
            test();
            println!("ok");
        }
    }
}

fn signal(number: i32, flags: u32) -> Kevent {
    Kevent::new(number as usize, EVFILT_SIGNAL, flags)
}

fn ignore(number: i32) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(number, libc::SIG_IGN) };
}

fn send(number: i32) {
    // SAFETY: kill takes two numbers.
    assert_eq!(unsafe { libc::kill(process::id() as libc::pid_t, number) }, 0);
}

fn a_signal_is_counted_although_it_is_ignored() {
    ignore(libc::SIGUSR1);
    let kqueue = queue();
    change(&kqueue, &[signal(libc::SIGUSR1, EV_ADD).with_udata(8)]);
    nothing(&kqueue);
    for _ in 0..2 {
        send(libc::SIGUSR1);
        let event = next(&kqueue);
        assert_eq!((event.ident(), event.filter()), (libc::SIGUSR1 as usize, EVFILT_SIGNAL), "{event:?}");
        assert_eq!((event.data(), event.udata()), (1, 8), "{event:?}");
        nothing(&kqueue);
    }
    change(&kqueue, &[signal(libc::SIGUSR1, EV_DELETE)]);
}

fn a_signal_with_ev_oneshot_is_reported_once() {
    ignore(libc::SIGUSR1);
    let kqueue = queue();
    change(&kqueue, &[signal(libc::SIGUSR1, EV_ADD | EV_ONESHOT)]);
    send(libc::SIGUSR1);
    next(&kqueue);
    send(libc::SIGUSR1);
    nothing(&kqueue);
    assert_eq!(error_of(&kqueue, signal(libc::SIGUSR1, EV_DELETE)), Some(libc::ENOENT));
}

fn a_signal_is_not_reported_after_ev_delete() {
    ignore(libc::SIGUSR1);
    let kqueue = queue();
    change(&kqueue, &[signal(libc::SIGUSR1, EV_ADD)]);
    send(libc::SIGUSR1);
    change(&kqueue, &[signal(libc::SIGUSR1, EV_DELETE)]);
    nothing(&kqueue);
    // The earlier signal is not reported either when the signal is watched again.
    change(&kqueue, &[signal(libc::SIGUSR1, EV_ADD)]);
    nothing(&kqueue);
    change(&kqueue, &[signal(libc::SIGUSR1, EV_DELETE)]);
}

fn a_signal_is_reported_by_its_own_knote_only() {
    let kqueue = queue();
    for number in [libc::SIGUSR1, libc::SIGUSR2] {
        ignore(number);
        change(&kqueue, &[signal(number, EV_ADD)]);
    }
    for number in [libc::SIGUSR2, libc::SIGUSR1] {
        send(number);
        assert_eq!(next(&kqueue).ident(), number as usize);
        nothing(&kqueue);
    }
    for number in [libc::SIGUSR1, libc::SIGUSR2] {
        change(&kqueue, &[signal(number, EV_DELETE)]);
    }
}

/// The changes of the interrupted call are made all the same.
fn a_signal_that_is_not_watched_ends_a_wait() {
    extern "C" fn nothing_to_do(_: libc::c_int) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGALRM, nothing_to_do as *const () as libc::sighandler_t) };
    let every_ms = libc::timeval { tv_sec: 0, tv_usec: 1000 };
    let timer = libc::itimerval { it_interval: every_ms, it_value: every_ms };
    let off = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the kernel reads one itimerval.
    let set = |timer| unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    let (near, mut far) = UnixStream::pair().unwrap();
    let kqueue = queue();
    assert_eq!(set(timer), 0);
    let read = Kevent::new(near.as_raw_fd() as usize, EVFILT_READ, EV_ADD);
    let mut events = [Kevent::default()];
    // The wait lasts until the next tick, so the tick comes during the wait.
    assert!(kqueue.kevent(&[read], &mut events, Some(Duration::from_secs(20))).unwrap().is_empty());
    assert_eq!(set(libc::itimerval { it_interval: off, it_value: off }), 0);
    far.write_all(b"hello").unwrap();
    assert_eq!(next(&kqueue).data(), 5);
}

fn a_kqueue_is_not_inherited_by_a_child() {
    let kqueue = queue();
    change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
    let trigger = Kevent::new(9, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER);
    // SAFETY: the process has one thread, so the child may do what its parent may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = error_of(&kqueue, trigger) == Some(libc::EBADF);
        // The child can make its own kqueue.
        let works = Kqueue::new().is_ok_and(|own| {
            change(&own, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
            change(&own, &[trigger]);
            next(&own).ident() == 9
        });
        process::exit(if refused && works { 0 } else { 1 });
    }
    let mut status = 0;
    // SAFETY: waitpid writes one int.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child could use its parent's kqueue, or could not use its own");
    // The child's changes are not made in the parent.
    nothing(&kqueue);
    change(&kqueue, &[trigger]);
    next(&kqueue);
}

fn a_closed_kqueue_is_invalid() {
    let kqueue = ManuallyDrop::new(queue());
    let number = kqueue.as_raw_fd();
    let user = Kevent::new(9, EVFILT_USER, EV_ADD);
    change(&kqueue, &[user]);
    // SAFETY: `ManuallyDrop` does not close the descriptor again.
    assert_eq!(unsafe { libc::close(number) }, 0);
    assert_eq!(error_of(&kqueue, user), Some(libc::EBADF));
    // Also when the number is in use again.
    let (other, _) = UnixStream::pair().unwrap();
    assert_eq!(other.as_raw_fd(), number);
    assert_eq!(error_of(&kqueue, user), Some(libc::EBADF));
    let mut events = [Kevent::default()];
    let error = kqueue.kevent(&[], &mut events, Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}

fn the_demonstration_prints_its_six_lines() {
    let tests = env::current_exe().unwrap();
    let example = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples/filters");
    // `cargo test` builds the examples, unless it is told which targets to build.
    let output = match example.exists() {
        true => Command::new(example).output().unwrap(),
        false => Command::new(env!("CARGO")).args(["run", "--quiet", "--example", "filters"]).output().unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    let expected = "socket: 5 bytes wait to be read\n\
        timer: expired 1 time(s)\n\
        child: ended, exit status: 7\n\
        signal: SIGUSR1 came 1 time(s)\n\
        file: was written to\n\
        user: the program itself says so\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
