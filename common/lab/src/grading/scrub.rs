//! Paths of the grader's machine, taken out of what a student reads.
//!
//! Invariant: a path of the student's own file stays readable: it begins at the file's name.

use std::path::Path;

/// Takes out the folders that it was made with.
#[derive(Debug, Clone, Default)]
pub struct Scrubber(Vec<(String, &'static str)>);

impl Scrubber {
    /// Of folders, each with what stands for it: nothing, or `~/.cargo/`.
    pub fn new<'a>(folders: impl IntoIterator<Item = (&'a Path, &'static str)>) -> Self {
        let mut words: Vec<(String, &str)> = Vec::new();
        for (folder, instead) in folders {
            // The folder of everything is no secret, and its slash is in every path.
            for folder in [folder.to_path_buf(), folder.canonicalize().unwrap_or_default()] {
                let text = format!("{}/", folder.to_string_lossy().trim_end_matches('/'));
                if text.len() > 1 && !words.iter().any(|(known, _)| *known == text) {
                    words.push((text, instead));
                }
            }
        }
        // A folder comes before the one that it lies in.
        words.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        Self(words)
    }

    /// The text without these folders.
    pub fn scrub(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (folder, instead)| text.replace(folder, instead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_the_students_file() {
        let folders =
            [("/srv/course", ""), ("/srv/course/target/grade/attempts/08_nfds", ""), ("/home/t", "~/"), ("/", "")];
        let scrubber = Scrubber::new(folders.map(|(folder, instead)| (Path::new(folder), instead)));
        let text = "/srv/course/target/grade/attempts/08_nfds/08_nfds.rs:3 /srv/course/exercises/src/ring.rs:9 /home/t/.cargo/x \
                    /usr/lib";
        assert_eq!(scrubber.scrub(text), "08_nfds.rs:3 exercises/src/ring.rs:9 ~/.cargo/x /usr/lib");
    }
}
