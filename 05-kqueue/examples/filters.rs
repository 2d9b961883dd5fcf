//! Six things that can happen to a program, awaited in one call: kqueue watches events.
//!
//! `03-epoll-lt/examples/beyond_sockets.rs` is the same program on epoll, which watches descriptors. It has the same
//! functions in the same order and prints the same words; the difference between the two files is what this is about.
//! Here what is to happen is named by a number and a filter, and the event itself brings what there is to know of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child, Command, ExitStatus, Stdio};

use kqueue::sys::{
    EV_ADD, EV_ONESHOT, EVFILT_PROC, EVFILT_READ, EVFILT_SIGNAL, EVFILT_TIMER, EVFILT_USER, EVFILT_VNODE, Kevent,
    Kqueue, NOTE_EXIT, NOTE_TRIGGER, NOTE_WRITE,
};

const ONCE: u32 = EV_ADD | EV_ONESHOT;

fn socket(socket: &UnixStream) -> Kevent {
    Kevent::new(socket.as_raw_fd() as usize, EVFILT_READ, ONCE)
}

fn timer() -> Kevent {
    Kevent::new(1, EVFILT_TIMER, ONCE).with_data(10)
}

fn child(child: &Child) -> Kevent {
    Kevent::new(child.id() as usize, EVFILT_PROC, ONCE).with_fflags(NOTE_EXIT)
}

fn signal() -> Kevent {
    // Its action runs besides, and would be to end this process.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    Kevent::new(libc::SIGUSR1 as usize, EVFILT_SIGNAL, ONCE)
}

fn file(file: &File) -> Kevent {
    Kevent::new(file.as_raw_fd() as usize, EVFILT_VNODE, ONCE).with_fflags(NOTE_WRITE)
}

fn user() -> Kevent {
    Kevent::new(1, EVFILT_USER, ONCE)
}

fn words(event: &Kevent) -> String {
    match event.filter() {
        EVFILT_READ => format!("socket: {} bytes wait to be read", event.data()),
        EVFILT_TIMER => format!("timer: expired {} time(s)", event.data()),
        EVFILT_PROC => format!("child: ended, {}", ExitStatus::from_raw(event.data() as i32)),
        EVFILT_SIGNAL => format!("signal: SIGUSR1 came {} time(s)", event.data()),
        EVFILT_VNODE => "file: was written to".into(),
        EVFILT_USER => "user: the program itself says so".into(),
        _ => format!("not asked for: {event:?}"),
    }
}

/// Waits for the next of the six, whichever it is.
fn wait(kqueue: &Kqueue, mut changes: &[Kevent]) -> io::Result<Kevent> {
    let mut events = [Kevent::default()];
    loop {
        if let [event] = kqueue.kevent(changes, &mut events, None)? {
            return event.error().map_or(Ok(*event), Err);
        }
        // A signal ended the wait; the changes were made.
        changes = &[];
    }
}

fn main() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut child_process = Command::new("sh").args(["-c", "read line; exit 7"]).stdin(Stdio::piped()).spawn()?;
    let path = std::env::temp_dir().join(format!("filters-{}", process::id()));
    let mut written = File::create(&path)?;

    let kqueue = Kqueue::new()?;
    kqueue.kevent(&[socket(&ours), child(&child_process), signal(), file(&written), user()], &mut [], None)?;

    // Each is made to happen when the one before has been told of, so that the order is the same every time.
    theirs.write_all(b"hello")?;
    println!("{}", words(&wait(&kqueue, &[])?));

    println!("{}", words(&wait(&kqueue, &[timer()])?));

    drop(child_process.stdin.take());
    println!("{}", words(&wait(&kqueue, &[])?));
    child_process.wait()?;

    // SAFETY: kill takes two numbers.
    unsafe { libc::kill(process::id() as libc::pid_t, libc::SIGUSR1) };
    println!("{}", words(&wait(&kqueue, &[])?));

    written.write_all(b"hello")?;
    println!("{}", words(&wait(&kqueue, &[])?));

    let trigger = Kevent::new(1, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER);
    println!("{}", words(&wait(&kqueue, &[trigger])?));

    fs::remove_file(path)
}
