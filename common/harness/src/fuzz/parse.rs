//! A script's text, read.
//!
//! Invariant: what a script prints is read as the same script. What is wrong is said with its line, and what to write.

use std::str::FromStr;

use super::script::{Deed, Group, Script, Sockets, Stage, Step};

/// As many clients as one script may have: a server on select has 1,024 descriptors.
const MOST_CLIENTS: u32 = 900;
/// As much as one step may send: it has to be moved, compared, and waited for.
const MOST_BYTES: u64 = 64 << 20;
const MOST_TIMES: u32 = 1000;

/// The words of the first client and the last one of a group.
type Names = (u32, u32);

/// A script as far as it was read.
#[derive(Default)]
struct Reader {
    script: Script,
    names: Vec<Names>,
    stages: Vec<Stage>,
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Reader::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for part in line.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                reader.add(part).map_err(|what| format!("line {}, '{part}': {what}", number + 1))?;
            }
        }
        if reader.script.steps.is_empty() {
            return Err("the script has no step; the shortest one is 'c0 connect'".into());
        }
        Ok(reader.script)
    }
}

impl Reader {
    fn add(&mut self, part: &str) -> Result<(), String> {
        let words: Vec<&str> = part.split_whitespace().collect();
        let step = match names(words[0]) {
            Some(names) => self.of_clients(names?, &words[1..])?,
            None => of_the_server(&words)?,
        };
        if step == Step::Finish {
            self.stages.iter_mut().filter(|it| **it != Stage::Absent).for_each(|it| *it = Stage::Left);
        }
        self.script.steps.push(step);
        Ok(())
    }

    fn of_clients(&mut self, names: Names, words: &[&str]) -> Result<Step, String> {
        let Some((verb, rest)) = words.split_first() else {
            return Err("what does it do? 'connect', for one".into());
        };
        let who = if names.0 == names.1 { format!("c{}", names.0) } else { format!("c{}..c{}", names.0, names.1) };
        if *verb == "connect" {
            return self.connect(names, &who, rest);
        }
        let deed = deed(verb, rest)?;
        let Some(group) = self.names.iter().position(|known| *known == names) else {
            return Err(format!("{who} has not connected; put '{who} connect' before it"));
        };
        let Some(stage) = self.stages[group].after(deed) else {
            let why = if self.stages[group] == Stage::Left { "has left" } else { "has sent its FIN" };
            return Err(format!("{who} {why}"));
        };
        self.stages[group] = stage;
        Ok(Step::Client(group, deed))
    }

    fn connect(&mut self, names: Names, who: &str, options: &[&str]) -> Result<Step, String> {
        if self.names.iter().any(|known| known.0 <= names.1 && names.0 <= known.1) {
            return Err(format!("{who} has connected before; use another number"));
        }
        let clients = names.1 - names.0 + 1;
        if self.script.clients() + clients > MOST_CLIENTS {
            return Err(format!("a script has at most {MOST_CLIENTS} clients"));
        }
        self.script.groups.push(Group { clients, sockets: sockets(options)? });
        self.names.push(names);
        self.stages.push(Stage::Open);
        Ok(Step::Client(self.names.len() - 1, Deed::Connect))
    }
}

/// `c3` or `c3..c9`; `None` if it does not look like a client at all.
fn names(word: &str) -> Option<Result<Names, String>> {
    let number = |name: &str| name.strip_prefix('c')?.parse::<u32>().ok();
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && last < u32::MAX => Some(Ok((first, last))),
        (Some(_), _) => Some(Err("clients are c0, or c3..c9".into())),
        _ => None,
    }
}

fn deed(verb: &str, rest: &[&str]) -> Result<Deed, String> {
    let bytes = |word: &str| {
        let bytes = word.parse().ok().filter(|bytes| (1..=MOST_BYTES).contains(bytes));
        bytes.ok_or_else(|| format!("'{word}' is no number of bytes, 1 to {MOST_BYTES}"))
    };
    match (verb, rest) {
        ("send", [all]) => Ok(Deed::Send(bytes(all)?, 0)),
        ("send", [all, "by", piece]) => Ok(Deed::Send(bytes(all)?, bytes(piece)?)),
        ("send", _) => Err("send takes a number of bytes, as in 'c0 send 300' or 'c0 send 300 by 10'".into()),
        ("recv", [some]) => Ok(Deed::Recv(Some(bytes(some)?))),
        ("recv", []) => Ok(Deed::Recv(None)),
        ("pause", []) => Ok(Deed::Pause),
        ("urgent", []) => Ok(Deed::Urgent),
        ("shutdown", []) => Ok(Deed::Shutdown),
        ("close", []) => Ok(Deed::Close),
        ("reset", []) => Ok(Deed::Reset),
        ("pause" | "urgent" | "shutdown" | "close" | "reset" | "recv", _) => {
            Err(format!("'{}' is one word too many (steps are separated by ';' or a line's end)", rest[rest.len() - 1]))
        }
        (unknown, _) => Err(format!(
            "'{unknown}' is nothing that a client does: connect, send, pause, recv, urgent, shutdown, close, reset"
        )),
    }
}

fn sockets(options: &[&str]) -> Result<Sockets, String> {
    let mut sockets = Sockets::default();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let size = value.parse::<u32>().ok().filter(|size| *size > 0);
        let place = match (name, size) {
            ("nagle", _) if value.is_empty() => {
                sockets.nagle = true;
                continue;
            }
            ("rcvbuf", Some(_)) => &mut sockets.receive_buffer,
            ("sndbuf", Some(_)) => &mut sockets.send_buffer,
            // What Linux accepts.
            ("mss", Some(88..=32_767)) => &mut sockets.max_segment,
            ("mss", Some(_)) => return Err(format!("'{option}': a segment has 88 to 32767 bytes")),
            _ => return Err(format!("'{option}' is none of rcvbuf=N, sndbuf=N, mss=N and nagle")),
        };
        *place = size.unwrap_or_default();
    }
    Ok(sockets)
}

fn of_the_server(words: &[&str]) -> Result<Step, String> {
    let times = |word: &str| {
        let times = word.parse().ok().filter(|times| (1..=MOST_TIMES).contains(times));
        times.ok_or_else(|| format!("'{word}' is no number of times, 1 to {MOST_TIMES}"))
    };
    match words {
        ["freeze"] => Ok(Step::Freeze),
        ["thaw"] => Ok(Step::Thaw),
        ["interrupt", number] => Ok(Step::Interrupt(times(number)?)),
        ["signals", number] => Ok(Step::Signals(times(number)?)),
        ["settle"] => Ok(Step::Settle),
        ["sync"] => Ok(Step::Sync),
        ["rest"] => Ok(Step::Rest),
        ["finish"] => Ok(Step::Finish),
        ["interrupt" | "signals", ..] => Err(format!("how many times? As in '{} 3'", words[0])),
        ["freeze" | "thaw" | "settle" | "sync" | "rest" | "finish", ..] => {
            Err(format!("'{}' is one word too many (steps are separated by ';' or a line's end)", words[1]))
        }
        _ => Err(format!(
            "'{}' is no client (c0, c3..c9) and none of freeze, thaw, interrupt, signals, settle, sync, rest, finish",
            words[0]
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_as_the_same_script() {
        let text = "c0 connect rcvbuf=4096 sndbuf=2048 mss=1400 nagle; c1..c40 connect; c0 send 300 by 10; \
                    c1..c40 send 1; c0 pause; c0 recv 5; c0 recv; settle; freeze; c0 urgent; c1..c40 reset; thaw; \
                    interrupt 3; signals 2; sync; rest; c0 shutdown; finish; c41 connect; c41 close";
        let script: Script = text.parse().unwrap();
        assert_eq!(script.to_string(), text);
        let lines = script.lines().collect::<Vec<_>>().join("\n");
        assert_eq!(lines.parse::<Script>().unwrap(), script);
        assert_eq!(script.tidy(), script);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, parts) in [
            ("c0 connect\nc0 sned 3", &["line 2", "'c0 sned 3'", "a client does"][..]),
            ("c0 send 3", &["line 1", "has not connected"]),
            ("c0 connect; c0 send many", &["number of bytes"]),
            ("c0 connect; c0 shutdown; c0 send 1", &["has sent its FIN"]),
            ("c0 connect; c0 reset; c0 recv", &["has left"]),
            ("c0 connect; finish; c0 recv", &["has left"]),
            ("c0..c5 connect; c3 connect", &["connected before"]),
            ("c0..c5 connect; c3 send 1", &["has not connected"]),
            ("c0 connect mtu=3", &["mss=N"]),
            ("c0..c999 connect", &["at most 900"]),
            ("c0 connect; c0 close now", &["one word too many"]),
            ("interrupt", &["how many times"]),
            ("stop", &["none of freeze"]),
            ("# nothing", &["no step"]),
        ] {
            let said = text.parse::<Script>().unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{text}: {said}");
        }
    }
}
