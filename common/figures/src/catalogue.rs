//! The experiments by name, each with the claim that it tries.
//!
//! Invariant: the names stand in the order of the table that `cargo lab measure` prints, and each is an experiment of
//! the bench (a test compares the two lists).

/// What one experiment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Its word on the command line.
    pub name: &'static str,
    /// What is said of the kernel, in one sentence of our own: the first column of the table.
    pub claim: &'static str,
    /// What is varied.
    pub varied: &'static str,
    /// What is counted.
    pub counted: &'static str,
}

/// Every experiment.
pub const CATALOGUE: &[About] = &[
    About {
        name: "wait",
        claim: "A wait of select and poll costs time for every descriptor, and a wait of epoll for the ready ones only.",
        varied: "idle descriptors, 10 to 1,000,000",
        counted: "CPU time of one wait",
    },
    About {
        name: "idle-tax",
        claim: "Idle connections make every round trip of a select or poll server dearer, and cost an epoll server nothing.",
        varied: "idle connections, 0 to the limit of descriptors",
        counted: "the server's CPU time per round trip",
    },
    About {
        name: "threads",
        claim: "A thread per connection reserves 8 MiB each and uses a small part of it.",
        varied: "connections, 100 to 10,000",
        counted: "memory: reserved, resident, kernel",
    },
    About {
        name: "syscalls",
        claim: "A ring batches system calls: the more clients are busy, the fewer calls a round trip takes.",
        varied: "busy connections, 1 to 1,000",
        counted: "system calls per round trip, by name",
    },
    About {
        name: "trigger",
        claim: "Edge-triggered epoll saves no CPU time for requests and answers.",
        varied: "message sizes and fan-in",
        counted: "CPU time, calls, and reads that return EAGAIN",
    },
    About {
        name: "herd",
        claim: "EXCLUSIVE wakes one worker per connection instead of all of them.",
        varied: "workers, 1 to 16",
        counted: "wakeups per connection, and the share of the busiest worker",
    },
    About {
        name: "fairness",
        claim: "A bounded turn keeps a quiet client's wait short, whatever a flood sends.",
        varied: "flooding clients, 0 to 64",
        counted: "the flood's bytes that pass during one round trip of a quiet client",
    },
    About {
        name: "latency",
        claim: "The tail of the latencies grows long before the server is busy all the time.",
        varied: "load, 10 % to 90 % of what the server can do",
        counted: "p50, p99 and p99.9 of an open loop",
    },
    About {
        name: "drain",
        claim: "A missed drain shows in the tail of the latencies and not in the CPU time.",
        varied: "the server: with each drain, and with one that is missed now and then",
        counted: "latencies and CPU time",
    },
    About {
        name: "reads",
        claim: "A ring reads files at a lower price per read than pread, if many reads are in flight.",
        varied: "queue depth, 1 to 128; cached and O_DIRECT",
        counted: "reads of 4 KiB per second of a core",
    },
    About {
        name: "peers",
        claim: "A chapter of 200 lines costs no more CPU time than the libraries that people use.",
        varied: "the server: chapters, mio, tokio, smol",
        counted: "CPU time per round trip",
    },
];

/// The experiment with this name.
pub fn about(name: &str) -> Option<&'static About> {
    CATALOGUE.iter().find(|about| about.name == name)
}
