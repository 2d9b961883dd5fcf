//! The servers: one echo loop with a thread for each connection, and an oddity each.
//!
//! Invariant: but for its oddity, or the bug that it is named for, each is a correct echo server.

use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A client has been here.
static VISITED: AtomicBool = AtomicBool::new(false);

pub fn serve(kind: &str, tag: &str, port: &str) -> ExitCode {
    match kind {
        "front" | "front-spins" => {
            detach(kind.replace("front", "detached").as_str(), tag, port);
            std::thread::sleep(Duration::from_secs(600));
        }
        "daemon" => {
            detach("detached", tag, port);
            return ExitCode::SUCCESS;
        }
        "behind" => {
            // Somebody else is told the port, and serves.
            std::fs::write(std::path::Path::new(tag).join(port), "").expect("the test's folder is there");
            std::thread::sleep(Duration::from_secs(600));
        }
        "other-user" => become_root(),
        "shy" if is_traced() => {
            eprintln!("somebody looks");
            return ExitCode::FAILURE;
        }
        "stops-at-start" => stop(),
        "chatty" => {
            eprintln!("{}\n\u{1b}]0;title\u{7}the end", "y".repeat(300_000));
            return ExitCode::from(3);
        }
        "ticks" => tick(Duration::from_millis(100), || true),
        "ticks-later" => tick(Duration::from_millis(3), || VISITED.load(Ordering::Relaxed)),
        "detached-spins" => tick(Duration::ZERO, || true),
        _ => {}
    }
    let address = match kind {
        "v6" => format!("[::1]:{port}"),
        "wrong-port" => "127.0.0.1:0".to_owned(),
        _ => format!("127.0.0.1:{port}"),
    };
    let listener = TcpListener::bind(address).expect("the port is free");
    // SAFETY: listen(2) takes numbers; a longer queue than std's, for the checks that stop the server.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    if kind == "served-elsewhere" {
        leave_it_to_an_orphan();
    }
    if kind == "says-late" {
        // Longer than the harness waits before it looks where a silent server listens.
        std::thread::sleep(Duration::from_secs(8));
        println!("listening on {}", listener.local_addr().expect("it is bound"));
    }
    if kind == "headless" {
        std::thread::spawn(move || accept(&listener, "headless"));
        // SAFETY: exit(2), unlike exit_group(2), ends this thread alone, as pthread_exit(3) does in C. No other thread
        // borrows from its stack.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        unreachable!("the thread has ended");
    }
    accept(&listener, kind)
}

fn accept(listener: &TcpListener, kind: &str) -> ExitCode {
    let (stops, grows) = (kind == "stops-later", kind == "reserve-grows");
    let has_reserve = grows || kind == "reserve";
    let mut accepted = 0;
    let timer = Timer::new();
    let mut reserve = File::open("/dev/null").ok();
    // An accept that may block takes its descriptor first, and would report the lack before there is a client.
    listener.set_nonblocking(has_reserve).expect("a listener");
    loop {
        if has_reserve {
            let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], None);
        }
        match listener.accept() {
            Ok((client, _)) => {
                let thread = std::thread::Builder::new().stack_size(128 * 1024);
                accepted += 1;
                // As a splice server opens a pipe for each client: without one, the client is turned away.
                let for_each = (kind == "opens-each").then(|| File::open("/dev/null"));
                if matches!(for_each, Some(Err(_))) {
                    continue;
                }
                // As glibc does when a ninth thread allocates, for longer.
                let for_a_moment = (grows && accepted == 9).then(|| File::open("/dev/null"));
                let _ = thread.spawn(move || {
                    let _for_each = for_each;
                    if for_a_moment.is_some() {
                        std::thread::sleep(Duration::from_millis(100));
                        drop(for_a_moment);
                    }
                    echo(client, stops);
                });
            }
            // Out of descriptors: with the one that was kept, the client is turned away at once.
            Err(error) if has_reserve && error.raw_os_error() == Some(libc::EMFILE) => {
                drop(reserve.take());
                drop(listener.accept());
                reserve = File::open("/dev/null").ok();
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::WouldBlock) => {}
            Err(_) if kind == "timer" => timer.rest(),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A pause as event loops make it: a timerfd among what is waited for, and a wait without a timeout.
struct Timer(OwnedFd);

impl Timer {
    fn new() -> Self {
        Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).expect("a descriptor"))
    }

    fn rest(&self) {
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: nothing, it_value: Timespec { tv_sec: 0, tv_nsec: 400_000_000 } };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).expect("a timerfd");
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None);
    }
}

fn echo(mut client: TcpStream, stops: bool) {
    VISITED.store(true, Ordering::Relaxed);
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        if stops {
            stop();
        }
        if client.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}

/// Wakes by itself, as a runtime may; with no pause it spins.
fn tick(pause: Duration, when: fn() -> bool) {
    std::thread::spawn(move || {
        loop {
            if !when() || !pause.is_zero() {
                let pause = if when() { pause } else { Duration::from_millis(150) };
                std::thread::sleep(pause);
            }
            std::hint::spin_loop();
        }
    });
}

fn stop() {
    // To this thread, which takes it before it goes on. (Sent to the process, another thread may take it, later.)
    // SAFETY: raise takes a number; the process stops itself.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("TracerPid:")).any(|pid| pid.trim() != "0")
}

/// This process keeps the listener and does nothing else; who accepts is none of its descendants.
fn leave_it_to_an_orphan() {
    // SAFETY: the process has one thread, so the children may go on in any code.
    unsafe {
        let middle = libc::fork();
        if middle != 0 {
            libc::waitpid(middle, std::ptr::null_mut(), 0);
            std::thread::sleep(Duration::from_secs(600));
            libc::_exit(0);
        }
        if libc::fork() != 0 {
            libc::_exit(0);
        }
    }
}

fn become_root() {
    // SAFETY: both calls take numbers. Without the set-uid bit they fail, and that is noticed.
    let done = unsafe { libc::setresgid(0, 0, 0) == 0 && libc::setresuid(0, 0, 0) == 0 };
    assert!(done, "the program has no set-uid bit");
}

/// Starts this program again as a daemon does: in a session of its own, without its parents, with an empty environment
/// and no output.
fn detach(kind: &str, tag: &str, port: &str) {
    let program = std::env::current_exe().expect("a running program has a path");
    let program = CString::new(program.to_str().expect("its path is text")).expect("no zero in it");
    let words = [program.to_str().expect("text"), "--serve", kind, tag, port];
    let words: Vec<CString> = words.iter().map(|word| CString::new(*word).expect("no zero in it")).collect();
    let argv: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    let environment = [std::ptr::null()];
    // SAFETY: the process has one thread. What the children call needs no lock, and `argv` and `environment` end with a
    // null pointer and outlive the calls.
    unsafe {
        let middle = libc::fork();
        if middle != 0 {
            libc::waitpid(middle, std::ptr::null_mut(), 0);
            return;
        }
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        (0..3).for_each(|fd| _ = libc::dup2(null, fd));
        libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
        libc::_exit(127);
    }
}
