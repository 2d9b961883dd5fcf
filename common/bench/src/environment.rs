//! The machine that is measured.
//!
//! Invariant: what cannot be found out is empty, and never a guess.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use figures::Environment;
use rustix::process::{Resource, getrlimit};

/// The environment before a run; [`load`] is asked again after it.
pub fn now() -> Environment {
    let uname = rustix::system::uname();
    let kernel = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Environment {
        kernel,
        cpu: cpu().unwrap_or_default(),
        cores: crate::cores::count(),
        mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
        limits: limits(),
        load_before: load(),
        load_after: 0.0,
        date: date.replace('T', " ").chars().take(16).collect(),
        commit: commit().unwrap_or_default(),
    }
}

/// The load average of one minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Each file's name, and what it says.
fn mitigations(folder: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = files
        .filter_map(|file| {
            let says = fs::read_to_string(file.path()).ok()?;
            Some((file.file_name().to_string_lossy().into_owned(), says.trim().to_owned()))
        })
        .collect();
    found.sort();
    found
}

fn limits() -> Vec<(String, String)> {
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let mut limits = Vec::new();
    for (name, resource) in [
        ("RLIMIT_NOFILE, soft and hard", Resource::Nofile),
        ("RLIMIT_NPROC, soft and hard", Resource::Nproc),
        ("RLIMIT_MEMLOCK, soft and hard", Resource::Memlock),
    ] {
        let limit = getrlimit(resource);
        limits.push((name.to_owned(), format!("{}, {}", shown(limit.current), shown(limit.maximum))));
    }
    for name in ["fs/nr_open", "fs/file-max", "fs/epoll/max_user_watches", "net/core/somaxconn", "vm/max_map_count"] {
        if let Ok(value) = fs::read_to_string(format!("/proc/sys/{name}")) {
            limits.push((name.replace('/', "."), value.trim().to_owned()));
        }
    }
    limits
}

/// The commit of the workspace; `+` behind it says that files were changed.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(commit + if changed { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_has_minutes_and_the_kernel_a_name() {
        let here = now();
        assert_eq!(here.date.len(), 16, "{}", here.date);
        assert!(here.cores >= 1 && !here.kernel.is_empty());
    }

    #[test]
    fn a_machine_without_the_files_has_no_mitigations() {
        assert!(mitigations(Path::new("/nonexistent")).is_empty());
    }
}
