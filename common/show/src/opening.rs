//! Where a page is written, and how it is opened in the browser.
//!
//! Invariant: where there is no display, nothing is started: a browser in the terminal would take the terminal away.

use std::path::{Path, PathBuf};

use lab::error::LabError;

/// The file that `-o` names; its folder is there. `name` is what a file in a folder could be called.
///
/// # Errors
/// If it is a folder, or would lie in one that is not there.
pub fn output(path: &Path, name: &str) -> Result<PathBuf, LabError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(LabError::usage(format!(
            "-o {}: it is a folder; name a file in it, as in -o {}",
            path.display(),
            path.join(name).display()
        )));
    }
    if !folder.is_dir() {
        return Err(LabError::usage(format!("-o {}: there is no folder {}", path.display(), folder.display())));
    }
    Ok(path.to_owned())
}

/// Opens the file.
///
/// # Errors
/// Why it was not opened.
pub fn open(page: &Path) -> Result<(), String> {
    if cfg!(not(target_os = "macos")) && !has_display(|name| std::env::var_os(name)) {
        return Err("there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)".into());
    }
    let page = page.canonicalize().map_err(|error| error.to_string())?;
    opener::open(&page).map_err(|error| match error {
        opener::OpenError::ExitStatus { cmd, status, .. } => format!("{cmd} ended with {status}"),
        other => other.to_string(),
    })
}

fn has_display(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_no_display() {
        assert!(has_display(|name| (name == "WAYLAND_DISPLAY").then(|| "wayland-0".into())));
        assert!(!has_display(|_| Some(String::new().into())));
        assert!(!has_display(|_| None));
    }
}
