//! Medians, quartiles and ratios.
//!
//! Invariant: a figure is shown with its spread, and a difference that is not larger than the difference of a server
//! from itself is a tie.

use figures::{Point, Verdict};

/// A median between its quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A quarter of the values is below.
    pub low: f64,
    /// Half of the values is below.
    pub median: f64,
    /// Three quarters of the values are below.
    pub high: f64,
}

impl Spread {
    /// Of these values, in any order. Between two values the quartile is interpolated.
    ///
    /// # Panics
    /// If there is no value.
    pub fn of(values: &[f64]) -> Self {
        assert!(!values.is_empty(), "there is no median of nothing");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// The point of a chart.
    pub fn at(self, x: f64) -> Point {
        Point { x, median: self.median, low: self.low, high: self.high, exact: false }
    }
}

/// The ratios of two contestants, round by round: what a whole round suffered, cancels out.
pub fn ratio(values: &[f64], baseline: &[f64]) -> Spread {
    let ratios: Vec<f64> = values.iter().zip(baseline).map(|(value, base)| value / base).collect();
    Spread::of(&ratios)
}

/// How far the ratio of a server to itself is from 1: the A/A spread. `twin` is the baseline's program under a second
/// name, which takes turns as any other. At least 1 %, because a few rounds may agree by chance.
pub fn noise(twin: &[f64], baseline: &[f64]) -> f64 {
    let itself = ratio(twin, baseline);
    (itself.high - 1.0).abs().max((itself.low - 1.0).abs()).max(0.01)
}

/// If a server differs from itself by more, a CPU time says nothing of it.
const TOO_NOISY: f64 = 0.3;

/// What is to be said where `noise` hides what is measured.
pub fn too_noisy(noise: f64, who: &str) -> Option<Verdict> {
    let what =
        || format!("nothing can be said: {who} differs from itself by {:.0} % (is the machine busy?)", noise * 100.0);
    (noise > TOO_NOISY).then(|| Verdict::Skipped(what()))
}

/// Whether a ratio is inside the noise, and so says nothing.
pub fn is_tie(ratio: Spread, noise: f64) -> bool {
    (ratio.median - 1.0).abs() <= noise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_between_the_values() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        let spread = Spread::of(&[1.0, 2.0]);
        assert_eq!((spread.low, spread.median, spread.high), (1.25, 1.5, 1.75));
        let spread = Spread::of(&[7.0]);
        assert_eq!((spread.low, spread.median, spread.high), (7.0, 7.0, 7.0));
    }

    #[test]
    fn what_a_whole_round_suffered_cancels_out() {
        let (base, other) = ([1.0, 10.0, 1.0], [2.0, 20.0, 2.0]);
        assert_eq!(ratio(&other, &base), Spread { low: 2.0, median: 2.0, high: 2.0 });
    }

    #[test]
    fn a_difference_inside_the_noise_is_a_tie() {
        let base = [1.0, 1.0, 1.0, 1.0, 1.0];
        let noise = noise(&[0.9, 1.0, 1.05, 1.1, 1.0], &base);
        assert!((noise - 0.05).abs() < 1e-9, "{noise}");
        assert!(is_tie(ratio(&[1.04; 5], &base), noise));
        assert!(!is_tie(ratio(&[1.06; 5], &base), noise));
        assert!((super::noise(&base, &base) - 0.01).abs() < 1e-9);
    }
}
