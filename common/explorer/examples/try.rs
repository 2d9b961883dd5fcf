//! trial
use explorer::*;
use std::sync::atomic::AtomicBool;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let script = Script::standard(&args[0]).unwrap_or_else(|| Script::parse("own", &args[0]).unwrap());
    let target = Target { name: "x".into(), argv: args[1..].to_vec() };
    let stop = AtomicBool::new(false);
    let faults =
        Faults { eintr: std::env::var_os("EINTR").is_some(), econnaborted: std::env::var_os("ABORT").is_some() };
    if let Ok(s) = std::env::var("REPLAY") {
        let run = replay(&target, &script, faults, &Schedule::parse(&s).unwrap(), &stop).unwrap();
        print!("{}", report::trace("x", "x", &run, 100));
        println!("{} {} {:?}\n{:?}", run.verdict, run.what, run.points.len(), run.end);
        return;
    }
    let b: usize = std::env::var("BOUND").ok().map_or(2, |b| b.parse().unwrap());
    let e = explore(
        &Plan { target: &target, script: &script, faults, max_placements: b, max_runs: None, max_time: None },
        &stop,
        &|_| {},
    );
    match e {
        Ok(e) => {
            if let Some(f) = &e.finding {
                print!("{}", report::finding(&target.name, &script, f, 100));
            }
            println!("{}", report::summary(&script, &e));
            if std::env::var_os("V").is_some() {
                println!(
                    "{} runs, {} points, {:?}, {:.2} s, {:?}",
                    e.runs,
                    e.points,
                    e.coverage,
                    e.seconds,
                    e.finding.map(|f| (f.verdict, f.what, f.schedule.to_string()))
                );
            }
        }
        Err(e) => println!("{e}"),
    }
}
