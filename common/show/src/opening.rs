//! A page, opened in the browser.
//!
//! Invariant: where there is no display, nothing is started: a browser in the terminal would take the terminal away.

use std::path::Path;

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
