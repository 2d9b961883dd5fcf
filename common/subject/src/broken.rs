//! Servers that are broken on purpose: what each lacks, and what it fails for that.
//!
//! Invariant: they keep the same contract as the other servers, but for what is declared here. None stands in
//! `VARIANTS`, so none is in a run that has to be green, unless somebody names it.

use crate::{Model, Symptom, Variant, variant};

/// Something that a server lacks on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Lack {
    /// The end of a sentence that begins with "it lacks": a noun, and what comes of the lack. No full stop.
    pub what: &'static str,
    /// The checks that it fails for that.
    pub fails: &'static [DeclaredFailure],
}

/// A check that a server fails on purpose.
#[derive(Debug, Clone, Copy)]
pub struct DeclaredFailure {
    /// The check, as `group::name`.
    pub check: &'static str,
    /// What it fails with.
    pub symptom: Symptom,
    /// Words of what happened, or of the cause.
    pub says: &'static str,
    /// Why it may pass as well, if it may.
    pub unless: Option<&'static str>,
}

const fn fails(check: &'static str, symptom: Symptom, says: &'static str) -> DeclaredFailure {
    DeclaredFailure { check, symptom, says, unless: None }
}

/// What tutorials print, in the order of the chapters.
pub const BROKEN: &[Variant] = &[
    Variant { here: true, lacks: &[], ..variant("02-poll", "poll", "textbook_blocking", Model::Readiness) },
    Variant { lacks: &[], ..variant("04-epoll-et", "epoll-et", "textbook", Model::Readiness) },
];
