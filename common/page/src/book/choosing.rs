//! Choosing: rules in their order, each with the measured reason. The first that fits is the answer.
//!
//! Invariant: for each combination of answers there is a rule (a test goes through all of them). The script only points at a
//! row; without it the table is read from the top.

use ::markup::Markup;

use super::prose::{Prose, claim, paragraph, write_code};
use super::{Inputs, Part};

/// An answer's value in the attribute, and its words.
type Answers = &'static [(&'static str, &'static str)];

/// What is asked: the attribute, the question, and the answers with their words.
const QUESTIONS: &[(&str, &str, Answers)] = &[
    (
        "data-system",
        "Where does it run?",
        &[("linux", "on Linux"), ("bsd", "on a BSD or macOS"), ("both", "on both, from one source")],
    ),
    ("data-connections", "How many connections?", &[("many", "a thousand or more"), ("few", "fewer")]),
    ("data-idle", "What do most of them do?", &[("idle", "wait: chats, sensors"), ("busy", "talk all the time")]),
    ("data-work", "What is read?", &[("sockets", "sockets"), ("files", "files that a disk has to read")]),
    ("data-ring", "Is io_uring there?", &[("yes", "yes"), ("no", "no: a container, or an old kernel")]),
];

/// A rule: what it asks for (question, answer), in words, the API, and why.
struct Rule {
    when: &'static [(&'static str, &'static str)],
    words: &'static str,
    api: &'static str,
    why: &'static str,
    see: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        when: &[("data-work", "files"), ("data-system", "linux"), ("data-ring", "yes")],
        words: "files that the disk has to read, on Linux with io_uring",
        api: "io_uring",
        why: "For the same processor time, a ring with many reads in flight makes {reads/direct: ring, fixed at 128 relative to \
              pread, over 2} times the reads of pread. From the page cache it is \
              {reads/cached: ring at 128 relative to pread, under 2} times: then it is [hardly worth it](holds-if:reads).",
        see: "cargo lab measure reads",
    },
    Rule {
        when: &[("data-work", "files")],
        words: "files that the disk has to read, elsewhere",
        api: "threads that read, and a loop for the sockets",
        why: "A file is [always ready](says:02-poll/tests/regular_file.rs \"fn poll_reports_a_file\"), so no wait can tell when \
              the disk has answered, and epoll [refuses it](says:02-poll/tests/regular_file.rs \"fn epoll_refuses\").",
        see: "cargo test -p poll --test regular_file",
    },
    Rule {
        when: &[("data-system", "bsd")],
        words: "a BSD or macOS",
        api: "kqueue",
        why: "Its registrations [stay in the kernel](says:05-kqueue/src/server.rs \"EV_ADD\"), and it watches [timers, signals \
              and children](says:05-kqueue/examples/filters.rs \"EVFILT_TIMER\") in the same call. Its price on a BSD was not \
              measured here.",
        see: "cargo test -p kqueue",
    },
    Rule {
        when: &[("data-system", "both"), ("data-connections", "few")],
        words: "both, from one source, and fewer than a thousand connections",
        api: "poll",
        why: "One source [runs everywhere](says:.github/workflows/ci.yml \"FreeBSD virtual machine\"). Beside nine hundred idle \
              connections and fifty busy ones a round trip takes {idle-tax/busy-50: poll at 900 relative to epoll-lt, under 2} \
              times the processor time of epoll. With only one busy, it takes {idle-tax/busy-1: poll at 900 relative to epoll-lt, \
              over 2} times.",
        see: "cargo lab measure idle-tax",
    },
    Rule {
        when: &[("data-system", "both")],
        words: "both, from one source, and more connections",
        api: "epoll and kqueue behind one small trait",
        why: "[One example](says:common/server/examples/default_selector.rs \"trait\") does what libraries do. poll alone would \
              take {idle-tax/busy-50: poll at 9000 relative to epoll-lt, over 2} times the processor time of epoll beside nine \
              thousand idle connections.",
        see: "cargo run -p common-server --example default_selector",
    },
    Rule {
        when: &[("data-connections", "few"), ("data-idle", "busy")],
        words: "Linux, fewer than a thousand connections, all of them busy",
        api: "poll or epoll, whichever you know",
        why: "With none idle and fifty busy, poll takes {idle-tax/busy-50: poll at 0 relative to epoll-lt, under 1.3} times the \
              processor time of epoll, which is near what two runs of one server differ by.",
        see: "cargo lab measure idle-tax",
    },
    Rule {
        when: &[("data-idle", "idle")],
        words: "Linux, and most connections wait",
        api: "epoll, level-triggered",
        why: "A wait costs {wait/wait: epoll LT at 1000000, under 10} µs beside a million idle descriptors, and one of poll \
              {wait/wait: poll at 10000, over 50} µs beside ten thousand. [Edge-triggered mode saves no processor \
              time](holds:trigger), and has [one more rule to keep](part:edge).",
        see: "cargo lab measure wait trigger",
    },
    Rule {
        when: &[("data-ring", "yes")],
        words: "Linux with io_uring, and many busy connections",
        api: "epoll, level-triggered; io_uring if your own measurement says so",
        why: "The ring makes {syscalls/calls: uring at 50 relative to epoll-lt, under 0.5} times the system calls of epoll at fifty \
              busy clients, and takes {syscalls/cpu: uring at 50 relative to epoll-lt, under 1.5} times the processor time: on this \
              machine [fewer calls](holds-if:syscalls) are hardly less time.",
        see: "cargo lab measure syscalls",
    },
    Rule {
        when: &[],
        words: "Linux, and many busy connections",
        api: "epoll, level-triggered",
        why: "Fifty busy clients share each wait, so that a round trip takes {syscalls/by-name: epoll-lt at epoll_wait, under 0.2} \
              of one.",
        see: "cargo lab measure syscalls",
    },
];

const NOTES: &str = "Let the class answer the five questions for a project of their own, and then try to find a reason against the answer.\n\
                     The last slide is the honest one: read what the page does not know aloud.";

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    let mut first = Markup::default();
    paragraph(&mut first, inputs, "Read the table from the top. The first row that fits is the answer.")?;
    table(&mut first, inputs)?;
    body.element("div", &[("class", "slide")], |it| it.append(&first));
    let mut rest = Markup::default();
    besides(&mut rest, inputs)?;
    body.element("div", &[("class", "slide"), ("id", "choosing-limits")], |it| it.append(&rest));
    body.line();
    Ok(Part { id: "choosing", title: "Choosing", body, notes: NOTES })
}

fn table(page: &mut Markup, inputs: &Inputs) -> Result<(), String> {
    let mut rows = Vec::new();
    for rule in RULES {
        let why = Prose::of(inputs, rule.why)?;
        if why.bound == 0 {
            return Err(format!("nothing shows what is said in '{}'", rule.why));
        }
        rows.push((rule, why));
    }
    // What a script asks, where there is one.
    page.element("div", &[("class", "ask-choice"), ("hidden", "")], |it| {
        for (attribute, question, answers) in QUESTIONS {
            it.element("label", &[], |it| {
                it.text(question);
                it.text(" ");
                it.element("select", &[("data-asks", attribute)], |it| {
                    answers.iter().for_each(|(value, words)| it.leaf("option", &[("value", value)], words));
                });
            });
        }
        it.leaf("p", &[("role", "status")], "");
    });
    page.line();
    let scrolls = [("class", "wide"), ("tabindex", "0"), ("role", "group"), ("aria-label", "Which API")];
    page.element("div", &scrolls, |it| {
        it.element("table", &[("class", "facts choice")], |it| {
            it.leaf("caption", &[], "Which API, and why");
            it.element("thead", &[], |it| {
                it.element("tr", &[], |it| {
                    for head in ["if it is", "take", "because", "see it"] {
                        it.leaf("th", &[("scope", "col")], head);
                    }
                });
            });
            it.element("tbody", &[], |it| {
                for (rule, why) in &rows {
                    it.element("tr", rule.when, |it| {
                        it.leaf("td", &[], rule.words);
                        it.leaf("th", &[("scope", "row")], rule.api);
                        it.element("td", &[], |it| why.write(it));
                        it.element("td", &[], |it| write_code(it, rule.see));
                    });
                    it.line();
                }
            });
        });
    });
    page.line();
    Ok(())
}

fn besides(page: &mut Markup, inputs: &Inputs) -> Result<(), String> {
    page.leaf("h3", &[], "Besides");
    claim(
        page,
        inputs,
        "select is for descriptors below [1024](says:common/GLOSSARY.md \"1024 with glibc\") only: with the sets of the C library, \
         a server [cannot serve more, and writes past them if it tries](exercise:09).",
    )?;
    claim(
        page,
        inputs,
        "Several workers that accept: with an epoll for each and EXCLUSIVE, a connection wakes \
         {herd/woken: own LT EXCLUSIVE at 16, under 1.5} worker instead of {herd/woken: own LT at 16, over 8}, but on the reference \
         machine the busiest of sixteen gets {herd/busiest: own LT EXCLUSIVE at 16, over 50} % of them, and with SO_REUSEPORT \
         {herd/busiest: REUSEPORT at 16, under 50} %.",
    )?;
    page.leaf("h3", &[], "What this does not know");
    paragraph(
        page,
        inputs,
        "All of it was measured over the loopback interface, on one machine with few processors. Real networks lose packets and \
         wait; your kernel is another one; your connections have a mix of their own. The table gives you a first guess. Measure \
         before you build on it.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_each_combination_of_answers_there_is_a_rule_and_each_rule_is_some_answer() {
        let mut combinations: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
        for (question, _, answers) in QUESTIONS {
            let longer = |given: &Vec<(&'static str, &'static str)>| {
                let given = given.clone();
                answers.iter().map(move |(answer, _)| [given.clone(), vec![(*question, *answer)]].concat())
            };
            combinations = combinations.iter().flat_map(longer).collect();
        }
        let mut found = vec![0; RULES.len()];
        for given in &combinations {
            let fits = |rule: &Rule| rule.when.iter().all(|asked| given.contains(asked));
            found[RULES.iter().position(fits).unwrap_or_else(|| panic!("no rule for {given:?}"))] += 1;
        }
        assert!(found.iter().all(|count| *count > 0), "a rule that is never the answer: {found:?}");
    }
}
