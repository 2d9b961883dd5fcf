//! The command line all servers have in common (clause 1 of the contract).
//!
//! Invariant: a value that is accepted here is usable; what is wrong is said with the option and the value at fault.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

/// Where to listen and how many connections may wait to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Args {
    /// `--addr`, an IPv4 or IPv6 address with a port; port 0 takes any free one.
    pub addr: SocketAddr,
    /// `--backlog`, 1 to 65535; Linux cuts it to `net.core.somaxconn` without a word (listen(2)).
    pub backlog: i32,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Serve.
    Run(Args),
    /// `--help`: print the usage to stdout and succeed.
    Help,
}

/// Why a command line was refused; its `Display` is one line without the program's name.
#[derive(Debug, PartialEq, Eq)]
pub struct BadArgs(String);

impl fmt::Display for BadArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Args {
    /// Parses the arguments that follow the program's name; `--option value` and `--option=value` are the same.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, BadArgs> {
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
                _ => return Err(BadArgs(format!("unknown argument '{arg}'"))),
            }
        }
        Ok(Parsed::Run(parsed))
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

pub(crate) fn usage(name: &str) -> String {
    format!(
        "usage: {name} [--addr ADDR:PORT] [--backlog N]

An echo server: every byte a client sends comes back.

  --addr ADDR:PORT  where to listen, IPv4 or [IPv6]; port 0 takes any free port (default 127.0.0.1:7000)
  --backlog N       connections that may wait to be accepted, 1 to 65535 (default 4096)
  --help            this text

It prints 'listening on ADDR:PORT' once it accepts, and ends with exit code 0 on SIGINT or SIGTERM.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Parsed, BadArgs> {
        Args::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn both_ways_to_give_a_value_are_the_same() {
        let expected = Ok(Parsed::Run(Args { addr: "[::1]:0".parse().unwrap(), backlog: 7 }));
        assert_eq!(parse(&["--addr", "[::1]:0", "--backlog", "7"]), expected);
        assert_eq!(parse(&["--addr=[::1]:0", "--backlog=7"]), expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, named) in [
            (&["--addr"][..], "--addr needs a value"),
            (&["--addr", "localhost"], "'localhost'"),
            (&["--addr", "127.0.0.1:70000"], "'127.0.0.1:70000'"),
            (&["--backlog", "0"], "'0'"),
            (&["--backlog=many"], "'many'"),
            (&["7000"], "'7000'"),
            (&["--verbose=1"], "'--verbose=1'"),
        ] {
            let said = parse(args).unwrap_err().to_string();
            assert!(said.contains(named), "{args:?}: {said}");
        }
    }
}
