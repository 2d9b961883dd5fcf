//! EVFILT_TIMER.

use super::*;

#[test]
fn with_ev_oneshot_expires_once_and_is_deleted() {
    let kqueue = queue();
    let start = Instant::now();
    change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(20).with_udata(6)]);
    let event = next(&kqueue);
    assert!(start.elapsed() >= Duration::from_millis(19), "after {:?}", start.elapsed());
    assert_eq!((event.ident(), event.filter(), event.data(), event.udata()), (5, EVFILT_TIMER, 1, 6), "{event:?}");
    assert_eq!(error_of(&kqueue, Kevent::new(5, EVFILT_TIMER, EV_DELETE)), Some(libc::ENOENT));
}

#[test]
fn expires_periodically_and_counts() {
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
fn uses_the_period_of_the_last_change() {
    let kqueue = queue();
    change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(3_600_000)]);
    change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(1)]);
    assert_eq!(next(&kqueue).data(), 1);
}

#[test]
fn may_use_the_number_of_a_descriptor() {
    let (near, _far) = UnixStream::pair().unwrap();
    let kqueue = queue();
    let number = near.as_raw_fd() as usize;
    change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
    change(&kqueue, &[Kevent::new(number, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(1)]);
    let event = next(&kqueue);
    assert_eq!((event.ident(), event.filter()), (number, EVFILT_TIMER));
}

#[test]
fn goes_on_while_it_is_disabled() {
    let kqueue = queue();
    let start = Instant::now();
    change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ADD | EV_DISABLE).with_data(10)]);
    thread::sleep(Duration::from_millis(45).saturating_sub(start.elapsed()));
    nothing(&kqueue);
    change(&kqueue, &[Kevent::new(5, EVFILT_TIMER, EV_ENABLE)]);
    let event = next(&kqueue);
    assert!(event.data() >= 3, "{event:?}");
}
