//! Rules whose bug has no mutant, on records made by hand: each holds on its own record, and says what it saw.

use observe::Mask;
use observe::made::{ERROR_QUEUE, Made, Record, ZERO_COPY};
use observe::syscall::Kind;

use super::{Case, UNCLEAR, about, best};
use crate::failure::Symptom::{
    self, AcceptQueueNotDrained, Blocked, EofLost, Exited, ReadLost, Reset, Spinning, Truncated, WriteLost, WrongBytes,
};

const CLIENT: u16 = 9;

fn on(tid: i32, client: u16, name: &str, kind: Kind, value: i64) -> Made {
    let pid = 1;
    Made { pid, tid, fd: Some(7), client: Some(client), value: Some(value), length: Some(100), ..Made::new(name, kind) }
}

fn call(name: &str, kind: Kind, value: i64) -> Made {
    on(1, CLIENT, name, kind, value)
}

fn wait(mask: Mask) -> Made {
    let events = vec![(7, mask)];
    Made { tid: 1, pid: 1, fd: Some(4), value: Some(1), events, ..Made::new("epoll_wait", Kind::EpollWait) }
}

fn close() -> Made {
    Made { length: None, ..call("close", Kind::Close, 0) }
}

fn accept() -> Made {
    Made { fd: Some(3), length: None, ..call("accept4", Kind::Accept, 7) }
}

fn record(calls: impl IntoIterator<Item = Made>) -> Record {
    let mut record = Record::default();
    for made in calls {
        for event in made.events.clone() {
            record.add_event(CLIENT, &made, event);
        }
        record.add(made);
    }
    record
}

fn cause(symptom: Symptom, calls: impl IntoIterator<Item = Made>) -> String {
    best(&Case::new(symptom, &record(calls), Some(CLIENT)), UNCLEAR)
}

#[track_caller]
fn says(symptom: Symptom, calls: impl IntoIterator<Item = Made>, words: &str) {
    let cause = cause(symptom, calls);
    assert!(cause.contains(words), "{cause}");
}

#[test]
fn a_zero_copy_buffer_that_is_used_again() {
    let sent = Made { flags: ZERO_COPY, buffer: 4096, ..call("sendto", Kind::Write, 100) };
    let read = Made { buffer: 4096, ..call("recvfrom", Kind::Read, 100) };
    says(WrongBytes, [accept(), read.clone(), sent.clone(), read.clone()], "used again before its notification");
    let told = Made { flags: ERROR_QUEUE, ..call("recvmsg", Kind::Read, 0) };
    assert_eq!(cause(WrongBytes, [accept(), read.clone(), sent, told, read]), UNCLEAR);
}

#[test]
fn an_error_queue_that_is_taken_for_an_error_or_never_read() {
    let sent = Made { flags: ZERO_COPY, ..call("sendto", Kind::Write, 100) };
    let calls = [accept(), call("recvfrom", Kind::Read, 100), sent, wait(Mask::ERR)];
    says(Reset, calls.iter().cloned().chain([close()]), "read that (recvmsg with MSG_ERRQUEUE), and go on");
    let spin = std::iter::repeat_n(wait(Mask::ERR), 50);
    says(Spinning, calls.into_iter().chain(spin), "notifications wait in the error queue");
}

#[test]
fn two_threads_that_close_one_connection() {
    let first =
        [on(2, 8, "recvfrom", Kind::Read, 5), on(3, 8, "sendto", Kind::Write, 5), on(2, 8, "close", Kind::Close, 0)];
    let next = [accept(), call("recvfrom", Kind::Read, 5), on(3, CLIENT, "close", Kind::Close, 0)];
    says(Reset, first.into_iter().chain(next), "Two threads close one connection: thread 2");
}

#[test]
fn a_wait_that_was_over_without_an_event() {
    let slept = Made { events: Vec::new(), value: Some(0), timed: true, ..wait(Mask::IN) };
    says(
        Truncated,
        [accept(), call("recvfrom", Kind::Read, 5), call("sendto", Kind::Write, 5), slept, close()],
        "a time was over",
    );
}

#[test]
fn a_wait_without_an_event_lies_between_a_full_socket_and_the_close() {
    let full = call("sendto", Kind::Write, -i64::from(libc::EAGAIN));
    let slept = Made { events: Vec::new(), value: Some(0), timed: true, ..wait(Mask::OUT) };
    let calls = [accept(), call("recvfrom", Kind::Read, 100), full];
    says(Reset, calls.iter().cloned().chain([slept, close()]), "a time was over");
    says(Reset, calls.into_iter().chain([close()]), "It is no reason to close");
}

#[test]
fn the_copy_of_a_process_that_passes_connections_on_ends_nothing() {
    let served = Made { pid: 2, ..on(2, CLIENT, "recvfrom", Kind::Read, 100) };
    let earlier = [on(1, 8, "accept4", Kind::Accept, 7), on(1, 8, "close", Kind::Close, 0)];
    let calls = earlier.into_iter().chain([accept(), close(), served.clone()]);
    assert_eq!(cause(Reset, calls), UNCLEAR);
    let ends = Made { pid: 2, tid: 2, unread: 5, ..close() };
    says(Reset, [accept(), served, ends, close()], "it closed with 100 bytes owed, and 5 bytes unread");
}

#[test]
fn closed_with_unread_input_or_before_anything_was_read() {
    let unread = Made { unread: 4096, ..close() };
    let served = [accept(), call("recvfrom", Kind::Read, 5), call("sendto", Kind::Write, 5)];
    says(Reset, served.into_iter().chain([unread]), "close(7) with 4,096 bytes unread");
    says(Reset, [accept(), close()], "before it had read anything");
}

#[test]
fn a_hang_up_is_taken_for_the_end_of_the_input_only_without_an_error() {
    let ends = |mask| [accept(), wait(mask), Made { unread: 4096, ..close() }];
    says(Reset, ends(Mask(Mask::IN.0 | Mask::RDHUP.0)), "the client sends no more");
    // A timeout of the kernel's, as TCP_USER_TIMEOUT: nobody has finished.
    let over = cause(Reset, ends(Mask(Mask::ERR.0 | Mask::HUP.0)));
    assert!(!over.contains("sends no more"), "{over}");
}

#[test]
fn owed_bytes_after_a_short_write() {
    let short = [accept(), call("recvfrom", Kind::Read, 100), call("sendto", Kind::Write, 60), close()];
    says(Truncated, short, "it closed with 40 bytes owed. A short write is not the end");
}

#[test]
fn a_count_that_is_too_small_and_a_fin_that_ends_everything() {
    let (read, fin) = (call("recvfrom", Kind::Read, 100), call("recvfrom", Kind::Read, 0));
    let send = |given, value| Made { length: Some(given), ..call("sendto", Kind::Write, value) };
    let owes = |send: Made| [accept(), read.clone(), send, fin.clone(), close()];
    says(Truncated, owes(send(40, 40)), "it has lost count");
    says(Truncated, owes(send(100, 40)), "It took the client's FIN for the end of everything");
    says(Truncated, owes(send(100, -i64::from(libc::EAGAIN))), "It took the client's FIN for the end of everything");
    // What came after its last send was never given to one.
    let behind = [accept(), read.clone(), send(100, 100), read, fin, close()];
    says(Truncated, behind, "It took the client's FIN for the end of everything");
}

#[test]
fn a_deadline_that_a_signal_cut_off() {
    let cut = Made { events: Vec::new(), value: Some(-i64::from(libc::EINTR)), timed: true, ..wait(Mask::IN) };
    let asleep = Made { events: Vec::new(), value: None, ..wait(Mask::IN) };
    says(AcceptQueueNotDrained, [cut, asleep], "deadline was cut off by a signal");
}

#[test]
fn completions_that_nobody_delivers() {
    let enter = Made {
        words: vec!["submit 1".into()],
        fd: Some(5),
        client: None,
        ..call("io_uring_enter", Kind::UringEnter, 1)
    };
    let record = Record { ring_flags: 1 << 13, ..record([enter]) };
    let cause = best(&Case::new(ReadLost, &record, None), UNCLEAR);
    assert!(cause.contains("DEFER_TASKRUN") && cause.contains("Call it with GETEVENTS"), "{cause}");
}

#[test]
fn a_parent_that_keeps_its_copy() {
    let child = Made { pid: 2, ..on(2, CLIENT, "recvfrom", Kind::Read, 5) };
    let gone = Made { pid: 2, ..on(2, CLIENT, "close", Kind::Close, 0) };
    says(Blocked, [accept(), child, gone], "never closed its copy; process 2 serves");
}

#[test]
fn a_tick_is_no_event() {
    let tick = Made { events: Vec::new(), value: Some(0), timed: true, ..wait(Mask::IN) };
    says(Spinning, std::iter::repeat_n(tick, 50), "it wakes by its own clock");
}

#[test]
fn an_operation_that_was_not_started_again() {
    let done = Made { length: None, ..call("RECV", Kind::Read, 5) };
    says(ReadLost, [accept(), done], "no operation was submitted on this connection since");
}

#[test]
fn an_event_that_was_given_to_the_wrong_connection() {
    let other = Made { fd: Some(9), client: Some(8), ..call("recvfrom", Kind::Read, -i64::from(libc::EAGAIN)) };
    let poll = Made { value: Some(1), events: vec![(7, Mask::IN)], ..Made::new("poll", Kind::Poll) };
    let poll = Made { tid: 1, pid: 1, ..poll };
    let turn = [poll.clone(), other.clone()];
    let spin = std::iter::repeat_n(turn.clone(), 40).flatten();
    says(Spinning, spin, "poll reported fd 7 IN, and then came recvfrom(9, len 100) = EAGAIN");
    // A server with a list of its own looks at another one first, and at this one later.
    let later = [poll.clone(), call("recvfrom", Kind::Read, 5)];
    assert_eq!(cause(WrongBytes, turn.into_iter().chain(later)), UNCLEAR);
    // Two connections were reported, and the first one was served.
    let both = Made { events: vec![(7, Mask::IN), (9, Mask::IN)], ..poll.clone() };
    assert_eq!(cause(WrongBytes, [both, other, poll]), UNCLEAR);
}

#[test]
fn a_flag_of_its_own_keeps_it_going_round() {
    let asks = Made { events: Vec::new(), value: Some(0), ..wait(Mask::IN) };
    let tries = call("recvfrom", Kind::Read, -i64::from(libc::EAGAIN));
    let spin = std::iter::repeat_n([asks.clone(), tries], 40).flatten();
    says(Spinning, spin, "Its own flag keeps it going round: epoll_wait(4) = 0, 40 times");
    says(Spinning, std::iter::repeat_n(asks, 50), "it asks, and does not wait");
}

#[test]
fn an_accept_that_failed_comes_first_and_too_few_accepts_are_no_cause() {
    let listener =
        |value: i64| Made { fd: Some(3), client: None, length: None, ..call("accept4", Kind::Accept, value) };
    let asked =
        |mask: Mask| Made { fd: Some(3), client: None, asked: vec![(3, mask)], ..call("epoll_ctl", Kind::EpollCtl, 0) };
    let told =
        format!("6 connections wait. {} The next event comes only with a new connect.", crate::diagnose::TOO_FEW);
    let cause = |calls: Vec<Made>| best(&Case::new(AcceptQueueNotDrained, &record(calls), None), &told);
    let failed = listener(-i64::from(libc::EMFILE));
    let edge = cause(vec![asked(Mask(Mask::IN.0 | Mask::ET.0)), failed.clone(), close()]);
    assert!(
        edge.starts_with("accept4(3) = EMFILE: there was no free descriptor, and no other accept was made"),
        "{edge}"
    );
    assert!(edge.contains("the edge that told of it is used up. 6 connections wait. The next event"), "{edge}");
    let level = cause(vec![asked(Mask::IN), failed.clone()]);
    assert!(level.contains("in the queue. 6 connections wait."), "{level}");
    // A level is reported again.
    assert_eq!(cause(vec![asked(Mask::IN), listener(7)]), told);
    let drained = cause(vec![asked(Mask::IN), failed, listener(-i64::from(libc::EAGAIN))]);
    assert_eq!(drained, told);
}

#[test]
fn an_operation_in_flight_at_a_close_unless_it_was_cancelled() {
    let poll = |value: Option<i64>, more: bool| Made { value, more, length: None, ..call("POLL_ADD", Kind::Poll, 0) };
    let cancel = Made { fd: Some(-1), client: None, length: None, ..call("ASYNC_CANCEL", Kind::Other, 0) };
    let flight = [accept(), poll(None, false), poll(Some(1), true), close()];
    says(EofLost, flight.clone(), "close(7) came while POLL_ADD on fd 7 was in flight, and nothing cancelled it");
    let over = [accept(), poll(None, false), poll(Some(1), false), close()];
    assert!(!cause(EofLost, over).contains("in flight"));
    let [accepted, submitted, event, close] = flight.clone();
    assert!(!cause(EofLost, [accepted, submitted, event, cancel, close]).contains("in flight"));
    // What the kernel's view has said of any operation is said of this one.
    let told = best(&Case::new(EofLost, &record(flight), Some(CLIENT)), crate::diagnose::HELD_IN_FLIGHT);
    assert_eq!(told.matches("only gives up the number").count(), 1, "{told}");
}

#[test]
fn what_poll_is_asked_is_lost_when_an_entry_moves() {
    let poll =
        |mask: Mask| Made { tid: 1, pid: 1, value: Some(1), asked: vec![(7, mask)], ..Made::new("poll", Kind::Poll) };
    let short = [accept(), call("recvfrom", Kind::Read, 100), call("sendto", Kind::Write, 60)];
    let both = poll(Mask(Mask::IN.0 | Mask::OUT.0));
    let other = on(1, 8, "close", Kind::Close, 0);
    let moved = short.clone().into_iter().chain([both.clone(), other, poll(Mask::IN)]);
    says(WriteLost, moved, "poll was asked for OUT on fd 7 at first, and, after close(7, len 100), for IN alone");
    says(WriteLost, short.clone().into_iter().chain([poll(Mask::IN)]), "poll is asked for IN on fd 7, and not for OUT");
    says(WriteLost, short.into_iter().chain([both]), "and no write followed. 40 bytes are owed");
}

#[test]
fn what_poll_returns_is_no_place() {
    let asked = [3, 4, 7].map(|fd| (fd, Mask::IN)).to_vec();
    let spin = Made { asked, events: vec![(7, Mask::IN)], value: Some(1), ..Made::new("poll", Kind::Poll) };
    says(
        Spinning,
        std::iter::repeat_n(spin.clone(), 50),
        "fd 7 is number 3 of its list: what poll returns is how many",
    );
    let first = Made { asked: vec![(7, Mask::IN)], ..spin };
    says(Spinning, std::iter::repeat_n(first, 50), "Stop watching for what is not dealt with now");
}

#[test]
fn what_closes_and_says_farewell_does_not_hide_the_call_that_ended_it() {
    let failed = Made { fd: Some(3), client: None, ..call("accept4", Kind::Accept, -i64::from(libc::EMFILE)) };
    let closes = std::iter::repeat_n(close(), 100);
    let exit = Made { value: None, words: vec!["1".into()], ..call("exit_group", Kind::Exit, 0) };
    says(
        Exited,
        [accept(), failed].into_iter().chain(closes).chain([exit]),
        "before its exit was accept4(3, len 100) = EMFILE",
    );
}

#[test]
fn an_event_that_ended_it_and_one_after_which_it_read_for_a_turn() {
    let exit = Made { value: None, words: vec!["1".into()], ..call("exit_group", Kind::Exit, 0) };
    says(Exited, [accept(), wait(Mask::ERR), close(), exit], "before its exit was epoll_wait, which reported fd 7 ERR");
    let turn = [accept(), wait(Mask(Mask::IN.0 | Mask::RDHUP.0)), call("recvfrom", Kind::Read, 100)];
    let unread = Made { unread: 9, ..close() };
    says(Reset, turn.into_iter().chain([unread]), "reported IN|RDHUP and it had read for a turn, with 9 bytes unread");
}

#[test]
fn what_epoll_is_asked_counts_by_instance_and_only_where_the_call_worked() {
    let ctl = |epoll: &str, mask: Mask, value: i64| Made {
        words: vec![epoll.into(), "ADD".into(), "7".into(), mask.to_string()],
        asked: vec![(7, mask)],
        length: None,
        ..call("epoll_ctl", Kind::EpollCtl, value)
    };
    let edge = |mask: Mask| Mask(mask.0 | Mask::ET.0);
    let full = call("recvfrom", Kind::Read, 100);
    // As a stand-in of kqueue does it: an instance for each filter, and calls that fail with EEXIST.
    let (input, output) = (ctl("5", edge(Mask::IN), 0), ctl("6", edge(Mask::OUT), 0));
    let in_vain = ctl("6", Mask(0), -i64::from(libc::EEXIST));
    says(
        ReadLost,
        [accept(), input, output, in_vain, full.clone()],
        "which filled the buffer, and no other one followed",
    );
    says(ReadLost, [accept(), ctl("4", Mask::OUT, 0), full.clone()], "IN was not asked for again");
    // It was registered for input before its calls were kept.
    says(ReadLost, [accept(), ctl("6", edge(Mask::OUT), 0), wait(Mask::IN), full], "which filled the buffer");
}

#[test]
fn a_full_pipe_taken_for_an_empty_socket() {
    let full = Made { length: None, unread: 4096, ..call("splice", Kind::Read, -i64::from(libc::EAGAIN)) };
    says(ReadLost, [accept(), full.clone()], "splice(7) = EAGAIN with 4,096 bytes unread: the pipe was full");
    let empty = Made { unread: 0, ..full };
    assert_eq!(cause(ReadLost, [accept(), empty]), UNCLEAR);
}

#[test]
fn an_urgent_byte_that_splice_does_not_pass() {
    let stops = Made { length: None, ..call("splice", Kind::Read, -i64::from(libc::EAGAIN)) };
    let spin = std::iter::repeat_n([wait(Mask::IN), stops.clone()], 40).flatten();
    says(Spinning, spin, "splice stops before an urgent byte");
    // A level of OUT, and an empty socket.
    let spin = std::iter::repeat_n([wait(Mask::OUT), stops], 40).flatten();
    let cause = cause(Spinning, spin);
    assert!(!cause.contains("urgent"), "{cause}");
}

#[test]
fn a_level_is_reported_again_whatever_was_left() {
    let registers = |mask| Made { asked: vec![(7, mask)], length: None, ..call("epoll_ctl", Kind::EpollCtl, 0) };
    let short = |mask| [accept(), registers(mask), wait(Mask::IN), call("recvfrom", Kind::Read, 60)];
    let edge = Mask(Mask::IN.0 | Mask::ET.0);
    says(ReadLost, short(edge), "Read until EAGAIN or 0");
    assert_eq!(cause(ReadLost, short(Mask::IN)), UNCLEAR);
    assert_eq!(cause(ReadLost, short(Mask(Mask::IN.0 | Mask::ONESHOT.0))), UNCLEAR);
}

#[test]
fn facts_stay_and_guesses_go() {
    let record = record([]);
    let case = Case::new(Reset, &record, Some(CLIENT));
    assert_eq!(
        best(&case, &format!("Two bytes wait. {}", super::usually("a, b or c."))),
        format!("Two bytes wait. {UNCLEAR}")
    );
    assert_eq!(best(&case, "It sleeps."), "It sleeps.");
    assert!(about().count() > 20);
}
