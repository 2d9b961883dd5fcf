//! What the words on a command line stand for: `04`, `epoll-et`, `drain`, `half_close`.
//!
//! Invariant: what a word names exactly comes before what it is a part of. A word that stands for nothing is never
//! ignored: a run that checks less than was asked for must not look green.

use cargo_lab::names::{ALIKE, folder_word, is_chapter};
pub use cargo_lab::names::{chapter, chapter_folders, nearest};
use harness::{CHAPTERS, Chapter, Check, Variant, all_variants};

/// A shorter part of a name would match by accident.
const SHORTEST_PART: usize = 3;
/// How many names are offered at most.
const OFFERED: usize = 3;

/// What a command line asks for.
#[derive(Debug, Default)]
pub struct Selection {
    /// The chapters that were named, in reading order; none if no word named a chapter.
    pub chapters: Vec<&'static Chapter>,
    /// The variants that were named, in the order of their chapters, and then those that are broken on purpose; none if
    /// no word named a variant.
    pub variants: Vec<&'static Variant>,
    /// The checks, in order: those that were named, or all.
    pub checks: Vec<&'static Check>,
}

/// A word that stands for nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// What the word may have been meant to be, the likeliest first.
    pub nearest: Vec<String>,
}

impl UnknownWord {
    /// The nearest names as a line of a message; empty without any.
    pub fn did_you_mean(&self) -> String {
        if self.nearest.is_empty() {
            return String::new();
        }
        format!("\n  Did you mean {}?", self.nearest.join(", or "))
    }
}

/// What one word stands for; never an empty list.
enum WordMeaning {
    Chapters(Vec<&'static Chapter>),
    Variants(Vec<&'static Variant>),
    Checks(Vec<&'static Check>),
}

/// Selects chapters, variants and checks by words. Each word stands for one of the three kinds. Long checks are left
/// out unless `long` asks for them, or a word stands for them alone.
pub fn select(words: &[String], checks: &[&'static Check], long: bool) -> Result<Selection, UnknownWord> {
    let (mut folders, mut variants, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        match meaning(word, checks) {
            Some(WordMeaning::Chapters(some)) => folders.extend(some.iter().map(|chapter| chapter.folder)),
            Some(WordMeaning::Variants(some)) => variants.extend(some.iter().map(|variant| variant.name)),
            Some(WordMeaning::Checks(some)) => {
                let long = long || some.iter().all(|check| check.long);
                names.extend(some.iter().filter(|check| long || !check.long).map(|check| check.full_name()));
            }
            None => return Err(UnknownWord { word: word.clone(), nearest: offers(word, checks) }),
        }
    }
    let usual = |check: &Check| names.is_empty() && (long || !check.long);
    let checks = checks.iter().filter(|check| usual(check) || names.contains(&check.full_name()));
    Ok(Selection {
        chapters: CHAPTERS.iter().filter(|chapter| folders.contains(&chapter.folder)).collect(),
        variants: all_variants().filter(|variant| variants.contains(&variant.name)).collect(),
        checks: checks.copied().collect(),
    })
}

/// The full names of the checks that words name. A word that names a server is unknown here.
pub fn checks_of(words: &[String]) -> Result<Vec<String>, UnknownWord> {
    let all: Vec<&'static Check> = harness::all_checks().collect();
    let mut names = Vec::new();
    for word in words {
        let Some(WordMeaning::Checks(some)) = meaning(word, &all) else {
            return Err(UnknownWord { word: word.clone(), nearest: offers(word, &all) });
        };
        names.extend(some.iter().map(|check| check.full_name()));
    }
    Ok(names)
}

/// Whether a word is the whole name of a server, a group or a check, and not a part of one.
pub fn is_whole_name(word: &str) -> bool {
    exact(word, &harness::all_checks().collect::<Vec<_>>()).is_some()
}

fn meaning(word: &str, checks: &[&'static Check]) -> Option<WordMeaning> {
    let server = folder_word(word);
    if let Some(exact) = exact(word, checks) {
        return Some(exact);
    }
    if server.len() < SHORTEST_PART {
        return None;
    }
    let check = server.replace([' ', '-'], "_");
    let found: Vec<&'static Check> = checks.iter().copied().filter(|it| it.full_name().contains(&check)).collect();
    if !found.is_empty() {
        return Some(WordMeaning::Checks(found));
    }
    let found: Vec<&'static Chapter> = CHAPTERS.iter().filter(|it| it.folder.contains(&server)).collect();
    if found.is_empty() { None } else { Some(WordMeaning::Chapters(found)) }
}

fn exact(word: &str, checks: &[&'static Check]) -> Option<WordMeaning> {
    let server = folder_word(word);
    let chapters_that = |test: &dyn Fn(&Chapter) -> bool| {
        let found: Vec<&'static Chapter> = CHAPTERS.iter().filter(|chapter| test(chapter)).collect();
        if found.is_empty() { None } else { Some(WordMeaning::Chapters(found)) }
    };
    let checks_that = |test: &dyn Fn(&Check) -> bool| {
        let found: Vec<&'static Check> = checks.iter().copied().filter(|check| test(check)).collect();
        if found.is_empty() { None } else { Some(WordMeaning::Checks(found)) }
    };
    let variants = || {
        let found: Vec<&'static Variant> = all_variants().filter(|variant| is_variant(variant, &server)).collect();
        if found.is_empty() { None } else { Some(WordMeaning::Variants(found)) }
    };
    // `a burst of bytes` is what the matrix shows.
    let check = server.replace([' ', '-'], "_");
    chapters_that(&|chapter| is_chapter(chapter, &server))
        .or_else(variants)
        .or_else(|| checks_that(&|it| it.group == check))
        .or_else(|| checks_that(&|it| it.name == check || it.full_name() == check))
}

/// Whether a word is a variant's name or its example's, with the folder or without. Several variants may share an
/// example.
fn is_variant(variant: &Variant, word: &str) -> bool {
    let word = word.strip_prefix(variant.folder).and_then(|rest| rest.strip_prefix('/')).unwrap_or(word);
    word == variant.name || word == variant.example
}

/// The servers, groups and checks that a misspelt word is likely to stand for.
fn offers(word: &str, checks: &[&Check]) -> Vec<String> {
    let word = word.to_lowercase().replace(' ', "_");
    let mut offers: Vec<(f64, String)> = Vec::new();
    let mut offer = |likeness: f64, name: String| {
        if likeness >= ALIKE && !offers.iter().any(|(_, offered)| *offered == name) {
            offers.push((likeness, name));
        }
    };
    for chapter in CHAPTERS {
        offer(likeness(&word, chapter.folder).max(likeness(&word, chapter.package)), chapter.folder.to_owned());
    }
    for variant in all_variants() {
        offer(likeness(&word, variant.name), variant.name.to_owned());
        offer(likeness(&word, variant.example), variant.example.to_owned());
    }
    for check in checks {
        offer(likeness(&word, check.group), check.group.to_owned());
        // A word may be meant for one part of the sentence; a group of that name is then the better offer.
        let parts = check.name.split('_').map(|part| likeness(&word, part) * 0.95);
        let whole = likeness(&word, check.name).max(likeness(&word, &check.full_name()));
        offer(parts.fold(whole, f64::max), check.full_name());
    }
    // Stable, so that equals stay in the order of the course.
    offers.sort_by(|a, b| b.0.total_cmp(&a.0));
    offers.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::Model;

    const fn check(group: &'static str, name: &'static str) -> Check {
        Check { group, name, clause: 2, about: "", alone: false, quick: false, long: false, line: 0, run: |_| Ok(()) }
    }

    static SOME: [Check; 5] = [
        check("echo", "a_byte_comes_back"),
        check("drain", "a_burst_of_bytes_is_read"),
        check("drain", "bytes_and_fin_are_echoed"),
        check("close", "a_half_close_is_answered"),
        check("write", "poll_for_writing_ends"),
    ];

    fn selected(words: &[&str]) -> Result<(Vec<&'static str>, Vec<String>), UnknownWord> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let checks: Vec<&'static Check> = SOME.iter().collect();
        let selection = select(&words, &checks, false)?;
        Ok((
            selection.chapters.iter().map(|chapter| chapter.package).collect(),
            selection.checks.iter().map(|check| check.full_name()).collect(),
        ))
    }

    #[test]
    fn a_server_goes_by_folder_package_title_and_number() {
        for word in ["04-epoll-et", "./04-epoll-et/", "epoll-et", "04", "4", "Epoll-ET"] {
            assert_eq!(selected(&[word]).unwrap().0, ["epoll-et"], "{word}");
        }
        assert_eq!(selected(&["io-uring"]).unwrap().0, ["uring"]);
        assert!(CHAPTERS.iter().any(|chapter| chapter.model == Model::Completion));
    }

    #[test]
    fn no_word_means_all_checks_and_names_no_server() {
        let (chapters, checks) = selected(&[]).unwrap();
        assert!(chapters.is_empty());
        assert_eq!(checks.len(), SOME.len());
    }

    #[test]
    fn a_check_goes_by_group_by_name_and_by_a_part_of_it() {
        assert_eq!(selected(&["drain"]).unwrap().1.len(), 2);
        assert_eq!(selected(&["drain::a_burst_of_bytes_is_read"]).unwrap().1.len(), 1);
        assert_eq!(selected(&["a_byte_comes_back"]).unwrap().1, ["echo::a_byte_comes_back"]);
        for part in ["half_close", "half close", "half-close"] {
            assert_eq!(selected(&[part]).unwrap().1, ["close::a_half_close_is_answered"], "{part}");
        }
    }

    #[test]
    fn a_long_check_runs_when_it_is_asked_for_or_named() {
        static LONG: Check = Check { long: true, ..check("echo", "gigabytes_come_back") };
        let checks: Vec<&'static Check> = SOME.iter().chain([&LONG]).collect();
        let count = |words: &[&str], long| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            select(&words, &checks, long).unwrap().checks.len()
        };
        assert_eq!((count(&[], false), count(&[], true)), (SOME.len(), SOME.len() + 1));
        assert_eq!((count(&["echo"], false), count(&["echo"], true)), (1, 2));
        assert_eq!((count(&["gigabytes"], false), count(&["echo", "gigabytes come back"], false)), (1, 2));
    }

    #[test]
    fn a_server_comes_before_a_check_that_has_its_name_in_it() {
        assert_eq!(selected(&["poll"]).unwrap().0, ["poll"]);
        assert_eq!(selected(&["epoll"]).unwrap().0, ["epoll-lt", "epoll-et"]);
    }

    #[test]
    fn a_variant_goes_by_its_name_with_its_folder_or_without() {
        let checks: Vec<&'static Check> = SOME.iter().collect();
        for word in ["ev_clear", "05-kqueue/ev_clear", "EV_CLEAR"] {
            let selection = select(&[word.to_owned()], &checks, false).unwrap();
            assert!(selection.chapters.is_empty(), "{word}");
            assert_eq!(selection.variants.iter().map(|it| it.name).collect::<Vec<_>>(), ["ev_clear"], "{word}");
        }
        assert_eq!(selected(&["ev_claer"]).unwrap_err().nearest, ["ev_clear"]);
    }

    #[test]
    fn no_variant_has_the_name_of_a_chapter_or_of_another() {
        for (at, variant) in all_variants().enumerate() {
            assert!(!CHAPTERS.iter().any(|chapter| is_chapter(chapter, variant.name)), "{}", variant.name);
            assert!(!all_variants().take(at).any(|other| other.name == variant.name), "{}", variant.name);
        }
    }

    #[test]
    fn words_of_one_kind_add_up_and_keep_the_order_of_the_course() {
        let (chapters, checks) = selected(&["close", "epoll-et", "echo", "01"]).unwrap();
        assert_eq!(chapters, ["select", "epoll-et"]);
        assert_eq!(checks, ["echo::a_byte_comes_back", "close::a_half_close_is_answered"]);
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_nearest_names() {
        assert_eq!(selected(&["drian"]).unwrap_err().nearest[0], "drain");
        assert_eq!(selected(&["epol-et"]).unwrap_err().nearest[0], "04-epoll-et");
        assert_eq!(selected(&["brust"]).unwrap_err().nearest, ["drain::a_burst_of_bytes_is_read"]);
        assert_eq!(selected(&["drain", "xyzzy"]).unwrap_err(), UnknownWord { word: "xyzzy".into(), nearest: vec![] });
        assert!(selected(&["99"]).is_err());
        assert!(selected(&["a"]).is_err());
        assert!(selected(&[""]).is_err());
    }
}
