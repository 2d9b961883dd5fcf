//! The processes that are no older than this program: whatever it has started is among them.
//!
//! Invariant: one line of /proc is read for each process of the machine, and nothing else of one that is older. A server is
//! started and ended a hundred times in a suite, and each time its processes are looked for.

use std::fs;
use std::sync::OnceLock;

use crate::process::Process;

/// What the line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Younger {
    pub process: Process,
    pub group: i32,
    pub session: i32,
}

/// All of them, this program too.
pub(crate) fn all() -> impl Iterator<Item = Younger> {
    static OWN: OnceLock<u64> = OnceLock::new();
    // Without a line of its own nothing is too old.
    let own = *OWN.get_or_init(|| line(std::process::id() as i32).map_or(0, |(_, started)| started));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(line).filter(move |(_, started)| *started >= own).map(|(younger, _)| younger)
}

/// `/proc/PID/stat`, and when the process was started, in ticks since the machine's start. (exec(2) does not change that.)
fn line(pid: i32) -> Option<(Younger, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name comes before, and may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |place: usize| fields.get(place)?.parse::<i64>().ok();
    let younger = Younger { process: Process { pid }, group: number(2)? as i32, session: number(3)? as i32 };
    Some((younger, number(19)? as u64))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_was_started_here_is_among_them_and_the_first_of_the_machine_is_not() {
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().expect("everybody has sleep");
        let pid = child.id() as i32;
        let found = all().find(|it| it.process.pid == pid);
        let process = Process { pid };
        let expected = (process.group(), process.session());
        let first = all().any(|it| it.process.pid == 1);
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let found = found.expect("it is no older");
        assert_eq!((Some(found.group), Some(found.session)), expected);
        assert_eq!(found.group, pid);
        // In a container this program may be the first one's age.
        assert!(!first || line(1).map(|it| it.1) >= line(std::process::id() as i32).map(|it| it.1));
    }
}
