//! Parts of one piece of work that several machines did, put together.
//!
//! Invariant: a merged result is what one machine would have written, but for times, and for the number of runs where
//! something was found: a finding ends the search of its part alone. Parts that do not make the whole are an error that
//! names the file.

pub mod explored;
pub mod fuzzed;

use crate::class::shard::Shard;
use crate::error::LabError;

/// Parts that do not make a whole.
pub fn refuse<T>(what: impl std::fmt::Display) -> Result<T, LabError> {
    Err(LabError::failed(format!("{what}; nothing was merged")))
}

/// Requires that every part is there once. `parts` are the files with what each says of its part, as `1/4`. Returns the
/// files' places in the order of the parts.
///
/// # Errors
/// If a part is missing or is there twice, or a file is no part.
pub fn in_order(parts: &[(&str, Option<&str>)]) -> Result<Vec<usize>, LabError> {
    let mut seen: Vec<(Shard, usize)> = Vec::new();
    for (place, (file, shard)) in parts.iter().enumerate() {
        let Some(Ok(shard)) = shard.map(str::parse::<Shard>) else {
            return refuse(format!("{file} is no part: it was written without --shard"));
        };
        if let Some((_, other)) = seen.iter().find(|(it, _)| it.at == shard.at && it.of == shard.of) {
            return refuse(format!("part {shard} is there twice: {} and {file}", parts[*other].0));
        }
        if let Some((other, at)) = seen.iter().find(|(it, _)| it.of != shard.of) {
            return refuse(format!("{file} is part {shard}, and {} is part {other}: two divisions", parts[*at].0));
        }
        seen.push((shard, place));
    }
    let of = seen.first().map_or(0, |(shard, _)| shard.of);
    let is_there = |at: usize| seen.iter().any(|(it, _)| it.at == at);
    let missing: Vec<String> = (1..=of).filter(|at| !is_there(*at)).map(|at| format!("{at}/{of}")).collect();
    if !missing.is_empty() {
        return refuse(format!("of {of} parts these are missing: {}", missing.join(" ")));
    }
    seen.sort_by_key(|(shard, _)| shard.at);
    Ok(seen.into_iter().map(|(_, place)| place).collect())
}

/// Requires that two parts agree on something. `a` is what the first file says of it.
///
/// # Errors
/// If they do not.
pub fn agree(files: (&str, &str), what: &str, a: &str, b: &str) -> Result<(), LabError> {
    match a == b {
        true => Ok(()),
        false => refuse(format!("{} and {} do not belong together: {what} is {a} and {b}", files.0, files.1)),
    }
}
