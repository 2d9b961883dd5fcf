//! Lists of changes.

use super::*;

#[test]
fn that_fail_become_events_with_the_error_and_the_others_are_made() {
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
fn stop_at_the_first_that_fails_if_there_is_no_room_for_its_error() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"hello").unwrap();
    let kqueue = queue();
    let changes = [on(&near, EVFILT_WRITE, EV_DELETE), on(&near, EVFILT_READ, EV_ADD)];
    let error = kqueue.kevent(&changes, &mut [], None).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    nothing(&kqueue);
}

#[test]
fn to_a_number_that_is_no_open_descriptor_fail() {
    let kqueue = queue();
    for filter in [EVFILT_READ, EVFILT_WRITE, EVFILT_VNODE] {
        assert_eq!(error_of(&kqueue, Kevent::new(1 << 20, filter, EV_ADD)), Some(libc::EBADF));
    }
}

#[test]
fn are_made_before_the_wait_of_the_same_call() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"hello").unwrap();
    let kqueue = queue();
    let mut events = [Kevent::default(); 4];
    let ready = kqueue.kevent(&[on(&near, EVFILT_READ, EV_ADD)], &mut events, None).unwrap();
    assert!(matches!(ready, [event] if event.data() == 5), "{ready:?}");
}

#[test]
fn without_room_for_events_do_not_wait() {
    let kqueue = queue();
    assert!(kqueue.kevent(&[], &mut [], None).unwrap().is_empty());
}
