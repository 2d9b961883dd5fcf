//! The reduction against brute force: with the explorer's relation and with every step placed before every call, the
//! same verdicts are found; and a wrong relation is caught by that comparison.
//!
//! Invariant: the servers are such that each wrong relation below loses a verdict of theirs. A comparison that could
//! not fail would prove nothing.

use std::collections::BTreeSet;

use explorer::reduction::{Relation, argued, brute_force};
use explorer::script::Step;
use explorer::{Faults, Plan, Script, Verdict};

const NONE: Faults = Faults { eintr: false, econnaborted: false };
const BOUND: usize = 2;

const ONE: &str = "c0 connect; c0 send 3; c0 send 5000; c0 shutdown";
const TWO: &str = "c0 connect; c1 connect; c0 send 3; c1 send 4; c0 shutdown; c1 shutdown";
const PAIR: &str = "c0 connect; c1 connect; c1 send 4; c0 shutdown; c1 shutdown";
const RESET: &str = "c0 connect; c1 connect; c0 send 3; c0 reset; c1 shutdown";
const EMFILE: &str = "c0 connect; c0 send 3; fds none; c1 connect; c0 shutdown";
const TOGETHER: &str = "c0 connect; c0 send 3; c0 send 50 & c0 shutdown";
const STOP: &str = "c0 connect; c0 send 3; signal TERM";

/// Servers and short scripts.
pub const CASES: &[(&str, &str)] = &[
    ("et", ONE),
    ("et_read_once", ONE),
    ("et_flag_cleared_late", ONE),
    ("et_short_read_is_dry", ONE),
    ("et_reads_once_more", TOGETHER),
    ("et_close_at_rdhup", ONE),
    ("et_flag_cleared_late", TWO),
    ("et_accept_once", TWO),
    ("et_accept_once", RESET),
    ("et_emfile_parks", EMFILE),
    ("et_two_fins", PAIR),
    ("select", TWO),
    ("select_flag_before_select", STOP),
    ("uring", ONE),
];

type Verdicts = BTreeSet<(Verdict, String)>;

fn verdicts(server: &str, script: &str, relation: Relation) -> Result<(Verdicts, u64), String> {
    let script = Script::parse("short", script)?;
    let subject = super::proof::server(server);
    let (subject, script) = (&subject, &script);
    let plan = Plan { subject, script, faults: NONE, max_placements: BOUND, always: 0, max_runs: None, max_time: None };
    explorer::verdicts(&plan, relation).map_err(|error| error.to_string())
}

/// A verdict that is not there on both sides is looked for once more: a run in which time interfered is no difference.
fn difference(server: &str, script: &str, relation: Relation) -> Result<Option<String>, String> {
    let (mut reduced, runs) = verdicts(server, script, relation)?;
    let (mut brute, brute_runs) = verdicts(server, script, brute_force)?;
    if reduced != brute {
        reduced.append(&mut verdicts(server, script, relation)?.0);
        brute.append(&mut verdicts(server, script, brute_force)?.0);
    }
    if reduced == brute {
        return Ok(None);
    }
    Ok(Some(format!("{server}, '{script}': {runs} runs found {reduced:?}; brute force, in {brute_runs}, {brute:?}")))
}

/// The explorer's own relation loses no verdict and makes none up.
pub fn same_as_brute_force(server: &str, script: &str) -> Result<(), String> {
    match difference(server, script, argued)? {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}

/// A relation with one clause left out, and the case that shows it.
pub struct WrongRelation {
    pub name: &'static str,
    relation: Relation,
    server: &'static str,
    script: &'static str,
}

pub const WRONG: &[WrongRelation] = &[
    WrongRelation {
        name: "waits_do_not_matter",
        relation: |call, _, argued| argued && call != "epoll_wait",
        server: "et_flag_cleared_late",
        script: ONE,
    },
    WrongRelation {
        name: "reads_do_not_matter",
        relation: |call, _, argued| argued && call != "recvfrom",
        server: "et_two_fins",
        script: PAIR,
    },
    WrongRelation {
        name: "shutdowns_do_not_matter",
        relation: |_, step, argued| argued && !matches!(step, Step::Shutdown(_)),
        server: "et_short_read_is_dry",
        script: ONE,
    },
    WrongRelation { name: "nothing_matters", relation: |_, _, _| false, server: "et_close_at_rdhup", script: ONE },
];

/// The comparison sees that this relation is wrong.
pub fn is_caught(wrong: &WrongRelation) -> Result<(), String> {
    match difference(wrong.server, wrong.script, wrong.relation)? {
        Some(_) => Ok(()),
        None => Err(format!("{} finds all that brute force finds in {}, '{}'", wrong.name, wrong.server, wrong.script)),
    }
}

/// `--reduction`: what each side found, to look at.
pub fn table() -> Result<(), String> {
    for (server, script) in CASES {
        let (reduced, runs) = verdicts(server, script, argued)?;
        let (brute, brute_runs) = verdicts(server, script, brute_force)?;
        println!("{server} | {script} | {runs} | {brute_runs} | {}", if reduced == brute { "same" } else { "DIFFER" });
        for (verdict, what) in &brute {
            println!("    {verdict}: {what}");
        }
    }
    Ok(())
}
