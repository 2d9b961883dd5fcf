//! Waits, with little room, in several threads, and for a kqueue itself.

use super::*;

#[test]
fn return_at_once_with_timeout_zero_and_otherwise_when_the_time_is_up() {
    let kqueue = queue();
    nothing(&kqueue);
    let start = Instant::now();
    let mut events = [Kevent::default()];
    assert!(kqueue.kevent(&[], &mut events, Some(Duration::from_millis(20))).unwrap().is_empty());
    assert!(start.elapsed() >= Duration::from_millis(19), "{:?}", start.elapsed());
}

#[test]
fn with_little_room_return_every_event_in_turn() {
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
    assert!(missing.is_empty(), "filters {missing:?} reported nothing in 50 waits");
}

#[test]
fn in_several_threads_return_each_event_once() {
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
                // Ends the next thread.
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
fn for_a_kqueue_work_with_poll_and_with_another_kqueue() {
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

#[test]
fn for_a_kqueue_in_a_kqueue_in_a_kqueue_work() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let queues = [queue(), queue(), queue()];
    change(&queues[0], &[on(&near, EVFILT_READ, EV_ADD)]);
    change(&queues[1], &[on(&queues[0], EVFILT_READ, EV_ADD)]);
    change(&queues[2], &[on(&queues[1], EVFILT_READ, EV_ADD)]);
    nothing(&queues[2]);
    far.write_all(b"hello").unwrap();
    for _ in 0..2 {
        assert_eq!(next(&queues[2]).ident(), queues[1].as_raw_fd() as usize);
        assert_eq!(next(&queues[1]).ident(), queues[0].as_raw_fd() as usize);
        assert_eq!(next(&queues[0]).data(), 5);
    }
    empty(&near);
    queues.iter().for_each(nothing);
}

#[test]
fn return_as_many_events_as_there_is_room_for() {
    const ALL: usize = 300;
    let kqueue = queue();
    let (near, mut far) = UnixStream::pair().unwrap();
    let duplicates: Vec<_> = (0..ALL).map(|_| near.try_clone().unwrap()).collect();
    for duplicate in &duplicates {
        change(&kqueue, &[on(duplicate, EVFILT_READ, EV_ADD)]);
    }
    far.write_all(b"hello").unwrap();
    for _ in 0..2 {
        let mut events = [Kevent::default(); ALL + 1];
        let ready = kqueue.kevent(&[], &mut events, Some(Duration::ZERO)).unwrap();
        let mut idents: Vec<usize> = ready.iter().map(|event| event.ident()).collect();
        idents.sort();
        idents.dedup();
        assert_eq!((ready.len(), idents.len()), (ALL, ALL));
    }
}
