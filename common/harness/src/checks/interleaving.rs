//! The script's order is fixed; the explorer places its steps between the server's system calls, in every way up to a
//! bound, on the real kernel.
//!
//! Invariant: a check that passes has tried every schedule with no placement and with one placement. The schedules with
//! more placements are bounded by time. A schedule that fails does so in every run, so no failure depends on the time.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use explorer::{Coverage, Error, Faults, Plan, Script, Verdict};
use harness_macros::check;

use crate::failure::{Failure, Step, Stop, Symptom};
use crate::server::Options;
use crate::subject::all_variants;
use crate::trial::Trial;

/// The time for schedules with two placements. Those with fewer are always tried, as a rule in far less time.
const BUDGET: Duration = Duration::from_secs(3);
/// A variant shares most of its code with a chapter.
const VARIANTS_BUDGET: Duration = Duration::from_secs(1);
const NONE: Faults = Faults { eintr: false, econnaborted: false };

/// Connect, 3 bytes, 5000 bytes, FIN: each placed between any two of the server's system calls.
#[check(clause = 3, quick)]
fn bytes_and_fin_between_any_two_calls_are_answered(trial: &mut Trial<'_>) -> Step {
    explore(trial, "close", NONE)
}

/// Two clients connect, send and finish, each step between any two of the server's system calls.
#[check(clause = 2)]
fn two_connections_between_any_two_calls_are_served(trial: &mut Trial<'_>) -> Step {
    explore(trial, "two", NONE)
}

/// One of two clients sends and is reset, between any two of the server's system calls.
#[check(clause = 4)]
fn a_reset_between_any_two_calls_ends_that_connection_alone(trial: &mut Trial<'_>) -> Step {
    explore(trial, "reset", NONE)
}

/// 20,000 bytes and FIN, each placed between any two of the server's system calls.
#[check(clause = 3)]
fn a_half_close_between_any_two_calls_is_answered(trial: &mut Trial<'_>) -> Step {
    explore(trial, "half-close", NONE)
}

/// 5,000 bytes and FIN come together, placed between any two of the server's system calls.
#[check(clause = 3)]
fn bytes_together_with_fin_between_any_two_calls_are_answered(trial: &mut Trial<'_>) -> Step {
    explore(trial, "finish", NONE)
}

/// A client that does not read sends 450,000 bytes and reads again, between any two of the system calls.
#[check(clause = 5)]
fn back_pressure_is_lifted_at_any_time(trial: &mut Trial<'_>) -> Step {
    explore(trial, "back-pressure", NONE)
}

/// Each wait is interrupted as by SIGSTOP and SIGCONT, and accept may return ECONNABORTED at any time.
#[check(clause = 10)]
fn an_interruption_of_any_wait_is_survived(trial: &mut Trial<'_>) -> Step {
    explore(trial, "close", Faults { eintr: true, econnaborted: true })
}

/// Two clients wait in the accept queue, and accept may return ECONNABORTED for the first: the second is accepted.
#[check(clause = 10)]
fn a_client_behind_an_aborted_one_is_accepted(trial: &mut Trial<'_>) -> Step {
    explore(trial, "queue", Faults { eintr: false, econnaborted: true })
}

/// A second client connects while no descriptor is free, and the first leaves, between any two system calls.
#[check(clause = 9)]
fn a_client_queued_without_descriptors_is_served_once_one_is_free(trial: &mut Trial<'_>) -> Step {
    explore(trial, "emfile", NONE)
}

/// SIGTERM comes just before or during each of the server's waits.
#[check(clause = 12)]
fn a_signal_before_or_in_any_wait_ends_the_server(trial: &mut Trial<'_>) -> Step {
    trial.only_own("to end with exit code 0 after SIGTERM")?;
    explore(trial, "stop", NONE)
}

fn explore(trial: &mut Trial<'_>, script: &str, faults: Faults) -> Step {
    explorer::possible().map_err(Stop::skip)?;
    let mut argv = trial.argv()?;
    if trial.subject.own {
        argv.extend(["--addr".into(), "127.0.0.1:0".into()]);
    }
    let subject = explorer::Subject { name: trial.subject.name.clone(), argv, own: trial.subject.own };
    let script = Script::standard(script).expect("the scripts named here ship");
    trial.step(format!("clients' steps: {script}"));
    let variant = all_variants().any(|variant| variant.name == trial.subject.name);
    let plan = Plan {
        subject: &subject,
        script: &script,
        faults,
        max_placements: 2,
        always: 1,
        max_runs: None,
        max_time: Some(if variant { VARIANTS_BUDGET } else { BUDGET }),
    };
    let explored = explorer::explore(&plan, &AtomicBool::new(false), &|_| {}).map_err(|error| match error {
        Error::Unsupported(why) => Stop::skip(why),
        Error::Slow(what) => under_the_tracer_alone(trial, what),
        Error::Start(what) if !trial.subject.own => under_the_tracer_alone(trial, what),
        Error::NoProcess(what) | Error::Start(what) => {
            Stop::fail(Symptom::Exited, what, "The server does not come to listen under ptrace.")
        }
        other => Stop::Broken(other.to_string()),
    })?;
    let Some(finding) = explored.finding else {
        let Coverage::Cut(why) = explored.coverage else { return Ok(()) };
        let (server, script, runs) = (&subject.name, &script.name, explored.runs);
        if explored.placements <= 1 {
            return Err(Stop::skip(format!(
                "no schedule that was run fails, and not all with one placement could be run: the search ended {why} \
                 ({runs} runs)"
            )));
        }
        crate::notes::detail(&format!(
            "{server}, script {script}: no schedule with 1 placement fails; the search with more ended {why} ({runs} runs)"
        ));
        return Ok(());
    };
    if finding.verdict == Verdict::NonDeterministic {
        return Err(Stop::skip(format!(
            "it cannot be explored to the end: schedule {}: {}",
            finding.schedule, finding.what
        )));
    }
    let words = if subject.own { subject.name.clone() } else { format!("--cmd '{}'", subject.argv.join(" ")) };
    trial.step(format!("the schedule that fails: {}", finding.schedule));
    trial.step(format!("replay: cargo lab explore {words} {}", explorer::report::replay_arguments(&script, &finding)));
    let kernel = finding.run.end.as_ref().map(explorer::report::state).unwrap_or_default();
    let cause = explorer::diagnose::diagnose(&finding.run);
    Err(Stop::Fail(Box::new(Failure { kernel, ..Failure::new(symptom(&finding), &finding.what, cause) })))
}

/// It does not come to listen under the tracer. Where it does without one, that is no fault of the server's; where it does
/// not, its start fails as in any other check.
fn under_the_tracer_alone(trial: &mut Trial<'_>, what: String) -> Stop {
    match trial.start(&Options::default()) {
        Ok(_) => Stop::skip(format!("it cannot be explored: {what}; without a tracer it listens")),
        Err(stop) => stop,
    }
}

fn symptom(finding: &explorer::Finding) -> Symptom {
    let end = finding.run.end.as_ref();
    match finding.verdict {
        Verdict::LostWakeup if end.is_some_and(|end| end.accept_queue > 0) => Symptom::AcceptQueueNotDrained,
        Verdict::LostWakeup if end.is_some_and(|end| end.connections.iter().any(|it| it.unread > 0)) => {
            Symptom::ReadLost
        }
        Verdict::LostWakeup => Symptom::WriteLost,
        Verdict::NoEof => Symptom::EofLost,
        Verdict::Truncated => Symptom::Truncated,
        Verdict::WrongBytes => Symptom::WrongBytes,
        Verdict::Exited => Symptom::Exited,
        Verdict::Spinning => Symptom::Spinning,
        Verdict::Ok | Verdict::NonDeterministic => Symptom::Contract,
    }
}
