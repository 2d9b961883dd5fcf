//! The flags of a change, for any filter.

use super::*;

#[test]
fn ev_oneshot_reports_once_and_deletes_the_knote() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let kqueue = queue();
    change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD | EV_ONESHOT)]);
    far.write_all(b"hello").unwrap();
    next(&kqueue);
    nothing(&kqueue);
    assert_eq!(error_of(&kqueue, on(&near, EVFILT_READ, EV_DELETE)), Some(libc::ENOENT));
}

#[test]
fn ev_dispatch_reports_once_until_the_knote_is_enabled() {
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
fn ev_disable_silences_even_due_events_and_the_end() {
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
fn ev_delete_drops_due_events() {
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
