//! A class divided over machines.
//!
//! Invariant: the division depends on names alone, so every machine that has the same class finds the same one, and each
//! student is in exactly one part.

use std::fmt;
use std::str::FromStr;

/// One of `of` parts: `3/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which: from 1 on.
    pub at: usize,
    /// Of how many.
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(at, of)| Some((at.trim().parse().ok()?, of.trim().parse().ok()?)));
        match parts {
            Some((at, of)) if 1 <= at && at <= of => Ok(Self { at, of }),
            Some((0, of)) => Err(format!("parts are counted from 1: 1/{of} is the first of {of}")),
            Some((at, of)) => Err(format!("there is no part {at} of {of}; the last is {of}/{of}")),
            None => Err("give the part and the number of parts, as 1/4".into()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.at, self.of)
    }
}

/// The part that each item is in, from 1 to `of`. An item is a name and how long it is expected to take. The longest come
/// first, each to the part that has least to do.
pub fn divide(items: &[(&str, u64)], of: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(items[*at].1), items[*at].0));
    let mut loads = vec![(0, 0); of.max(1)];
    let mut parts = vec![0; items.len()];
    for at in order {
        // Of parts with the same load the one with fewer items; then the first.
        let least = (0..loads.len()).min_by_key(|part| loads[*part]).expect("one part at least");
        loads[least].0 += items[at].1;
        loads[least].1 += 1;
        parts[at] = least + 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_and_shown_as_test_runners_do() {
        assert_eq!("3/8".parse(), Ok(Shard { at: 3, of: 8 }));
        assert_eq!(Shard { at: 3, of: 8 }.to_string(), "3/8");
        for wrong in ["0/4", "5/4", "x", "1", "1/0", "-1/2"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_item_is_in_one_part_and_the_parts_are_even() {
        let names: Vec<String> = (0..24).map(|at| format!("s{at:02}")).collect();
        let items: Vec<(&str, u64)> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), 10 + at as u64 % 7)).collect();
        let parts = divide(&items, 6);
        let load = |part: usize| -> u64 {
            items.iter().zip(&parts).filter(|(_, it)| **it == part).map(|((_, time), _)| time).sum()
        };
        let loads: Vec<u64> = (1..=6).map(load).collect();
        assert_eq!(loads.iter().sum::<u64>(), items.iter().map(|it| it.1).sum::<u64>());
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 7, "{loads:?}");
    }

    #[test]
    fn the_order_in_which_a_disk_lists_them_makes_no_difference() {
        let items = [("c", 3), ("a", 3), ("b", 5), ("d", 0)];
        let mut turned = items;
        turned.reverse();
        let (here, there) = (divide(&items, 2), divide(&turned, 2));
        assert_eq!(here, there.into_iter().rev().collect::<Vec<_>>());
    }
}
