//! `cargo lab show` as it is called: exit codes, what it says, and the file that it writes.
//!
//! Invariant: what needs a program that this machine lacks, or ptrace(2), says so and is not tried.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Reads once for each report, and registers its sockets edge-triggered.
const SERVER: &str = r#"
import select, socket, sys
lsock = socket.socket()
lsock.bind(("127.0.0.1", int(sys.argv[1])))
lsock.listen()
poller = select.epoll()
poller.register(lsock, select.EPOLLIN)
conns = {}
while True:
    for fd, events in poller.poll():
        if fd == lsock.fileno():
            conn, _ = lsock.accept()
            conns[conn.fileno()] = conn
            poller.register(conn, select.EPOLLIN | select.EPOLLET)
            continue
        data = conns[fd].recv(1024)
        if data:
            conns[fd].sendall(data)
        else:
            poller.unregister(fd)
            conns.pop(fd).close()
"#;

/// A folder of one test's own, from which the command is run. It is removed when this is dropped.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab-show"));
        command.current_dir(&self.0).arg("show").args(args).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command
    }

    fn show(&self, args: &[&str]) -> (i32, String, String) {
        ended(&mut self.command(args))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("it was written")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn committed(server: &str) -> String {
    let it = lab_show::recordings::COMMITTED.iter().find(|it| it.name == server).expect("it is committed");
    it.path().expect("the workspace").to_string_lossy().into_owned()
}

/// The command of a server that is not correct, or the reason why there is none.
fn python(place: &Place) -> Result<String, String> {
    explorer::possible()?;
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let found = found.map_err(|error| format!("no python3 on this machine: {error}"))?;
    std::fs::write(place.0.join("server.py"), SERVER).map_err(|error| error.to_string())?;
    let python = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    Ok(format!("{python} -S -E {} {{port}}", place.0.join("server.py").display()))
}

#[test]
fn a_wrong_command_line_is_said_with_what_there_is_and_nothing_is_built() {
    let place = Place::new("usage");
    let recording = committed("epoll-et");
    let seven = ["a.json"; 7];
    for (args, said) in [
        (&[][..], "cargo lab show epoll-et"),
        (&["05-kqeue"], "Did you mean 05-kqueue"),
        (&["epoll"], "names 2 servers"),
        (&["99"], "exercises are 07 to 39"),
        (&["poll", "epol-lt"], "Did you mean 03-epoll-lt"),
        (&["epoll-et", "--script", "clsoe"], "Did you mean the script 'close'"),
        (&["epoll-et", "--script", "c0 connect; c0 sned 3"], "did you mean 'send'"),
        (&["epoll-et", "--replay", "0,1"], "--script"),
        (&["epoll-et", "--script", "close", "--replay", "0,x"], "'x' is not a small number"),
        (&["poll", "epoll-et", "--script", "close", "--replay", "0"], "belongs to one server"),
        (&["epoll-et", "--faults", "eintrr"], "eintr"),
        (&["--cmd", "a 'b"], "close every quote"),
        (&["epoll-et", "-o", "no/such/folder/run.html"], "there is no folder no/such/folder"),
        (&["epoll-et", "-o", "."], "name a file in it"),
        (&["run.json"], "cargo lab explore SERVER --script SCRIPT --record FILE.json"),
        (&[recording.replace("epoll-et.json", "epoll-te.json").as_str()], "Did you mean "),
        (&seven, "7 are too many"),
        (&["epoll-et", "--opne"], "--open"),
    ] {
        let (code, out, err) = ended(place.command(args).env("CARGO", "/no/such/cargo"));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn a_file_that_is_no_recording_is_refused_with_what_to_do() {
    let place = Place::new("files");
    for (name, bytes, said) in [
        ("empty.json", &b""[..], "it is not JSON"),
        ("bytes.json", b"\xff\xfe", "it is not text"),
        ("other.json", b"{\"a\": 1}", "its 'format' is not 'event-loop-run'"),
        ("old.json", b"{\"format\":\"event-loop-run\",\"version\":1,\"server\":\"poll\"}", "reads version 2"),
        ("new.json", b"{\"format\":\"event-loop-run\",\"version\":9}", "git pull"),
        ("half.json.gz", b"\x1f\x8b\x08\x00", "cannot be unpacked"),
    ] {
        std::fs::write(place.0.join(name), bytes).expect("a file");
        let (code, out, err) = place.show(&[name]);
        assert_eq!((code, out.as_str()), (2, ""), "{name}: {err}");
        assert!(err.starts_with(&format!("error: {name}: ")) && err.contains(said), "{name}: {err}");
    }
}

#[test]
fn recordings_are_shown_side_by_side_without_an_exploration() {
    let place = Place::new("recorded");
    let (poll, et) = (committed("poll"), committed("epoll-et"));
    let (code, out, err) = place.show(&[&poll, &et, "-o", "page.html"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("poll, close: ") && out.ends_with("the page: page.html\n"), "{out}");
    let page = place.read("page.html");
    assert!(page.contains("id=\"poll\"") && page.contains("id=\"epoll-et\""), "a section for each");
    assert!(page.contains("recvfrom") && page.contains("src/server.rs"), "its calls and its sources");
}

#[test]
fn a_page_is_opened_where_there_is_a_display_and_else_its_path_is_said() {
    let place = Place::new("open");
    let et = committed("epoll-et");
    let (code, out, err) = place.show(&[&et, "-o", "page.html", "--open"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("the page: page.html\n"), "{out}");
    assert!(err.starts_with("the page was not opened: there is no display here"), "{err}");
    if cfg!(not(target_os = "linux")) {
        return;
    }
    // Stands in for the desktop's own.
    let (opener, opened) = (place.0.join("xdg-open"), place.0.join("opened"));
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$1\" >'{}'\n", opened.display())).expect("a file");
    let mut permissions = std::fs::metadata(&opener).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&opener, permissions).expect("its own");
    let path = format!("{}:{}", place.0.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = place.command(&[&et, "-o", "page.html", "--open"]);
    let (code, _, err) = ended(command.env("DISPLAY", ":99").env("PATH", path));
    assert_eq!((code, err.as_str()), (0, ""));
    // Nobody waits for the opener: a browser may run for hours.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let said = || std::fs::read_to_string(&opened).unwrap_or_default();
    while !said().ends_with('\n') && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(said().trim().ends_with("/page.html"), "{:?}", said());
}

#[test]
fn somebodys_own_server_is_explored_and_each_gap_is_shown() {
    let place = Place::new("own");
    let command = match python(&place) {
        Ok(command) => command,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    // A read takes 1024 bytes, and the rest waits for an edge that does not come.
    let (code, out, err) = place.show(&["--cmd", &command, "-o", "page.html"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(", close: LOST WAKEUP: "), "{out}");
    let page = place.read("page.html");
    assert!(page.contains("lost wakeup") && page.contains("bytes of c0 are unread"), "the verdict and the cause");
    assert!(page.contains("Lines of source are unknown"), "an interpreter has no lines");
    let (code, out, err) = place.show(&["--cmd", &command, "--script", "c0 connect; c0 send 3", "-o", "short.html"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("no schedule that was tried fails; none of "), "{out}");
    assert!(place.read("short.html").contains(" gaps is fatal"), "{out}");
}

#[test]
fn of_an_exercise_only_its_own_source_is_shown() {
    let place = Place::new("exercise");
    if let Err(why) = explorer::possible() {
        return eprintln!("skipped: {why}");
    }
    let (code, out, err) = place.show(&["24", "-o", "page.html"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let is_begun = root.join("exercises/attempts/24_ready_flag.rs").exists();
    if root.join("exercises/handout.toml").exists() && !is_begun {
        assert!(err.contains("make it by: cargo lab start 24"), "{err}");
        return;
    }
    assert_eq!(code, 0, "{out}{err}");
    let page = place.read("page.html");
    let sources: Vec<&str> = page.split("<details class=\"source\"><summary>").skip(1).collect();
    let sources: Vec<&str> = sources.iter().filter_map(|rest| rest.split("</summary>").next()).collect();
    // A student's attempt may be there; its path is then another.
    let own = ["exercises/24_ready_flag/starter.rs", "exercises/attempts/24_ready_flag.rs"];
    assert!(sources.len() == 1 && own.contains(&sources[0]), "{sources:?}");
    assert!(!page.contains("solution.rs"), "not before it passes");
    if sources[0] == own[0] {
        assert!(out.contains("LOST WAKEUP") && out.contains(" gaps are fatal"), "{out}");
        assert!(page.contains("Clear a ready flag at EAGAIN"), "the cause");
        assert!(page.len() < 300_000, "{} bytes", page.len());
    }
}

#[test]
fn help_has_examples() {
    let place = Place::new("help");
    for args in [&["--help"][..], &["-h"]] {
        let (code, out, _) = place.show(args);
        assert_eq!(code, 0);
        assert!(out.contains("cargo lab show --cmd './a.out {port}'") && out.contains("Exit code:"), "{out}");
        assert!(!out.contains("--write-recordings"), "{out}");
    }
}
