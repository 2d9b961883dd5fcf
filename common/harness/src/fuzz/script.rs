//! What the clients do, as data: a text of short lines that can be read, stored and carried out again.
//!
//! Invariant: a script that was parsed or made here can be carried out. A group of clients connects before it does
//! anything else, and does nothing after it has left. Nothing in it is a time: what waits, waits for a state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::client::ConnectOptions;

/// What the words mean; shown by `cargo lab check --help`.
pub const LANGUAGE: &str = "\
One step a line, or several separated by ';'. '#' begins a comment. c0 is a client, c3..c9 are seven that do the same.
  c0 connect         opens a connection; behind it may stand rcvbuf=N sndbuf=N mss=N (bytes) and nagle
  c0 send N by M     sends N bytes, at most M in a call; what the socket does not take follows as soon as it does
  c0 pause           reads nothing from here on
  c0 recv N          reads N bytes more and pauses; without N, reads all from here on, as at first
  c0 urgent          sends a byte of urgent data, which is no part of the stream
  c0 shutdown        half-closes: sends FIN behind what its socket has taken
  c0 close           closes
  c0 reset           closes with a reset
  freeze             stops the server where it is (SIGSTOP)
  thaw               lets it go on (SIGCONT)
  interrupt N        freeze and thaw, N times
  signals N          N each of SIGWINCH, SIGURG and SIGCHLD, which change nothing by default
  settle             waits until the server sleeps
  sync               waits until all who read have what they are owed, and FIN if they have sent FIN
  rest               as sync; then the server has to come to rest while nobody moves, and to serve a new client
  finish             all read all they are owed, send FIN, get FIN and close; then the server has to be at rest, hold no
                     connection any more, and serve a new client
A stopped server goes on before sync, rest and finish. Every script ends with finish, written or not.";

/// Clients that do the same, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Group {
    /// How many they are.
    pub clients: u32,
    /// Their sockets.
    pub sockets: Sockets,
}

/// Socket options that a client sets before its connect; 0 leaves the kernel's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sockets {
    /// SO_RCVBUF.
    pub receive_buffer: u32,
    /// SO_SNDBUF.
    pub send_buffer: u32,
    /// TCP_MAXSEG.
    pub max_segment: u32,
    /// Without TCP_NODELAY: small pieces are held back and sent together.
    pub nagle: bool,
}

/// One step of a script; a client's step is done by a whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// A group does something; the first number is its place in `Script::groups`.
    Client(usize, Deed),
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// SIGSTOP and SIGCONT, so many times.
    Interrupt(u32),
    /// Signals that are ignored by default, so many of each.
    Signals(u32),
    /// Waits until the server sleeps.
    Settle,
    /// Waits until all who read have what they are owed.
    Sync,
    /// `Sync`, and the server has to come to rest.
    Rest,
    /// Everybody gets what is owed and leaves, and nothing may be left behind.
    Finish,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// Opens the connection.
    Connect,
    /// Sends so many bytes, at most so many of them in a call (0: as many as go).
    Send(u64, u64),
    /// Stops reading.
    Pause,
    /// Reads so many bytes more, or everything from here on.
    Recv(Option<u64>),
    /// A byte of urgent data.
    Urgent,
    /// FIN.
    Shutdown,
    /// Closes.
    Close,
    /// Closes with a reset.
    Reset,
}

/// A script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// Who takes part.
    pub groups: Vec<Group>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// What a group may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Absent,
    Open,
    Finished,
    Left,
}

impl Stage {
    /// The stage after this deed; `None` if it cannot be done now.
    pub(super) fn after(self, deed: Deed) -> Option<Self> {
        match (self, deed) {
            (Self::Absent, Deed::Connect) => Some(Self::Open),
            (Self::Open, Deed::Send(..) | Deed::Urgent) => Some(Self::Open),
            (Self::Open, Deed::Shutdown) => Some(Self::Finished),
            (Self::Open | Self::Finished, Deed::Pause | Deed::Recv(_)) => Some(self),
            (Self::Open | Self::Finished, Deed::Close | Deed::Reset) => Some(Self::Left),
            _ => None,
        }
    }
}

impl Sockets {
    /// As the clients take them.
    pub(super) fn options(self) -> ConnectOptions {
        let given = |value: u32| if value > 0 { Some(value as usize) } else { None };
        ConnectOptions {
            receive_buffer: given(self.receive_buffer),
            send_buffer: given(self.send_buffer),
            max_segment: given(self.max_segment).map(|size| size as u32),
            nagle: self.nagle,
            ..ConnectOptions::default()
        }
    }
}

impl Script {
    /// The same without what cannot be done (a step of clients that are not connected, or have left), without groups
    /// that do nothing, and with the groups in the order in which they connect.
    pub fn tidy(&self) -> Self {
        let mut tidy = Self::default();
        let mut places: Vec<Option<usize>> = vec![None; self.groups.len()];
        let mut stages = vec![Stage::Absent; self.groups.len()];
        for step in &self.steps {
            let Step::Client(group, deed) = *step else {
                if *step == Step::Finish {
                    stages.iter_mut().filter(|stage| **stage != Stage::Absent).for_each(|stage| *stage = Stage::Left);
                }
                tidy.steps.push(*step);
                continue;
            };
            let Some(stage) = stages[group].after(deed) else { continue };
            stages[group] = stage;
            let place = *places[group].get_or_insert_with(|| {
                tidy.groups.push(self.groups[group]);
                tidy.groups.len() - 1
            });
            tidy.steps.push(Step::Client(place, deed));
        }
        while tidy.steps.last() == Some(&Step::Finish) {
            tidy.steps.pop();
        }
        tidy
    }

    /// Several scripts one after the other, each to its end.
    pub fn joined(scripts: &[Self]) -> Self {
        let mut all = Self::default();
        for script in scripts {
            let first = all.groups.len();
            all.groups.extend(&script.groups);
            all.steps.extend(script.steps.iter().map(|step| match *step {
                Step::Client(group, deed) => Step::Client(first + group, deed),
                other => other,
            }));
            all.steps.push(Step::Finish);
        }
        all.tidy()
    }

    /// The number of a group's first client: clients are numbered in the order of the groups.
    pub(super) fn first(&self, group: usize) -> u32 {
        self.groups[..group].iter().map(|it| it.clients).sum()
    }

    /// All its clients.
    pub fn clients(&self) -> u32 {
        self.first(self.groups.len())
    }

    /// Every step in its words.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.steps.iter().map(|step| match *step {
            Step::Client(group, deed) => self.deed(group, deed),
            Step::Freeze => "freeze".into(),
            Step::Thaw => "thaw".into(),
            Step::Interrupt(times) => format!("interrupt {times}"),
            Step::Signals(times) => format!("signals {times}"),
            Step::Settle => "settle".into(),
            Step::Sync => "sync".into(),
            Step::Rest => "rest".into(),
            Step::Finish => "finish".into(),
        })
    }

    fn deed(&self, group: usize, deed: Deed) -> String {
        let (first, Group { clients, sockets }) = (self.first(group), self.groups[group]);
        let who = if clients == 1 { format!("c{first}") } else { format!("c{first}..c{}", first + clients - 1) };
        let what = match deed {
            Deed::Connect => format!("connect{sockets}"),
            Deed::Send(bytes, 0) => format!("send {bytes}"),
            Deed::Send(bytes, piece) => format!("send {bytes} by {piece}"),
            Deed::Pause => "pause".into(),
            Deed::Recv(Some(bytes)) => format!("recv {bytes}"),
            Deed::Recv(None) => "recv".into(),
            Deed::Urgent => "urgent".into(),
            Deed::Shutdown => "shutdown".into(),
            Deed::Close => "close".into(),
            Deed::Reset => "reset".into(),
        };
        format!("{who} {what}")
    }
}

impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [("rcvbuf", self.receive_buffer), ("sndbuf", self.send_buffer), ("mss", self.max_segment)];
        for (name, size) in sizes.iter().filter(|(_, size)| *size > 0) {
            write!(f, " {name}={size}")?;
        }
        if self.nagle { f.write_str(" nagle") } else { Ok(()) }
    }
}

impl fmt::Display for Script {
    /// In one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        text.parse().unwrap_or_else(|what| panic!("{text}: {what}"))
    }

    #[test]
    fn what_cannot_be_done_is_left_out_and_clients_are_numbered_anew() {
        let mut whole = script("c0 connect; c1..c3 connect; c4 connect; c0 send 1; c4 send 1; c1..c3 shutdown");
        whole.steps.push(Step::Client(1, Deed::Send(5, 0)));
        // So c0 cannot send either.
        whole.steps.remove(0);
        assert_eq!(whole.tidy().to_string(), "c0..c2 connect; c3 connect; c3 send 1; c0..c2 shutdown");
    }

    #[test]
    fn joined_scripts_end_each_for_itself() {
        let one = script("c0..c1 connect; c0..c1 send 3");
        let joined = Script::joined(&[one.clone(), one]);
        assert_eq!(joined.to_string(), "c0..c1 connect; c0..c1 send 3; finish; c2..c3 connect; c2..c3 send 3");
    }
}
