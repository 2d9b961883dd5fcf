//! The command line that all servers share (clause 1 of the contract).
//!
//! Invariant: a value that passes here is usable. An error names the option and the value at fault.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

/// Where to listen, and how many connections the accept queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Args {
    /// `--addr`, an IPv4 or IPv6 address with a port. Port 0 means any free port.
    pub addr: SocketAddr,
    /// `--backlog`, 1 to 65535. Linux silently cuts it to `net.core.somaxconn` (listen(2)).
    pub backlog: i32,
}

/// An option that a variant has in addition to the common options.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// With its dashes: `--workers`.
    pub name: &'static str,
    /// The value that it takes.
    pub takes: Takes,
    /// One line for the usage text.
    pub help: &'static str,
}

/// The value that an option takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// No value.
    Nothing,
    /// A number in this range, both ends included.
    Number(usize, usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A variant's own options, as they stood on the command line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Given(Vec<(&'static str, String)>);

impl Given {
    /// Whether the option was given.
    pub fn has(&self, option: &str) -> bool {
        self.word(option).is_some()
    }

    /// The value of the option. If it was given twice, the last value.
    pub fn word(&self, option: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| *name == option).map(|(_, value)| value.as_str())
    }

    /// The value of the option as a number.
    pub fn number(&self, option: &str) -> Option<usize> {
        self.word(option)?.parse().ok()
    }
}

/// A command line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Serve.
    Run(Args, Given),
    /// `--help`: print the usage to stdout and succeed.
    Help,
}

/// Why a command line was refused. Its `Display` is one line without the program's name.
#[derive(Debug, PartialEq, Eq)]
pub struct BadArgs(String);

impl fmt::Display for BadArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Args {
    /// Parses the arguments after the program's name, including a variant's own options. `--option value` and
    /// `--option=value` are the same.
    pub fn parse(args: impl IntoIterator<Item = OsString>, options: &[Opt]) -> Result<Parsed, BadArgs> {
        let mut given = Given::default();
        let mut parsed = Args { addr: SocketAddr::from(([127, 0, 0, 1], 7000)), backlog: 4096 };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let arg = arg.to_string_lossy().into_owned();
            let (option, mut value) = match arg.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let mut value = || {
                value
                    .take()
                    .or_else(|| args.next().map(|value| value.to_string_lossy().into_owned()))
                    .ok_or_else(|| BadArgs(format!("{option} needs a value")))
            };
            match option {
                "-h" | "--help" => return Ok(Parsed::Help),
                "--addr" => parsed.addr = parse_addr(&value()?)?,
                "--backlog" => parsed.backlog = parse_backlog(&value()?)?,
                _ => match options.iter().find(|it| it.name == option) {
                    Some(Opt { takes: Takes::Nothing, .. }) if arg.contains('=') => {
                        return Err(BadArgs(format!("{option} takes no value, and got '{arg}'")));
                    }
                    Some(Opt { name, takes: Takes::Nothing, .. }) => given.0.push((name, String::new())),
                    Some(Opt { name, takes, .. }) => given.0.push((name, takes.accept(option, value()?)?)),
                    None => return Err(BadArgs(format!("unknown argument '{arg}'"))),
                },
            }
        }
        Ok(Parsed::Run(parsed, given))
    }
}

impl Takes {
    fn accept(self, option: &str, value: String) -> Result<String, BadArgs> {
        let (accepted, wanted) = match self {
            Self::Nothing => (value.is_empty(), "nothing".to_owned()),
            Self::Number(first, last) => (
                value.parse::<usize>().is_ok_and(|it| (first..=last).contains(&it)),
                format!("a number from {first} to {last}"),
            ),
            Self::OneOf(words) => (words.contains(&value.as_str()), format!("one of: {}", words.join(", "))),
        };
        if accepted { Ok(value) } else { Err(BadArgs(format!("{option} '{value}' is not {wanted}"))) }
    }

    fn shown(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Number(..) => " N".into(),
            Self::OneOf(words) => format!(" {}", words.join("|")),
        }
    }
}

fn parse_addr(value: &str) -> Result<SocketAddr, BadArgs> {
    value.parse().map_err(|_| {
        BadArgs(format!("--addr '{value}' is not an address with a port, such as 127.0.0.1:7000 or [::1]:7000"))
    })
}

fn parse_backlog(value: &str) -> Result<i32, BadArgs> {
    match value.parse::<u16>() {
        Ok(backlog) if backlog > 0 => Ok(i32::from(backlog)),
        _ => Err(BadArgs(format!("--backlog '{value}' is not a number from 1 to 65535"))),
    }
}

pub(crate) fn usage(name: &str, options: &[Opt]) -> String {
    let brief: String = options.iter().map(|it| format!(" [{}{}]", it.name, it.takes.shown())).collect();
    let lines: String = options
        .iter()
        .map(|it| format!("\n  {:16}  {}", format!("{}{}", it.name, it.takes.shown()), it.help))
        .collect();
    format!(
        "usage: {name} [--addr ADDR:PORT] [--backlog N]{brief}

An echo server: it sends every byte back to the client that sent it.

  --addr ADDR:PORT  where to listen, IPv4 or [IPv6] (default 127.0.0.1:7000);
                    port 0 means any free port
  --backlog N       length of the accept queue, 1 to 65535 (default 4096){lines}
  --help            print this text

The server prints 'listening on ADDR:PORT' when clients may connect. SIGINT or
SIGTERM ends it with exit code 0.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[Opt] = &[
        Opt { name: "--workers", takes: Takes::Number(1, 64), help: "" },
        Opt { name: "--backend", takes: Takes::OneOf(&["epoll", "poll"]), help: "which" },
        Opt { name: "--demo", takes: Takes::Nothing, help: "" },
    ];

    fn parse(args: &[&str]) -> Result<Parsed, BadArgs> {
        Args::parse(args.iter().map(OsString::from), OPTIONS)
    }

    #[test]
    fn both_ways_to_give_a_value_are_the_same() {
        let expected = Ok(Parsed::Run(Args { addr: "[::1]:0".parse().unwrap(), backlog: 7 }, Given::default()));
        assert_eq!(parse(&["--addr", "[::1]:0", "--backlog", "7"]), expected);
        assert_eq!(parse(&["--addr=[::1]:0", "--backlog=7"]), expected);
    }

    #[test]
    fn a_variants_own_options_are_given_by_name() {
        let Ok(Parsed::Run(_, given)) = parse(&["--workers=3", "--demo", "--backend", "poll"]) else { panic!() };
        assert_eq!(
            (given.number("--workers"), given.word("--backend"), given.has("--demo")),
            (Some(3), Some("poll"), true)
        );
        let Ok(Parsed::Run(_, given)) = parse(&["--addr", "[::1]:0"]) else { panic!() };
        assert_eq!((given.number("--workers"), given.has("--demo")), (None, false));
        assert!(usage("x", OPTIONS).contains("--backend epoll|poll  which\n"));
    }

    #[test]
    fn an_error_names_the_option_or_the_value() {
        for (args, named) in [
            (&["--addr"][..], "--addr needs a value"),
            (&["--addr", "localhost"], "'localhost'"),
            (&["--addr", "127.0.0.1:70000"], "'127.0.0.1:70000'"),
            (&["--backlog", "0"], "'0'"),
            (&["--backlog=many"], "'many'"),
            (&["7000"], "'7000'"),
            (&["--verbose=1"], "'--verbose=1'"),
            (&["--workers", "65"], "--workers '65' is not a number from 1 to 64"),
            (&["--backend", "kqueue"], "--backend 'kqueue' is not one of: epoll, poll"),
            (&["--backend"], "--backend needs a value"),
            (&["--demo=1"], "'--demo=1'"),
        ] {
            let said = parse(args).unwrap_err().to_string();
            assert!(said.contains(named), "{args:?}: {said}");
        }
    }
}
