//! EVFILT_READ.

use std::io::Seek;
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};

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

/// Closes a connection with RST.
fn reset(end: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the kernel reads one linger.
    let set = unsafe {
        let (value, size) = ((&raw const linger).cast(), size_of_val(&linger) as libc::socklen_t);
        libc::setsockopt(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    };
    assert_eq!(set, 0);
}

#[test]
fn a_reset_is_end_of_file_with_the_error_in_fflags() {
    let (near, far) = tcp_pair();
    let kqueue = queue();
    change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD)]);
    reset(far);
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

/// A socket whose connect is refused after the call. None: the call itself said so, and took the error.
fn refused() -> Option<TcpStream> {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // SAFETY: all fields of a sockaddr_in may be zero. The kernel reads one, which outlives the call. The socket is new
    // and has no other owner.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        assert_ne!(socket, -1);
        let socket = TcpStream::from(OwnedFd::from_raw_fd(socket));
        socket.set_nonblocking(true).unwrap();
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as _;
        address.sin_port = nobody.to_be();
        address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
        let size = size_of_val(&address) as libc::socklen_t;
        assert_eq!(libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size), -1);
        (io::Error::last_os_error().raw_os_error() == Some(libc::EINPROGRESS)).then_some(socket)
    }
}

#[test]
fn and_write_tell_that_a_connect_was_refused_and_leave_the_error_to_the_program() {
    let socket = (0..20).find_map(|_| refused()).expect("no connect of 20 was still going on");
    let kqueue = queue();
    for filter in [EVFILT_READ, EVFILT_WRITE] {
        change(&kqueue, &[on(&socket, filter, EV_ADD)]);
        let event = until(&kqueue, |event| event.flags() & EV_EOF != 0);
        assert_eq!(event.filter(), filter, "{event:?}");
        assert_eq!(event.fflags(), libc::ECONNREFUSED as u32, "{event:?}");
        change(&kqueue, &[on(&socket, filter, EV_DELETE)]);
    }
    assert_eq!(socket.take_error().unwrap().and_then(|error| error.raw_os_error()), Some(libc::ECONNREFUSED));
}

#[test]
fn and_write_tell_of_a_reset_and_a_read_fails_with_it() {
    let (near, far) = tcp_pair();
    let kqueue = queue();
    reset(far);
    for filter in [EVFILT_READ, EVFILT_WRITE] {
        change(&kqueue, &[on(&near, filter, EV_ADD)]);
        let event = until(&kqueue, |event| event.flags() & EV_EOF != 0);
        assert_eq!((event.filter(), event.fflags()), (filter, libc::ECONNRESET as u32), "{event:?}");
        change(&kqueue, &[on(&near, filter, EV_DELETE)]);
    }
    let error = (&near).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

/// The low-water mark of a knote is not that of the socket.
#[test]
fn with_a_low_water_mark_leaves_the_socket_as_it_is() {
    fn check(near: impl AsRawFd, mut far: impl Write) {
        let (kqueue, other) = (queue(), queue());
        change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD).with_fflags(NOTE_LOWAT).with_data(4)]);
        change(&other, &[on(&near, EVFILT_READ, EV_ADD)]);
        far.write_all(b"one").unwrap();
        assert_eq!(next(&other).data(), 3);
        nothing(&kqueue);
        far.write_all(b"two").unwrap();
        assert_eq!(next(&kqueue).data(), 6);
        drop(kqueue);
        let (mut low_water, mut size): (libc::c_int, libc::socklen_t) = (0, 4);
        let (value, fd) = ((&raw mut low_water).cast(), near.as_raw_fd());
        // SAFETY: the kernel writes one int.
        let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, value, &mut size) };
        assert_eq!((got, low_water), (0, 1));
    }
    let (near, far) = tcp_pair();
    check(near, far);
    let (near, far) = UnixStream::pair().unwrap();
    check(near, far);
}

/// A system may refuse to watch a device, but not accept and never tell of it.
#[test]
fn of_a_device_that_is_always_ready_reports_it_or_is_refused() {
    for device in ["/dev/null", "/dev/zero"] {
        let (file, kqueue) = (File::open(device).unwrap(), queue());
        if error_of(&kqueue, on(&file, EVFILT_READ, EV_ADD)).is_none() {
            assert_eq!(next(&kqueue).ident(), file.as_raw_fd() as usize);
        }
    }
}

#[test]
fn of_a_file_looks_at_it_again_after_a_change() {
    let scratch = Scratch::new("looks-again");
    fs::write(scratch.path("file"), b"hello").unwrap();
    let mut file = File::open(scratch.path("file")).unwrap();
    let kqueue = queue();
    file.read_exact(&mut [0; 5]).unwrap();
    change(&kqueue, &[on(&file, EVFILT_READ, EV_ADD)]);
    nothing(&kqueue);
    file.rewind().unwrap();
    change(&kqueue, &[on(&file, EVFILT_READ, EV_ADD)]);
    assert_eq!(next(&kqueue).data(), 5);
}
