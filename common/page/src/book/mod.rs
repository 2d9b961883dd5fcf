//! The page of the whole course: its parts in their order, one file for each.
//!
//! Invariant: what stands in the page comes from the workspace in which it is made (recordings, measurements, sources). A
//! part that misses something is an error, which names what is missing; no part is left out.

mod acts;
mod apis;
mod beside;
mod charts;
mod choosing;
mod costs;
mod document;
mod edge;
mod glossary;
mod inputs;
mod pitfalls;
mod prose;
mod questions;
mod six;
mod sixty;
mod why;

pub use document::make;
pub use inputs::{Inputs, Workspace};

use ::markup::Markup;

/// One part of the page.
pub(crate) struct Part {
    /// Its anchor. Every other id in the part begins with it and a hyphen: `costs-wait`.
    pub id: &'static str,
    /// Its heading, which the document writes.
    pub title: &'static str,
    /// What stands below the heading. A direct child with the class `slide` is a slide of `?talk`; a part without one is a
    /// slide as a whole.
    pub body: Markup,
    /// What a speaker says or does here, for `?talk`: plain text, a paragraph a line.
    pub notes: &'static str,
}

/// Makes a part.
type Make = fn(&Inputs) -> Result<Part, String>;

/// The parts, in the order of the page.
const PARTS: &[Make] = &[
    sixty::part,
    why::part,
    six::part,
    edge::part,
    pitfalls::part,
    costs::part,
    beside::part,
    choosing::part,
    questions::part,
    glossary::part,
];

/// Every part, in order.
fn parts(inputs: &Inputs) -> Result<Vec<Part>, String> {
    let mut parts = PARTS.iter().map(|make| make(inputs)).collect::<Result<Vec<Part>, String>>()?;
    // Below the runs, in words.
    if let Some(six) = parts.iter_mut().find(|part| part.id == "six") {
        apis::table(&mut six.body, inputs)?;
    }
    Ok(parts)
}
