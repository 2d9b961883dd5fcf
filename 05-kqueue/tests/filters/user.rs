//! EVFILT_USER: events that the program triggers itself.

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
fn triggered_several_times_reports_once() {
    let kqueue = queue();
    change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR)]);
    change(&kqueue, &[trigger(9), trigger(9), trigger(9)]);
    next(&kqueue);
    nothing(&kqueue);
}

#[test]
fn is_reported_only_by_its_own_kqueue() {
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
