//! The reduction against brute force: with and without it, the same verdicts are found.

use explorer::reduction::{self, Relation};
use explorer::{Faults, Plan, Script, Verdict};
use std::collections::BTreeSet;

const NONE: Faults = Faults { eintr: false, econnaborted: false };

pub fn verdicts(
    server: &str,
    script: &str,
    max_placements: usize,
    relation: Relation,
) -> Result<(BTreeSet<(Verdict, String)>, u64), String> {
    let script = Script::parse("short", script)?;
    let target = super::proof::server(server);
    let plan = Plan {
        target: &target,
        script: &script,
        faults: NONE,
        max_placements,
        always: 0,
        max_runs: None,
        max_time: None,
    };
    explorer::verdicts(&plan, relation).map_err(|error| error.to_string())
}

pub fn table(args: &[String]) {
    let servers: Vec<&str> = args[0].split(',').collect();
    let bound: usize = args[1].parse().unwrap();
    for script in &args[2..] {
        for server in &servers {
            let reduced = verdicts(server, script, bound, reduction::argued);
            let brute = verdicts(server, script, bound, reduction::brute_force);
            match (reduced, brute) {
                (Ok(reduced), Ok(brute)) => {
                    println!(
                        "{server} '{script}' {} runs, brute {} {}",
                        reduced.1,
                        brute.1,
                        if reduced.0 == brute.0 { "same" } else { "DIFFER" }
                    );
                    for it in brute.0.difference(&reduced.0) {
                        println!("    missing: {it:?}")
                    }
                    for it in reduced.0.difference(&brute.0) {
                        println!("    more: {it:?}")
                    }
                    for it in reduced.0.intersection(&brute.0) {
                        println!("    both: {it:?}")
                    }
                }
                other => println!("{server} '{script}': {other:?}"),
            }
        }
    }
}
