//! The edge that is lost: choose where the packet arrives.
//!
//! Invariant: each gap is a run that was made, on the real kernel. How many are fatal is counted here, and not written down.

use ::markup::Markup;

use super::acts::{self, Column, Start};
use super::prose::{claim, paragraph, see};
use super::{Inputs, Part};

/// A broken server, and a right one under the same script.
struct Pair {
    id: &'static str,
    name: &'static str,
    heading: &'static str,
    titles: [&'static str; 2],
    text: &'static str,
    then: &'static str,
    see: &'static str,
}

const PAIRS: &[Pair] = &[
    Pair {
        id: "edge-flag",
        name: "flag",
        heading: "A ready flag that is cleared late",
        titles: ["clears its flag late", "clears its flag at EAGAIN"],
        text: "A server remembers in a flag that a connection may be read. It reads until `EAGAIN`, asks for more events, and \
               only then clears the flag. A packet that arrives in between sets the flag, and the server clears it unread. In \
               a test with ordinary clients, [hundreds of connections](says:common/explorer/README.md \"300 ordinary \
               connections\") do not meet the gap.",
        then: "The order of two lines decides. Exercise [once in a blue moon](exercise:24) has this bug, and the check \
               [bytes and FIN between any two calls](check:interleaving/bytes_and_fin_between_any_two_calls_are_answered) \
               finds it.",
        see: "cargo lab show 24",
    },
    Pair {
        id: "edge-textbook",
        name: "textbook",
        heading: "The server that tutorials print",
        titles: ["as tutorials print it", "epoll-et"],
        text: "It drains each connection until `EAGAIN`, as the manual asks. Then no descriptor is free: `accept` fails with \
               `EMFILE`, and the listener's edge is used up. A descriptor becomes free later, but the client in the queue \
               causes no new edge. The chapter's own server has [the same loop](says:04-epoll-et/examples/textbook.rs \
               \"compare them\"), and comes back by itself.",
        then: "Only a descriptor that becomes free before the failed `accept` saves the client, and a test that never runs \
               out of descriptors sees nothing of this. Exercise [the evening with too many guests](exercise:27) has this bug, and the check [queued clients are \
               served as soon as others leave](check:faults/queued_clients_are_served_as_soon_as_others_leave) finds it.",
        see: "cargo lab show textbook --script 'c0 connect; c0 send 3; fds none; c1 connect; fds free; c1 send 4'",
    },
];

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    paragraph(
        &mut body,
        inputs,
        "An edge is reported once. Whatever a server does between two system calls, a packet may arrive there, and a lost \
         edge makes the server sleep beside unread bytes. Choose a gap: this is the run in which the packet fell into it, on \
         a real kernel.",
    )?;
    for pair in PAIRS {
        let mut result = Ok(());
        body.element("section", &[("class", "slide pair"), ("id", pair.id)], |it| result = write(it, inputs, pair));
        result?;
        body.line();
    }
    Ok(Part { id: "edge", title: "The edge that is lost", body, notes: NOTES })
}

fn write(page: &mut Markup, inputs: &Inputs, pair: &Pair) -> Result<(), String> {
    let columns = [
        Column::of(inputs, &format!("{}-broken", pair.name), pair.titles[0])?,
        Column::of(inputs, &format!("{}-right", pair.name), pair.titles[1])?,
    ];
    page.leaf("h3", &[], pair.heading);
    claim(page, inputs, pair.text)?;
    acts::player(page, &columns, Start::Part, true, &format!("{}, and {}", pair.titles[0], pair.titles[1]));
    claim(page, inputs, pair.then)?;
    see(page, pair.see);
    Ok(())
}

const NOTES: &str = "Ask the class to choose a gap before anybody clicks: which one is fatal, and why?\n\
                     Then click a green cell and a red one, and compare the last rows.";
