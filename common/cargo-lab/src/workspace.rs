//! Where the workspace is, and how its files are shown.
//!
//! Invariant: a path inside the workspace is shown from its root, so that it can be copied into a command there.

use std::path::{Path, PathBuf};

use crate::error::LabError;

/// The root of the workspace. Cargo builds the lab anew when the workspace has been moved, so this is always the
/// workspace that `cargo lab` was called in.
pub fn root() -> Result<PathBuf, LabError> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).and_then(|root| root.canonicalize().ok());
    root.filter(|root| root.join("Cargo.toml").is_file()).ok_or_else(|| {
        let here = here.display();
        LabError::failed(format!(
            "this needs the course, and the clone that this lab was built in is gone ({here})\n  In a clone, call \
             'cargo lab'. Without one there are check --cmd, check --addr, explore --cmd, show --cmd and merge."
        ))
    })
}

/// Whether the command was called from somewhere in the workspace.
pub fn is_here(root: &Path) -> bool {
    std::env::current_dir().and_then(|here| here.canonicalize()).is_ok_and(|here| here.starts_with(root))
}

/// How a path is shown: from the workspace's root, unless the command was called from elsewhere.
pub fn shown(path: &Path) -> String {
    let root = root().ok().filter(|root| is_here(root)).unwrap_or_default();
    path.strip_prefix(&root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_a_workspace_with_the_chapters_in_it() {
        assert!(root().unwrap().join(subject::CHAPTERS[0].folder).is_dir());
    }

    #[test]
    fn a_path_is_shown_from_the_root() {
        assert_eq!(shown(&root().unwrap().join("README.md")), "README.md");
        assert_eq!(shown(Path::new("/elsewhere/a")), "/elsewhere/a");
    }
}
