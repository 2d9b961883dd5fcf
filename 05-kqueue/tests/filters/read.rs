//! EVFILT_READ.

use super::*;

#[test]
fn reports_the_number_of_unread_bytes_until_they_are_read() {
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
fn with_ev_clear_reports_new_bytes_once() {
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
fn with_ev_clear_reports_again_after_another_ev_add() {
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
fn data_of_a_listener_is_the_length_of_its_accept_queue() {
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
fn of_a_file_reports_the_bytes_up_to_its_end() {
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
