//! EVFILT_VNODE: changes of a file.

use super::*;

/// Watches a new file for one kind of change.
fn watched(kqueue: &Kqueue, scratch: &Scratch, note: u32) -> File {
    let file = File::create(scratch.path("file")).unwrap();
    change(kqueue, &[on(&file, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(note)]);
    nothing(kqueue);
    file
}

#[track_caller]
fn expect(kqueue: &Kqueue, file: &File, note: u32) {
    let event = next(kqueue);
    assert_eq!((event.ident(), event.filter()), (file.as_raw_fd() as usize, EVFILT_VNODE), "{event:?}");
    assert_ne!(event.fflags() & note, 0, "{event:?}");
    nothing(kqueue);
}

#[test]
fn reports_a_write_once() {
    let (kqueue, scratch) = (queue(), Scratch::new("write"));
    let mut file = watched(&kqueue, &scratch, NOTE_WRITE);
    for _ in 0..2 {
        file.write_all(b"hello").unwrap();
        expect(&kqueue, &file, NOTE_WRITE);
    }
}

#[test]
fn reports_growth() {
    let (kqueue, scratch) = (queue(), Scratch::new("extend"));
    let mut file = watched(&kqueue, &scratch, NOTE_EXTEND);
    file.write_all(b"hello").unwrap();
    expect(&kqueue, &file, NOTE_EXTEND);
}

#[test]
fn reports_changed_attributes() {
    let (kqueue, scratch) = (queue(), Scratch::new("attrib"));
    let file = watched(&kqueue, &scratch, NOTE_ATTRIB);
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    expect(&kqueue, &file, NOTE_ATTRIB);
}

#[test]
fn reports_a_rename() {
    let (kqueue, scratch) = (queue(), Scratch::new("rename"));
    let file = watched(&kqueue, &scratch, NOTE_RENAME);
    fs::rename(scratch.path("file"), scratch.path("other")).unwrap();
    expect(&kqueue, &file, NOTE_RENAME);
}

#[test]
fn reports_a_hard_link() {
    let (kqueue, scratch) = (queue(), Scratch::new("link"));
    let file = watched(&kqueue, &scratch, NOTE_LINK);
    fs::hard_link(scratch.path("file"), scratch.path("other")).unwrap();
    expect(&kqueue, &file, NOTE_LINK);
}

#[test]
fn reports_the_removal_of_the_last_name() {
    let (kqueue, scratch) = (queue(), Scratch::new("delete"));
    let file = watched(&kqueue, &scratch, NOTE_DELETE);
    fs::remove_file(scratch.path("file")).unwrap();
    expect(&kqueue, &file, NOTE_DELETE);
}

#[test]
fn reports_that_another_file_took_the_name() {
    let (kqueue, scratch) = (queue(), Scratch::new("over"));
    let file = watched(&kqueue, &scratch, NOTE_DELETE);
    fs::write(scratch.path("other"), b"").unwrap();
    fs::rename(scratch.path("other"), scratch.path("file")).unwrap();
    expect(&kqueue, &file, NOTE_DELETE);
}

#[test]
fn of_a_folder_reports_its_entries() {
    let (kqueue, scratch) = (queue(), Scratch::new("entries"));
    let folder = File::open(&scratch.0).unwrap();
    change(&kqueue, &[on(&folder, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(NOTE_WRITE)]);
    nothing(&kqueue);
    fs::write(scratch.path("entry"), b"").unwrap();
    expect(&kqueue, &folder, NOTE_WRITE);
    fs::remove_file(scratch.path("entry")).unwrap();
    expect(&kqueue, &folder, NOTE_WRITE);
}

#[test]
fn reports_only_the_notes_that_were_asked_for() {
    let (kqueue, scratch) = (queue(), Scratch::new("unasked"));
    let mut file = watched(&kqueue, &scratch, NOTE_DELETE);
    file.write_all(b"hello").unwrap();
    fs::rename(scratch.path("file"), scratch.path("other")).unwrap();
    nothing(&kqueue);
    change(&kqueue, &[on(&file, EVFILT_VNODE, EV_ADD | EV_CLEAR).with_fflags(NOTE_WRITE)]);
    file.write_all(b"hello").unwrap();
    expect(&kqueue, &file, NOTE_WRITE);
}

#[test]
fn without_ev_clear_reports_again() {
    let (kqueue, scratch) = (queue(), Scratch::new("level"));
    let mut file = File::create(scratch.path("file")).unwrap();
    change(&kqueue, &[on(&file, EVFILT_VNODE, EV_ADD).with_fflags(NOTE_WRITE)]);
    nothing(&kqueue);
    file.write_all(b"hello").unwrap();
    for _ in 0..2 {
        assert_ne!(next(&kqueue).fflags() & NOTE_WRITE, 0);
    }
}

#[test]
fn of_a_pipe_cannot_be_watched() {
    let (reader, _writer) = io::pipe().unwrap();
    let watch = on(&reader, EVFILT_VNODE, EV_ADD).with_fflags(NOTE_WRITE);
    assert!(error_of(&queue(), watch).is_some());
}
