//! Attempts to accept while there is no descriptor for them.
//!
//! Invariant: a number of attempts is compared with an earlier one of the same server, as a rate over the time that has
//! really passed. A busy machine lowers a rate, and it grows back to what the server's own pause allows, and no further;
//! so a growth is a fault only when it goes on.

use std::time::{Duration, Instant};

use super::Trial;
use super::verdict::gone;
use crate::accepts::Counter;
use crate::failure::{Step, Symptom};

const WINDOW: Duration = Duration::from_secs(1);
/// Rates are compared in pairs of windows, and there are so many pairs.
const PAIRS: usize = 3;
/// More than a timer's jitter is a growth by this factor, and by so many attempts.
const GROWTH: f64 = 1.2;
const FEW: f64 = 3.0;
/// A server that tries so many times a second has no storm that the tracer would hold back.
const CALM: f64 = 20.0;
/// Five threads that each pause for 5 ms, the shortest pause that is known of a library.
const MANY: f64 = 1000.0;
/// A share of one processor's time that no pause leaves. A server that tries again each 5 ms uses a few hundredths of it; a
/// storm whose attempts are a task and a line of the log each comes to have all.
const BUSY: f64 = 0.25;

const STORM: &str = "Each attempt that fails starts another timer or task, and so does each of those: keep one timer, and \
                     start it only if it does not run. The accept loop has to end at EMFILE, too.";
const NO_PAUSE: &str = "accept fails with EMFILE and is tried again at once, or by many at the same time: stop watching \
                        the listener, and try again when a connection was closed, and after a while.";

impl Trial<'_> {
    /// Asserts that the attempts to accept, all of which fail now, stay few, and do not grow from second to second.
    pub fn expect_steady_attempts(&mut self) -> Step {
        self.needs_proc()?;
        self.log.step("attempts to accept are counted, second by second");
        let process = self.process()?;
        let counter = Counter::start(process);
        // Without a tracer, how often it wakes is the next best.
        let counted = |trial: &mut Self| match &counter {
            Some(counter) => Ok(counter.failed()),
            None => trial.process()?.activity().map(|activity| activity.wakeups).ok_or_else(gone),
        };
        let what = if counter.is_some() { "accepts that failed" } else { "wakeups" };
        let mut rates: Vec<f64> = Vec::new();
        while rates.len() < 2 * PAIRS {
            let (start, before) = (Instant::now(), counted(self)?);
            std::thread::sleep(WINDOW);
            rates.push((counted(self)? - before) as f64 / start.elapsed().as_secs_f64());
            // Not by waitpid(2), which would take a stop from the tracer.
            if process.threads().is_none_or(|threads| threads.iter().all(|thread| matches!(thread.state, 'Z' | 'X'))) {
                return Err(gone());
            }
            let shown: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
            let shown = format!("without a descriptor, {what} in each second: {}", shown.join(", "));
            if rates.last().is_some_and(|rate| *rate > MANY) {
                return Err(self.with_view(Symptom::Spinning, shown, if grows(&rates) { STORM } else { NO_PAUSE }));
            }
            if rates.len() == 2 && !grows(&rates) && rates[1] <= CALM {
                return Ok(());
            }
            if rates.len().is_multiple_of(2) && !grows(&rates) {
                break;
            }
            if rates.len() == 2 * PAIRS {
                return Err(self.with_view(Symptom::Spinning, shown, STORM));
            }
        }
        // Of a storm the tracer lets through as much as it can follow, which looks like an end of the growth.
        drop(counter);
        let share = self.share_of_a_processor()?;
        // On a busy machine a storm gets a small share, and wants all of it.
        if share <= BUSY && !self.never_sleeps()? {
            return Ok(());
        }
        let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let what = format!(
            "without a descriptor, {what} in each second: {}; and {:.0} % of a processor when nobody counts",
            rates.join(", "),
            100.0 * share
        );
        Err(self.with_view(Symptom::Spinning, what, STORM))
    }

    /// The processor's time that the server uses in one window.
    fn share_of_a_processor(&mut self) -> Step<f64> {
        let process = self.process()?;
        let worked = || process.activity().map(|activity| activity.cpu_ms()).ok_or_else(gone);
        let (start, before) = (Instant::now(), worked()?);
        std::thread::sleep(WINDOW);
        Ok(worked()?.saturating_sub(before) as f64 / 1000.0 / start.elapsed().as_secs_f64())
    }
}

/// Whether each pair of windows has more than the one before. Of the first pair the windows themselves are compared.
fn grows(rates: &[f64]) -> bool {
    let more = |before: f64, after: f64| after > GROWTH * before + FEW;
    let [first, second, rest @ ..] = rates else { return false };
    let mut pairs: Vec<f64> = vec![(first + second) / 2.0];
    pairs.extend(rest.as_chunks().0.iter().map(|[first, second]| (first + second) / 2.0));
    more(*first, *second) && pairs.windows(2).all(|pair| more(pair[0], pair[1]))
}

#[cfg(test)]
mod tests {
    use super::grows;

    #[test]
    fn a_constant_rate_does_not_grow_and_a_rate_that_recovers_stops_growing() {
        assert!(!grows(&[4.0, 4.0]));
        assert!(!grows(&[4.0, 5.0]));
        assert!(!grows(&[200.0, 200.0]));
        // A busy machine that becomes idle: it is looked at once more, and again.
        assert!(grows(&[100.0, 150.0]));
        assert!(grows(&[100.0, 150.0, 190.0, 198.0]));
        assert!(!grows(&[100.0, 150.0, 190.0, 198.0, 200.0, 199.0]));
    }

    #[test]
    fn a_storm_grows_for_as_long_as_it_is_watched() {
        assert!(grows(&[10.0, 26.0]));
        assert!(grows(&[10.0, 26.0, 42.0, 58.0, 74.0, 90.0]));
        assert!(grows(&[768.0, 2304.0]));
    }
}
