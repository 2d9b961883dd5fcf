//! Scripts by chance: script k of a seed is the same script everywhere and every time.
//!
//! Each script has a mood of its own: which deeds happen in it at all, how large the pieces are, what the sockets are
//! like. Bugs hide in a few deeds often repeated and combined, and a mix of everything shows none of them.
//!
//! Invariant: what is made depends on the seed, the number and the profile alone, and never on a clock or on a server's
//! answer. It holds nothing that the contract does not oblige a server to bear.

use fastrand::Rng;

use super::script::{Deed, Group, Script, Sockets, Stage, Step};

/// What a server may be asked to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// It was started here, so it can be stopped.
    pub stops: bool,
    /// It is this repository's own: signals that others may have a use for, and urgent data, are part of the contract.
    pub own: bool,
    /// Clients that may be connected at one time.
    pub clients: u32,
}

/// Sizes at which buffers end.
const EDGES: &[u64] = &[1, 2, 16, 100, 512, 1024, 1448, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];
/// More than a narrow socket takes, and less than stops a server's reading as well: 70 to 300 KiB where congestion control
/// is cubic, 600 to 850 KiB where it is bbr.
const FILLS: &[u64] = &[100_000, 200_000, 400_000, 700_000, 800_000];
/// Through a narrow socket a megabyte takes a second on a busy machine.
const NARROW_BUDGET: u64 = 1_700_000;
/// More than the usual sockets take, in both directions.
const FLOOD: u64 = 10 << 20;

/// What happens in one script, and how large.
struct Mood {
    groups: u32,
    /// The largest group, one in so many groups.
    crowd: (u32, u32),
    /// Percent of the groups that have small sockets.
    narrow: u32,
    sizes: Sizes,
    pieces: bool,
    pauses: bool,
    half_closes: bool,
    leaves: bool,
    freezes: bool,
    interrupts: bool,
    signals: bool,
    urgent: bool,
    steps: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sizes {
    Tiny,
    Edges,
    Any,
    Fills,
}

/// A script that is being written, with what its groups may do next.
struct Writer {
    rng: Rng,
    profile: Profile,
    mood: Mood,
    script: Script,
    stages: Vec<Stage>,
    urged: Vec<bool>,
    /// Bytes that may still be sent, so that a script ends in time.
    budget: u64,
    narrow_budget: u64,
}

/// Script number `number` of a seed.
pub fn script(seed: u64, number: u64, profile: Profile) -> Script {
    // Neighbours must not be alike.
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03));
    rng.u64(..);
    let mood = Mood::any(&mut rng, profile);
    let mut writer = Writer {
        rng,
        profile,
        mood,
        script: Script::default(),
        stages: Vec::new(),
        urged: Vec::new(),
        budget: 12 << 20,
        narrow_budget: NARROW_BUDGET,
    };
    writer.connect();
    while writer.script.steps.len() < writer.mood.steps {
        writer.go_on();
    }
    writer.script.tidy()
}

impl Mood {
    fn any(rng: &mut Rng, profile: Profile) -> Self {
        let mut often = |percent: u32| rng.u32(..100) < percent;
        let (pieces, pauses, half_closes, leaves) = (often(30), often(60), often(60), often(50));
        let freezes = often(70) && profile.stops;
        let interrupts = often(20) && profile.stops;
        let signals = often(10) && profile.stops && profile.own;
        let urgent = often(4) && profile.own;
        let sizes = match rng.u32(..10) {
            0..2 => Sizes::Tiny,
            2..5 => Sizes::Edges,
            5..7 => Sizes::Any,
            _ => Sizes::Fills,
        };
        let crowd = match rng.u32(..10) {
            0..6 => (1, 1),
            6..8 => (12, 2),
            8 => (40, 3),
            _ => (130, 3),
        };
        Self {
            groups: *pick(rng, &[1, 1, 2, 2, 3, 4, 6, 9]),
            crowd,
            narrow: *pick(rng, if sizes == Sizes::Fills { &[50, 100, 100] } else { &[0, 0, 30, 100] }),
            sizes,
            pieces,
            pauses: pauses || sizes == Sizes::Fills,
            half_closes,
            leaves,
            freezes,
            interrupts,
            signals,
            urgent,
            steps: *pick(rng, &[4, 6, 8, 12, 16, 24]),
        }
    }
}

impl Writer {
    fn often(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// One thing more, or a few that belong together.
    fn go_on(&mut self) {
        match self.rng.u32(..100) {
            0..35 if self.mood.freezes => self.batch(),
            35..50 if self.mood.pauses => self.stall(),
            50..58 => self.push(Step::Sync),
            58..64 => self.push(Step::Rest),
            64..68 => self.push(Step::Settle),
            68..72 if self.mood.interrupts => {
                let times = 1 + self.rng.u32(..5);
                self.push(Step::Interrupt(times));
            }
            72..74 if self.mood.signals => {
                let times = 1 + self.rng.u32(..20);
                self.push(Step::Signals(times));
            }
            _ => self.deed(),
        }
    }

    /// Several deeds that the server meets at once, because it is stopped meanwhile.
    fn batch(&mut self) {
        // Mostly asleep in its wait; now and then wherever it is.
        if self.often(80) {
            self.push(Step::Settle);
        }
        self.push(Step::Freeze);
        for _ in 0..1 + self.rng.u32(..6) {
            self.deed();
        }
        self.push(Step::Thaw);
        if self.often(40) {
            let then = *pick(&mut self.rng, &[Step::Settle, Step::Sync, Step::Rest]);
            self.push(then);
        }
    }

    /// A client sends and does not read until the server can go on no more, and then something happens.
    fn stall(&mut self) {
        let Some(group) = self.choose(|stage| stage == Stage::Open) else { return self.connect() };
        self.push(Step::Client(group, Deed::Pause));
        self.send(group);
        if self.often(75) {
            let wait = *pick(&mut self.rng, &[Step::Settle, Step::Rest]);
            self.push(wait);
        }
        if self.mood.half_closes && self.often(40) {
            self.client(group, Deed::Shutdown);
            if self.often(50) {
                self.push(Step::Rest);
            }
        }
        match self.rng.u32(..10) {
            0..2 if self.mood.leaves => self.leave(group),
            2..4 => self.recv_some(group),
            4..8 => self.client(group, Deed::Recv(None)),
            _ => {}
        }
    }

    /// Any deed of any group.
    fn deed(&mut self) {
        let present = self.stages.iter().filter(|stage| matches!(stage, Stage::Open | Stage::Finished)).count();
        if present == 0 || present < self.mood.groups as usize && self.often(30) {
            return self.connect();
        }
        let Some(group) = self.choose(|stage| matches!(stage, Stage::Open | Stage::Finished)) else { return };
        match self.rng.u32(..100) {
            0..50 => self.send(group),
            50..60 if self.mood.pauses => self.client(group, Deed::Pause),
            60..66 if self.mood.pauses => self.recv_some(group),
            66..78 if self.mood.pauses => self.client(group, Deed::Recv(None)),
            78..88 if self.mood.half_closes => self.client(group, Deed::Shutdown),
            88..98 if self.mood.leaves => self.leave(group),
            98 if self.mood.urgent && !self.urged[group] => {
                self.urged[group] = true;
                self.client(group, Deed::Urgent);
            }
            _ => self.send(group),
        }
    }

    fn connect(&mut self) {
        let (most, one_in) = self.mood.crowd;
        let mut clients = if self.rng.u32(..one_in) == 0 { 1 + self.rng.u32(..most) } else { 1 };
        let connected = self.script.groups.iter().zip(&self.stages);
        let connected: u32 = connected.filter(|(_, stage)| **stage != Stage::Left).map(|(it, _)| it.clients).sum();
        clients = clients.min(self.profile.clients.saturating_sub(connected));
        if clients == 0 {
            return;
        }
        let sockets = self.sockets();
        self.script.groups.push(Group { clients, sockets });
        self.stages.push(Stage::Absent);
        self.urged.push(false);
        let group = self.stages.len() - 1;
        self.client(group, Deed::Connect);
        if self.often(60) {
            self.send(group);
        }
    }

    fn sockets(&mut self) -> Sockets {
        if !self.often(self.mood.narrow) {
            return Sockets { nagle: self.often(10), ..Sockets::default() };
        }
        Sockets {
            // A window smaller than a segment would be sent by a timer only.
            receive_buffer: *pick(&mut self.rng, &[4096, 4096, 4096, 8192, 16_384]),
            send_buffer: *pick(&mut self.rng, &[0, 0, 0, 4096, 16_384]),
            max_segment: *pick(&mut self.rng, &[536, 1400, 1400, 1400]),
            nagle: self.often(5),
        }
    }

    fn leave(&mut self, group: usize) {
        let how = *pick(&mut self.rng, &[Deed::Close, Deed::Reset]);
        self.client(group, how);
    }

    fn recv_some(&mut self, group: usize) {
        let bytes = self.edge();
        self.client(group, Deed::Recv(Some(bytes)));
    }

    fn send(&mut self, group: usize) {
        let clients = u64::from(self.script.groups[group].clients);
        let narrow = self.script.groups[group].sockets.max_segment > 0;
        let size = match self.mood.sizes {
            Sizes::Tiny => 1 + self.rng.u64(..20),
            Sizes::Edges => self.edge(),
            Sizes::Any => {
                let most = 1 << self.rng.u32(4..18);
                1 + self.rng.u64(..most)
            }
            Sizes::Fills => match (self.often(50), narrow) {
                (true, _) => self.edge(),
                (false, true) => *pick(&mut self.rng, FILLS),
                (false, false) => *pick(&mut self.rng, &[300_000, 1_500_000, FLOOD]),
            },
        };
        let budget = if narrow { &mut self.narrow_budget } else { &mut self.budget };
        let size = size.min(*budget / clients);
        if size == 0 {
            return;
        }
        *budget -= size * clients;
        // Not so small that a script takes its time.
        let piece = if self.mood.pieces && self.often(60) { (1 + self.rng.u64(..3000)).max(size / 200) } else { 0 };
        self.client(group, Deed::Send(size, if piece < size { piece } else { 0 }));
    }

    fn edge(&mut self) -> u64 {
        (pick(&mut self.rng, EDGES) + self.rng.u64(..3)).saturating_sub(1).max(1)
    }

    fn choose(&mut self, wanted: impl Fn(Stage) -> bool) -> Option<usize> {
        let those: Vec<usize> = (0..self.stages.len()).filter(|group| wanted(self.stages[*group])).collect();
        if those.is_empty() { None } else { Some(*pick(&mut self.rng, &those)) }
    }

    fn client(&mut self, group: usize, deed: Deed) {
        if let Some(stage) = self.stages[group].after(deed) {
            self.stages[group] = stage;
            self.push(Step::Client(group, deed));
        }
    }

    fn push(&mut self, step: Step) {
        self.script.steps.push(step);
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Profile = Profile { stops: true, own: true, clients: 300 };

    #[test]
    fn a_script_is_the_same_every_time_and_no_other_is() {
        let some: Vec<Script> = (0..200).map(|number| script(7, number, ANY)).collect();
        let again: Vec<Script> = (0..200).map(|number| script(7, number, ANY)).collect();
        assert_eq!(some, again);
        let other = (0..200).filter(|number| script(8, *number, ANY) == some[*number as usize]).count();
        assert_eq!(other, 0);
    }

    #[test]
    fn a_script_can_be_carried_out_and_is_read_as_it_is_printed() {
        for number in 0..2000 {
            let script = script(1, number, ANY);
            assert_eq!(script.to_string().parse::<Script>().as_ref(), Ok(&script), "{script}");
            assert!(script.clients() <= 900, "{script}");
        }
    }

    #[test]
    fn a_server_is_asked_for_nothing_that_it_need_not_bear() {
        let modest = Profile { stops: false, own: false, clients: 5 };
        for number in 0..2000 {
            let script = script(1, number, modest);
            assert!(script.groups.iter().all(|group| group.clients <= 5), "{script}");
            let refused = |step: &Step| {
                matches!(step, Step::Freeze | Step::Interrupt(_) | Step::Signals(_) | Step::Client(_, Deed::Urgent))
            };
            assert!(!script.steps.iter().any(refused), "{script}");
        }
    }
}
