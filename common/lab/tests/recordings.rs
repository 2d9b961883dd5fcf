//! The recordings of all chapters under all scripts: each replay gives the same bytes, each fits the schema, and no byte is
//! lost.
//!
//! Invariant: the chapters are built as `cargo lab explore` builds them. Where nothing can be explored, each test is skipped
//! with the reason.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[cfg(target_os = "linux")]
#[path = "../../explorer/tests/recorded/mod.rs"]
mod recorded;

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), tests()).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn tests() -> Vec<Trial> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn tests() -> Vec<Trial> {
    use libtest_mimic::{Completion, Failed};

    let test = |chapter: &'static harness::Chapter| {
        Trial::ignorable_test(chapter.package, move || match explorer::possible() {
            Err(why) => Ok(Completion::ignored_with(why)),
            Ok(()) => match linux::chapter(chapter) {
                Ok(0) => Ok(Completion::ignored_with("this kernel does not show the operations of an io_uring")),
                seen => seen.map(|_| Completion::Completed).map_err(Failed::from),
            },
        })
    };
    harness::CHAPTERS.iter().filter(|chapter| chapter.here).map(test).collect()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicBool;

    use explorer::record::Recording;
    use explorer::{Faults, Schedule, Script};
    use harness::Launch;

    use super::recorded::{broken, by_the_clock, can_be_followed, is_valid};

    /// How many states conserve the bytes; 0 if nobody can say what the program holds.
    pub fn chapter(chapter: &'static harness::Chapter) -> Result<usize, String> {
        let server =
            lab::checking::servers::ours(&[chapter], &[]).map_err(|error| error.to_string())?.remove(0).subject;
        let Launch::Command(mut argv) = server.launch else { return Err("it is no command".into()) };
        argv.extend(["--addr".into(), "127.0.0.1:0".into()]);
        let subject = explorer::Subject { name: server.name, argv, own: true };
        let seen: Result<Vec<usize>, String> = Script::all_standard()
            .into_iter()
            .map(|script| of_script(&subject, &script).map_err(|what| format!("{}: {what}", script.name)))
            .collect();
        match seen?.into_iter().sum() {
            0 if chapter.model == harness::Model::Readiness => Err("no state was looked at".into()),
            states => Ok(states),
        }
    }

    /// The same of one script.
    fn of_script(subject: &explorer::Subject, script: &Script) -> Result<usize, String> {
        let record = || {
            let run =
                explorer::replay(subject, script, Faults::default(), &Schedule::default(), &AtomicBool::new(false));
            let run = run.map_err(|error| error.to_string())?;
            Ok::<String, String>(Recording::new(&subject.name, script, Faults::default(), &run, None).to_json())
        };
        let (first, second) = (record()?, record()?);
        let differ = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        if let Some((one, other)) = differ.filter(|_| !by_the_clock(&script.name)) {
            return Err(format!("the second recording has '{other}' where the first has '{one}'"));
        }
        let recording = is_valid(&first)?;
        if !can_be_followed(&recording) {
            return Ok(0);
        }
        let (lost, looked_at) = broken(&recording);
        match lost.first() {
            Some(lost) => Err(format!("{} bytes of c{} are lost: {}", lost.bytes, lost.client, lost.text)),
            None => Ok(looked_at),
        }
    }
}
