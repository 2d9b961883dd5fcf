//! What happens to knotes when a descriptor or a kqueue is closed.

use std::os::fd::AsFd;

use super::*;

fn duplicate(fd: RawFd) -> UnixStream {
    use std::os::fd::BorrowedFd;
    // SAFETY: the caller has it open.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().unwrap().into()
}

#[test]
fn a_descriptor_ends_its_knotes() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let kqueue = queue();
    let [read, write] = [EVFILT_READ, EVFILT_WRITE].map(|filter| on(&near, filter, EV_ADD));
    change(&kqueue, &[read, write]);
    drop(near);
    assert!(far.write_all(b"hello").is_err());
    nothing(&kqueue);
    for filter in [EVFILT_READ, EVFILT_WRITE] {
        let error = error_of(&kqueue, Kevent::new(read.ident(), filter, EV_DELETE));
        assert!(matches!(error, Some(libc::ENOENT | libc::EBADF)), "{error:?}");
    }
}

#[test]
fn a_descriptor_ends_its_knotes_even_if_a_dup_lives() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (other, mut far_of_other) = UnixStream::pair().unwrap();
    let kqueue = queue();
    change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD), on(&near, EVFILT_WRITE, EV_ADD)]);
    change(&kqueue, &[on(&other, EVFILT_READ, EV_ADD)]);
    let dup = duplicate(near.as_raw_fd());
    drop(near);
    far.write_all(b"hello").unwrap();
    nothing(&kqueue);
    // Other knotes still report.
    far_of_other.write_all(b"hi").unwrap();
    assert_eq!(next(&kqueue).data(), 2);
    // The dup can be watched by its own number.
    change(&kqueue, &[on(&dup, EVFILT_READ, EV_ADD | EV_ONESHOT), on(&other, EVFILT_READ, EV_DELETE)]);
    assert_eq!(next(&kqueue).data(), 5);
}

#[test]
fn a_descriptor_leaves_its_number_to_the_next_one() {
    let kqueue = queue();
    let mut numbers = Vec::new();
    // Other tests also open descriptors, but the kernel reuses at least one number in 50 rounds.
    for round in 0..50 {
        let (near, mut far) = UnixStream::pair().unwrap();
        numbers.push(near.as_raw_fd());
        let flags = if round % 2 == 0 { EV_ADD | EV_CLEAR } else { EV_ADD };
        change(&kqueue, &[on(&near, EVFILT_READ, flags).with_udata(round)]);
        far.write_all(b"hello").unwrap();
        for reported in 0..2 {
            if reported == 1 && flags & EV_CLEAR != 0 {
                nothing(&kqueue);
            } else {
                assert_eq!(next(&kqueue).udata(), round);
            }
        }
    }
    numbers.sort();
    numbers.dedup();
    assert!(numbers.len() < 50, "no number came back");
}

#[test]
fn a_kqueue_makes_its_number_invalid() {
    let kqueue = queue();
    change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD)]);
    drop(kqueue);
    // The next kqueue may have the same number, but it has none of the old knotes.
    let delete = Kevent::new(9, EVFILT_USER, EV_DELETE);
    assert_eq!(error_of(&queue(), delete), Some(libc::ENOENT));
}

#[test]
fn a_kqueue_leaves_its_knotes_to_a_duplicate() {
    let kqueue = queue();
    change(&kqueue, &[Kevent::new(9, EVFILT_USER, EV_ADD | EV_CLEAR).with_udata(5)]);
    let duplicate = Kqueue::from(kqueue.as_fd().try_clone_to_owned().unwrap());
    drop(kqueue);
    // Others are made meanwhile, of which one may get the number.
    let others = [queue(), queue(), queue()];
    change(&duplicate, &[Kevent::new(9, EVFILT_USER, 0).with_fflags(NOTE_TRIGGER).with_udata(5)]);
    let event = next(&duplicate);
    assert_eq!((event.ident(), event.udata()), (9, 5), "{event:?}");
    others.iter().for_each(nothing);
}

#[test]
fn a_descriptor_with_a_dup_tells_no_other_knote_anew() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (cleared, mut far_of_cleared) = UnixStream::pair().unwrap();
    let kqueue = queue();
    change(&kqueue, &[on(&near, EVFILT_READ, EV_ADD), on(&cleared, EVFILT_READ, EV_ADD | EV_CLEAR)]);
    far_of_cleared.write_all(b"hello").unwrap();
    next(&kqueue);
    let _dup = duplicate(near.as_raw_fd());
    drop(near);
    far.write_all(b"hello").unwrap();
    nothing(&kqueue);
}

#[test]
fn a_descriptor_ends_its_knotes_even_if_the_same_file_is_opened_again() {
    let scratch = Scratch::new("opened-again");
    fs::write(scratch.path("file"), b"hello").unwrap();
    let open = || File::open(scratch.path("file")).unwrap();
    for (filter, notes) in [(EVFILT_READ, 0), (EVFILT_WRITE, 0), (EVFILT_VNODE, NOTE_WRITE)] {
        let (file, kqueue) = (open(), queue());
        change(&kqueue, &[on(&file, filter, EV_ADD).with_fflags(notes)]);
        let again = open();
        // SAFETY: dup2 takes two numbers of open files. It closes the first file, and `file` owns the number as before.
        assert_ne!(unsafe { libc::dup2(again.as_raw_fd(), file.as_raw_fd()) }, -1);
        assert_eq!(error_of(&kqueue, on(&file, filter, EV_DELETE)), Some(libc::ENOENT), "filter {filter}");
    }
}
