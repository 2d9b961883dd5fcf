//! The texts: titles and headings agree, sentences are short, and links into the glossary lead somewhere.
//!
//! Invariant: a sentence has at most `WORDS` words; code, links and table cells are counted as a reader reads them.

use std::fs;
use std::path::{Path, PathBuf};

const WORDS: usize = 35;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Every Markdown file below a folder, but for what the compiler made.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                found.extend(markdown(&path));
            }
        } else if path.extension().is_some_and(|it| it == "md") {
            found.push(path);
        }
    }
    found
}

/// Paragraphs, list items, headings and table cells; without blocks of code.
fn passages(text: &str) -> Vec<String> {
    let mut passages = vec![String::new()];
    let mut in_code = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        if line.starts_with('|') {
            passages.extend(line.split('|').map(str::to_owned));
            passages.push(String::new());
        } else if line.is_empty() || line.starts_with(['#', '-', '*', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
            passages.push(line.to_owned());
        } else if let Some(last) = passages.last_mut() {
            *last += " ";
            *last += line;
        }
    }
    passages
}

/// A quotation in backquotes is one word, and a link is its text.
fn as_read(passage: &str) -> String {
    let plain: String =
        passage.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "code" }).collect();
    let mut out = String::new();
    let mut rest = plain.as_str();
    while let Some(at) = rest.find("](") {
        out += &rest[..at];
        rest = rest[at..].find(')').map_or("", |end| &rest[at + end + 1..]);
    }
    (out + rest).replace('[', "")
}

fn sentences(passage: &str) -> Vec<String> {
    let mut sentences = vec![Vec::new()];
    for word in as_read(passage).split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)) {
        sentences.last_mut().expect("at least one").push(word.to_owned());
        if word.trim_end_matches(['"', ')', '*', '\'']).ends_with(['.', '?', '!']) {
            sentences.push(Vec::new());
        }
    }
    sentences.into_iter().map(|words| words.join(" ")).collect()
}

fn too_long(text: &str) -> impl Iterator<Item = String> {
    let all = passages(text).into_iter().flat_map(|passage| sentences(&passage));
    all.filter(|sentence| sentence.split(' ').count() > WORDS)
}

#[test]
fn a_sentence_is_counted_as_it_is_read() {
    let text = "# A heading\n\nOne `fn main() {}` two [three](four.md), five. Six?\n\n| a | b c |\n|---|---|\n\n```\nno. code\n```\n";
    let read: Vec<String> = passages(text).iter().flat_map(|it| sentences(it)).filter(|it| !it.is_empty()).collect();
    assert_eq!(read, ["A heading", "One code two three, five.", "Six?", "a", "b c"]);
    assert_eq!(too_long(&"word ".repeat(WORDS)).count(), 0);
    assert_eq!(too_long(&"word ".repeat(WORDS + 1)).count(), 1);
}

#[test]
fn no_sentence_of_a_readme_or_of_an_exercise_is_long() {
    let mut long = Vec::new();
    for file in markdown(&workspace()) {
        let text = fs::read_to_string(&file).expect("a text");
        long.extend(too_long(&text).map(|sentence| format!("{}: {sentence}", file.display())));
    }
    for exercise in lab::course::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the exercises") {
        let about = &exercise.about;
        let texts = about.hints.iter().chain([&about.modelled_on.what]).chain(about.differs.iter().map(|(_, why)| why));
        long.extend(texts.flat_map(|text| too_long(text)).map(|sentence| format!("{}: {sentence}", exercise.name)));
    }
    assert!(long.is_empty(), "more than {WORDS} words:\n{}", long.join("\n"));
}

#[test]
fn a_title_has_its_subject_and_is_the_heading_of_the_story() {
    for exercise in lab::course::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the exercises") {
        let title = &exercise.about.title;
        assert!(title.contains(" · "), "{}: '{title}' does not say its subject: wit · subject", exercise.name);
        let story = fs::read_to_string(exercise.folder.join("README.md")).expect("a story");
        let heading = story.lines().next().unwrap_or_default();
        assert_eq!(heading, format!("# {:02} {title}", exercise.number), "{}/README.md", exercise.name);
    }
}

#[test]
fn no_exercise_is_unfinished_and_a_starter_tells_its_symptom_at_the_head() {
    for exercise in lab::course::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the exercises") {
        assert_eq!(lab::course::proof::unfinished(&exercise), [""; 0], "{}", exercise.name);
    }
}

#[test]
fn a_story_names_the_modules_that_its_server_uses() {
    for exercise in lab::course::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the exercises") {
        let read = |name: &str| fs::read_to_string(exercise.folder.join(name)).expect("a text");
        let (story, starter) = (read("README.md"), read("starter.rs"));
        for line in starter.lines().filter_map(|line| line.strip_prefix("use ")) {
            let path: Vec<&str> = line.trim_end_matches(';').split("::").take(2).collect();
            if let [krate @ ("exercises" | "kqueue"), module] = path[..] {
                let module = format!("{krate}::{module}");
                assert!(story.contains(&format!("[`{module}`](")), "{} does not name {module}", exercise.name);
            }
        }
    }
}

#[test]
fn a_link_of_a_story_leads_to_a_file() {
    for exercise in lab::course::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the exercises") {
        let story = fs::read_to_string(exercise.folder.join("README.md")).expect("a story");
        for target in story.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            let is_file = exercise.folder.join(target).is_file();
            assert!(is_file || target.starts_with("http"), "{}: {target}", exercise.name);
        }
    }
}

#[test]
fn links_into_the_glossary_lead_to_an_entry() {
    let glossary = fs::read_to_string(workspace().join("common/GLOSSARY.md")).expect("the glossary");
    let headings = glossary.lines().filter(|line| line.starts_with("##"));
    let anchors: Vec<String> = headings
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace('\'', "").replace(' ', "-"))
        .collect();
    let mut lost = Vec::new();
    for file in markdown(&workspace()) {
        let text = fs::read_to_string(&file).expect("a text");
        let own = if file.ends_with("GLOSSARY.md") { "](#" } else { "GLOSSARY.md#" };
        for (at, _) in text.match_indices(own) {
            let anchor: String =
                text[at + own.len()..].chars().take_while(|it| !matches!(it, ')' | '`' | ' ')).collect();
            if !anchors.contains(&anchor) {
                lost.push(format!("{}: {own}{anchor}", file.display()));
            }
        }
    }
    assert!(lost.is_empty(), "no such entry in common/GLOSSARY.md:\n{}", lost.join("\n"));
}
