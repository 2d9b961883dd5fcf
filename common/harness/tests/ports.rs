//! A port that is lost between its choice and the server's bind: the start is made again, and no stranger is taken for the
//! server.
//!
//! Invariant: nothing here depends on luck. The first start of the server waits until another process (this one) listens on
//! its port. This binary is the server too: a test starts it again with `--serve HOW FOLDER PORT`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => lost::serve(&args[1], &args[2], &args[3]),
        _ => lost::tests(),
    }
}

/// Who listens on a port is seen in /proc.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: needs Linux's /proc");
    ExitCode::SUCCESS
}

#[cfg(target_os = "linux")]
mod lost {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use explorer::{Faults, Schedule, Script, Verdict};
    use harness::Subject;
    use harness::server::{Options, Server};
    use libtest_mimic::{Arguments, Completion, Failed, Trial};

    pub fn tests() -> ExitCode {
        let tests = vec![
            Trial::test("a_server_that_loses_its_port_is_started_again", || harness("exits").map_err(Failed::from)),
            Trial::test("a_stranger_on_the_port_is_not_the_server", || harness("sleeps").map_err(Failed::from)),
            Trial::test("who_is_on_the_port_for_a_moment_is_no_front", || passes_by().map_err(Failed::from)),
            Trial::ignorable_test("the_same_port_at_the_other_loopback_address_is_another", twin),
            Trial::ignorable_test("the_explorer_starts_a_server_again_that_lost_its_port", explored),
        ];
        libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
    }

    /// The first start hands its port to the test and waits until it is taken; then the server ends as servers do, or sleeps
    /// while the stranger listens. Every later start serves.
    pub fn serve(how: &str, folder: &str, port: &str) -> ExitCode {
        let folder = Path::new(folder);
        let host = if how == "twin" { "[::1]" } else { "127.0.0.1" };
        if how == "passed-by" {
            hand_over(folder, port);
            // This start goes on, and serves where the stranger was.
            wait_for(&folder.join(format!("left-{port}")));
        } else if how != "twin" && !folder.join("taken").exists() {
            hand_over(folder, port);
            wait_for(&folder.join("taken"));
            if how == "sleeps" {
                std::thread::sleep(Duration::from_secs(600));
            }
        }
        let listener = match TcpListener::bind(format!("{host}:{port}")) {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("cannot listen on {port}: {error}");
                return ExitCode::FAILURE;
            }
        };
        println!("listening on {host}:{port}");
        loop {
            let (mut client, _) = listener.accept().expect("a listener accepts");
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = client.read(&mut buffer) {
                if client.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        }
    }

    fn hand_over(folder: &Path, port: &str) {
        fs::write(folder.join("new"), port).expect("the test's folder is there");
        fs::rename(folder.join("new"), folder.join("port")).expect("the test's folder is there");
    }

    fn wait_for(file: &Path) {
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn folder(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("ports-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
        Folder(folder)
    }

    fn argv(how: &str, folder: &Folder) -> Vec<String> {
        let program = std::env::current_exe().expect("a running program has a path");
        let words = ["--serve", how, &folder.0.display().to_string(), "{port}"].map(str::to_owned);
        std::iter::once(program.display().to_string()).chain(words).collect()
    }

    /// Runs `work` while a stranger takes the port of the server's first start; returns that port too.
    fn with_a_stranger<T>(folder: &Folder, work: impl FnOnce() -> T) -> (T, u16) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stranger = scope.spawn(|| {
                wait_for(&folder.0.join("port"));
                let port = fs::read_to_string(folder.0.join("port")).expect("just written").parse().expect("a port");
                let listener = TcpListener::bind(("127.0.0.1", port)).expect("nobody has bound the port yet");
                fs::write(folder.0.join("taken"), "").expect("the folder is there");
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                drop(listener);
                port
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            (result, stranger.join().expect("the stranger does not panic"))
        })
    }

    fn harness(how: &str) -> Result<(), String> {
        let folder = folder(how);
        let subject = Subject::command("loses its port", argv(how, &folder));
        let (started, lost) = with_a_stranger(&folder, || {
            let server = Server::start(&subject, &Options::default()).map_err(|stop| format!("{stop:?}"))?;
            echoes(server.addr)?;
            Ok::<u16, String>(server.addr.port())
        });
        match started? {
            port if port == lost => Err(format!("the server is said to listen on {port}, where a stranger does")),
            _ => Ok(()),
        }
    }

    /// At each of its starts a stranger listens on the port for a moment, while the server still starts: the server is
    /// served by no stranger, and waited for.
    fn passes_by() -> Result<(), String> {
        // The harness looks more often than that, and calls nobody a front who has not stayed longer.
        const MOMENT: Duration = Duration::from_millis(50);
        let folder = folder("passed-by");
        let subject = Subject::command("passed by", argv("passed-by", &folder));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    let Ok(port) = fs::read_to_string(folder.0.join("port")) else { continue };
                    let port: u16 = port.parse().expect("a port");
                    let listener = TcpListener::bind(("127.0.0.1", port)).expect("nobody has bound the port yet");
                    fs::remove_file(folder.0.join("port")).expect("it was just read");
                    std::thread::sleep(MOMENT);
                    drop(listener);
                    fs::write(folder.0.join(format!("left-{port}")), "").expect("the folder is there");
                }
            });
            // The second start would be the one at which its name is known.
            let served = (0..3).try_for_each(|_| {
                let server = Server::start(&subject, &Options::default()).map_err(|stop| format!("{stop:?}"))?;
                echoes(server.addr)
            });
            over.store(true, Ordering::Relaxed);
            served
        })
    }

    fn echoes(addr: SocketAddr) -> Result<(), String> {
        let mut client = TcpStream::connect(addr).map_err(|error| error.to_string())?;
        client.set_read_timeout(Some(Duration::from_secs(20))).map_err(|error| error.to_string())?;
        let mut back = [0];
        // A stranger accepts and never answers.
        client.write_all(b"!").and_then(|()| client.read_exact(&mut back)).map_err(|error| error.to_string())
    }

    /// A server that says [::1] is reached there, whoever has its port's number at 127.0.0.1. (With port 0 the kernel may
    /// choose a number for one address that another server has at the other.)
    fn twin() -> Result<Completion, Failed> {
        let stranger = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = stranger.local_addr().map_err(|error| error.to_string())?.port();
        if let Err(error) = TcpListener::bind(("::1", port)) {
            return Ok(Completion::ignored_with(format!("[::1]:{port}: {error}")));
        }
        let folder = folder("twin");
        let mut argv = argv("twin", &folder);
        *argv.last_mut().expect("its port") = port.to_string();
        let subject = Subject::command("has a twin", argv);
        let server = Server::start(&subject, &Options::default()).map_err(|stop| format!("{stop:?}"))?;
        match server.process {
            Some(_) if server.addr.is_ipv6() => Ok(Completion::Completed),
            _ => Err(format!("at {}: {}", server.addr, server.out_of_reach()).into()),
        }
    }

    fn explored() -> Result<Completion, Failed> {
        if let Err(why) = explorer::possible() {
            return Ok(Completion::ignored_with(why));
        }
        let folder = folder("explored");
        let explored = explorer::Subject { name: "loses its port".into(), argv: argv("exits", &folder), own: false };
        let script = Script::standard("close").expect("it ships");
        let never = AtomicBool::new(false);
        let (run, _) = with_a_stranger(&folder, || {
            explorer::replay(&explored, &script, Faults::default(), &Schedule::default(), &never)
        });
        match run.map_err(|error| error.to_string())?.verdict {
            Verdict::Ok => Ok(Completion::Completed),
            other => Err(format!("a correct server is {other}").into()),
        }
    }
}
