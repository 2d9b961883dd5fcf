//! The same script on all six servers, aligned by its steps; and the table of the six APIs.
//!
//! Invariant: the runs are recordings of the chapters, and all are of the same script.

use ::markup::Markup;

use super::acts::{self, Column, Start};
use super::prose::{claim, paragraph, see};
use super::{Inputs, Part};

/// The recordings, and what they are called.
const CHAPTERS: &[(&str, &str)] = &[
    ("select", "select"),
    ("poll", "poll"),
    ("epoll-lt", "epoll LT"),
    ("epoll-et", "epoll ET"),
    ("kqueue", "kqueue"),
    ("uring", "io_uring"),
];

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let columns: Vec<Column<'_>> =
        CHAPTERS.iter().map(|(name, title)| Column::of(inputs, name, title)).collect::<Result<_, _>>()?;
    let script = &columns[0].recording.script;
    if let Some(other) = columns.iter().find(|column| column.recording.script != *script) {
        return Err(format!("the recording of {} has another script than that of select", other.title));
    }
    let mut body = Markup::default();
    let mut result = Ok(());
    body.element("div", &[("class", "slide")], |it| result = write(it, inputs, &columns));
    body.line();
    result?;
    Ok(Part { id: "six", title: "Six ways to wait", body, notes: NOTES })
}

fn write(page: &mut Markup, inputs: &Inputs, columns: &[Column<'_>]) -> Result<(), String> {
    paragraph(
        page,
        inputs,
        "One client connects, sends a few bytes, sends more, and finishes. The six servers get the same steps, and each answers \
         them with other system calls. The player stops at the same step in all six; a server that has less to do waits for \
         the others.",
    )?;
    page.element("p", &[("class", "script")], |it| {
        it.text("The client's steps: ");
        it.leaf("code", &[], &columns[0].recording.script);
    });
    acts::player(page, columns, Start::Step(1), false, "The same steps, six ways to wait");
    claim(
        page,
        inputs,
        "Look at the rows behind a step. Select and poll name every descriptor in every wait. Epoll names one once, in \
         `epoll_ctl`. Edge-triggered epoll reads until `EAGAIN`. Kqueue's events say how many bytes there are. And io_uring \
         works [without any recv or send](says:06-io-uring/README.md \"without any recv or send\"): the kernel has received \
         already.",
    )?;
    see(page, "cargo lab show select poll epoll-lt epoll-et kqueue uring --script close");
    Ok(())
}

const NOTES: &str = "Step to 'c0 send 3' and ask what each server has to say to the kernel before it may sleep again.\n\
                     Then compare the rows of one step: five servers read, one is told what was read.";
