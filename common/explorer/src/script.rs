//! The clients' steps of an exploration, as a small text.
//!
//! Invariant: a parsed script can be carried out. Every client connects before it does anything else, and does nothing
//! after it has left. Steps that come together are steps of clients, and stand side by side. An error names the line and,
//! for an unknown word, the nearest known word.

use std::fmt;

/// Clients in one script: c0 to c7.
pub const MAX_CLIENTS: usize = 8;

/// The words of a script. `cargo lab explore --help` and the README show this text, so its lines hold 80 columns.
pub const LANGUAGE: &str = "\
A script has one step per line, or several steps separated by ';'.
'&' joins steps of clients that come together: 'c0 send 3 & c0 shutdown'.
'#' begins a comment. Clients are c0 to c7, and read unless they are paused.
  c0 connect       opens a connection
  c0 send N        sends N bytes; a full socket takes the rest later
  c0 pause         stops reading; missing bytes are no fault of the server then
  c0 recv          reads again
  c0 shutdown      half-closes: sends FIN and goes on reading
  c0 expect-eof    the server must have closed the connection by now
  c0 close         closes the connection
  c0 reset         closes the connection with RST
  signal TERM      sends SIGTERM (or INT); the server must end with exit code 0
  interrupt        interrupts the wait with SIGSTOP and SIGCONT
                   (EINTR from epoll_wait and io_uring_enter)
  fds none         leaves the server no free file descriptor (EMFILE)
  fds free         restores the server's limit of file descriptors
  small-buffers    only as the first line: small socket buffers on both sides,
                   so that writes are short";

/// One step of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Opens a connection.
    Connect(usize),
    /// Sends this many bytes.
    Send(usize, u64),
    /// Stops reading.
    Pause(usize),
    /// Reads, and goes on reading.
    Recv(usize),
    /// Sends FIN.
    Shutdown(usize),
    /// The server must have closed the connection.
    ExpectEof(usize),
    /// Closes.
    Close(usize),
    /// Closes with a reset.
    Reset(usize),
    /// A signal that has to end the server.
    Signal(Signal),
    /// Interrupts the wait.
    Interrupt,
    /// Leaves the server no free file descriptor.
    FdsNone,
    /// File descriptors are free again.
    FdsFree,
}

/// The signals that end a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
}

impl Step {
    /// The client that makes this step.
    pub fn client(self) -> Option<usize> {
        match self {
            Self::Connect(client)
            | Self::Send(client, _)
            | Self::Pause(client)
            | Self::Recv(client)
            | Self::Shutdown(client)
            | Self::ExpectEof(client)
            | Self::Close(client)
            | Self::Reset(client) => Some(client),
            Self::Signal(_) | Self::Interrupt | Self::FdsNone | Self::FdsFree => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(client) => write!(f, "c{client} connect"),
            Self::Send(client, bytes) => write!(f, "c{client} send {bytes}"),
            Self::Pause(client) => write!(f, "c{client} pause"),
            Self::Recv(client) => write!(f, "c{client} recv"),
            Self::Shutdown(client) => write!(f, "c{client} shutdown"),
            Self::ExpectEof(client) => write!(f, "c{client} expect-eof"),
            Self::Close(client) => write!(f, "c{client} close"),
            Self::Reset(client) => write!(f, "c{client} reset"),
            Self::Signal(Signal::Term) => f.write_str("signal TERM"),
            Self::Signal(Signal::Int) => f.write_str("signal INT"),
            Self::Interrupt => f.write_str("interrupt"),
            Self::FdsNone => f.write_str("fds none"),
            Self::FdsFree => f.write_str("fds free"),
        }
    }
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// Whether a step comes together with the one before it: the server makes no call between the two.
    joined: Vec<bool>,
    /// Small socket buffers on both sides.
    pub small_buffers: bool,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.small_buffers {
            f.write_str("small-buffers; ")?;
        }
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                f.write_str(if self.joined[at] { " & " } else { "; " })?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

/// The standard scripts, the simplest first: name and text.
pub const STANDARD: &[(&str, &str)] = &[
    ("close", "c0 connect; c0 send 3; c0 send 5000; c0 shutdown; c0 expect-eof"),
    ("two", "c0 connect; c0 send 5; c1 connect; c1 send 700; c0 shutdown; c1 shutdown"),
    ("reset", "c0 connect; c1 connect; c0 send 3; c0 reset; c1 send 7; c1 shutdown"),
    ("half-close", "c0 connect; c0 send 20000; c0 shutdown; c0 expect-eof"),
    ("emfile", "c0 connect; c0 send 3; fds none; c1 connect; c1 send 4; c0 shutdown; c0 expect-eof; c1 shutdown"),
    ("stop", "c0 connect; c0 send 3; signal TERM"),
    ("finish", "c0 connect; c0 send 3; c0 send 5000 & c0 shutdown; c0 expect-eof"),
    ("queue", "c0 connect & c1 connect; c0 send 3; c1 send 4; c0 shutdown; c1 shutdown"),
    ("back-pressure", "small-buffers; c0 connect; c0 pause; c0 send 450000; c0 recv; c0 send 3; c0 shutdown"),
];

impl Script {
    /// One of the standard scripts.
    pub fn standard(name: &str) -> Option<Self> {
        let (name, text) = STANDARD.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(name, text).expect("the standard scripts are right"))
    }

    /// All standard scripts.
    pub fn all_standard() -> Vec<Self> {
        STANDARD.iter().filter_map(|(name, _)| Self::standard(name)).collect()
    }

    /// Parses a text. The error names the line and the reason.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut script = Self { name: name.to_owned(), steps: Vec::new(), joined: Vec::new(), small_buffers: false };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for moment in line.split(';').map(str::trim).filter(|moment| !moment.is_empty()) {
                for (at, part) in moment.split('&').map(str::trim).enumerate() {
                    script.add(part, at > 0).map_err(|what| format!("line {}, '{part}': {what}", number + 1))?;
                }
            }
        }
        if script.steps.is_empty() {
            return Err("the script has no step; the shortest script is 'c0 connect'".into());
        }
        Ok(script)
    }

    /// Short reads: each message is sent in two pieces.
    pub fn with_short_reads(mut self) -> Self {
        let split = |(step, joined): (&Step, &bool)| match *step {
            Step::Send(client, bytes @ 2..) => {
                vec![(Step::Send(client, bytes / 2), *joined), (Step::Send(client, bytes - bytes / 2), false)]
            }
            step => vec![(step, *joined)],
        };
        (self.steps, self.joined) = self.steps.iter().zip(&self.joined).flat_map(split).unzip();
        self
    }

    /// Short writes: socket buffers are small.
    pub fn with_short_writes(self) -> Self {
        Self { small_buffers: true, ..self }
    }

    /// No file descriptor is free from the first connect to the end of the script.
    pub fn with_emfile(mut self) -> Self {
        if !self.steps.contains(&Step::FdsNone)
            && let Some(at) = self.steps.iter().position(|step| matches!(step, Step::Connect(_)))
        {
            self.insert(self.end_of_moment(at) + 1, Step::FdsNone);
            // A signal ends the server, so nothing comes after it.
            let end = self.steps.iter().position(|step| matches!(step, Step::Signal(_))).unwrap_or(self.steps.len());
            self.insert(end, Step::FdsFree);
        }
        self
    }

    fn insert(&mut self, at: usize, step: Step) {
        self.steps.insert(at, step);
        self.joined.insert(at, false);
    }

    /// The last of the steps that come together with this one.
    pub(crate) fn end_of_moment(&self, at: usize) -> usize {
        at + self.joined.iter().skip(at + 1).take_while(|joined| **joined).count()
    }

    /// How many moments these steps are: those that come together are one.
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn moments(&self, steps: std::ops::Range<usize>) -> usize {
        self.joined[steps].iter().filter(|joined| !**joined).count()
    }

    fn add(&mut self, part: &str, joined: bool) -> Result<(), String> {
        let words: Vec<&str> = part.split_whitespace().collect();
        let Some(first) = words.first() else {
            return Err("a step is missing beside '&', as in 'c0 send 3 & c0 shutdown'".into());
        };
        if *first == "small-buffers" {
            if !self.steps.is_empty() {
                return Err("put it before the first step, because buffers are set before a connection exists".into());
            }
            self.small_buffers = true;
            return nothing_after(&words, 1);
        }
        let step = match client(first) {
            Some(client) => self.of_client(client?, &words)?,
            None => of_server(&words)?,
        };
        let together = |step: &Step| step.client().is_some() && !matches!(step, Step::Pause(_) | Step::ExpectEof(_));
        if joined && !(together(&step) && self.steps.last().is_some_and(together)) {
            return Err("'&' joins what clients do: connect, send, recv, shutdown, close and reset".into());
        }
        self.steps.push(step);
        self.joined.push(joined);
        Ok(())
    }

    fn of_client(&self, client: usize, words: &[&str]) -> Result<Step, String> {
        const VERBS: &[&str] = &["connect", "send", "pause", "recv", "shutdown", "expect-eof", "close", "reset"];
        let Some(verb) = words.get(1) else {
            return Err(format!("the step is missing: one of {}", VERBS.join(", ")));
        };
        let step = match *verb {
            "connect" => Step::Connect(client),
            "send" => {
                let bytes =
                    words.get(2).and_then(|word| word.parse().ok()).filter(|bytes| (1..=16 << 20).contains(bytes));
                Step::Send(client, bytes.ok_or("send takes a number of bytes, 1 to 16777216, as in 'c0 send 3'")?)
            }
            "pause" => Step::Pause(client),
            "recv" => Step::Recv(client),
            "shutdown" => Step::Shutdown(client),
            "expect-eof" => Step::ExpectEof(client),
            "close" => Step::Close(client),
            "reset" => Step::Reset(client),
            unknown => return Err(unknown_word(unknown, VERBS)),
        };
        nothing_after(words, if matches!(step, Step::Send(..)) { 3 } else { 2 })?;
        let mine = || self.steps.iter().filter(|step| step.client() == Some(client));
        let connected = mine().next().is_some();
        let left = mine().any(|step| matches!(step, Step::Close(_) | Step::Reset(_)));
        let finished = mine().any(|step| matches!(step, Step::Shutdown(_)));
        match step {
            Step::Connect(_) if connected => Err(format!("c{client} has connected before; use another client")),
            Step::Connect(_) => Ok(step),
            _ if !connected => Err(format!("c{client} has not connected; put 'c{client} connect' before it")),
            _ if left => Err(format!("c{client} has left")),
            Step::Send(..) | Step::Shutdown(_) if finished => Err(format!("c{client} has sent its FIN")),
            _ => Ok(step),
        }
    }
}

/// Parses `c0` to `c7`. `None` if the word does not look like a client.
fn client(word: &str) -> Option<Result<usize, String>> {
    let digits =
        word.strip_prefix('c').filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number = digits.parse().ok().filter(|number| *number < MAX_CLIENTS);
    Some(number.ok_or_else(|| format!("clients are c0 to c{}", MAX_CLIENTS - 1)))
}

fn of_server(words: &[&str]) -> Result<Step, String> {
    let (step, used) = match (words[0], words.get(1).copied()) {
        ("signal", Some("TERM")) => (Step::Signal(Signal::Term), 2),
        ("signal", Some("INT")) => (Step::Signal(Signal::Int), 2),
        ("signal", _) => return Err("signal takes TERM or INT".into()),
        ("interrupt", _) => (Step::Interrupt, 1),
        ("fds", Some("none")) => (Step::FdsNone, 2),
        ("fds", Some("free")) => (Step::FdsFree, 2),
        ("fds", _) => return Err("fds takes none or free".into()),
        (unknown, _) => return Err(unknown_word(unknown, &["c0", "signal", "interrupt", "fds", "small-buffers"])),
    };
    nothing_after(words, used)?;
    Ok(step)
}

fn nothing_after(words: &[&str], used: usize) -> Result<(), String> {
    match words.get(used) {
        Some(word) => Err(format!("'{word}' is one word too many (separate steps by ';' or by lines)")),
        None => Ok(()),
    }
}

fn unknown_word(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|it| (strsim::osa_distance(word, it), it)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 2.max(word.len() / 3) => {
            format!("'{word}' is not a word of scripts; did you mean '{nearest}'?")
        }
        _ => format!("'{word}' is not a word of scripts; the words are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_semicolons_are_the_same_and_comments_are_none() {
        let one = Script::parse("x", "c0 connect; c0 send 3").unwrap();
        let two = Script::parse("x", "# a client\nc0 connect\n\n  c0 send 3 # bytes\n").unwrap();
        assert_eq!(one, two);
        assert_eq!(one.to_string(), "c0 connect; c0 send 3");
    }

    #[test]
    fn every_standard_script_prints_as_it_was_written() {
        for (name, text) in STANDARD {
            assert_eq!(Script::standard(name).unwrap().to_string(), *text);
        }
    }

    #[test]
    fn an_error_names_the_line_and_a_suggestion() {
        for (text, parts) in [
            ("c0 connect\nc0 sned 3", &["line 2", "'c0 sned 3'", "did you mean 'send'"][..]),
            ("c0 send 3", &["line 1", "has not connected"]),
            ("c0 connect; c0 send many", &["number of bytes"]),
            ("c0 connect; c0 shutdown; c0 send 1", &["has sent its FIN"]),
            ("c0 connect; c0 reset; c0 recv", &["has left"]),
            ("c0 connect; c0 connect", &["has connected before"]),
            ("c9 connect", &["c0 to c7"]),
            ("singal TERM", &["did you mean 'signal'"]),
            ("signal KILL", &["TERM or INT"]),
            ("c0 connect; small-buffers", &["before the first step"]),
            ("c0 connect now", &["one word too many"]),
            ("# nothing", &["no step"]),
            ("c0 connect & signal TERM", &["line 1", "'signal TERM'", "joins what clients do"]),
            ("c0 connect; c0 send 3 &", &["a step is missing beside '&'"]),
            ("c0 connect; c0 pause & c0 send 3", &["joins what clients do"]),
        ] {
            let said = Script::parse("x", text).unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{text}: {said}");
        }
    }

    #[test]
    fn steps_that_come_together_stay_together() {
        let script = Script::parse("x", "c0 connect; c0 send 4 & c0 shutdown; c1 connect").unwrap();
        assert_eq!((script.end_of_moment(0), script.end_of_moment(1), script.moments(0..4)), (0, 2, 3));
        let short = script.clone().with_short_reads().to_string();
        assert_eq!(short, "c0 connect; c0 send 2; c0 send 2 & c0 shutdown; c1 connect");
        let two = Script::parse("x", "c0 connect & c1 connect; c0 send 1").unwrap();
        assert_eq!(two.with_emfile().to_string(), "c0 connect & c1 connect; fds none; c0 send 1; fds free");
    }
}
