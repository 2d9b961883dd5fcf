//! Rows that repeat, folded.
//!
//! Invariant: every event is in exactly one fold, in order. Only system calls are folded, and only where each is in all
//! its words the same as the one before: what differs explains something, and stays.

use explorer::record::Event;

/// The longest group of calls that is looked for: a wait, a read, a write, and one more.
const LONGEST: usize = 4;
/// Of fewer repetitions, nothing is gained.
const FEWEST: usize = 3;

/// Some of a run's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// One event.
    Row(usize),
    /// Events that repeat the ones right before them.
    Repeated {
        /// The first of the events that are folded.
        first: usize,
        /// How many events are repeated.
        period: usize,
        /// How often they are repeated, after the time that is shown.
        times: usize,
    },
}

impl Fold {
    /// The events in it.
    pub fn events(self) -> std::ops::Range<usize> {
        match self {
            Self::Row(at) => at..at + 1,
            Self::Repeated { first, period, times } => first..first + period * times,
        }
    }
}

/// The events of a run, folded.
pub fn folded(events: &[Event]) -> Vec<Fold> {
    let mut folds = Vec::new();
    let mut at = 0;
    while at < events.len() {
        let (period, times) = longest(&events[at..]);
        if times < FEWEST {
            folds.push(Fold::Row(at));
            at += 1;
            continue;
        }
        folds.extend((at..at + period).map(Fold::Row));
        folds.push(Fold::Repeated { first: at + period, period, times: times - 1 });
        at += period * times;
    }
    folds
}

/// The period that covers the most events from the first on, the shortest such one, and how often it comes.
fn longest(events: &[Event]) -> (usize, usize) {
    let mut best = (1, 1);
    for period in 1..=LONGEST.min(events.len()) {
        let alike = events.iter().zip(&events[period..]).take_while(|(one, next)| repeats(one, next)).count();
        let times = 1 + alike / period;
        if times * period > best.0 * best.1 && times >= FEWEST {
            best = (period, times);
        }
    }
    best
}

fn repeats(one: &Event, next: &Event) -> bool {
    match (one, next) {
        (Event::Call(one), Event::Call(next)) => {
            (one.thread, &one.name, &one.arguments, &one.result, &one.out, &one.ring)
                == (next.thread, &next.name, &next.arguments, &next.result, &next.out, &next.ring)
        }
        _ => false,
    }
}
