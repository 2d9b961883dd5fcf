//! Tests that need a process with only one thread: signals, fork, and the demonstration. So they do not use libtest.

mod common;

use std::env;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{change, error_of, next, nothing, queue};
use kqueue::sys::*;

const TESTS: [(&str, fn()); 15] = [
    ("a_signal_is_counted_although_it_is_ignored", a_signal_is_counted_although_it_is_ignored),
    ("a_signal_with_ev_oneshot_is_reported_once", a_signal_with_ev_oneshot_is_reported_once),
    ("a_signal_is_not_reported_after_ev_delete", a_signal_is_not_reported_after_ev_delete),
    ("a_signal_is_reported_by_its_own_knote_only", a_signal_is_reported_by_its_own_knote_only),
    ("a_signal_is_counted_each_time_by_each_kqueue", a_signal_is_counted_each_time_by_each_kqueue),
    ("a_signal_that_is_watched_runs_its_handler_too", a_signal_that_is_watched_runs_its_handler_too),
    ("a_signal_that_is_watched_still_ends_a_child", a_signal_that_is_watched_still_ends_a_child),
    ("a_signal_that_is_not_watched_ends_a_wait", a_signal_that_is_not_watched_ends_a_wait),
    ("a_kqueue_is_not_inherited_by_a_child", a_kqueue_is_not_inherited_by_a_child),
    ("a_child_of_many_threads_makes_a_kqueue", a_child_of_many_threads_makes_a_kqueue),
    ("a_closed_kqueue_is_invalid", a_closed_kqueue_is_invalid),
    ("a_closed_kqueue_leaves_the_files_of_the_program", a_closed_kqueue_leaves_the_files_of_the_program),
    ("a_closed_kqueue_makes_room_when_all_descriptors_are_taken", a_closed_kqueue_makes_room),
    ("a_wait_without_free_descriptors_sleeps", a_wait_without_free_descriptors_sleeps),
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

fn a_signal_is_counted_each_time_by_each_kqueue() {
    ignore(libc::SIGUSR1);
    let queues = [queue(), queue()];
    for kqueue in &queues {
        change(kqueue, &[signal(libc::SIGUSR1, EV_ADD)]);
    }
    for _ in 0..3 {
        send(libc::SIGUSR1);
    }
    for kqueue in &queues {
        assert_eq!(next(kqueue).data(), 3);
        nothing(kqueue);
    }
}

fn a_signal_that_is_watched_runs_its_handler_too() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: libc::c_int) {
        RAN.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only uses an atomic.
    let handle = || unsafe { libc::signal(libc::SIGUSR2, count as *const () as libc::sighandler_t) };
    // The program may ask for it before EV_ADD, or after.
    for before in [true, false] {
        ignore(libc::SIGUSR2);
        let kqueue = queue();
        if before {
            handle();
        }
        change(&kqueue, &[signal(libc::SIGUSR2, EV_ADD)]);
        if !before {
            handle();
            nothing(&kqueue);
        }
        RAN.store(0, Ordering::Relaxed);
        send(libc::SIGUSR2);
        assert_eq!((next(&kqueue).data(), RAN.load(Ordering::Relaxed)), (1, 1), "before EV_ADD: {before}");
        change(&kqueue, &[signal(libc::SIGUSR2, EV_DELETE)]);
        send(libc::SIGUSR2);
        assert_eq!(RAN.load(Ordering::Relaxed), 2, "after EV_DELETE");
    }
}

/// What a knote needs must not reach another program.
fn a_signal_that_is_watched_still_ends_a_child() {
    let kqueue = queue();
    change(&kqueue, &[signal(libc::SIGTERM, EV_ADD)]);
    let status = Command::new("sh").args(["-c", "kill -TERM $$; exit 3"]).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status:?}");
    nothing(&kqueue);
    drop(kqueue);
    // SAFETY: the process has one thread, so the child may do what its parent may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        send(libc::SIGTERM);
        process::exit(3);
    }
    assert_eq!(ExitStatus::from_raw(status_of(child)).signal(), Some(libc::SIGTERM));
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
    assert_eq!(status_of(child), 0, "the child could use its parent's kqueue, or could not use its own");
    // The child's changes are not made in the parent.
    nothing(&kqueue);
    change(&kqueue, &[trigger]);
    next(&kqueue);
}

/// The status of a child, which must end.
fn status_of(child: libc::pid_t) -> i32 {
    let (start, mut status) = (Instant::now(), 0);
    loop {
        // SAFETY: waitpid writes one int.
        match unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } {
            0 => thread::sleep(Duration::from_micros(200)),
            pid => {
                assert_eq!(pid, child);
                return status;
            }
        }
        if start.elapsed() > Duration::from_secs(20) {
            // SAFETY: kill takes two numbers, and the child was not reaped.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
    }
}

/// The threads of the parent may be anywhere in a call at the fork.
fn a_child_of_many_threads_makes_a_kqueue() {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let kqueue = queue();
                    change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD)]);
                }
            });
        }
        for _ in 0..200 {
            // SAFETY: the child makes a kqueue, which is what is tested, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let works = Kqueue::new().is_ok();
                // SAFETY: _exit takes a number.
                unsafe { libc::_exit(if works { 0 } else { 1 }) };
            }
            assert_eq!(status_of(child), 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// closefrom(3) closes a kqueue and whatever belongs to it. The next files get the numbers.
fn a_closed_kqueue_leaves_the_files_of_the_program() {
    let kqueue = ManuallyDrop::new(queue());
    for ident in 0..4 {
        change(&kqueue, &[Kevent::new(ident, EVFILT_TIMER, EV_ADD).with_data(100_000)]);
    }
    let first = kqueue.as_raw_fd();
    for fd in first..first + 16 {
        // SAFETY: close takes a number. `ManuallyDrop` does not close the kqueue again, and this process has nothing else.
        unsafe { libc::close(fd) };
    }
    let files: Vec<File> = (0..16).map(|_| File::open("/dev/null").unwrap()).collect();
    drop(queue());
    for file in &files {
        assert!(file.metadata().is_ok(), "descriptor {} was closed", file.as_raw_fd());
    }
}

/// Runs `run` with at most 64 descriptors.
fn with_few_descriptors(run: impl FnOnce()) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the calls read or write one rlimit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: 64, ..limit }), 0);
        run();
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

fn a_closed_kqueue_makes_room() {
    with_few_descriptors(|| {
        let kqueue = queue();
        // A timer may need a descriptor, or not.
        for ident in 0..100 {
            let timer = Kevent::new(ident, EVFILT_TIMER, EV_ADD).with_data(100_000);
            if error_of(&kqueue, timer).is_some() {
                break;
            }
        }
        drop(kqueue);
        drop(queue());
    });
}

/// The events of a descriptor that was closed while a dup lives must not keep a wait awake.
fn a_wait_without_free_descriptors_sleeps() {
    let kqueue = queue();
    let (near, mut far) = UnixStream::pair().unwrap();
    change(&kqueue, &[Kevent::new(near.as_raw_fd() as usize, EVFILT_READ, EV_ADD)]);
    let _dup = near.try_clone().unwrap();
    drop(near);
    with_few_descriptors(|| {
        let _files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        far.write_all(b"hello").unwrap();
        let (start, used) = (Instant::now(), processor_time());
        let mut events = [Kevent::default()];
        assert!(kqueue.kevent(&[], &mut events, Some(Duration::from_millis(200))).unwrap().is_empty());
        let (time, used) = (start.elapsed(), processor_time() - used);
        assert!(used < time / 2, "{used:?} of processor time in {time:?}");
    });
}

fn processor_time() -> Duration {
    // SAFETY: a zeroed rusage is a value of it, and the call writes one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
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
