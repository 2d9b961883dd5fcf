//! Replays of a run: each must be the same every time.

use std::sync::atomic::AtomicBool;

use explorer::{Script, report};

use super::proof::{NONE, explore, server};

pub fn replays(name: &str, times: usize) -> Result<(), String> {
    let target = server(name);
    let exploration = explore(&target, "close", NONE, 2, None)?;
    let finding = exploration.finding.ok_or("nothing was found")?;
    let script = Script::standard("close").expect("it ships");
    let first = report::trace(name, "close", &finding.run, 100);
    for round in 0..times {
        let run = explorer::replay(&target, &script, NONE, &finding.schedule, &AtomicBool::new(false))
            .map_err(|error| error.to_string())?;
        let trace = report::trace(name, "close", &run, 100);
        if run.verdict != finding.verdict || trace != first || run.end != finding.run.end {
            return Err(format!("replay {round}: {}\n{trace}\nfirst it was {}\n{first}", run.verdict, finding.verdict));
        }
    }
    Ok(())
}
