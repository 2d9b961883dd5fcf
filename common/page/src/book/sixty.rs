//! Sixty seconds: twelve captions, each over rows of a recorded run.
//!
//! Invariant: a caption names the rows that it is about, and a row that is not in the recording any more is an error. A
//! caption can be read in its five seconds.

use ::markup::Markup;
use explorer::record::{Event, Recording};

use super::prose::claim;
use super::{Inputs, Part};
use crate::words;

/// One caption.
struct Scene {
    title: &'static str,
    text: &'static str,
    recording: &'static str,
    /// The first row that it plays, and the last.
    rows: [Row; 2],
}

/// A row by the beginning of its text, and how many such rows come before it.
type Row = (&'static str, usize);

const SECONDS: usize = 5;
/// A reader takes in three words a second or four.
#[cfg(test)]
const MOST_WORDS: usize = 18;

const SCENES: &[Scene] = &[
    Scene {
        title: "One thread",
        text: "Ten thousand clients are connected. One thread serves them all, and sleeps until there is news.",
        recording: "epoll-lt",
        rows: [("epoll_ctl(6, ADD, 7 c0", 0), ("sleeps", 1)],
    },
    Scene {
        title: "select: a set goes in",
        text: "select takes a set of bits: one bit for each descriptor that the program waits for.",
        recording: "select",
        rows: [("accept4(5 listener) = EAGAIN", 0), ("sleeps", 1)],
    },
    Scene {
        title: "select: a set comes out",
        text: "The kernel looks at each bit, and overwrites the set. The program builds it again, every time.",
        recording: "select",
        rows: [("c0 send 3", 0), ("pselect6(read [3, 5 listener, 6 c0]) = 1", 0)],
    },
    Scene {
        title: "poll: a list",
        text: "poll takes a list, so no number is too high. But the kernel still reads all of it.",
        recording: "poll",
        rows: [("c0 send 3", 0), ("poll([3 IN, 5 listener IN, 6 c0 IN]) = 1", 0)],
    },
    Scene {
        title: "epoll: the interest list",
        text: "With epoll the kernel keeps the list. A connection is registered once, when it is accepted.",
        recording: "epoll-lt",
        rows: [("c0 connect", 0), ("epoll_ctl(6, ADD, 7 c0", 0)],
    },
    Scene {
        title: "epoll: the ready list",
        text: "A packet puts its connection on the ready list. The wait returns that list, and nothing else.",
        recording: "epoll-lt",
        rows: [("c0 send 5000", 0), ("epoll_wait(6) = 1: 7 c0 IN", 1)],
    },
    Scene {
        title: "Level",
        text: "Level-triggered: the connection stays on the ready list until the program has read its bytes.",
        recording: "epoll-lt",
        rows: [("epoll_wait(6) = 1: 7 c0 IN", 1), ("recvfrom(7 c0, 65536) = 5000", 0)],
    },
    Scene {
        title: "Edge",
        text: "Edge-triggered: the wait takes it off the list at once. So the program reads until EAGAIN.",
        recording: "epoll-et",
        rows: [("epoll_wait(6) = 1: 7 c0 IN|OUT", 1), ("recvfrom(7 c0, 65536) = EAGAIN", 1)],
    },
    Scene {
        title: "The gap",
        text: "This server marks a connection as empty one call too late. A packet falls into the gap.",
        recording: "flag-broken",
        rows: [("recvfrom(5 c0, 4096) = EAGAIN", 0), ("epoll_wait(4, timeout 0) = 1", 0)],
    },
    Scene {
        title: "The lost edge",
        text: "The bytes are unread, and the ready list is empty. The server sleeps for ever.",
        recording: "flag-broken",
        rows: [("sendto(5 c0, 3)", 0), ("sleeps for ever", 0)],
    },
    Scene {
        title: "kqueue",
        text: "kqueue registers and waits in one call, and each event says how many bytes there are.",
        recording: "kqueue",
        rows: [("accept4(5 listener) = EAGAIN", 0), ("kevent(6, [9 c0 READ ADD]) = 1", 0)],
    },
    Scene {
        title: "io_uring: completion",
        text: "io_uring turns it round: the program asks for bytes, and is told when they have arrived.",
        recording: "uring",
        rows: [("c0 send 5000", 0), ("io_uring_enter(6, submit 1, wait for 1) = 1", 1)],
    },
];

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    claim(
        &mut body,
        inputs,
        "Twelve captions over recorded runs of this repository's servers. Nothing starts by itself. The runs have one client, so \
         that each row can be seen; [a measurement](holds:threads) has ten thousand.",
    )?;
    body.element("div", &[("class", "stage"), ("hidden", "")], |_| {});
    body.line();
    let mut result = Ok(());
    body.element("ol", &[("class", "captions"), ("data-seconds", &SECONDS.to_string())], |it| {
        for (at, scene) in SCENES.iter().enumerate() {
            it.line();
            if let Err(why) = caption(it, inputs, at, scene) {
                result = Err(why);
            }
        }
    });
    body.line();
    result?;
    Ok(Part { id: "sixty", title: "Sixty seconds", body, notes: NOTES })
}

fn caption(page: &mut Markup, inputs: &Inputs, at: usize, scene: &Scene) -> Result<(), String> {
    let (place, recording) = inputs.recording(scene.recording)?;
    let [from, to] = [row(recording, scene.rows[0])?, row(recording, scene.rows[1])?];
    if from > to {
        return Err(format!("the caption '{}' ends before it begins", scene.title));
    }
    let (id, place) = (format!("sixty-{}", at + 1), place.to_string());
    let (first, last) = (from.to_string(), to.to_string());
    let attributes = [
        ("id", id.as_str()),
        ("data-recording", place.as_str()),
        ("data-from", first.as_str()),
        ("data-to", last.as_str()),
    ];
    let shown = match &recording.runs[0].events[to] {
        Event::Rest { sleeps, .. } => format!("sleeps in {}", sleeps.join(", ")),
        other => words::row(other, false),
    };
    page.element("li", &attributes, |it| {
        it.leaf("b", &[], scene.title);
        it.text(" ");
        it.leaf("span", &[("class", "caption")], scene.text);
        it.text(" ");
        it.leaf("code", &[("class", "seen")], &format!("{}: {shown}", recording.server));
    });
    Ok(())
}

/// The place of a row in the run that a recording shows first.
fn row(recording: &Recording, (text, before): Row) -> Result<usize, String> {
    let is = |event: &Event| match words::row(event, false) {
        // Whether it is for ever is another row.
        row if text == "sleeps" => row == text,
        row => row.starts_with(text),
    };
    let mut found = recording.runs[0].events.iter().enumerate().filter(|(_, event)| is(event));
    let place = found.nth(before).map(|(at, _)| at);
    place.ok_or_else(|| {
        format!(
            "a caption is about row {} '{text}' of the recording of {}: it is not there",
            before + 1,
            recording.server
        )
    })
}

const NOTES: &str = "Play it once without a word. Then go back with the arrows, and let the class say what the ready list holds.\n\
                     The text below the picture is the transcript: each title leads to its rows.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_captions_of_five_seconds_can_be_read_in_time() {
        assert_eq!(SCENES.len() * SECONDS, 60);
        for Scene { title, text, .. } in SCENES {
            let words = text.split_whitespace().count();
            assert!(words <= MOST_WORDS, "{title}: {words} words in {SECONDS} seconds");
            assert!(text.len() <= 110, "{title}: {} letters do not fit into two lines", text.len());
            assert!(title.len() <= 26, "{title}");
        }
    }
}
