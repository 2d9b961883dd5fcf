//! `EXPLORER=table`: how many runs and seconds each mutant takes.

use std::process::ExitCode;
use std::time::Duration;

use super::catalogue::MUTANTS;
use super::proof::{EINTR, TIMES, explore, server};
use super::serve::Base;

/// Tries the standard scripts in order until one finds something, ten times for each mutant, and prints a table.
pub fn measure() -> ExitCode {
    println!("| mutant | what it does | found | verdict | script | placements | runs | seconds |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut complete = true;
    for mutant in MUTANTS {
        let (mut found, mut runs, mut seconds) = (0, 0, 0.0);
        let (mut found_by, mut placements) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            // `stop` is for servers that handle SIGTERM.
            let scripts = explorer::script::STANDARD.iter().map(|(script, _)| *script);
            for script in scripts.filter(|script| *script != "stop" || mutant.base == Base::Select) {
                let exploration =
                    match explore(&server(&mutant.name()), script, EINTR, 2, Some(Duration::from_secs(60))) {
                        Ok(exploration) => exploration,
                        Err(error) => {
                            eprintln!("{}: {error}", mutant.name());
                            return ExitCode::FAILURE;
                        }
                    };
                runs += exploration.runs;
                seconds += exploration.seconds;
                if let Some(finding) = exploration.finding {
                    found += u32::from(finding.verdict == mutant.verdict);
                    found_by.push(script);
                    placements.push(finding.run.placements().to_string());
                    break;
                }
            }
        }
        found_by.dedup();
        placements.dedup();
        complete &= found == TIMES as u32;
        println!(
            "| `{}` | {} | {found} of {TIMES} | {} | {} | {} | {:.0} | {:.1} |",
            mutant.name(),
            mutant.what,
            mutant.verdict,
            found_by.join(", "),
            placements.join(", "),
            runs as f64 / TIMES as f64,
            seconds / TIMES as f64
        );
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
