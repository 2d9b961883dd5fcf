//! Questions people ask: four sentences each, and a command that shows it.
//!
//! Invariant: each sentence has a figure, or leads to a check, a test, an experiment or a line that shows it.

use ::markup::Markup;

use super::prose::{Prose, see};
use super::{Inputs, Part};

struct Question {
    id: &'static str,
    question: &'static str,
    /// Four sentences.
    answer: [&'static str; 4],
    command: &'static str,
}

const ASKED: &[Question] = &[
    Question {
        id: "questions-select-or-epoll",
        question: "select or epoll?",
        answer: [
            "select gets the whole set at each call, and the kernel [looks at every descriptor in it](holds:wait).",
            "epoll keeps the set in the kernel, so a wait beside ten thousand idle descriptors takes \
             {wait/wait: epoll LT at 10000, under 10} µs, and one of select with a larger bitmap \
             {wait/wait: select, larger bitmap at 10000, over 50} µs.",
            "select has no bit for a descriptor from [1024](says:common/GLOSSARY.md \"1024 with glibc\") on, and the limit of \
             epoll is the number of open files, so [ten thousand connections are \
             served](check:scale/ten_thousand_idle_connections_are_served).",
            "select is left where it has to run on [any POSIX system](says:.github/workflows/ci.yml \"FreeBSD virtual machine\") \
             and has few descriptors, and even there poll asks the same without that limit.",
        ],
        command: "cargo lab measure wait",
    },
    Question {
        id: "questions-level-or-edge",
        question: "Level-triggered or edge-triggered?",
        answer: [
            "Level-triggered epoll reports a descriptor [as long as its condition holds](says:03-epoll-lt/README.md \"for as long \
             as its condition holds\"), so bytes that are left over are reported again.",
            "Edge-triggered epoll reports a change once, and a server that does not read until EAGAIN [leaves its client \
             waiting](check:drain/a_burst_of_bytes_in_one_wakeup_is_all_read).",
            "The edge saves [no processor time](holds:trigger) for requests and answers: a round trip takes {syscalls/calls: \
             epoll-lt at 50} calls with the level and {syscalls/calls: epoll-et at 50} with the edge, because of the read that \
             returns EAGAIN.",
            "So take the level, unless several threads share one epoll, where an edge with [EPOLLONESHOT](exercise:26) gives a \
             connection to one thread at a time.",
        ],
        command: "cargo lab diff 03 04",
    },
    Question {
        id: "questions-exclusive",
        question: "What does EPOLLEXCLUSIVE cure, and what does it not?",
        answer: [
            "With an epoll for each of sixteen workers and one listener in all of them, a connection wakes {herd/woken: own LT at \
             16, over 8} workers, and with EXCLUSIVE {herd/woken: own LT EXCLUSIVE at 16, under 1.5}.",
            "It does not share the work: when all sleep, the busiest of sixteen workers gets {herd/busiest: own LT EXCLUSIVE at 16, \
             over 50} % of the connections.",
            "It does not help workers that [share one epoll](holds-if:herd), of which a connection wakes {herd/woken: shared LT at \
             16} without it.",
            "SO_REUSEPORT shares better, {herd/busiest: REUSEPORT at 16, under 50} % for the busiest, but a worker that ends [loses the \
             clients in its own queue](says:04-epoll-et/tests/demonstrations.rs \"fn a_listener_that_closes_loses_its_queue\").",
        ],
        command: "cargo lab measure herd",
    },
    Question {
        id: "questions-io-uring",
        question: "Is io_uring a faster epoll?",
        answer: [
            "It is another contract: the program starts a read and is [told when it is done](says:06-io-uring/src/server.rs \"told \
             when they are done\"), instead of being told that it may read.",
            "At fifty busy clients a round trip takes {syscalls/calls: uring at 50, under 0.5} system calls instead of \
             {syscalls/calls: epoll-lt at 50, over 1.5}.",
            "The processor time is {syscalls/cpu: uring at 50 relative to epoll-lt, under 1.5} times that of epoll, because the work of the \
             network is the same: [few calls](holds-if:syscalls) are not few microseconds.",
            "Where it gains is the disk: with registered buffers, {reads/direct: ring, fixed at 128 relative to pread, over 2} times the reads of pread for the same \
             time, and the price is a buffer that [must live until the completion](exercise:34).",
        ],
        command: "cargo lab measure syscalls reads",
    },
    Question {
        id: "questions-kqueue",
        question: "How do kqueue and epoll compare?",
        answer: [
            "Both keep the registrations in the kernel and report only what happened: see [epoll_ctl](says:03-epoll-lt/src/server.rs \
             \"EPOLL_CTL_ADD\") and [EV_ADD](says:05-kqueue/src/server.rs \"EV_ADD\").",
            "epoll watches descriptors, so a timer needs [a descriptor first](says:03-epoll-lt/examples/beyond_sockets.rs \"timerfd\"); \
             kqueue watches events, and a timer is [a filter](says:05-kqueue/examples/filters.rs \"EVFILT_TIMER\").",
            "kqueue takes many changes along [with the wait](says:05-kqueue/README.md \"an entry in the change list of the next\"), and \
             its event says [how many bytes are there](says:05-kqueue/README.md \"bytes to read, room to write\").",
            "After a close epoll may [still report a descriptor of which a duplicate \
             lives](says:03-epoll-lt/tests/stale_fd.rs \"fn a_dup_keeps_a_closed_descriptor_registered\"), and kqueue's knotes [go with \
             the descriptor](says:05-kqueue/README.md \"the knotes go with the descriptor\").",
        ],
        command: "cargo lab diff 03 05",
    },
    Question {
        id: "questions-poll",
        question: "Is poll a faster select?",
        answer: [
            "No: a wait of poll beside ten thousand idle descriptors takes {wait/wait: poll at 10000 relative to select, larger bitmap, \
             over 0.5, under 2} times that of select.",
            "What poll takes away is [the limit](check:fd_setsize/descriptors_past_every_power_of_two_are_served): its array has an entry \
             for each descriptor, whatever its number.",
            "It also keeps the question apart from the answer, in [events and revents](says:02-poll/src/server.rs \"revents\"), so the \
             program [need not build the sets anew](exercise:07) before each call.",
            "With both, the kernel [looks at all descriptors](holds:wait), and beside nine thousand idle connections a round trip of poll \
             takes {idle-tax/busy-50: poll at 9000 relative to epoll-lt, over 2} times the processor time of epoll.",
        ],
        command: "cargo lab diff 01 02",
    },
    Question {
        id: "questions-underneath",
        question: "What do Node, nginx, Go and tokio do underneath?",
        answer: [
            "Node's libuv waits in epoll_pwait and registers sockets [level-triggered](says:common/page/underneath.md \
             \"{events=EPOLLIN, ...})`: level-triggered\").",
            "nginx registers a connection [edge-triggered, with RDHUP](says:common/page/underneath.md \"EPOLLRDHUP\\|EPOLLET, ...})`\").",
            "Go's netpoller and tokio, which stands on mio, register each connection [once, for both directions, \
             edge-triggered](says:common/page/underneath.md \"once for both directions\"), and remember what is ready themselves.",
            "Their comfort costs little: on fifty busy clients tokio takes {peers/ratio: tokio at 50 × 64 B, under 2} times and mio \
             {peers/ratio: mio at 50 × 64 B, under 2} times the processor time of the [level-triggered chapter](holds:peers).",
        ],
        command: "strace -f -e trace=epoll_create1,epoll_ctl,epoll_wait,epoll_pwait node echo.js 7000",
    },
    Question {
        id: "questions-files",
        question: "Why are regular files always ready?",
        answer: [
            "Readiness asks whether a call would wait for somebody else, and a file has nobody else: poll reports one as \
             [readable at its end too](says:02-poll/tests/regular_file.rs \"fn poll_reports_a_file\").",
            "The read then waits for the disk, which O_NONBLOCK does not change: one pread at a time makes {reads/direct-clock: pread at 1} \
             reads a second of this disk.",
            "epoll takes no such file, and [refuses it with EPERM](says:02-poll/tests/regular_file.rs \"fn epoll_refuses\").",
            "So loops give files to threads, or to a ring, which has many reads on the way and makes {reads/direct-clock: ring at 128 \
             relative to pread at 128, over 1.5} times as many reads a second, where [the disk has to be read](holds-if:reads).",
        ],
        command: "cargo test -p poll --test regular_file",
    },
    Question {
        id: "questions-denied",
        question: "Why is io_uring denied in containers?",
        answer: [
            "The usual seccomp profiles refuse [io_uring_setup itself](says:06-io-uring/README.md \"as in most \
             containers\"), so no ring comes to be.",
            "A filter of system calls sees io_uring_enter and not the operations that stand in the ring, so it cannot forbid \
             [single operations](says:exercises/grading/README.md \"because its operations pass no filter\").",
            "The kernel has a switch of its own, the sysctl [io_uring_disabled](says:06-io-uring/README.md \"kernel.io_uring_disabled\"), \
             which denies rings to all or to those outside a group.",
            "The chapter's server says [which of these it was](says:06-io-uring/README.md \"a seccomp filter denies it\"), and the exercises \
             of the chapter are [withheld, not failed](says:exercises/grading/README.md \"is withheld\").",
        ],
        command: "cargo run -p uring",
    },
];

const NOTES: &str = "Show the question alone first, and take answers from the class.\n\
                     Each sentence has a link to what shows it: when somebody doubts, follow it, or run the command.";

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    for Question { id, question, answer, command } in ASKED {
        let mut inside = Markup::default();
        inside.leaf("h3", &[], question);
        let mut sentences = Vec::new();
        for sentence in answer {
            let prose = Prose::of(inputs, sentence)?;
            if prose.bound == 0 {
                return Err(format!("nothing shows what is said in '{sentence}'"));
            }
            sentences.push(prose);
        }
        inside.element("p", &[("class", "answer")], |it| {
            for (at, sentence) in sentences.iter().enumerate() {
                if at > 0 {
                    it.text(" ");
                }
                sentence.write(it);
            }
        });
        see(&mut inside, command);
        body.element("div", &[("class", "slide"), ("id", id)], |it| it.append(&inside));
        body.line();
    }
    Ok(Part { id: "questions", title: "Questions people ask", body, notes: NOTES })
}
