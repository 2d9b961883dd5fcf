//! A file that is written after minutes of work.
//!
//! Invariant: a trial changes no file, and leaves none behind.

use std::fs::{self, OpenOptions};
use std::path::Path;

/// Whether the file could be written now: an error says which file, and why not.
///
/// # Errors
/// If it cannot be opened for writing.
pub fn can_be_written(path: &Path) -> Result<(), String> {
    let was_there = path.symlink_metadata().is_ok();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    if !was_there {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("figures-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (old, new) = (folder.join("old"), folder.join("new"));
        fs::write(&old, "text").unwrap();
        assert_eq!((can_be_written(&old), can_be_written(&new)), (Ok(()), Ok(())));
        assert_eq!(fs::read_to_string(&old).unwrap(), "text");
        assert!(!new.exists());
        let wrong = can_be_written(&folder).unwrap_err();
        assert!(wrong.contains(&folder.display().to_string()), "{wrong}");
        assert!(can_be_written(&folder.join("none/file")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
