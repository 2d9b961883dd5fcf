//! EVFILT_PROC: the end of a child.

use super::*;

/// A child that runs `script` after its stdin is closed.
fn child(script: &str) -> Child {
    let script = format!("read line; {script}");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
}

fn watch(child: &Child) -> Kevent {
    Kevent::new(child.id() as usize, EVFILT_PROC, EV_ADD).with_fflags(NOTE_EXIT)
}

#[test]
fn reports_the_status_and_does_not_reap_the_child() {
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
    // The end is reported once, and deletes the knote.
    nothing(&kqueue);
    let delete = Kevent::new(child.id() as usize, EVFILT_PROC, EV_DELETE);
    assert_eq!(error_of(&kqueue, delete), Some(libc::ENOENT));
}

#[test]
fn reports_the_signal_that_ended_the_child() {
    let kqueue = queue();
    let mut child = child("exit 7");
    change(&kqueue, &[watch(&child)]);
    child.kill().unwrap();
    let event = next(&kqueue);
    assert_eq!(ExitStatus::from_raw(event.data() as i32).signal(), Some(libc::SIGKILL), "{event:?}");
    child.wait().unwrap();
}

#[test]
fn is_reported_by_every_kqueue() {
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
fn of_a_process_that_does_not_exist_cannot_be_watched() {
    let watch = Kevent::new(i32::MAX as usize, EVFILT_PROC, EV_ADD).with_fflags(NOTE_EXIT);
    assert_eq!(error_of(&queue(), watch), Some(libc::ESRCH));
}
