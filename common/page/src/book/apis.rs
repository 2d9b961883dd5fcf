//! The table of the five APIs, below the part in which all six servers run the same script.
//!
//! Invariant: each cell leads to the file, the test or the experiment that shows it.

use ::markup::Markup;

use super::Inputs;
use super::prose::Prose;

const HEADS: [&str; 6] = ["", "select", "poll", "epoll", "kqueue", "io_uring"];

const ROWS: &[[&str; 6]] = &[
    [
        "runs on",
        "[Linux, macOS, BSDs](says:.github/workflows/ci.yml \"FreeBSD virtual machine\")",
        "[Linux, macOS, BSDs](says:.github/workflows/ci.yml \"FreeBSD virtual machine\")",
        "[Linux](says:03-epoll-lt/src/main.rs \"linux\")",
        "[BSDs, macOS](says:05-kqueue/README.md \"FreeBSD, macOS, NetBSD, OpenBSD and DragonFly\"); here also [on a \
         stand-in](says:05-kqueue/src/sys/linux.rs \"kqueue\")",
        "[Linux](says:06-io-uring/README.md \"Linux 5.19 or later\"), and [not in most \
         containers](says:06-io-uring/README.md \"as in most containers\")",
    ],
    [
        "it reports",
        "[ready descriptors](says:01-select/src/server.rs \"fn run\"), in the sets that were passed",
        "[ready descriptors](says:02-poll/src/server.rs \"revents\"), in the array that was passed",
        "[ready descriptors](says:03-epoll-lt/src/server.rs \"fn run\") only",
        "[events](says:05-kqueue/src/server.rs \"fn run\"), one for each filter",
        "[completed operations](says:06-io-uring/src/server.rs \"told when they are done\")",
    ],
    [
        "a wait takes time for",
        "[every descriptor](holds:wait): {wait/wait: select, larger bitmap at 10000, over 50} µs for ten thousand idle ones",
        "[every descriptor](holds:wait): {wait/wait: poll at 10000, over 50} µs for ten thousand idle ones",
        "[the ready ones](holds:wait): {wait/wait: epoll LT at 10000, under 10} µs",
        "[the events](holds:wait): {wait/wait: kqueue (stand-in) at 10000, under 50} µs on the stand-in; a BSD was not measured",
        "[the completions](holds:wait): {wait/wait: io_uring at 10000, under 10} µs",
    ],
    [
        "limit",
        "[FD_SETSIZE](check:fd_setsize/a_connection_past_fd_1023_is_served_or_closed_at_once), which is \
         [1024](says:common/GLOSSARY.md \"1024 with glibc\")",
        "[RLIMIT_NOFILE](check:fd_setsize/descriptors_past_every_power_of_two_are_served)",
        "[RLIMIT_NOFILE](check:scale/ten_thousand_idle_connections_are_served)",
        "[RLIMIT_NOFILE](check:scale/ten_thousand_idle_connections_are_served)",
        "[RLIMIT_NOFILE](check:scale/ten_thousand_idle_connections_are_served)",
    ],
    [
        "registration",
        "[none: the sets are passed each time](says:01-select/src/server.rs \"fn run\")",
        "[none: the array is passed each time](says:02-poll/src/server.rs \"fn run\")",
        "[kept by the kernel](says:03-epoll-lt/src/server.rs \"EPOLL_CTL_ADD\")",
        "[kept by the kernel](says:05-kqueue/src/server.rs \"EV_ADD\")",
        "[none: each operation names its socket](says:06-io-uring/src/op.rs \"fd\")",
    ],
    [
        "level or edge",
        "[level](says:common/GLOSSARY.md \"select(2) and poll(2) are level-triggered\")",
        "[level](says:common/GLOSSARY.md \"select(2) and poll(2) are level-triggered\")",
        "[level](says:03-epoll-lt/src/server.rs \"fn register\") or [edge](says:04-epoll-et/src/server.rs \"EPOLLET\")",
        "[level](says:05-kqueue/src/server.rs \"fn register\") or [edge](says:05-kqueue/examples/ev_clear.rs \"EV_CLEAR\")",
        "[neither: completions](says:06-io-uring/README.md \"Completion and readiness\")",
    ],
    [
        "beyond sockets",
        "[anything with a descriptor](says:common/server/src/shutdown.rs \"fn\"), but [a file is always \
         ready](says:02-poll/tests/regular_file.rs \"fn poll_reports_a_file\")",
        "[anything with a descriptor](says:common/server/src/shutdown.rs \"fn\"), but [a file is always \
         ready](says:02-poll/tests/regular_file.rs \"fn poll_reports_a_file\")",
        "[timerfd, signalfd, pidfd ...](says:03-epoll-lt/examples/beyond_sockets.rs \"timerfd\"), and [no \
         files](says:02-poll/tests/regular_file.rs \"fn epoll_refuses\")",
        "[timers, signals, children, files](says:05-kqueue/examples/filters.rs \"EVFILT_TIMER\")",
        "[files](says:06-io-uring/examples/file_reads.rs \"O_DIRECT\"), [splice](says:06-io-uring/examples/splice.rs \
         \"splice\"), [timeouts](says:06-io-uring/examples/timeouts.rs \"fn main\")",
    ],
];

/// Writes the table.
///
/// # Errors
/// If something that a cell leads to is gone, or a figure has changed so that the words around it are wrong.
pub(super) fn table(page: &mut Markup, inputs: &Inputs) -> Result<(), String> {
    let mut rows = Vec::new();
    for [head, cells @ ..] in ROWS {
        let cells = cells.iter().map(|cell| match Prose::of(inputs, cell)? {
            prose if prose.bound > 0 => Ok(prose),
            _ => Err(format!("nothing shows what is said in '{cell}'")),
        });
        rows.push((head, cells.collect::<Result<Vec<Prose>, String>>()?));
    }
    page.element("div", &[("class", "slide"), ("id", "six-table")], |it| write(it, &rows));
    page.line();
    Ok(())
}

fn write(page: &mut Markup, rows: &[(&&str, Vec<Prose>)]) {
    let scrolls = [("class", "wide"), ("tabindex", "0"), ("role", "group"), ("aria-label", "The five APIs")];
    page.element("div", &scrolls, |it| {
        it.element("table", &[("class", "facts"), ("id", "six-apis")], |it| {
            it.leaf("caption", &[], "The five APIs: each cell leads to what shows it");
            it.element("thead", &[], |it| {
                it.element("tr", &[], |it| {
                    it.leaf("td", &[], HEADS[0]);
                    HEADS[1..].iter().for_each(|head| it.leaf("th", &[("scope", "col")], head));
                });
            });
            it.element("tbody", &[], |it| {
                for (head, cells) in rows {
                    it.element("tr", &[], |it| {
                        it.leaf("th", &[("scope", "row")], head);
                        cells.iter().for_each(|cell| it.element("td", &[], |it| cell.write(it)));
                    });
                    it.line();
                }
            });
        });
    });
}
