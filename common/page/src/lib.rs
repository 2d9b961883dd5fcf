//! Recorded runs of servers as one HTML file.
//!
//! What can be said without a script stands there as text, tables and pictures, so the file reads and prints without one.
//! With one, an element of the page's own, `event-loop-player`, takes the place of what is inside it.
//!
//! Invariant: the file needs nothing but itself, and a browser loads nothing for it: its policy forbids that. Whatever
//! stands in a recording (names, sources, arguments) is text, and never markup.

pub mod book;
mod data;
mod document;
mod fold;
mod gaps;
pub mod report;
mod sentences;
mod sequence;
mod source;
mod table;
mod web;
mod words;

pub(crate) use ::markup;
pub use ::markup::visible::visible;
pub use document::{Options, show};
pub use gaps::{Gap, gaps};
pub use sentences::sentences;

/// `2 of 14 gaps are fatal`, if the recording has gaps.
pub fn gaps_title(recording: &explorer::Recording) -> Option<String> {
    gaps::title(&gaps::gaps(recording))
}
