//! EVFILT_WRITE.

use super::*;

#[test]
fn reports_room_until_the_socket_is_full() {
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
fn with_ev_clear_reports_when_there_is_room_again() {
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
fn has_ev_eof_when_the_reader_is_closed() {
    let (reader, writer) = io::pipe().unwrap();
    let kqueue = queue();
    change(&kqueue, &[on(&writer, EVFILT_WRITE, EV_ADD)]);
    let event = next(&kqueue);
    assert!(event.flags() & EV_EOF == 0 && event.data() > 0, "{event:?}");
    drop(reader);
    until(&kqueue, |event| event.flags() & EV_EOF != 0);
}

#[test]
fn has_ev_eof_when_the_program_itself_has_shut_down() {
    let (near, _far) = tcp_pair();
    let kqueue = queue();
    change(&kqueue, &[on(&near, EVFILT_WRITE, EV_ADD)]);
    assert_eq!(next(&kqueue).flags() & EV_EOF, 0);
    near.shutdown(std::net::Shutdown::Write).unwrap();
    assert_ne!(next(&kqueue).flags() & EV_EOF, 0);
}
