//! Why: a thread for each connection, beside one loop.
//!
//! Invariant: each statement has a figure or an experiment.

use ::markup::Markup;

use super::charts::charts;
use super::prose::{claim, paragraph, see};
use super::{Inputs, Part};

const NOTES: &str = "Ask first: what does a thread that sleeps cost? Most answers are eight megabytes. Then show the three pictures, \
                     and let the class find which of them the eight megabytes are.\n\
                     The second slide is the other half: a thread costs little while it sleeps, and select and poll are \
                     dear because others sleep.";

/// The pictures of this part, which the costs do not show again: memory, and then time.
pub(super) const PICTURES: &[&str] = &["threads/resident", "threads/kernel", "threads/reserved", "idle-tax/busy-50"];

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    memory(&mut body, inputs)?;
    time(&mut body, inputs)?;
    Ok(Part { id: "why", title: "Why: a thread for each connection, or one loop", body, notes: NOTES })
}

fn memory(page: &mut Markup, inputs: &Inputs) -> Result<(), String> {
    let mut inside = Markup::default();
    let it = &mut inside;
    it.leaf("h3", &[], "Memory: reserved, used, and the kernel's");
    paragraph(
        it,
        inputs,
        "The simplest server starts a thread for each connection, and the thread sleeps in `read`. An event loop keeps a few \
         fields for each connection instead, and one thread sleeps for all of them.",
    )?;
    claim(
        it,
        inputs,
        "At {threads/resident: threads, 8 MiB at 10000, over 50} MiB for ten thousand idle connections, the threads use more \
         memory than the loop's {threads/resident: epoll-lt at 10000, under 5} MiB. The kernel keeps {threads/kernel: threads, 8 MiB at \
         10000} MiB for them and for their sockets, and {threads/kernel: epoll-lt at 10000} MiB for the loop and its sockets.",
    )?;
    claim(
        it,
        inputs,
        "The number that is often quoted is the address space: {threads/reserved: threads, 8 MiB at 10000, over 70000} MiB. It \
         is reserved and not used. With a small stack it is {threads/reserved: threads, 64 KiB at 10000} MiB, and \
         what is used stays {threads/resident: threads, 64 KiB at 10000} MiB.",
    )?;
    charts(it, inputs, "why", &PICTURES[..3])?;
    see(it, "cargo lab measure threads");
    page.element("div", &[("class", "slide"), ("id", "why-memory")], |it| it.append(&inside));
    page.line();
    Ok(())
}

fn time(page: &mut Markup, inputs: &Inputs) -> Result<(), String> {
    let mut inside = Markup::default();
    let it = &mut inside;
    it.leaf("h3", &[], "Time: who pays for those who are silent");
    claim(
        it,
        inputs,
        "A thread that sleeps takes no processor time. Beside nine thousand idle connections, a round trip of a thread \
         takes {idle-tax/busy-50: thread_per_connection at 9000 relative to thread_per_connection at 0, under 2} times what it takes \
         beside none.",
    )?;
    claim(
        it,
        inputs,
        "One loop is not cheaper as such. It depends on how the loop asks: with nine thousand idle connections, a round trip \
         through poll takes {idle-tax/busy-50: poll at 9000 relative to epoll-lt, over 2} times the processor time of one through \
         epoll, because poll [looks at every descriptor](holds:idle-tax).",
    )?;
    charts(it, inputs, "why", &PICTURES[3..])?;
    see(it, "cargo lab measure idle-tax");
    page.element("div", &[("class", "slide"), ("id", "why-time")], |it| it.append(&inside));
    page.line();
    Ok(())
}
