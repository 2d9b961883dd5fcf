//! What each filter and each flag means. These tests know nothing of the system they run on: the kernels of the BSDs
//! and of macOS must pass them, and so must the stand-in.

mod common;

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

/// Writes until no more fits.
fn fill(mut stream: &UnixStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 4096]).is_ok() {}
}

/// Reads until there is no more.
fn empty(mut stream: &UnixStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
}

mod read {
    use super::*;

    #[test]
    fn tells_how_many_bytes_wait_until_they_are_read() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD).with_udata(7)]);
        nothing(&kqueue);
        far.write_all(b"hello").unwrap();
        for _ in 0..2 {
            let event = next(&kqueue);
            assert_eq!(event.ident(), near.as_raw_fd() as usize);
            assert_eq!((event.filter(), event.data(), event.udata()), (EVFILT_READ, 5, 7), "{event:?}");
            assert_eq!(event.flags() & (EV_EOF | EV_ERROR), 0, "{event:?}");
        }
        empty(&near);
        nothing(&kqueue);
    }

    #[test]
    fn with_ev_clear_is_told_once_for_what_is_new() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_CLEAR)]);
        far.write_all(b"hello").unwrap();
        assert_eq!(next(&kqueue).data(), 5);
        nothing(&kqueue);
        far.write_all(b"hello").unwrap();
        assert_eq!(next(&kqueue).data(), 10);
        nothing(&kqueue);
    }

    #[test]
    fn with_ev_clear_is_told_again_when_it_is_added_again() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_CLEAR)]);
        far.write_all(b"hello").unwrap();
        assert_eq!(next(&kqueue).data(), 5);
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_CLEAR)]);
        assert_eq!(next(&kqueue).data(), 5);
    }

    #[test]
    fn end_of_file_comes_with_the_bytes_before_it() {
        let (near, mut far) = tcp_pair();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
        far.write_all(b"hello").unwrap();
        drop(far);
        let event = until(&kqueue, |event| event.flags() & EV_EOF != 0);
        assert_eq!((event.data(), event.fflags()), (5, 0), "{event:?}");
        (&near).read_exact(&mut [0; 5]).unwrap();
        let event = next(&kqueue);
        assert_eq!((event.data(), event.flags() & EV_EOF), (0, EV_EOF), "{event:?}");
    }

    #[test]
    fn end_of_file_of_a_pipe_comes_when_its_last_writer_is_closed() {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&reader, EVFILT_READ, EV_ADD)]);
        nothing(&kqueue);
        drop(writer);
        let event = until(&kqueue, |event| event.flags() & EV_EOF != 0);
        assert_eq!(event.data(), 0, "{event:?}");
    }

    #[test]
    fn a_reset_is_end_of_file_with_the_error_in_fflags() {
        let (near, far) = tcp_pair();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
        let reset = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the kernel reads one linger.
        let set = unsafe {
            let (value, size) = ((&raw const reset).cast(), size_of_val(&reset) as libc::socklen_t);
            libc::setsockopt(far.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
        };
        assert_eq!(set, 0);
        drop(far);
        let event = until(&kqueue, |event| event.flags() & EV_EOF != 0);
        assert_eq!(event.fflags(), libc::ECONNRESET as u32, "{event:?}");
    }

    #[test]
    fn data_of_a_listener_is_the_connections_that_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&listener, EVFILT_READ, EV_ADD)]);
        nothing(&kqueue);
        let address = listener.local_addr().unwrap();
        let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        until(&kqueue, |event| event.data() == 3);
        listener.accept().unwrap();
        assert_eq!(next(&kqueue).data(), 2);
    }

    #[test]
    fn waits_for_the_low_water_mark() {
        let (near, mut far) = tcp_pair();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD).with_fflags(NOTE_LOWAT).with_data(4)]);
        far.write_all(b"one").unwrap();
        arrived(&near, 3);
        nothing(&kqueue);
        far.write_all(b"two").unwrap();
        assert!(next(&kqueue).data() >= 4);
    }

    #[test]
    fn is_independent_of_write_on_the_same_descriptor() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_CLEAR), on(&near, EVFILT_WRITE, EV_ADD)]);
        assert_eq!(next(&kqueue).filter(), EVFILT_WRITE);
        far.write_all(b"hello").unwrap();
        until(&kqueue, |event| event.filter() == EVFILT_READ);
        // WRITE is still level-triggered, and READ is cleared.
        for _ in 0..2 {
            assert_eq!(next(&kqueue).filter(), EVFILT_WRITE);
        }
        change(&kqueue, &[on(&near, EVFILT_WRITE, EV_DELETE)]);
        nothing(&kqueue);
        far.write_all(b"hello").unwrap();
        assert_eq!(next(&kqueue).filter(), EVFILT_READ);
    }

    #[test]
    fn of_a_file_is_told_what_is_left_of_it() {
        let scratch = Scratch::new("read-of-a-file");
        fs::write(scratch.path("file"), b"hello").unwrap();
        let mut file = File::open(scratch.path("file")).unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&file, EVFILT_READ, EV_ADD)]);
        assert_eq!(next(&kqueue).data(), 5);
        file.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(next(&kqueue).data(), 3);
        file.read_exact(&mut [0; 3]).unwrap();
        nothing(&kqueue);
        OpenOptions::new().append(true).open(scratch.path("file")).unwrap().write_all(b"more").unwrap();
        assert_eq!(next(&kqueue).data(), 4);
    }
}

mod write {
    use super::*;

    #[test]
    fn tells_that_there_is_room_until_there_is_none() {
        let (near, far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_WRITE, EV_ADD)]);
        for _ in 0..2 {
            let event = next(&kqueue);
            assert_eq!(event.filter(), EVFILT_WRITE);
            assert!(event.data() > 0, "{event:?}");
        }
        fill(&near);
        nothing(&kqueue);
        empty(&far);
        assert!(next(&kqueue).data() > 0);
    }

    #[test]
    fn with_ev_clear_is_told_when_it_has_become_possible() {
        let (near, far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_WRITE, EV_ADD | EV_CLEAR)]);
        next(&kqueue);
        nothing(&kqueue);
        fill(&near);
        empty(&far);
        next(&kqueue);
    }

    #[test]
    fn is_at_its_end_when_the_reader_is_gone() {
        let (reader, writer) = io::pipe().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&writer, EVFILT_WRITE, EV_ADD)]);
        let event = next(&kqueue);
        assert!(event.flags() & EV_EOF == 0 && event.data() > 0, "{event:?}");
        drop(reader);
        until(&kqueue, |event| event.flags() & EV_EOF != 0);
    }
}

mod timer {
    use super::*;

    #[test]
    fn with_ev_oneshot_expires_once_and_is_gone() {
        let kqueue = queue();
        let start = Instant::now();
        change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(20).with_udata(6)]);
        let event = next(&kqueue);
        assert!(start.elapsed() >= Duration::from_millis(19), "after {:?}", start.elapsed());
        assert_eq!((event.ident(), event.filter(), event.data(), event.udata()), (5, EVFILT_TIMER, 1, 6), "{event:?}");
        assert_eq!(error_of(&kqueue, Kevent::new(5, EVFILT_TIMER, EV_DELETE)), Some(libc::ENOENT));
    }

    #[test]
    fn expires_again_and_again_and_counts() {
        let kqueue = queue();
        let start = Instant::now();
        change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD).with_data(10)]);
        let mut expired = 0;
        while expired < 3 {
            expired += next(&kqueue).data();
        }
        assert!(start.elapsed() >= Duration::from_millis(29), "{expired} times in {:?}", start.elapsed());
        change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_DELETE)]);
        nothing(&kqueue);
    }

    #[test]
    fn takes_the_period_it_was_given_last() {
        let kqueue = queue();
        change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(3_600_000)]);
        change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(1)]);
        assert_eq!(next(&kqueue).data(), 1);
    }

    #[test]
    fn has_its_numbers_to_itself() {
        let (near, _far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        let number = near.as_raw_fd() as usize;
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
        change(&kqueue, &[Kevent::new(number, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(1)]);
        let event = next(&kqueue);
        assert_eq!((event.ident(), event.filter()), (number, EVFILT_TIMER));
    }
}

mod process_end {
    use super::*;

    /// A child that ends as `script` says when its input does.
    fn child(script: &str) -> Child {
        let script = format!("read line; {script}");
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
    }

    fn watch(child: &Child) -> Kevent {
        Kevent::new(child.id() as usize, EVFILT_PROC, EV_ADD).with_fflags(NOTE_EXIT)
    }

    #[test]
    fn brings_the_status_and_leaves_the_child_to_be_reaped() {
        let kqueue = queue();
        let mut child = child("exit 7");
        change(&kqueue, &[watch(&child).with_udata(3)]);
        nothing(&kqueue);
        drop(child.stdin.take());
        let event = next(&kqueue);
        assert_eq!((event.ident(), event.filter(), event.udata()), (child.id() as usize, EVFILT_PROC, 3));
        assert_ne!(event.flags() & EV_EOF, 0, "{event:?}");
        assert_ne!(event.fflags() & NOTE_EXIT, 0, "{event:?}");
        assert_eq!(ExitStatus::from_raw(event.data() as i32).code(), Some(7), "{event:?}");
        assert_eq!(child.wait().unwrap().code(), Some(7));
        // It is reported once, and gone.
        nothing(&kqueue);
        let delete = Kevent::new(child.id() as usize, EVFILT_PROC, EV_DELETE);
        assert_eq!(error_of(&kqueue, delete), Some(libc::ENOENT));
    }

    #[test]
    fn tells_the_signal_that_was_the_reason() {
        let kqueue = queue();
        let mut child = child("exit 7");
        change(&kqueue, &[watch(&child)]);
        child.kill().unwrap();
        let event = next(&kqueue);
        assert_eq!(ExitStatus::from_raw(event.data() as i32).signal(), Some(libc::SIGKILL), "{event:?}");
        child.wait().unwrap();
    }

    #[test]
    fn is_told_to_every_kqueue() {
        let queues = [queue(), queue()];
        let mut child = child("exit 7");
        for kqueue in &queues {
            change(kqueue, &[watch(&child)]);
        }
        drop(child.stdin.take());
        for kqueue in &queues {
            assert_eq!(ExitStatus::from_raw(next(kqueue).data() as i32).code(), Some(7));
        }
        child.wait().unwrap();
    }

    #[test]
    fn of_a_process_that_is_not_there_cannot_be_watched() {
        let watch = Kevent::new(i32::MAX as usize, EVFILT_PROC, EV_ADD).with_fflags(NOTE_EXIT);
        assert_eq!(error_of(&queue(), watch), Some(libc::ESRCH));
    }
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

mod vnode {
    use super::*;

    /// Watches a new file for one note.
    fn watched(kqueue: &Kqueue, scratch: &Scratch, note: u32) -> File {
        let file = File::create(scratch.path("file")).unwrap();
        change(kqueue, &[on(&file, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(note)]);
        nothing(kqueue);
        file
    }

    #[track_caller]
    fn expect(kqueue: &Kqueue, file: &File, note: u32) {
        let event = next(kqueue);
        assert_eq!((event.ident(), event.filter()), (file.as_raw_fd() as usize, EVFILT_VNODE), "{event:?}");
        assert_ne!(event.fflags() & note, 0, "{event:?}");
        nothing(kqueue);
    }

    #[test]
    fn tells_of_a_write_once() {
        let (kqueue, scratch) = (queue(), Scratch::new("write"));
        let mut file = watched(&kqueue, &scratch, NOTE_WRITE);
        for _ in 0..2 {
            file.write_all(b"hello").unwrap();
            expect(&kqueue, &file, NOTE_WRITE);
        }
    }

    #[test]
    fn tells_of_growth() {
        let (kqueue, scratch) = (queue(), Scratch::new("extend"));
        let mut file = watched(&kqueue, &scratch, NOTE_EXTEND);
        file.write_all(b"hello").unwrap();
        expect(&kqueue, &file, NOTE_EXTEND);
    }

    #[test]
    fn tells_of_attributes() {
        let (kqueue, scratch) = (queue(), Scratch::new("attrib"));
        let file = watched(&kqueue, &scratch, NOTE_ATTRIB);
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        expect(&kqueue, &file, NOTE_ATTRIB);
    }

    #[test]
    fn tells_of_a_new_name() {
        let (kqueue, scratch) = (queue(), Scratch::new("rename"));
        let file = watched(&kqueue, &scratch, NOTE_RENAME);
        fs::rename(scratch.path("file"), scratch.path("other")).unwrap();
        expect(&kqueue, &file, NOTE_RENAME);
    }

    #[test]
    fn tells_of_one_more_name() {
        let (kqueue, scratch) = (queue(), Scratch::new("link"));
        let file = watched(&kqueue, &scratch, NOTE_LINK);
        fs::hard_link(scratch.path("file"), scratch.path("other")).unwrap();
        expect(&kqueue, &file, NOTE_LINK);
    }

    #[test]
    fn tells_of_the_last_name_gone() {
        let (kqueue, scratch) = (queue(), Scratch::new("delete"));
        let file = watched(&kqueue, &scratch, NOTE_DELETE);
        fs::remove_file(scratch.path("file")).unwrap();
        expect(&kqueue, &file, NOTE_DELETE);
    }

    #[test]
    fn tells_of_a_file_renamed_over() {
        let (kqueue, scratch) = (queue(), Scratch::new("over"));
        let file = watched(&kqueue, &scratch, NOTE_DELETE);
        fs::write(scratch.path("other"), b"").unwrap();
        fs::rename(scratch.path("other"), scratch.path("file")).unwrap();
        expect(&kqueue, &file, NOTE_DELETE);
    }

    #[test]
    fn of_a_folder_tells_of_its_entries() {
        let (kqueue, scratch) = (queue(), Scratch::new("entries"));
        let folder = File::open(&scratch.0).unwrap();
        change(&kqueue, &[on(&folder, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(NOTE_WRITE)]);
        nothing(&kqueue);
        fs::write(scratch.path("entry"), b"").unwrap();
        expect(&kqueue, &folder, NOTE_WRITE);
        fs::remove_file(scratch.path("entry")).unwrap();
        expect(&kqueue, &folder, NOTE_WRITE);
    }

    #[test]
    fn keeps_silent_of_what_was_not_asked_for() {
        let (kqueue, scratch) = (queue(), Scratch::new("unasked"));
        let mut file = watched(&kqueue, &scratch, NOTE_DELETE);
        file.write_all(b"hello").unwrap();
        fs::rename(scratch.path("file"), scratch.path("other")).unwrap();
        nothing(&kqueue);
        change(&kqueue, &[on(&file, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(NOTE_WRITE)]);
        file.write_all(b"hello").unwrap();
        expect(&kqueue, &file, NOTE_WRITE);
    }

    #[test]
    fn without_ev_clear_goes_on_telling() {
        let (kqueue, scratch) = (queue(), Scratch::new("level"));
        let mut file = File::create(scratch.path("file")).unwrap();
        change(&kqueue, &[on(&file, EVFILT_VNODE, EV_ADD).with_fflags(NOTE_WRITE)]);
        nothing(&kqueue);
        file.write_all(b"hello").unwrap();
        for _ in 0..2 {
            assert_ne!(next(&kqueue).fflags() & NOTE_WRITE, 0);
        }
    }

    #[test]
    fn of_what_is_not_a_file_cannot_be_watched() {
        let (reader, _writer) = io::pipe().unwrap();
        let watch = on(&reader, EVFILT_VNODE, EV_ADD).with_fflags(NOTE_WRITE);
        assert!(error_of(&queue(), watch).is_some());
    }
}

mod user {
    use super::*;

    fn trigger(ident: usize) -> Kevent {
        Kevent::new(ident, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER)
    }

    #[test]
    fn ends_a_wait_from_another_thread() {
        let kqueue = queue();
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
        nothing(&kqueue);
        thread::scope(|scope| {
            scope.spawn(|| change(&kqueue, &[trigger(9).with_udata(4)]));
            let event = next(&kqueue);
            assert_eq!((event.ident(), event.filter(), event.udata()), (9, EVFILT_USER, 4), "{event:?}");
        });
        nothing(&kqueue);
    }

    #[test]
    fn triggered_often_is_told_once() {
        let kqueue = queue();
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
        change(&kqueue, &[trigger(9), trigger(9), trigger(9)]);
        next(&kqueue);
        nothing(&kqueue);
    }

    #[test]
    fn is_told_to_its_own_kqueue_only() {
        let (one, other) = (queue(), queue());
        for kqueue in [&one, &other] {
            change(kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
        }
        change(&one, &[trigger(9)]);
        next(&one);
        nothing(&other);
    }

    #[test]
    fn changes_its_fflags_as_the_operations_say() {
        let steps = [
            (NOTE_FFCOPY | 0b0110, 0b0110),
            (NOTE_FFOR | 0b0110, 0b1110),
            (NOTE_FFAND | 0b0110, 0b0100),
            (NOTE_FFNOP | 0b0110, 0b1100),
        ];
        for (given, stored) in steps {
            let kqueue = queue();
            change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
            change(&kqueue, &[Kevent::new(9, EVFILT_USER, 0).with_fflags(NOTE_FFCOPY | 0b1100)]);
            nothing(&kqueue);
            change(&kqueue, &[Kevent::new(9, EVFILT_USER, 0).with_fflags(given | NOTE_TRIGGER)]);
            assert_eq!(next(&kqueue).fflags(), stored, "after {given:#x}");
        }
    }

    #[test]
    fn is_enabled_and_triggered_in_one_change() {
        let kqueue = queue();
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR | EV_DISPATCH)]);
        change(&kqueue, &[trigger(9)]);
        next(&kqueue);
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ENABLE).with_fflags(NOTE_TRIGGER)]);
        next(&kqueue);
    }
}

mod flags {
    use super::*;

    #[test]
    fn ev_oneshot_reports_once_and_the_knote_is_gone() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_ONESHOT)]);
        far.write_all(b"hello").unwrap();
        next(&kqueue);
        nothing(&kqueue);
        assert_eq!(error_of(&kqueue, on(&near, EVFILT_READ, EV_DELETE)), Some(libc::ENOENT));
    }

    #[test]
    fn ev_dispatch_reports_once_until_it_is_enabled() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_DISPATCH)]);
        far.write_all(b"hello").unwrap();
        for _ in 0..2 {
            assert_eq!(next(&kqueue).data(), 5);
            nothing(&kqueue);
            change(&kqueue, &[on(&near, EVFILT_READ, EV_ENABLE)]);
        }
    }

    #[test]
    fn ev_disable_keeps_silent_even_of_what_is_due_and_of_the_end() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
        far.write_all(b"hello").unwrap();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_DISABLE)]);
        nothing(&kqueue);
        drop(far);
        nothing(&kqueue);
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ENABLE)]);
        let event = next(&kqueue);
        assert_eq!((event.data(), event.flags() & EV_EOF), (5, EV_EOF), "{event:?}");
    }

    #[test]
    fn added_disabled_is_silent() {
        let kqueue = queue();
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR | EV_DISABLE)]);
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER)]);
        nothing(&kqueue);
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ENABLE)]);
        next(&kqueue);
    }

    #[test]
    fn ev_delete_drops_what_is_due() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
        far.write_all(b"hello").unwrap();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_DELETE)]);
        nothing(&kqueue);
    }

    #[test]
    fn udata_is_that_of_the_last_change() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD).with_udata(1)]);
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD).with_udata(usize::MAX)]);
        far.write_all(b"hello").unwrap();
        assert_eq!(next(&kqueue).udata(), usize::MAX);
    }

    #[test]
    fn ev_receipt_answers_a_change_and_does_not_wait() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"hello").unwrap();
        let kqueue = queue();
        let mut events = [Kevent::default(); 4];
        let receipts = kqueue.kevent(&[on(&near, EVFILT_READ, EV_ADD | EV_RECEIPT)], &mut events, None).unwrap();
        let [receipt] = receipts else { panic!("{receipts:?}") };
        assert_eq!((receipt.ident(), receipt.data()), (near.as_raw_fd() as usize, 0));
        assert_ne!(receipt.flags() & EV_ERROR, 0, "{receipt:?}");
        assert!(receipt.error().is_none());
        assert_eq!(next(&kqueue).data(), 5);
    }
}

mod changes {
    use super::*;

    #[test]
    fn that_fail_are_entries_with_the_error_and_the_others_are_made() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        let changes = [
            on(&near, EVFILT_WRITE, EV_DELETE).with_udata(1),
            on(&near, EVFILT_READ, EV_ADD),
            Kevent::new(9, EVFILT_TIMER, EV_ENABLE).with_udata(2),
        ];
        let mut events = [Kevent::default(); 4];
        let failed = kqueue.kevent(&changes, &mut events, None).unwrap();
        assert_eq!(failed.len(), 2, "{failed:?}");
        for (entry, udata) in failed.iter().zip([1, 2]) {
            assert_ne!(entry.flags() & EV_ERROR, 0, "{entry:?}");
            assert_eq!(entry.error().and_then(|error| error.raw_os_error()), Some(libc::ENOENT), "{entry:?}");
            assert_eq!(entry.udata(), udata);
        }
        far.write_all(b"hello").unwrap();
        assert_eq!(next(&kqueue).data(), 5);
    }

    #[test]
    fn stop_at_the_first_that_fails_if_there_is_no_room_for_its_entry() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"hello").unwrap();
        let kqueue = queue();
        let changes = [on(&near, EVFILT_WRITE, EV_DELETE), on(&near, EVFILT_READ, EV_ADD)];
        let error = kqueue.kevent(&changes, &mut [], None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        nothing(&kqueue);
    }

    #[test]
    fn to_what_is_not_a_descriptor_fail() {
        let kqueue = queue();
        for filter in [EVFILT_READ, EVFILT_WRITE, EVFILT_VNODE] {
            assert_eq!(error_of(&kqueue, Kevent::new(1 << 20, filter, EV_ADD)), Some(libc::EBADF));
        }
    }

    #[test]
    fn are_made_before_the_wait_that_takes_them_along() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"hello").unwrap();
        let kqueue = queue();
        let mut events = [Kevent::default(); 4];
        let ready = kqueue.kevent(&[on(&near, EVFILT_READ, EV_ADD)], &mut events, None).unwrap();
        assert!(matches!(ready, [event] if event.data() == 5), "{ready:?}");
    }

    #[test]
    fn are_all_there_is_to_a_call_without_room_for_events() {
        let kqueue = queue();
        assert!(kqueue.kevent(&[], &mut [], None).unwrap().is_empty());
    }
}

mod closing {
    use super::*;

    fn duplicate(fd: RawFd) -> UnixStream {
        use std::os::fd::BorrowedFd;
        // SAFETY: the caller has it open.
        unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().unwrap().into()
    }

    #[test]
    fn a_descriptor_ends_its_knotes() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let kqueue = queue();
        let [read, write] = [EVFILT_READ, EVFILT_WRITE].map(|filter| on(&near, filter, EV_ADD));
        change(&kqueue, &[read, write]);
        drop(near);
        assert!(far.write_all(b"hello").is_err());
        nothing(&kqueue);
        for filter in [EVFILT_READ, EVFILT_WRITE] {
            let error = error_of(&kqueue, Kevent::new(read.ident(), filter, EV_DELETE));
            assert!(matches!(error, Some(libc::ENOENT | libc::EBADF)), "{error:?}");
        }
    }

    #[test]
    fn a_descriptor_ends_its_knotes_even_if_a_dup_lives() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (other, mut far_of_other) = UnixStream::pair().unwrap();
        let kqueue = queue();
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD), on(&near, EVFILT_WRITE, EV_ADD)]);
        change(&kqueue, &[on(&other, EVFILT_READ, EV_ADD)]);
        let dup = duplicate(near.as_raw_fd());
        drop(near);
        far.write_all(b"hello").unwrap();
        nothing(&kqueue);
        // What else is watched goes on.
        far_of_other.write_all(b"hi").unwrap();
        assert_eq!(next(&kqueue).data(), 2);
        // And the dup can be watched for itself.
        change(&kqueue, &[on(&dup, EVFILT_READ, EV_ADD | EV_ONESHOT), on(&other, EVFILT_READ, EV_DELETE)]);
        assert_eq!(next(&kqueue).data(), 5);
    }

    #[test]
    fn a_descriptor_leaves_its_number_to_the_next_one() {
        let kqueue = queue();
        let mut numbers = Vec::new();
        // Other tests take numbers, too; but some will come back.
        for round in 0..50 {
            let (near, mut far) = UnixStream::pair().unwrap();
            numbers.push(near.as_raw_fd());
            let flags = if round % 2 == 0 { EV_ADD | EV_CLEAR } else { EV_ADD };
            change(&kqueue, &[on(&near, EVFILT_READ, flags).with_udata(round)]);
            far.write_all(b"hello").unwrap();
            for told in 0..2 {
                if told == 1 && flags & EV_CLEAR != 0 {
                    nothing(&kqueue);
                } else {
                    assert_eq!(next(&kqueue).udata(), round);
                }
            }
        }
        numbers.sort();
        numbers.dedup();
        assert!(numbers.len() < 50, "no number came back");
    }

    #[test]
    fn a_kqueue_makes_its_number_invalid() {
        let kqueue = queue();
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD)]);
        drop(kqueue);
        // The next one may have the number of the last one; it has none of its knotes.
        let delete = Kevent::new(9, EVFILT_USER, EV_DELETE);
        assert_eq!(error_of(&queue(), delete), Some(libc::ENOENT));
    }
}

mod waits {
    use super::*;

    #[test]
    fn without_time_return_at_once_and_with_some_when_it_is_up() {
        let kqueue = queue();
        nothing(&kqueue);
        let start = Instant::now();
        let mut events = [Kevent::default()];
        assert!(kqueue.kevent(&[], &mut events, Some(Duration::from_millis(20))).unwrap().is_empty());
        assert!(start.elapsed() >= Duration::from_millis(19), "{:?}", start.elapsed());
    }

    #[test]
    fn with_little_room_bring_everything_in_turn() {
        let kqueue = queue();
        let mut pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
        let mut missing: Vec<usize> = pairs.iter().map(|(near, _)| near.as_raw_fd() as usize).collect();
        for (near, far) in &mut pairs {
            change(&kqueue, &[on(near, EVFILT_READ, EV_ADD | EV_ONESHOT)]);
            far.write_all(b"hello").unwrap();
        }
        let mut events = [Kevent::default(); 3];
        while !missing.is_empty() {
            let ready = kqueue.kevent(&[], &mut events, Some(Duration::ZERO)).unwrap();
            assert!(!ready.is_empty(), "{missing:?} never came");
            for event in ready {
                assert!(missing.contains(&event.ident()), "{event:?} came twice");
                missing.retain(|&ident| ident != event.ident());
            }
        }
        nothing(&kqueue);
    }

    #[test]
    fn starve_no_filter() {
        let kqueue = queue();
        let mut pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
        for (near, far) in &mut pairs {
            change(&kqueue, &[on(near, EVFILT_READ, EV_ADD), on(near, EVFILT_WRITE, EV_ADD)]);
            far.write_all(b"hello").unwrap();
        }
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD)]);
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER)]);
        let mut missing = vec![EVFILT_READ, EVFILT_WRITE, EVFILT_USER];
        let mut events = [Kevent::default(); 4];
        for _ in 0..50 {
            let ready = kqueue.kevent(&[], &mut events, Some(Duration::ZERO)).unwrap();
            missing.retain(|filter| ready.iter().all(|event| event.filter() != *filter));
        }
        assert!(missing.is_empty(), "of filters {missing:?} nothing came in 50 waits");
    }

    #[test]
    fn of_several_threads_get_an_event_once() {
        const LAST: usize = 200;
        let kqueue = queue();
        let trigger = |ident| change(&kqueue, &[Kevent::new(ident, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER)]);
        let (sender, came) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..4 {
                let (sender, kqueue, trigger) = (sender.clone(), &kqueue, &trigger);
                scope.spawn(move || {
                    let idents = iter::repeat_with(|| next(kqueue).ident());
                    idents.take_while(|&ident| ident != LAST).for_each(|ident| sender.send(ident).unwrap());
                    // For the next thread.
                    trigger(LAST);
                });
            }
            drop(sender);
            change(&kqueue, &[Kevent::new(LAST, EVFILT_USER, EV_ADD | EV_CLEAR)]);
            for ident in 0..LAST {
                change(&kqueue, &[Kevent::new(ident, EVFILT_USER, EV_ADD | EV_ONESHOT)]);
                trigger(ident);
            }
            let mut idents: Vec<usize> = came.iter().take(LAST).collect();
            idents.sort();
            trigger(LAST);
            assert_eq!(idents, (0..LAST).collect::<Vec<_>>());
        });
        assert!(came.try_recv().is_err(), "more came than was triggered");
    }

    #[test]
    fn for_a_kqueue_can_be_made_with_poll_and_with_another_kqueue() {
        let (kqueue, outer) = (queue(), queue());
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
        change(&outer, &[on(&kqueue, EVFILT_READ, EV_ADD)]);
        assert!(!readable(&kqueue));
        nothing(&outer);
        change(&kqueue, &[Kevent::new(9, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER)]);
        assert!(readable(&kqueue));
        assert_eq!(next(&outer).ident(), kqueue.as_raw_fd() as usize);
        next(&kqueue);
        assert!(!readable(&kqueue));
        nothing(&outer);
    }
}
