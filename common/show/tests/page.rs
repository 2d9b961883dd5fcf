//! The page of the course: its parts, its links, its commands, and that it cannot be made from what is stale.
//!
//! Invariant: what is asked of the page's links and commands is asked of every README too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{CommandFactory, Parser};
use figures::Verdict;
use lab::workspace;
use page::book::{Inputs, make};
use roxmltree::{Document, ParsingOptions};

/// With all data.
const LARGEST: usize = 900_000;
const PARTS: [&str; 10] =
    ["sixty", "why", "six", "edge", "pitfalls", "costs", "beside", "choosing", "questions", "glossary"];

fn root() -> PathBuf {
    workspace::root().expect("the workspace")
}

fn inputs() -> Inputs {
    lab_show::book::inputs(&root(), "./").expect("its files")
}

/// Made once: with a debug build it takes seconds.
fn page() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| make(&inputs()).expect("the page"))
}

/// The page as XML. What is in scripts and styles is no markup, so it is left out.
fn without_scripts(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(begins) = ["<style>", "<script "].iter().filter_map(|tag| rest.find(tag)).min() {
        let inside = begins + rest[begins..].find('>').expect("its end") + 1;
        let ends = ["</style>", "</script>"].iter().filter_map(|tag| rest[inside..].find(tag)).min().expect("its end");
        out += &rest[..inside];
        rest = &rest[inside + ends..];
    }
    out + rest
}

fn with_document(look: impl FnOnce(&Document<'_>)) {
    let xml = without_scripts(page());
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    look(&Document::parse_with_options(&xml, options).unwrap_or_else(|error| panic!("not well-formed: {error}")));
}

#[test]
fn the_parts_stand_there_in_their_order_and_the_file_is_small() {
    let page = page();
    assert!(page.len() < LARGEST, "the page has {} bytes", page.len());
    with_document(|document| {
        let parts = document.descendants().filter(|node| node.attribute("class") == Some("part"));
        let parts: Vec<&str> = parts.filter_map(|node| node.attribute("id")).collect();
        assert_eq!(parts, PARTS);
    });
}

#[test]
fn each_link_of_the_page_leads_somewhere() {
    let root = root();
    with_document(|document| {
        let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        let mut seen = BTreeSet::new();
        let twice: Vec<&&str> = ids.iter().filter(|id| !seen.insert(**id)).collect();
        assert!(twice.is_empty(), "ids that stand there twice: {twice:?}");
        let links =
            document.descendants().filter(|node| node.has_tag_name("a")).filter_map(|node| node.attribute("href"));
        let mut wrong = Vec::new();
        for link in links {
            let leads = match (link.strip_prefix('#'), link.strip_prefix("./")) {
                (Some(id), _) => unique.contains(id),
                (_, Some(path)) => root.join(path.split('#').next().unwrap_or_default()).exists(),
                _ => false,
            };
            if !leads {
                wrong.push(link);
            }
        }
        assert!(wrong.is_empty(), "they lead nowhere: {wrong:?}");
        for labelled in document.descendants().filter_map(|node| node.attribute("aria-labelledby")) {
            assert!(labelled.split(' ').all(|id| unique.contains(id)), "{labelled} names nothing");
        }
    });
}

fn is_handout() -> bool {
    root().join("exercises/handout.toml").exists()
}

#[test]
fn each_slide_that_the_instructors_are_told_of_is_there() {
    if is_handout() {
        return eprintln!("skipped: a handout has no text for instructors");
    }
    let text = fs::read_to_string(root().join("exercises/INSTRUCTORS.md")).expect("text");
    let slides: Vec<&str> = text.split("?talk#").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    assert!(slides.len() >= PARTS.len(), "{slides:?}");
    with_document(|document| {
        let is_there = |id: &&str| document.descendants().any(|node| node.attribute("id") == Some(*id));
        let gone: Vec<&&str> = slides.iter().filter(|id| !is_there(id)).collect();
        assert!(gone.is_empty(), "no slide has these anchors: {gone:?}");
    });
}

#[test]
fn each_command_of_the_page_is_one_that_there_is() {
    with_document(|document| {
        let code = document.descendants().filter(|node| node.has_tag_name("code"));
        let code = code.filter_map(|node| node.text()).filter(|text| text.starts_with("cargo "));
        let wrong: Vec<String> =
            code.filter_map(|command| unknown(command).map(|why| format!("{command}: {why}"))).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn a_figure_that_makes_the_words_around_it_wrong_is_an_error() {
    let mut inputs = inputs();
    let wait = inputs.reference.experiments.iter_mut().find(|it| it.name == "wait").expect("it");
    let poll = wait.outcome.charts[0].series.iter_mut().find(|it| it.name == "poll").expect("it");
    poll.points.iter_mut().for_each(|point| point.median = 1.0);
    let wrong = make(&inputs).expect_err("a wait of poll beside many descriptors costs nothing now");
    assert!(wrong.contains("wait/wait: poll at 10000 is 1 now"), "{wrong}");
}

#[test]
fn a_claim_that_does_not_hold_any_more_is_an_error() {
    let mut inputs = inputs();
    let trigger = inputs.reference.experiments.iter_mut().find(|it| it.name == "trigger").expect("it");
    trigger.outcome.verdict = Verdict::DoesNot("the edge is cheaper".into());
    let wrong = make(&inputs).expect_err("two parts say otherwise");
    assert!(wrong.contains("the claim of 'trigger' does not hold here: the edge is cheaper"), "{wrong}");
}

#[test]
fn what_a_record_of_another_machine_says_is_text() {
    let mut inputs = inputs();
    let mut own = inputs.reference.clone();
    let hostile = "</svg></title><script>alert(1)</script>\u{202e}'\"&";
    own.environment.cpu = hostile.into();
    for measured in &mut own.experiments {
        measured.outcome.found = hostile.into();
        measured.outcome.charts.iter_mut().for_each(|chart| chart.title = hostile.into());
    }
    inputs.own = Some(own);
    let page = make(&inputs).expect("a page");
    assert!(!page.contains("<script>alert") && !page.contains('\u{202e}'));
    let xml = without_scripts(&page);
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&xml, options).expect("well-formed");
    let told = document.descendants().filter(|node| node.is_text()).filter_map(|node| node.text());
    assert!(told.filter(|text| text.contains("alert(1)")).count() > 20, "it stands there as text");
}

#[test]
fn a_handout_lacks_files_on_purpose_and_has_its_page() {
    let handout = std::env::temp_dir().join(format!("page-of-handout-{}", std::process::id()));
    let root = root();
    let linked = |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to).expect("a link");
    fs::create_dir_all(handout.join("exercises")).expect("a folder");
    for entry in fs::read_dir(&root).expect("the workspace").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !["exercises", "target"].contains(&name.as_str()) {
            linked(&entry.path(), &handout.join(name));
        }
    }
    linked(&root.join("exercises/src"), &handout.join("exercises/src"));
    let mut inputs = inputs();
    inputs.workspace = page::book::Workspace::new(&handout, "./");
    let made = make(&inputs);
    fs::remove_dir_all(&handout).expect("it was made here");
    let page = made.expect("a page");
    assert!(!page.contains("href=\"./exercises/") && !page.contains("href=\"./.github/"));
    assert!(page.contains("href=\"./03-epoll-lt/src/server.rs#L"));
}

#[test]
fn what_a_sentence_leads_to_has_to_be_there() {
    let copy = std::env::temp_dir().join(format!("page-without-{}", std::process::id()));
    fs::create_dir_all(&copy).expect("a folder");
    let mut inputs = inputs();
    inputs.workspace = page::book::Workspace::new(&copy, "./");
    let wrong = make(&inputs).expect_err("no file is there");
    fs::remove_dir_all(&copy).expect("it was made here");
    assert!(wrong.contains("the page needs the file"), "{wrong}");
}

#[test]
fn each_link_of_a_readme_leads_somewhere() {
    if is_handout() {
        return eprintln!("skipped: a handout lacks what is for instructors, and some READMEs name that");
    }
    let root = root();
    let files = markdown(&root);
    assert!(files.len() > 40, "only {} files", files.len());
    let texts: BTreeMap<PathBuf, String> =
        files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect();
    let mut wrong = Vec::new();
    for (path, text) in &texts {
        for link in links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            let leads = target.canonicalize().is_ok_and(|target| {
                let text = texts.get(&target).cloned().or_else(|| fs::read_to_string(&target).ok());
                anchor.is_empty() || text.is_some_and(|text| anchors(&text).iter().any(|own| own == anchor))
            });
            if !leads {
                wrong.push(format!("{}: {link}", path.strip_prefix(&root).expect("inside").display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn each_command_of_a_readme_is_one_that_there_is() {
    let root = root();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in markdown(&root) {
        let text = fs::read_to_string(&path).expect("text");
        for command in commands(&text) {
            seen += 1;
            if let Some(why) = unknown(&command) {
                wrong.push(format!("{}: {command}: {why}", path.strip_prefix(&root).expect("inside").display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_there_is_not_is_known_as_such() {
    for command in
        ["cargo lab shwo 04", "cargo lab check --htlm a", "cargo lab page --opne", "cargo tset", "cargo lab list --no"]
    {
        assert!(unknown(command).is_some(), "{command}");
    }
    for command in
        ["cargo lab", "cargo lab page --open", "cargo lab show epoll-et", "cargo test -p poll", "cargo lab help check"]
    {
        assert_eq!(unknown(command), None, "{command}");
    }
}

/// Why this is no command, if it is none.
fn unknown(command: &str) -> Option<String> {
    let words = match shell_words::split(command) {
        Ok(words) => words,
        Err(error) => return Some(error.to_string()),
    };
    // What stands behind a pipe or a redirection is for the shell.
    let end = words.iter().position(|word| ["|", ">", "2>", "&&", "&", "||", ";"].contains(&word.as_str()));
    let words: Vec<&str> = words[..end.unwrap_or(words.len())].iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cargo", "lab", rest @ ..] => unknown_to_lab(rest),
        ["cargo", rest @ ..] => {
            const CARGO: [&str; 10] =
                ["run", "test", "build", "doc", "clippy", "fmt", "check", "bench", "install", "add"];
            let command = rest.iter().find(|word| !word.starts_with(['-', '+']));
            match command {
                Some(command) if !CARGO.contains(command) => {
                    Some(format!("cargo {command} is none that this course uses"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn unknown_to_lab(words: &[&str]) -> Option<String> {
    // Words in capitals or in brackets stand for something.
    let is_filler = |word: &&str| word.contains(['[', ']', '…']) || *word == "...";
    let words: Vec<&str> = words.iter().filter(|word| !is_filler(word)).copied().collect();
    let line = || std::iter::once("cargo lab").chain(words.iter().copied());
    let of_show = matches!(words.first(), Some(&"show" | &"page"));
    let parsed = match of_show {
        true => lab_show::Cli::try_parse_from(line()).map(drop),
        false => lab::Cli::try_parse_from(line()).map(drop),
    };
    use clap::error::ErrorKind;
    match parsed {
        Ok(()) => None,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
            // `cargo lab check` in a sentence, and values such as NN or FILE, name the command and no more.
            ErrorKind::MissingRequiredArgument | ErrorKind::InvalidValue | ErrorKind::ValueValidation => None,
            _ => Some(error.to_string().lines().next().unwrap_or_default().to_owned()),
        },
    }
}

/// Every Markdown file of the course, but for what a build or a student made.
fn markdown(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_made = ["target", "node_modules"].contains(&name.as_str())
                || path.parent().is_some_and(|parent| parent.ends_with("attempts")) && name != "README.md";
            if path.is_dir() && !is_made && (!name.starts_with('.') || name == ".github") {
                folders.push(path);
            } else if name.ends_with(".md") && !is_made {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The text without its blocks of code.
fn without_blocks(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// The links to files and anchors, without those to other places.
fn links(text: &str) -> Vec<String> {
    let text = without_blocks(text);
    // Code in a line has no links.
    let text: String = text.split('`').step_by(2).collect::<Vec<&str>>().join("code");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// The anchors of the headings, as Markdown makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for line in without_blocks(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let kept = |it: char| match it {
            ' ' => Some('-'),
            it if it.is_alphanumeric() || it == '-' || it == '_' => Some(it.to_ascii_lowercase()),
            _ => None,
        };
        let anchor: String = heading.chars().filter_map(kept).collect();
        let before = anchors.iter().filter(|own| **own == anchor).count();
        anchors.push(if before > 0 { format!("{anchor}-{before}") } else { anchor });
    }
    anchors
}

/// The commands of `cargo` in blocks and in lines of code.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            let line = line.trim().trim_start_matches("$ ");
            found.extend(line.starts_with("cargo ").then(|| line.split(" #").next().unwrap_or(line).trim().to_owned()));
        } else {
            let code = line.split('`').skip(1).step_by(2);
            found.extend(code.filter(|it| it.starts_with("cargo ")).map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_helps_of_both_programs_name_the_page() {
    for mut cli in [lab::Cli::command(), lab_show::Cli::command()] {
        assert!(cli.render_help().to_string().contains("page"), "{}", cli.get_name());
    }
}
