//! Where a value stands on an axis, and which values are written beside it.
//!
//! Invariant: every value of the chart has a place between 0 and 1, also a 0 on an axis by powers of ten.

use crate::chart::Scale;

/// An axis that knows its range.
#[derive(Debug, Clone)]
pub struct Ruler {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Linear {
        high: f64,
    },
    /// In powers of ten. If a value is 0, `zero` is the share of the axis that is left for it.
    Log {
        low: f64,
        high: f64,
        zero: f64,
    },
    Named(Vec<String>),
}

/// What is left free beyond the outermost values, in shares of the axis.
const ROOM: f64 = 0.04;
/// The share of an axis by powers of ten that a 0 gets.
const ZERO: f64 = 0.08;

impl Ruler {
    /// An axis that has room for these values.
    pub fn over(scale: &Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let kind = match scale {
            Scale::Named(names) => Kind::Named(names.clone()),
            Scale::Log if high > 0.0 => {
                let low = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min).log10();
                let zero = if values.into_iter().any(|value| value <= 0.0) { ZERO } else { 0.0 };
                // A single value gets a decade of its own.
                let pad = ((high.log10() - low) * ROOM).max(if high.log10() - low < 0.1 { 0.3 } else { 0.0 });
                Kind::Log { low: low - pad, high: high.log10() + pad, zero }
            }
            Scale::Linear | Scale::Log => Kind::Linear { high: if high > 0.0 { high * (1.0 + ROOM) } else { 1.0 } },
        };
        Self { kind }
    }

    /// Whether its places are names, between which there is nothing.
    pub fn is_named(&self) -> bool {
        matches!(self.kind, Kind::Named(_))
    }

    /// How much of the axis one name has.
    pub fn slot(&self) -> f64 {
        match &self.kind {
            Kind::Named(names) => 1.0 / names.len().max(1) as f64,
            _ => 0.0,
        }
    }

    /// Where a value stands, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        let share = match &self.kind {
            Kind::Linear { high } => value / high,
            Kind::Log { zero, .. } if value <= 0.0 => zero / 4.0,
            Kind::Log { low, high, zero } => zero + (1.0 - zero) * (value.log10() - low) / (high - low),
            Kind::Named(names) => (value + 0.5) / names.len().max(1) as f64,
        };
        share.clamp(0.0, 1.0)
    }

    /// The values that are written beside the axis, with their places; at most about `most`.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match &self.kind {
            Kind::Named(names) => {
                names.iter().enumerate().map(|(i, name)| (self.share(i as f64), name.clone())).collect()
            }
            Kind::Linear { high } => self.written(steps(0.0, *high, most)),
            Kind::Log { low, high, zero } => {
                let mut ticks = self.written(decades(*low, *high, most));
                if *zero > 0.0 {
                    ticks.insert(0, (self.share(0.0), "0".into()));
                }
                ticks
            }
        }
    }

    fn written(&self, values: Vec<f64>) -> Vec<(f64, String)> {
        values.into_iter().map(|value| (self.share(value), number(value))).collect()
    }
}

/// Powers of ten, or round values between them where there are too few.
fn decades(low: f64, high: f64, most: usize) -> Vec<f64> {
    let powers = |digits: &'static [f64]| {
        let exponents = low.floor() as i32..=high.ceil() as i32;
        let all = exponents.flat_map(move |exponent| digits.iter().map(move |digit| digit * 10f64.powi(exponent)));
        all.filter(|value| (low..=high).contains(&value.log10())).collect::<Vec<f64>>()
    };
    let whole = powers(&[1.0]);
    if whole.len() > most.max(2) {
        // Every second or third one.
        let every = whole.len().div_ceil(most.max(2));
        return whole.into_iter().step_by(every).collect();
    }
    if whole.len() >= 3 {
        return whole;
    }
    let finer = powers(&[1.0, 2.0, 5.0]);
    if finer.len() >= 2 { finer } else { steps(10f64.powf(low), 10f64.powf(high), most.min(4)) }
}

/// Round values between two.
fn steps(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most.max(2) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

/// A value as one reads it: `0.041`, `2.02`, `19`, `9,000`, `1.5 M`.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e12 {
        return format!("{} T", short(value / 1e12));
    }
    if size >= 1e9 {
        return format!("{} G", short(value / 1e9));
    }
    if size >= 1e6 {
        return format!("{} M", short(value / 1e6));
    }
    if size >= 100.0 {
        return thousands(value.round() as i64);
    }
    short(value)
}

/// Three figures, and no zeros behind them.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::from(if value < 0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_figures() {
        let shown: Vec<String> =
            [0.0, 0.041, 2.0249, 19.31, 99.96, 150.4, 9_000.0, 1_500_000.0, 8.59e10].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "0.041", "2.02", "19.3", "100", "150", "9,000", "1.5 M", "85.9 G"]);
    }

    #[test]
    fn each_decade_is_as_wide_as_the_next_and_zero_stands_apart() {
        let ruler = Ruler::over(&Scale::Log, [0.0, 10.0, 1000.0].into_iter());
        let (zero, ten, hundred, thousand) =
            (ruler.share(0.0), ruler.share(10.0), ruler.share(100.0), ruler.share(1000.0));
        assert!(zero < ten && ten > ZERO && thousand < 1.0);
        assert!(((thousand - hundred) - (hundred - ten)).abs() < 1e-9);
        let ticks: Vec<String> = ruler.ticks(8).into_iter().map(|(_, text)| text).collect();
        assert_eq!(ticks, ["0", "10", "100", "1,000"]);
    }

    #[test]
    fn a_short_axis_has_values_between_the_powers() {
        let texts = |values: &[f64]| {
            let ruler = Ruler::over(&Scale::Log, values.iter().copied());
            ruler.ticks(6).into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(texts(&[3.0, 30.0]), ["5", "10", "20"]);
        assert!(texts(&[4.6, 4.9]).len() >= 2, "{:?}", texts(&[4.6, 4.9]));
        assert!(!texts(&[7.0]).is_empty());
    }

    #[test]
    fn a_linear_axis_begins_at_zero() {
        let ruler = Ruler::over(&Scale::Linear, [40.0, 90.0].into_iter());
        assert_eq!(ruler.share(0.0), 0.0);
        let ticks: Vec<String> = ruler.ticks(5).into_iter().map(|(_, text)| text).collect();
        assert_eq!(ticks, ["0", "20", "40", "60", "80"]);
    }
}
