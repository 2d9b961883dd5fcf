//! A `cargo lab show` that runs beside `cargo lab watch`.
//!
//! Invariant: nobody waits for it but a thread of its own. When it is dropped it is asked to end, with all that it has
//! started.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cargo;
use crate::workspace;

/// How often it is looked at once it has said all.
const LOOK: Duration = Duration::from_millis(10);

/// It runs.
#[derive(Debug)]
pub struct Showing(Arc<Mutex<Child>>);

impl Showing {
    /// Starts it for an exercise. `said` gets what it printed, once it has ended.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn start(number: u32, said: impl FnOnce(String) + Send + 'static) -> Result<Self, String> {
        let root = workspace::root().map_err(|error| error.message)?;
        let mut command = cargo::cargo();
        // The alias is in the workspace.
        command.current_dir(root).args(["lab", "show", &format!("{number:02}"), "--open"]);
        Self::run(&mut command, said)
    }

    fn run(command: &mut Command, said: impl FnOnce(String) + Send + 'static) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // The cargo that runs this program has set it, for another package.
        command.env_remove("CARGO_MANIFEST_DIR");
        let mut child = command.spawn().map_err(|error| format!("cannot run cargo lab show: {error}"))?;
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let child = Arc::new(Mutex::new(child));
        let watched = child.clone();
        std::thread::spawn(move || {
            let stderr = std::thread::spawn(move || text(stderr));
            let printed = text(stdout);
            let complaints = stderr.join().unwrap_or_default();
            // Errors come last, so that they are seen.
            said(printed + &if ended(&watched).success() { own_words(&complaints) } else { complaints });
        });
        Ok(Self(child))
    }
}

fn text(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is what there is.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ended(child: &Mutex<Child>) -> ExitStatus {
    loop {
        match locked(child).try_wait() {
            Ok(Some(status)) => return status,
            Ok(None) => std::thread::sleep(LOOK),
            Err(_) => return ExitStatus::default(),
        }
    }
}

fn locked(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of what a run that went well wrote to stderr, its own words: why the page was not opened. Cargo's are left out.
fn own_words(stderr: &str) -> String {
    stderr.lines().filter(|line| line.starts_with("the page ")).map(|line| format!("{line}\n")).collect()
}

impl Drop for Showing {
    fn drop(&mut self) {
        let mut child = locked(&self.0);
        // It is not reaped, so the group's number is its own.
        if matches!(child.try_wait(), Ok(None)) {
            // It ends its servers by itself. An error means that it has ended already.
            let _ = kill_process_group(Pid::from_child(&child), Signal::TERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A generous deadline for a shell.
    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_it_printed_is_told_when_it_has_ended() {
        let (events, said) = mpsc::channel();
        let mut command = shell("echo 24: LOST WAKEUP; echo Compiling >&2; echo the page was not opened >&2");
        let showing = Showing::run(&mut command, move |text| drop(events.send(text))).expect("it starts");
        assert_eq!(said.recv_timeout(SOON).expect("it ends"), "24: LOST WAKEUP\nthe page was not opened\n");
        drop(showing);
    }

    #[test]
    fn a_failure_is_told_in_full() {
        let (events, said) = mpsc::channel();
        let mut command = shell("echo error: no such exercise >&2; exit 2");
        let _showing = Showing::run(&mut command, move |text| drop(events.send(text))).expect("it starts");
        assert_eq!(said.recv_timeout(SOON).expect("it ends"), "error: no such exercise\n");
    }

    #[test]
    fn dropped_it_ends_with_what_it_has_started() {
        let (events, said) = mpsc::channel();
        // The output ends when nobody has it any more: not the shell, and not what it has started.
        let mut command = shell("sleep 1000 & sleep 1000");
        let showing = Showing::run(&mut command, move |text| drop(events.send(text))).expect("it starts");
        assert!(said.try_recv().is_err());
        drop(showing);
        assert_eq!(said.recv_timeout(SOON).expect("it ends"), "");
    }
}
