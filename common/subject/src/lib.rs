//! The server under test, as far as it has to be known before it runs; and the words for what may be wrong with it.
//!
//! Invariant: the harness learns about a server only from here and from outside (its port, its output, /proc). There is
//! little code here, so what needs the names alone is built in seconds.

mod broken;
mod symptom;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

pub use broken::{BROKEN, Lack};
pub use symptom::Symptom;

/// A server's source file, which a panic names.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the compiler knows it.
    pub named: String,
    /// As its author knows it.
    pub shown: String,
    /// Where it can be read.
    pub file: std::path::PathBuf,
}

/// How a server comes to be reachable.
#[derive(Debug, Clone)]
pub enum Launch {
    /// A command. `{port}` in an argument is replaced by a free port; without one, the server has to print
    /// `listening on ADDR:PORT` to stdout.
    Command(Vec<String>),
    /// It runs already, and was not started here: checks that need the process are skipped.
    Served(SocketAddr),
}

/// How a server waits; an exercise.toml spells it `model = "readiness"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Waits for readiness: every socket has to be non-blocking.
    Readiness,
    /// Submits operations and waits for completions: sockets stay blocking.
    Completion,
    /// Not declared: judged by its behaviour only.
    Unknown,
}

/// What one turn of a readiness server does at most, from one wait to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Connections that it accepts.
    pub accepts: u32,
    /// Reads of one connection.
    pub reads: u32,
}

/// That of the servers of this repository.
pub const BATCH: Batch = Batch { accepts: 64, reads: 4 };

/// A server and what is declared of it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The column's head in the matrix.
    pub name: String,
    /// How to start or reach it.
    pub launch: Launch,
    /// Held to the clauses that are this repository's own choice (command line, exit codes, memory per connection).
    pub own: bool,
    /// How it waits.
    pub model: Model,
    /// It serves only descriptors below this number and refuses the others (select's FD_SETSIZE).
    pub fd_limit: Option<u64>,
    /// It serves at most so many clients at once, by its own choice; the checks stay below that.
    pub max_clients: Option<u32>,
    /// It has so many workers, threads of the same kind that share the clients.
    pub workers: Option<u32>,
    /// It says which client came last when it has no descriptor left.
    pub names_newest: bool,
    /// What one of its turns does at most. Of a server without a declared batch any bounded one is fair.
    pub batch: Option<Batch>,
    /// Where it differs from the contract on purpose: a group or a check (`group::name`), and the reason. Not tried.
    pub differs: &'static [(&'static str, &'static str)],
    /// What it lacks on purpose, with the checks that it fails for that. Those are tried.
    pub lacks: &'static [Lack],
    /// Its source file, if that is known by another path than the one that a panic of it names.
    pub source: Option<Source>,
    /// It calls kevent(2). On Linux that is a stand-in over epoll, and a failure speaks of what the server calls.
    pub kqueue: bool,
}

/// A chapter of this workspace: what its folder, its package and its checks need to know.
#[derive(Debug, Clone, Copy)]
pub struct Chapter {
    /// The folder at the top of the workspace.
    pub folder: &'static str,
    /// The package, which is also the binary's name.
    pub package: &'static str,
    /// How it waits.
    pub model: Model,
    /// See `Subject::fd_limit`.
    pub fd_limit: Option<u64>,
    /// Whether this platform has its API.
    pub here: bool,
}

const LINUX: bool = cfg!(target_os = "linux");

/// The chapters, in reading order.
pub const CHAPTERS: &[Chapter] = &[
    Chapter { folder: "01-select", package: "select", model: Model::Readiness, fd_limit: Some(1024), here: true },
    Chapter { folder: "02-poll", package: "poll", model: Model::Readiness, fd_limit: None, here: true },
    Chapter { folder: "03-epoll-lt", package: "epoll-lt", model: Model::Readiness, fd_limit: None, here: LINUX },
    Chapter { folder: "04-epoll-et", package: "epoll-et", model: Model::Readiness, fd_limit: None, here: LINUX },
    Chapter { folder: "05-kqueue", package: "kqueue", model: Model::Readiness, fd_limit: None, here: true },
    Chapter { folder: "06-io-uring", package: "uring", model: Model::Completion, fd_limit: None, here: LINUX },
];

/// A server among a chapter's examples: the same contract, another trick.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// The folder of its package.
    pub folder: &'static str,
    /// Its package.
    pub package: &'static str,
    /// The example's name.
    pub example: &'static str,
    /// The column's head in the matrix, and its word on the command line.
    pub name: &'static str,
    /// Options that make it this variant; the contract's come behind them.
    pub args: &'static [&'static str],
    /// How it waits.
    pub model: Model,
    /// See `Subject::fd_limit`.
    pub fd_limit: Option<u64>,
    /// See `Subject::workers`.
    pub workers: Option<u32>,
    /// See `Subject::differs`.
    pub differs: &'static [(&'static str, &'static str)],
    /// See `Subject::lacks`. Empty but for `BROKEN`.
    pub lacks: &'static [Lack],
    /// Whether this platform has its API.
    pub here: bool,
}

const fn variant(folder: &'static str, package: &'static str, example: &'static str, model: Model) -> Variant {
    let (args, fd_limit, workers, differs, lacks) = (&[], None, None, &[], &[]);
    Variant { folder, package, example, name: example, args, model, fd_limit, workers, differs, lacks, here: LINUX }
}

const fn selector(name: &'static str, args: &'static [&'static str]) -> Variant {
    Variant { name, args, ..variant("common/server", "common-server", "default_selector", Model::Readiness) }
}

const THREADS: (&str, &str) = (
    "start::a_signal_between_the_last_look_and_the_wait_is_not_lost",
    "with several threads the signal goes to one that is not held at that moment",
);

const PARALLEL: (&str, &str) = (
    "fairness::a_burst_of_connects_does_not_keep_a_connected_client_waiting",
    "each worker bounds its own turn, and the others go on accepting meanwhile",
);

/// Of servers whose sockets are direct descriptors of an io_uring.
const NO_FDS: &[(&str, &str)] = &[(
    "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
    "its sockets are slots of the ring and no descriptors, so none is freed",
)];

/// Of a server with a buffer for each receive, which its notification frees.
const ZERO_COPY: &[(&str, &str)] = &[
    (
        "idle::a_stuck_client_that_has_finished_costs_nothing",
        "what it takes of a client that does not read is a number of buffers, however full, and not of bytes",
    ),
    (
        "scale::memory_comes_back_when_nothing_is_owed",
        "every receive has a new buffer, and the allocator keeps some of those that were given back in another order",
    ),
];

/// The variants, in the order of their chapters.
pub const VARIANTS: &[Variant] = &[
    Variant {
        here: true,
        differs: &[
            (
                "scale::an_idle_connection_costs_less_than_256_bytes",
                "a thread and its stack for each are what it shows",
            ),
            (
                "start::a_signal_between_the_last_look_and_the_wait_is_not_lost",
                "no thread waits for two things, so there is no such moment: one only reads the signal's byte",
            ),
        ],
        ..variant("common/server", "common-server", "thread_per_connection", Model::Unknown)
    },
    selector("selector-epoll", &["--backend", "epoll"]),
    Variant { here: true, ..selector("selector-kqueue", &["--backend", "kqueue"]) },
    Variant { here: true, ..selector("selector-poll", &["--backend", "poll"]) },
    Variant { here: true, fd_limit: Some(1024), ..selector("selector-select", &["--backend", "select"]) },
    Variant {
        workers: Some(4),
        differs: &[THREADS, PARALLEL],
        ..variant("04-epoll-et", "epoll-et", "exclusive", Model::Readiness)
    },
    Variant {
        workers: Some(4),
        differs: &[
            THREADS,
            (
                "faults::out_of_descriptors_the_server_rests",
                "each worker tries its own queue again, four times a second",
            ),
            (
                "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
                "queues of their own have no common order: a later client may hold the descriptor that an earlier one \
                 waits for",
            ),
            PARALLEL,
        ],
        ..variant("04-epoll-et", "epoll-et", "reuseport", Model::Readiness)
    },
    Variant {
        workers: Some(4),
        differs: &[THREADS, PARALLEL],
        ..variant("04-epoll-et", "epoll-et", "oneshot", Model::Readiness)
    },
    variant("04-epoll-et", "epoll-et", "short_read", Model::Readiness),
    Variant { here: true, ..variant("05-kqueue", "kqueue", "ev_clear", Model::Readiness) },
    Variant {
        here: true,
        differs: &[THREADS, PARALLEL],
        ..variant("05-kqueue", "kqueue", "dispatch", Model::Readiness)
    },
    Variant { differs: NO_FDS, ..variant("06-io-uring", "uring", "multishot", Model::Completion) },
    variant("06-io-uring", "uring", "sqpoll", Model::Completion),
    Variant { differs: NO_FDS, ..variant("06-io-uring", "uring", "fixed", Model::Completion) },
    Variant { differs: ZERO_COPY, ..variant("06-io-uring", "uring", "send_zc", Model::Completion) },
    variant("06-io-uring", "uring", "splice", Model::Readiness),
];

/// The variants, and behind them those that are broken on purpose.
pub fn all_variants() -> impl Iterator<Item = &'static Variant> {
    VARIANTS.iter().chain(BROKEN)
}

impl Subject {
    /// A chapter's server, from its package name and the path of its binary.
    ///
    /// # Panics
    /// If `CHAPTERS` has no such package.
    pub fn chapter(package: &str, binary: &str) -> Self {
        let chapter = CHAPTERS.iter().find(|chapter| chapter.package == package);
        let chapter = chapter.unwrap_or_else(|| panic!("no chapter has the package '{package}'"));
        Self {
            name: package.to_owned(),
            launch: Launch::Command(vec![binary.to_owned()]),
            own: true,
            model: chapter.model,
            fd_limit: chapter.fd_limit,
            max_clients: None,
            workers: None,
            names_newest: false,
            batch: Some(BATCH),
            differs: &[],
            lacks: &[],
            source: None,
            kqueue: chapter.folder == "05-kqueue",
        }
    }

    /// A server among the examples of a package of this workspace, for a test of that package. It is built here:
    /// `cargo test --test NAME` builds no examples.
    ///
    /// # Panics
    /// If cargo cannot build it, or the test does not run from cargo's target directory.
    pub fn example(package: &str, name: &str, model: Model) -> Self {
        let test = std::env::current_exe().expect("the test's own path");
        let profile = test.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
        // nextest starts a process for each test, and has built all examples before.
        if std::env::var_os("NEXTEST").is_none() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built =
                Command::new(cargo).args(["build", "--quiet", "--package", package, "--example", name]).status();
            assert!(
                built.is_ok_and(|status| status.success()),
                "cargo build --package {package} --example {name} failed"
            );
        }
        let binary = profile.join("examples").join(name);
        Self {
            name: name.to_owned(),
            launch: Launch::Command(vec![binary.to_string_lossy().into_owned()]),
            own: true,
            model,
            fd_limit: None,
            max_clients: None,
            workers: None,
            names_newest: false,
            batch: Some(BATCH),
            differs: &[],
            lacks: &[],
            source: None,
            kqueue: false,
        }
    }

    /// A variant, from the path of its program.
    pub fn variant(variant: &Variant, binary: &str) -> Self {
        let argv = std::iter::once(binary).chain(variant.args.iter().copied());
        Self {
            name: variant.name.to_owned(),
            launch: Launch::Command(argv.map(str::to_owned).collect()),
            own: true,
            model: variant.model,
            fd_limit: variant.fd_limit,
            max_clients: None,
            workers: variant.workers,
            names_newest: false,
            batch: Some(BATCH),
            differs: variant.differs,
            lacks: variant.lacks,
            source: None,
            kqueue: variant.folder == "05-kqueue" || variant.args.contains(&"kqueue"),
        }
    }

    /// Why a check is not tried on this server, if that was declared.
    pub fn declared(&self, group: &str, full_name: &str) -> Option<&'static str> {
        self.differs.iter().find(|(what, _)| *what == group || *what == full_name).map(|(_, reason)| *reason)
    }

    /// Somebody's own server, in any language, from its command; see `Launch::Command`.
    pub fn command(name: impl Into<String>, argv: Vec<String>) -> Self {
        Self {
            name: name.into(),
            launch: Launch::Command(argv),
            own: false,
            model: Model::Unknown,
            fd_limit: None,
            max_clients: None,
            workers: None,
            names_newest: false,
            batch: None,
            differs: &[],
            lacks: &[],
            source: None,
            kqueue: false,
        }
    }

    /// A server that runs already.
    pub fn served(addr: SocketAddr) -> Self {
        Self { launch: Launch::Served(addr), ..Self::command(addr.to_string(), Vec::new()) }
    }
}
