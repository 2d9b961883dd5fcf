//! What people call a chapter, and what they may have meant by a misspelt word.
//!
//! Invariant: nothing is found by a part of its name. Who wants that tries these first.

use subject::{CHAPTERS, Chapter};

/// How alike two words have to be for one to be offered in place of the other (1: the same).
pub const ALIKE: f64 = 0.72;

/// The chapter that a word names: `04`, `04-epoll-et`, `epoll-et`, or the path of its folder.
pub fn chapter(word: &str) -> Option<&'static Chapter> {
    let word = folder_word(word);
    CHAPTERS.iter().find(|chapter| is_chapter(chapter, &word))
}

/// The chapters' folders, for a message.
pub fn chapter_folders() -> String {
    let folders: Vec<&str> = CHAPTERS.iter().map(|chapter| chapter.folder).collect();
    folders.join(" ")
}

/// `./04-Epoll-ET/`, which a shell may complete, as `04-epoll-et`.
pub fn folder_word(word: &str) -> String {
    word.trim_start_matches("./").trim_end_matches('/').to_lowercase()
}

/// Whether a word is a chapter's folder, the folder without its number, its number or its package.
pub fn is_chapter(chapter: &Chapter, word: &str) -> bool {
    let (number, title) = chapter.folder.split_once('-').unwrap_or(("", chapter.folder));
    let numbers_agree = matches!((number.parse::<u32>(), word.parse::<u32>()), (Ok(a), Ok(b)) if a == b);
    word == chapter.folder || word == chapter.package || word == title || numbers_agree
}

/// The name that a misspelt word is likely to stand for.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(word, name);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    if likeness(best) > ALIKE { Some(best) } else { None }
}
