//! The seven pitfalls: a broken run and the right one beside each other, the check that catches it, the exercise that has it.
//!
//! Invariant: the runs are of mutants and examples of this repository, and none is of an exercise's solution. The check and
//! the exercise are there, and the exercise demands the check; or the page is not made.

use ::markup::Markup;
use explorer::Verdict;

use super::acts::{self, Column, Start};
use super::prose::{claim, paragraph, see};
use super::{Inputs, Part};

struct Pitfall {
    id: &'static str,
    heading: &'static str,
    text: &'static str,
    shown: Shown,
    /// The group and the name.
    check: (&'static str, &'static str),
    /// The number of the exercise, and its title.
    exercise: (&'static str, &'static str),
}

/// What stands side by side.
enum Shown {
    /// The recordings `NAME-broken` and `NAME-right`, and what their servers are called.
    Runs(&'static str, [&'static str; 2]),
    /// What an example prints: the beginnings of the parts that are broken and right.
    Printed(&'static str, [&'static str; 2]),
}

impl Shown {
    fn command(&self) -> String {
        let file = |name: &str, end| format!("common/page/recordings/pairs/{name}-{end}.json.gz");
        match self {
            Self::Runs(name, _) => format!("cargo lab show {} {}", file(name, "broken"), file(name, "right")),
            Self::Printed("stale_fd", _) => "cargo run -p epoll-lt --example stale_fd".to_owned(),
            Self::Printed(example, _) => format!("cargo run -p select --example {example}"),
        }
    }
}

const PITFALLS: &[Pitfall] = &[
    Pitfall {
        id: "pitfalls-drain",
        heading: "A drain that ends too early",
        text: "An edge says that something came, and not how much. This server [reads once for an \
               edge](says:common/explorer/tests/mutants/catalogue.rs \"reads once per edge\"). Its buffer is smaller than \
               what the client sent, so the rest lies in the socket, and no edge will tell of it.",
        shown: Shown::Runs("drain", ["reads once", "reads until EAGAIN"]),
        check: ("echo", "what_was_sent_whole_before_the_first_read_comes_back"),
        exercise: ("20", "The letter that ends in the middle"),
    },
    Pitfall {
        id: "pitfalls-wakeup",
        heading: "A wakeup that is lost",
        text: "A test and a wait are two steps, and between them there is a gap. This server [tests a flag and then waits]\
               (says:common/explorer/tests/mutants/catalogue.rs \"tests the flag of a signal\"). The signal arrives in the \
               gap, sets the flag, and nobody looks at it again. [The edge that is lost](part:edge) is the same pitfall with \
               a packet in place of the signal.",
        shown: Shown::Runs("wakeup", ["select, unprotected", "pselect"]),
        check: ("start", "a_signal_between_the_last_look_and_the_wait_is_not_lost"),
        exercise: ("10", "It did not hear the bell"),
    },
    Pitfall {
        id: "pitfalls-stale",
        heading: "A descriptor that is stale",
        text: "Epoll watches the open socket, and not its number. If a duplicate keeps the socket open, a close does not end \
               the registration: the wait goes on to report [a descriptor that is closed](says:03-epoll-lt/examples/\
               stale_fd.rs \"belongs to the open file description\"), or that belongs to somebody else by now.",
        shown: Shown::Printed("stale_fd", ["close alone", "EPOLL_CTL_DEL before the close"]),
        check: ("close", "fin_alone_is_answered_with_fin"),
        exercise: ("14", "The ghost of the last visitor"),
    },
    Pitfall {
        id: "pitfalls-fdsetsize",
        heading: "FD_SETSIZE",
        text: "The set of select has a fixed number of bits, and the macro of C [does not check](says:01-select/examples/\
               fd_setsize.rs \"writes past it silently\"). A higher descriptor sets a bit in whatever stands behind the set. \
               The kernel itself has no such limit.",
        shown: Shown::Printed("fd_setsize", ["FD_SET as C has it", "the system call"]),
        check: ("fd_setsize", "a_connection_past_fd_1023_is_served_or_closed_at_once"),
        exercise: ("09", "The thousandth client"),
    },
    Pitfall {
        id: "pitfalls-blocking",
        heading: "A call that blocks",
        text: "One thread serves everybody, so a call that waits for one client keeps all others waiting. This server drains \
               each connection, and [its sockets block](says:common/explorer/tests/mutants/catalogue.rs \"leaves accepted \
               sockets blocking\"): the read that should say `EAGAIN` sleeps instead. A write blocks too, once a client does \
               not read: that is the bug of the exercise.",
        shown: Shown::Runs("blocking", ["sockets that block", "O_NONBLOCK"]),
        check: ("write", "a_client_that_never_reads_leaves_others_served"),
        exercise: ("17", "The trader who does not listen"),
    },
    Pitfall {
        id: "pitfalls-rdhup",
        heading: "RDHUP taken for an error",
        text: "RDHUP says that the client will send no more. It does not say that all of its bytes were read. This server \
               [closes at RDHUP](says:common/explorer/tests/mutants/catalogue.rs \"closes at RDHUP\"). The bytes that came \
               with the FIN are lost, and the client is reset.",
        shown: Shown::Runs("rdhup", ["closes at RDHUP", "reads until the read returns 0"]),
        check: ("drain", "bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished"),
        exercise: ("22", "Famous last words"),
    },
    Pitfall {
        id: "pitfalls-buffer",
        heading: "A buffer that is gone",
        text: "With completions the kernel writes into the buffer later. This server [gives the buffer back](says:06-io-uring/\
               examples/lifetime.rs \"dropped when the receive has been queued\") as soon as the receive is queued. The next \
               connection gets the same memory, and one client reads what another one sent. No memory checker sees what the \
               kernel writes.",
        shown: Shown::Runs("buffer", ["the buffer is freed", "the buffer is kept"]),
        check: ("lifetime", "bytes_held_for_two_stuck_clients_are_not_mixed"),
        exercise: ("34", "The slow reader's surprise"),
    },
];

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    paragraph(
        &mut body,
        inputs,
        "Each of these servers answers one client that sends a short message and waits. On the left stands the broken run, on the right the \
         right one under the same script. The exercises have the same bugs in other programs, and the fix is yours to find.",
    )?;
    for pitfall in PITFALLS {
        let mut result = Ok(());
        body.element("section", &[("class", "slide pair"), ("id", pitfall.id)], |it| {
            result = write(it, inputs, pitfall).map_err(|why| format!("{}: {why}", pitfall.heading));
        });
        result?;
        body.line();
    }
    Ok(Part { id: "pitfalls", title: "The seven pitfalls", body, notes: NOTES })
}

fn write(page: &mut Markup, inputs: &Inputs, pitfall: &Pitfall) -> Result<(), String> {
    page.leaf("h3", &[], pitfall.heading);
    claim(page, inputs, pitfall.text)?;
    match &pitfall.shown {
        Shown::Runs(name, titles) => runs(page, inputs, name, titles)?,
        Shown::Printed(example, begins) => printed(page, inputs, example, begins)?,
    }
    let ((group, check), (number, title)) = (pitfall.check, pitfall.exercise);
    demands(inputs, number, &format!("{group}::{check}"))?;
    claim(
        page,
        inputs,
        &format!("Caught by [{}](check:{group}/{check}). Try it: [{title}](exercise:{number}).", spaced(check)),
    )?;
    see(page, &pitfall.shown.command());
    Ok(())
}

/// A check's name as it is read.
fn spaced(check: &str) -> String {
    format!("'{check}'")
}

/// The broken run and the right one, in a player.
fn runs(page: &mut Markup, inputs: &Inputs, name: &str, titles: &[&str; 2]) -> Result<(), String> {
    let columns = [
        Column::of(inputs, &format!("{name}-broken"), titles[0])?,
        Column::of(inputs, &format!("{name}-right"), titles[1])?,
    ];
    let verdicts = columns.each_ref().map(|column| column.recording.runs[0].verdict);
    if verdicts[0] == Verdict::Ok || verdicts[1] != Verdict::Ok {
        return Err(format!("the pair '{name}' is no broken run and a right one: {verdicts:?}"));
    }
    acts::player(page, &columns, Start::Part, false, &format!("{}, and {}", titles[0], titles[1]));
    Ok(())
}

/// Two parts of what an example printed.
fn printed(page: &mut Markup, inputs: &Inputs, example: &str, begins: &[&str; 2]) -> Result<(), String> {
    let path = format!("common/page/recordings/pairs/{example}.txt");
    let text = inputs.workspace.text(&path)?;
    let mut result = Ok(());
    page.element("div", &[("class", "printed")], |it| {
        for (begin, verdict) in begins.iter().zip(["bad", "ok"]) {
            match section(&text, begin) {
                Some((title, lines)) => it.element("figure", &[], |it| {
                    it.leaf("figcaption", &[("class", &format!("verdict {verdict}"))], title);
                    it.leaf("pre", &[("tabindex", "0")], &lines);
                }),
                None => result = Err(format!("{path} has no part that begins with '{begin}'")),
            }
        }
    });
    page.line();
    result
}

/// The title of a part of a text, and the lines below it, which are indented.
fn section<'a>(text: &'a str, begin: &str) -> Option<(&'a str, String)> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(begin));
    let title = lines.next()?.trim_end_matches(':');
    let below: Vec<&str> = lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect();
    (!below.is_empty()).then(|| (title, below.join("\n")))
}

/// An exercise has to demand the check that the page names for it.
fn demands(inputs: &Inputs, number: &str, check: &str) -> Result<(), String> {
    let folders = inputs.workspace.names("exercises")?;
    let found = folders.iter().find(|name| name.starts_with(&format!("{number}_")));
    if found.is_none() && inputs.workspace.is_handout() {
        return Ok(());
    }
    let folder = found.ok_or_else(|| format!("there is no exercise {number}"))?;
    match inputs.workspace.text(&format!("exercises/{folder}/exercise.toml"))?.contains(&format!("\"{check}\"")) {
        true => Ok(()),
        false => Err(format!("exercise {number} does not demand the check {check}")),
    }
}

const NOTES: &str = "For each: which row is the first that differs, and why does a client that sends and waits not see it?\n\
                     The exercises have these bugs in other programs. Do not show their solutions.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_text_is_what_is_indented_below_its_title() {
        let text = "one, fd 3:\n  a\n  b\ntwo:\n  c\nempty\n";
        assert_eq!(section(text, "one"), Some(("one, fd 3", "a\nb".to_owned())));
        assert_eq!(section(text, "two"), Some(("two", "c".to_owned())));
        assert_eq!((section(text, "empty"), section(text, "three")), (None, None));
    }
}
