//! A script at work on a server, and the contract as its judge.
//!
//! Invariant: what is judged is a state and never a time. Bytes are compared as they come; a server that sleeps while
//! somebody waits for bytes or FIN is stuck; one that rests with more than it had before has kept something.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::process::Signal;

use super::script::{Deed, Script, Step as Act};
use crate::client::{Client, Stall, size};
use crate::failure::{Step, Stop, Symptom};
use crate::steps::Log;
use crate::subject::{Launch, Subject};
use crate::trial::Trial;

use super::rest::Holdings;

/// A script that is not through by then says nothing: some servers crawl where sockets are small.
const GIVEN_UP: Duration = Duration::from_secs(10);
/// Calls of one client before the next one has its turn.
const TURN: usize = 16;
/// A foreign server may cut off a client to which it owes more than this, by a policy of its own.
const TOLERATED: u64 = 64 * 1024;

/// Probes have numbers so far above those of a script's clients.
const PROBES: u32 = 100_000;

/// A client and what it is up to.
struct Seat {
    group: usize,
    client: Option<Client>,
    /// It reads until it has received this much.
    until: u64,
    /// The most that it hands over in a call.
    piece: usize,
    finished: bool,
}

/// A server on which scripts are played, one after the other.
pub(super) struct Stage<'s> {
    pub(super) trial: Trial<'s>,
    /// What it held before its first script; `None` where that cannot be seen.
    pub(super) held: Option<Holdings>,
    /// How many scripts in a row have left it with more.
    pub(super) grown: u32,
}

/// One script on one server.
struct Player<'p, 's> {
    stage: &'p mut Stage<'s>,
    script: &'p Script,
    seats: Vec<Seat>,
    frozen: bool,
    end: Instant,
}

impl<'s> Stage<'s> {
    /// Starts a server, which serves somebody once before the first script: what it does once in its life is done.
    pub(super) fn start(subject: &'s Subject) -> Step<Self> {
        let mut stage = Self { trial: Trial::new(subject), held: None, grown: 0 };
        if let Err(stop) = stage.warm_up() {
            return Err(stage.judge(Err(stop)).expect_err("what failed is not judged a success"));
        }
        // The clients of a script are called on a new server as they are called in the script.
        stage.trial.number_clients_from(0);
        Ok(stage)
    }

    fn warm_up(&mut self) -> Step {
        self.trial.probe()?;
        self.comes_to_rest_or_spins("its only client has left")?;
        self.held = self.holdings()?;
        Ok(())
    }

    /// Carries out a script to its end.
    pub(super) fn play(&mut self, script: &Script, end: Instant) -> Step {
        self.trial.log = Log::default();
        let end = end.min(Instant::now() + GIVEN_UP);
        let mut player = Player { stage: self, script, seats: Vec::new(), frozen: false, end };
        match player.all() {
            Err(stop) if player.is_a_policy(&stop)? => Err(Stop::skip("it cuts off a client that does not read")),
            other => other,
        }
    }

    /// What the server's end of this script comes to: a failure with its steps, and `Exited` if the server is dead.
    pub(super) fn judge(self, result: Step) -> Step {
        self.trial.finish(result)
    }
}

impl Player<'_, '_> {
    fn all(&mut self) -> Step {
        for step in &self.script.steps {
            self.step(*step)?;
            if !self.frozen {
                self.pump()?;
            }
        }
        self.finish()
    }

    fn step(&mut self, step: Act) -> Step {
        match step {
            Act::Client(group, deed) => self.group(group, deed),
            Act::Freeze => self.freeze(),
            Act::Thaw => self.thaw(),
            Act::Interrupt(times) => self.interrupt(times),
            Act::Signals(times) => self.signals(times),
            Act::Settle => self.settle(),
            Act::Sync => self.sync("those who read get what they are owed"),
            Act::Rest => self.rest(),
            Act::Finish => self.finish(),
        }
    }

    fn group(&mut self, group: usize, deed: Deed) -> Step {
        let who = self.who(group);
        self.stage.trial.step(format!("{who} {}", told(deed, self.script.groups[group].clients > 1)));
        if deed == Deed::Connect {
            return self.connect(group);
        }
        for seat in self.seats.iter_mut().filter(|seat| seat.group == group) {
            seat.act(deed)?;
        }
        Ok(())
    }

    /// As they are called in the steps of a failure: by the numbers of their streams.
    fn who(&self, group: usize) -> String {
        let sat = self.seats.iter().filter(|seat| seat.group == group).filter_map(|seat| seat.client.as_ref());
        let numbers: Vec<u32> = sat.map(|client| client.id).collect();
        let next = self.stage.trial.next_client();
        let (first, last) = match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => (next, next + self.script.groups[group].clients - 1),
        };
        if first == last { format!("c{first}") } else { format!("c{first} .. c{last}") }
    }

    fn connect(&mut self, group: usize) -> Step {
        let options = self.script.groups[group].sockets.options();
        for _ in 0..self.script.groups[group].clients {
            // While the server is stopped, who does not get into its accept queue takes no part.
            if self.frozen && self.stage.trial.is_full()? {
                self.stage.trial.step("the accept queue is full");
                break;
            }
            let client = match self.stage.trial.connect_quietly(options) {
                Err(Stop::Fail(_)) if self.frozen => {
                    self.stage.trial.step("the next one cannot connect while the server is stopped");
                    break;
                }
                client => client?,
            };
            self.seats.push(Seat { group, client: Some(client), until: u64::MAX, piece: usize::MAX, finished: false });
        }
        Ok(())
    }

    fn stops(&self) -> bool {
        matches!(self.stage.trial.subject.launch, Launch::Command(_))
    }

    fn freeze(&mut self) -> Step {
        if !self.frozen && self.stops() {
            self.stage.trial.stop()?;
            self.frozen = true;
        }
        Ok(())
    }

    fn thaw(&mut self) -> Step {
        if self.frozen {
            self.stage.trial.thaw()?;
            self.frozen = false;
        }
        Ok(())
    }

    fn interrupt(&mut self, times: u32) -> Step {
        self.thaw()?;
        for _ in 0..times {
            self.freeze()?;
            self.thaw()?;
        }
        Ok(())
    }

    fn signals(&mut self, times: u32) -> Step {
        if !self.stops() {
            return Ok(());
        }
        self.stage.trial.step(format!("the server gets {times} each of SIGWINCH, SIGURG and SIGCHLD"));
        for _ in 0..times {
            for signal in [Signal::WINCH, Signal::URG, Signal::CHILD] {
                self.stage.trial.server()?.signal(signal)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Step {
        const APART: Duration = Duration::from_millis(1);
        if self.frozen {
            return Ok(());
        }
        let process = self.stage.trial.server()?.process;
        if process.and_then(|process| process.settle(APART, Duration::from_millis(100))).is_none() {
            std::thread::sleep(APART);
        }
        Ok(())
    }

    /// Everybody sends what is planned, and reads what it wants to, until all who read have what they are owed.
    fn sync(&mut self, what: &str) -> Step {
        self.thaw()?;
        if self.seats.iter().any(Seat::waits) {
            self.stage.trial.step(what);
        }
        let mut stall = Stall::new();
        while self.seats.iter().any(Seat::waits) {
            if self.pump()? {
                stall = Stall::new();
                continue;
            }
            if Instant::now() > self.end {
                return Err(Stop::skip(format!("it goes on, and is not through after {} s", GIVEN_UP.as_secs())));
            }
            self.await_something()?;
            if let Some(client) = self.seats.iter().find(|seat| seat.waits()).and_then(|seat| seat.client.as_ref()) {
                stall.check(client)?;
            }
        }
        Ok(())
    }

    /// What can be done without waiting; whether anything could.
    fn pump(&mut self) -> Step<bool> {
        let mut moved = false;
        for seat in &mut self.seats {
            moved |= seat.pump()?;
        }
        Ok(moved)
    }

    fn await_something(&self) -> Step {
        let clients = self.seats.iter().filter_map(|seat| Some((seat.client.as_ref()?, seat.reads())));
        // Who neither reads nor writes may have been hung up on, and would be reported at once.
        let busy = clients.filter(|(client, reads)| *reads || client.sent < client.planned);
        let mut fds: Vec<PollFd<'_>> = busy.map(|(client, reads)| client.interest(reads)).collect();
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Stop::Broken(format!("poll of the clients: {error}"))),
        }
    }

    fn rest(&mut self) -> Step {
        self.sync("those who read get what they are owed")?;
        self.stage.trial.step("nobody moves, and the server has to come to rest");
        self.stage.comes_to_rest_or_spins("no client moves")?;
        self.probe()
    }

    /// Whoever is stuck, others are served. The clients of the script keep their numbers.
    fn probe(&mut self) -> Step {
        let next = self.stage.trial.next_client();
        self.stage.trial.number_clients_from(next + PROBES);
        let served = self.stage.trial.probe();
        self.stage.trial.number_clients_from(next);
        served
    }

    /// Everybody leaves in peace, and nothing is left.
    fn finish(&mut self) -> Step {
        self.thaw()?;
        for seat in &mut self.seats {
            seat.until = u64::MAX;
        }
        self.sync("all read all that they are owed")?;
        let open: Vec<&mut Seat> = self.seats.iter_mut().filter(|seat| seat.client.is_some()).collect();
        if open.iter().any(|seat| !seat.finished) {
            self.stage.trial.step("all who have not yet finished send FIN");
        }
        for seat in open {
            seat.act(Deed::Shutdown)?;
        }
        self.sync("all get FIN, and close")?;
        for seat in &mut self.seats {
            seat.client = None;
        }
        self.probe()?;
        self.stage.expect_nothing_left()
    }

    /// A foreign server may throw out a client that does not read what it is owed, and no contract forbids it.
    fn is_a_policy(&mut self, stop: &Stop) -> Step<bool> {
        // One that has sent FIN is about to leave, and is owed what a half-close promises.
        let owed =
            |seat: &Seat| !seat.finished && seat.client.as_ref().is_some_and(|client| client.outstanding() > TOLERATED);
        let tolerated = self.seats.iter().any(owed);
        Ok(tolerated && self.stage.trial.cuts_off(stop)?)
    }
}

impl Seat {
    fn act(&mut self, deed: Deed) -> Step {
        let Some(client) = &mut self.client else { return Ok(()) };
        match deed {
            Deed::Connect => {}
            Deed::Send(bytes, piece) if !self.finished => {
                client.plan(bytes);
                self.piece = if piece == 0 { usize::MAX } else { piece as usize };
                while client.write_some(self.piece)? > 0 {}
            }
            Deed::Pause => self.until = client.received,
            Deed::Recv(Some(bytes)) => self.until = client.received + bytes,
            Deed::Recv(None) => self.until = u64::MAX,
            Deed::Urgent if !self.finished && client.sent == client.planned => client.send_urgent_quietly()?,
            Deed::Shutdown if !self.finished => {
                client.planned = client.sent;
                self.finished = true;
                client.half_close_quietly()?;
            }
            Deed::Send(..) | Deed::Urgent | Deed::Shutdown => {}
            Deed::Close => self.client = None,
            Deed::Reset => self.client.take().into_iter().for_each(Client::reset_quietly),
        }
        Ok(())
    }

    fn reads(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.eof && client.received < self.until)
    }

    /// Whether it waits for something that the server owes it.
    fn waits(&self) -> bool {
        let Some(client) = self.client.as_ref().filter(|_| self.reads()) else { return false };
        let all = client.sent == client.planned && client.received == client.sent && (!self.finished || client.eof);
        let enough = self.until != u64::MAX && client.received >= client.planned;
        !all && !enough
    }

    fn pump(&mut self) -> Step<bool> {
        let reads = self.reads();
        let Some(client) = &mut self.client else { return Ok(false) };
        let (sent, received, eof) = (client.sent, client.received, client.eof);
        let mut wrote = Ok(0);
        for _ in 0..TURN {
            wrote = client.write_some(self.piece);
            if !matches!(wrote, Ok(bytes) if bytes > 0) {
                break;
            }
        }
        for _ in 0..if reads { TURN } else { 0 } {
            let room = usize::try_from(self.until - client.received).unwrap_or(usize::MAX);
            // Even after a failed write: the reason may be on its way.
            if room == 0 || client.read_some(room)? == 0 {
                break;
            }
        }
        if client.eof && !eof && (client.received < client.sent || !self.finished) {
            return Err(client.truncated());
        }
        wrote?;
        Ok(client.sent > sent || client.received > received || client.eof != eof)
    }
}

/// A deed in the words of a check's steps, of one client or of many.
fn told(deed: Deed, many: bool) -> String {
    let (verb, each) = if many { ("", " each") } else { ("s", "") };
    match deed {
        Deed::Connect => format!("connect{verb}"),
        Deed::Send(bytes, 0) => format!("send{verb} {}{each}", size(bytes)),
        Deed::Send(bytes, piece) => format!("send{verb} {}{each}, {} at a time", size(bytes), size(piece)),
        Deed::Pause => format!("read{verb} nothing from here on"),
        Deed::Recv(Some(bytes)) => format!("read{verb} {}{each} and pause{verb}", size(bytes)),
        Deed::Recv(None) => format!("read{verb} from here on"),
        Deed::Urgent => format!("send{verb} a byte of urgent data"),
        Deed::Shutdown => format!("send{verb} FIN (half-close)"),
        Deed::Close => format!("close{verb}"),
        Deed::Reset => match many {
            true => "reset their connections".into(),
            false => "resets the connection".into(),
        },
    }
}

/// The kind of trouble, coarse enough that two runs of one bug agree.
pub(super) fn kind(symptom: Symptom) -> u8 {
    match symptom {
        Symptom::WrongBytes => 1,
        Symptom::Truncated | Symptom::Reset | Symptom::Refused => 2,
        Symptom::Exited => 3,
        Symptom::Leak => 4,
        Symptom::Spinning => 5,
        _ => 6,
    }
}
