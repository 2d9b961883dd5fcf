//! Tests for the stand-in on Linux only: the C symbols and the limits.
#![cfg(target_os = "linux")]

mod common;

use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{process, ptr};

use common::{arrived, change, error_of, next, nothing, queue, readable};
use kqueue::sys::linux::{
    NOTE_ABSOLUTE, NOTE_MSECONDS, NOTE_NSECONDS, NOTE_SECONDS, NOTE_TRUNCATE, NOTE_USECONDS, kevent as native,
};
use kqueue::sys::*;

/// The declarations of a C program, and the library that it links.
mod c {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Kevent {
        pub ident: usize,
        pub filter: i16,
        pub flags: u16,
        pub fflags: u32,
        pub data: isize,
        pub udata: *mut c_void,
    }

    pub const NONE: Kevent = Kevent { ident: 0, filter: 0, flags: 0, fflags: 0, data: 0, udata: ptr::null_mut() };

    unsafe extern "C" {
        pub fn kqueue() -> c_int;
        pub fn kevent(
            kq: c_int,
            changes: *const Kevent,
            nchanges: c_int,
            events: *mut Kevent,
            nevents: c_int,
            timeout: *const libc::timespec,
        ) -> c_int;
    }
}

#[test]
fn a_c_program_gets_a_timer_and_a_socket() {
    assert_eq!((size_of::<c::Kevent>(), size_of::<native>()), (32, 32));
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"hello").unwrap();
    let mut marker = 0u8;
    let udata = (&raw mut marker).cast::<c_void>();
    let mut list = [
        c::Kevent { ident: near.as_raw_fd() as usize, filter: -1, flags: 0x11, udata, ..c::NONE },
        c::Kevent { ident: 3, filter: -7, flags: 0x11, data: 1, ..c::NONE },
    ];
    // SAFETY: the list has as many entries as the call says. It serves for changes and for events.
    unsafe {
        let kq = c::kqueue();
        assert!(kq >= 0);
        assert_eq!(c::kevent(kq, list.as_ptr(), 2, list.as_mut_ptr(), 1, ptr::null()), 1);
        let socket = c::Kevent { ident: near.as_raw_fd() as usize, filter: -1, flags: 0x11, data: 5, udata, ..c::NONE };
        assert_eq!(list[0], socket);
        assert_eq!(c::kevent(kq, ptr::null(), 0, list.as_mut_ptr(), 1, ptr::null()), 1);
        assert_eq!((list[0].ident, list[0].filter, list[0].data), (3, -7, 1));
        libc::close(kq);
        assert_eq!(c::kevent(-1, list.as_ptr(), 1, ptr::null_mut(), 0, ptr::null()), -1);
        assert_eq!(*libc::__errno_location(), libc::EBADF);
    }
}

#[test]
fn changes_that_linux_cannot_make_are_refused() {
    let kqueue = queue();
    let (unix, _far) = UnixStream::pair().unwrap();
    let (unix, parent) = (unix.as_raw_fd() as usize, std::os::unix::process::parent_id() as usize);
    let refused = [
        // Not a child.
        (Kevent::new(parent, EVFILT_PROC, EV_ADD).with_fflags(NOTE_EXIT), libc::ENOTSUP),
        // NOTE_FORK
        (Kevent::new(parent, EVFILT_PROC, EV_ADD).with_fflags(0x4000_0000), libc::ENOTSUP),
        // NOTE_REVOKE
        (Kevent::new(unix, EVFILT_VNODE, EV_ADD).with_fflags(0x40), libc::ENOTSUP),
        (Kevent::new(unix, EVFILT_VNODE, EV_ADD).with_fflags(NOTE_WRITE), libc::EINVAL),
        (Kevent::new(unix, EVFILT_WRITE, EV_ADD).with_fflags(NOTE_LOWAT).with_data(1), libc::ENOTSUP),
        // EV_FORCEONESHOT and EV_KEEPUDATA of FreeBSD.
        (Kevent::new(unix, EVFILT_READ, EV_ADD | 0x100), libc::EINVAL),
        (Kevent::new(unix, EVFILT_READ, EV_ADD | 0x200), libc::EINVAL),
        (Kevent::new(1 << 32 | unix, EVFILT_READ, EV_ADD), libc::EBADF),
        // EVFILT_AIO
        (Kevent::new(unix, -3, EV_ADD), libc::EINVAL),
        (Kevent::new(libc::SIGKILL as usize, EVFILT_SIGNAL, EV_ADD), libc::EINVAL),
        (Kevent::new(9999, EVFILT_SIGNAL, EV_ADD), libc::EINVAL),
        (Kevent::new(1, EVFILT_TIMER, EV_ADD).with_data(-1), libc::EINVAL),
        (Kevent::new(1, EVFILT_TIMER, EV_ADD).with_fflags(NOTE_SECONDS | NOTE_USECONDS).with_data(1), libc::EINVAL),
        (Kevent::new(1, EVFILT_TIMER, EV_ADD).with_fflags(0x100).with_data(1), libc::ENOTSUP),
    ];
    for (change, error) in refused {
        assert_eq!(error_of(&kqueue, change), Some(error), "{change:?}");
    }
    nothing(&kqueue);
}

#[test]
fn a_change_that_is_refused_leaves_the_knote_as_it_was() {
    let kqueue = queue();
    change(&kqueue, &[Kevent::new(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_data(10)]);
    assert_eq!(error_of(&kqueue, Kevent::new(1, EVFILT_TIMER, EV_ADD).with_data(-1)), Some(libc::EINVAL));
    assert_eq!(next(&kqueue).data(), 1);
}

#[test]
fn a_timer_takes_every_unit() {
    let kqueue = queue();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let units = [
        (NOTE_MSECONDS, 2),
        (NOTE_USECONDS, 2_000),
        (NOTE_NSECONDS, 2_000_000),
        (NOTE_ABSOLUTE, now.as_millis() as i64 + 2),
        (NOTE_ABSOLUTE | NOTE_SECONDS, now.as_secs() as i64 - 1),
        (NOTE_SECONDS, 1),
    ];
    for (unit, data) in units {
        let timer = Kevent::new(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT).with_fflags(unit).with_data(data);
        change(&kqueue, &[timer]);
        assert_eq!(next(&kqueue).data(), 1, "{timer:?}");
    }
    // The timer expires in the far future, and not at once.
    let never = Kevent::new(1, EVFILT_TIMER, EV_ADD).with_fflags(NOTE_SECONDS).with_data(i64::MAX);
    change(&kqueue, &[never]);
    nothing(&kqueue);
}

#[test]
fn a_truncated_file_is_reported() {
    let kqueue = queue();
    let path = std::env::temp_dir().join(format!("kqueue-{}-truncate", process::id()));
    fs::write(&path, b"hello").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let watch = Kevent::new(file.as_raw_fd() as usize, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(NOTE_TRUNCATE);
    change(&kqueue, &[watch]);
    file.set_len(2).unwrap();
    assert_eq!(next(&kqueue).fflags(), NOTE_TRUNCATE);
    nothing(&kqueue);
}

#[test]
fn the_low_water_mark_ends_with_its_knote() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let kqueue = queue();
    let read = Kevent::new(near.as_raw_fd() as usize, EVFILT_READ, EV_ADD);
    change(&kqueue, &[read.with_fflags(NOTE_LOWAT).with_data(16)]);
    far.write_all(b"one").unwrap();
    arrived(&near, 3);
    nothing(&kqueue);
    change(&kqueue, &[read]);
    assert_eq!(next(&kqueue).data(), 3);
}

#[test]
fn kqueues_that_were_closed_give_their_descriptors_back() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let make = || {
        let kqueue = queue();
        for ident in 0..50 {
            change(&kqueue, &[Kevent::new(ident, EVFILT_USER, EV_ADD)]);
        }
    };
    make();
    let before = open();
    for _ in 0..20 {
        make();
    }
    // Other tests open and close descriptors meanwhile, but a leak would be 20 times 53 descriptors.
    assert!(open() < before + 500, "{before} descriptors became {}", open());
}

#[test]
fn an_event_that_reports_nothing_does_not_wake_the_next_wait() {
    let kqueue = queue();
    // A disabled knote of a closed connection, a file at its end, and a closed descriptor with a dup.
    let (ended, far) = UnixStream::pair().unwrap();
    let path = std::env::temp_dir().join(format!("kqueue-{}-empty", process::id()));
    let file = File::create_new(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (lingering, mut peer) = UnixStream::pair().unwrap();
    let _dup = lingering.try_clone().unwrap();
    let read = |fd: RawFd, flags| change(&kqueue, &[Kevent::new(fd as usize, EVFILT_READ, flags)]);
    read(ended.as_raw_fd(), EV_ADD | EV_DISABLE);
    read(file.as_raw_fd(), EV_ADD);
    read(lingering.as_raw_fd(), EV_ADD);
    drop((far, lingering));
    peer.write_all(b"hello").unwrap();
    assert!(readable(&kqueue));
    nothing(&kqueue);
    assert!(!readable(&kqueue), "a wait would not sleep");
}

/// A stale number is the caller's own epoll by now, whose events are not for kevent.
#[test]
fn a_stale_number_takes_nothing_from_an_epoll_that_has_it_now() {
    use std::os::fd::{FromRawFd, OwnedFd};
    let kqueue = queue();
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"hello").unwrap();
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLONESHOT) as u32, u64: 7 };
    // SAFETY: the calls take numbers, and one epoll_event that outlives them. dup2 closes the kqueue, and `kqueue` owns
    // the number as before.
    unsafe {
        let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(0));
        assert_eq!(libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, near.as_raw_fd(), &mut event), 0);
        assert_ne!(libc::dup2(epoll.as_raw_fd(), kqueue.as_raw_fd()), -1);
        let error = kqueue.kevent(&[], &mut [Kevent::default()], Some(std::time::Duration::ZERO)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        assert_eq!(libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, 0), 1);
    }
}

#[test]
fn a_file_of_proc_can_be_read_although_it_has_no_size() {
    let (mut file, kqueue) = (File::open("/proc/self/status").unwrap(), queue());
    change(&kqueue, &[Kevent::new(file.as_raw_fd() as usize, EVFILT_READ, EV_ADD)]);
    assert!(next(&kqueue).data() > 0);
    std::io::Read::read_to_end(&mut file, &mut Vec::new()).unwrap();
    nothing(&kqueue);
}

#[test]
fn a_null_pointer_is_refused() {
    let kqueue = queue();
    // SAFETY: a null list is refused before it is looked at.
    unsafe {
        assert_eq!(c::kevent(kqueue.as_raw_fd(), ptr::null(), 1, ptr::null_mut(), 0, ptr::null()), -1);
        assert_eq!(*libc::__errno_location(), libc::EFAULT);
    }
}

/// `include/sys/event.h` against `abi.rs`, by the compiler that also links Rust programs.
#[test]
fn the_header_has_the_constants_and_the_layout_of_the_library() {
    use kqueue::sys::linux as abi;
    macro_rules! same {
        ($($name:ident)*) => { [$((stringify!($name), abi::$name as i64)),*] };
    }
    let constants = same! {
        EVFILT_READ EVFILT_WRITE EVFILT_VNODE EVFILT_PROC EVFILT_SIGNAL EVFILT_TIMER EVFILT_USER
        EV_ADD EV_DELETE EV_ENABLE EV_DISABLE EV_ONESHOT EV_CLEAR EV_RECEIPT EV_DISPATCH EV_ERROR EV_EOF
        NOTE_LOWAT NOTE_DELETE NOTE_WRITE NOTE_EXTEND NOTE_ATTRIB NOTE_LINK NOTE_RENAME NOTE_TRUNCATE NOTE_EXIT
        NOTE_SECONDS NOTE_USECONDS NOTE_NSECONDS NOTE_MSECONDS NOTE_ABSOLUTE
        NOTE_FFNOP NOTE_FFAND NOTE_FFOR NOTE_FFCOPY NOTE_FFCTRLMASK NOTE_FFLAGSMASK NOTE_TRIGGER
    };
    let fields = [
        ("ident", std::mem::offset_of!(native, ident)),
        ("filter", std::mem::offset_of!(native, filter)),
        ("flags", std::mem::offset_of!(native, flags)),
        ("fflags", std::mem::offset_of!(native, fflags)),
        ("data", std::mem::offset_of!(native, data)),
        ("udata", std::mem::offset_of!(native, udata)),
    ];
    let mut program = String::from("#include <stddef.h>\n#include <sys/event.h>\n");
    for (name, value) in constants {
        program += &format!("_Static_assert({name} == {value}, \"{name}\");\n");
    }
    for (name, offset) in fields {
        program += &format!("_Static_assert(offsetof(struct kevent, {name}) == {offset}, \"{name}\");\n");
    }
    program +=
        "int (*make)(void) = kqueue;\nvoid set(struct kevent *it) { EV_SET(it, 1, EVFILT_USER, EV_ADD, 0, 0, 0); }\n";
    let mut compiler = process::Command::new("cc");
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-I", header, "-"]);
    let mut compiler = compiler.stdin(process::Stdio::piped()).spawn().unwrap();
    compiler.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success());
}
