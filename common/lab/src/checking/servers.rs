//! The servers that a command works on: this workspace's programs, and a server of your own.
//!
//! Invariant: each server can be started, or accepts connections. What prevents that is found before the first check,
//! and said once.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use harness::server::{Options, Server};
use harness::{Chapter, Launch, Stop, Subject, Symptom, Variant};

use crate::cargo::{self, Program, ProgramKind};
use crate::checking::shell;
use crate::error::LabError;

/// A server that runs already accepts a connection at once, or does not listen.
const ACCEPT: Duration = Duration::from_secs(5);
/// One that sends nothing back for this long, not even an end, is no server that checks could tell anything about.
const ANSWER: Duration = Duration::from_secs(10);
/// What is sent to see whether anything comes back: a line, and enough to fill a small buffer.
const QUESTION: [u8; 4096] = {
    let mut question = [b'?'; 4096];
    question[4095] = b'\n';
    question
};

/// A server, and the words that name it on the command line.
#[derive(Debug)]
pub struct TestedServer {
    /// The server as the harness knows it.
    pub subject: Subject,
    /// Its folder, if it belongs to this workspace.
    pub folder: Option<&'static str>,
    /// The words that select this server and no other.
    pub words: String,
}

/// Why a server did not come to accept connections.
#[derive(Debug)]
pub enum StartFailure {
    /// The command never was a process, so the command line is wrong.
    NoProcess(String),
    /// This machine cannot run it.
    NotHere(String),
    /// It was started and did not listen.
    NotListening {
        /// What happened.
        what: String,
        /// The likely cause; empty if unknown.
        cause: String,
        /// It still ran when its time was over.
        hangs: bool,
    },
}

/// Starts the server and ends it again.
pub fn start_once(subject: &Subject) -> Result<(), StartFailure> {
    match Server::start(subject, &Options::default()) {
        Ok(_) => Ok(()),
        Err(Stop::Broken(what)) => Err(StartFailure::NoProcess(what)),
        Err(Stop::Skip(what)) => Err(StartFailure::NotHere(what)),
        Err(Stop::Fail(failure)) => {
            // A single line stands in the cause.
            let lines =
                failure.said.iter().filter(|_| failure.said.len() > 1).map(|line| format!("\n  stderr: {line}"));
            let cause = failure.cause + &lines.collect::<String>();
            let hangs = failure.symptom == Symptom::Slow;
            Err(StartFailure::NotListening { what: failure.what, cause, hangs })
        }
    }
}

/// Builds chapters and variants with one call of cargo, and returns them as servers in the same order.
pub fn ours(chapters: &[&'static Chapter], variants: &[&'static Variant]) -> Result<Vec<TestedServer>, LabError> {
    let chapter_program = |chapter: &&'static Chapter| Program {
        folder: chapter.folder,
        package: chapter.package,
        kind: ProgramKind::Bin,
        name: chapter.package,
    };
    let variant_program = |variant: &&'static Variant| Program {
        folder: variant.folder,
        package: variant.package,
        kind: ProgramKind::Example,
        name: variant.example,
    };
    let mut programs: Vec<Program> = chapters.iter().map(chapter_program).collect();
    // Variants may share a program, which is built once.
    for program in variants.iter().map(variant_program) {
        if !programs.contains(&program) {
            programs.push(program);
        }
    }
    if programs.is_empty() {
        return Ok(Vec::new());
    }
    let paths = cargo::build_programs(&programs)?;
    let path = |program: Program| {
        let at = programs.iter().position(|it| *it == program).expect("every server is a program");
        paths[at].to_string_lossy().into_owned()
    };
    let chapters = chapters.iter().map(|chapter| TestedServer {
        subject: Subject::chapter(chapter.package, &path(chapter_program(chapter))),
        folder: Some(chapter.folder),
        words: chapter.folder.to_owned(),
    });
    let variants = variants.iter().map(|variant| TestedServer {
        subject: Subject::variant(variant, &path(variant_program(variant))),
        folder: Some(variant.folder),
        words: variant.name.to_owned(),
    });
    Ok(chapters.chain(variants).collect())
}

/// A server of your own, by the command that starts it.
pub fn command(line: &str) -> Result<TestedServer, LabError> {
    let argv = shell_words::split(line).map_err(|error| {
        LabError::usage(format!(
            "--cmd {line}: {error}; the command is split into words as a shell does it, so close every quote"
        ))
    })?;
    if argv.is_empty() {
        return Err(LabError::usage(
            "--cmd is empty; give the command that starts your server, as in './server {port}'",
        ));
    }
    shell::refuse_syntax(line, &argv)?;
    let subject = Subject::command(short_name(&argv), argv);
    Ok(TestedServer { subject, folder: None, words: format!("--cmd {}", shell_words::quote(line)) })
}

/// A server of your own that runs already.
pub fn served(addr: SocketAddr) -> TestedServer {
    TestedServer { subject: Subject::served(addr), folder: None, words: format!("--addr {addr}") }
}

/// A server's address; names are resolved, IPv4 first.
pub fn parse_addr(text: &str) -> Result<SocketAddr, String> {
    let hint = "give HOST:PORT, as in 127.0.0.1:9000 or [::1]:9000";
    let found: Vec<SocketAddr> = text.to_socket_addrs().map_err(|error| format!("{error}; {hint}"))?.collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("the name has no address; {hint}"))
}

/// The script of an interpreter, or the program: `echo.py` for `python3 echo.py {port}`.
fn short_name(argv: &[String]) -> String {
    let is_script = |arg: &&String| !arg.starts_with('-') && !arg.contains("{port}") && Path::new(arg).is_file();
    let named = argv.get(1).filter(is_script).unwrap_or(&argv[0]);
    Path::new(named).file_name().map_or_else(|| named.clone(), |name| name.to_string_lossy().into_owned())
}

/// Starts the server once, or connects to it, so that a wrong command is one message and not one for each check.
pub fn preflight(subject: &Subject) -> Result<(), LabError> {
    let argv = match &subject.launch {
        Launch::Served(addr) => return answers(*addr).map_err(|why| out_of_order(*addr, &why)),
        Launch::Command(argv) => argv,
    };
    let Err(why) = start_once(subject) else { return Ok(()) };
    let command = format!("\n  command: {}", shell_words::join(argv));
    let hint = if argv.iter().any(|arg| arg.contains("{port}")) {
        ""
    } else {
        "\n  If it takes a port, write {port} where the port belongs: './server {port}'. If its port is fixed, start \
         the server yourself and give --addr."
    };
    Err(match why {
        StartFailure::NoProcess(what) => LabError::usage(format!("{what}{command}{}", shell::not_expanded(argv))),
        StartFailure::NotHere(what) => LabError::failed(format!("{what}{command}")),
        StartFailure::NotListening { what, cause, .. } => {
            let cause = if cause.is_empty() { cause } else { format!("\n  {cause}") };
            LabError::failed(format!("no check was run: {what}{command}{cause}{hint}"))
        }
    })
}

/// What is wrong with a server that was not started here.
#[derive(Debug)]
pub enum NoAnswer {
    /// It does not accept a connection.
    Connect(std::io::Error),
    /// It accepts, and nothing comes back.
    Silence,
}

/// Connects once to a server that was not started here, and waits for anything at all to come back: what is right is
/// the checks' business.
pub fn answers(addr: SocketAddr) -> Result<(), NoAnswer> {
    let mut client = TcpStream::connect_timeout(&addr, ACCEPT).map_err(NoAnswer::Connect)?;
    let ask = |client: &mut TcpStream| -> std::io::Result<()> {
        client.set_read_timeout(Some(ANSWER))?;
        client.set_write_timeout(Some(ANSWER))?;
        client.write_all(&QUESTION)?;
        // A byte or the end of the stream.
        client.read(&mut [0]).map(drop)
    };
    match ask(&mut client) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(NoAnswer::Silence),
        // A reset is an answer too.
        _ => Ok(()),
    }
}

fn out_of_order(addr: SocketAddr, why: &NoAnswer) -> LabError {
    LabError::failed(match why {
        NoAnswer::Connect(error) => format!(
            "no check was run: nothing accepts connections at {addr} ({error})\n  \
             Start the server first, or let the lab start it: --cmd './server {{port}}'."
        ),
        NoAnswer::Silence => format!(
            "no check was run: {addr} accepts connections, and of {} bytes nothing came back in {} s\n  \
             Is it an echo server, and does it run (is it stopped, or blocked in one call)? With \
             --cmd './server {{port}}' the lab starts it, and can say what it waits for.",
            QUESTION.len(),
            ANSWER.as_secs()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &Subject) -> (u8, String) {
        let error = preflight(subject).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn a_command_is_split_as_a_shell_does_it() {
        let Launch::Command(argv) = command("node -e 'a b' {port}").unwrap().subject.launch else { panic!() };
        assert_eq!(argv, ["node", "-e", "a b", "{port}"]);
        assert_eq!(command("a 'b").unwrap_err().code, 2);
        assert_eq!(command(" ").unwrap_err().code, 2);
    }

    #[test]
    fn a_server_is_called_after_its_script_or_its_program() {
        let name = |line: &str| command(line).unwrap().subject.name;
        assert_eq!(name("./a.out {port}"), "a.out");
        assert_eq!(name(&format!("python3 '{}/Cargo.toml' {{port}}", env!("CARGO_MANIFEST_DIR"))), "Cargo.toml");
        assert_eq!(name("node -e 'x' {port}"), "node");
    }

    #[test]
    fn an_address_needs_a_port() {
        assert!(parse_addr("127.0.0.1:9000").is_ok());
        assert!(parse_addr("[::1]:9000").is_ok());
        assert!(parse_addr("9000").unwrap_err().contains("HOST:PORT"));
    }

    #[test]
    fn a_command_that_does_not_exist_is_a_wrong_command_line() {
        let (code, message) = message(&command("/nonexistent/server {port}").unwrap().subject);
        assert_eq!(code, 2);
        assert!(message.contains("cannot start '/nonexistent/server'"), "{message}");
    }

    #[test]
    fn a_command_that_ends_at_once_is_a_failure_with_its_last_words() {
        let (code, message) = message(&command("sh -c 'echo no such option >&2; exit 3' {port}").unwrap().subject);
        assert_eq!(code, 1);
        assert!(message.contains("exit code 3") && message.contains("no such option"), "{message}");
    }

    #[test]
    fn a_dead_port_is_a_failure_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // The port of a client's socket is taken, so that no other process can listen on it.
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let addr = client.local_addr().unwrap();
        let (code, message) = message(&served(addr).subject);
        assert_eq!(code, 1);
        assert!(message.contains(&addr.to_string()), "{message}");
    }
}
