//! The page, without a browser: well-formed, complete, inert, small, and nothing loaded from anywhere.
//!
//! Invariant: what is asked of a page is asked of the committed recordings too, which are real runs.

mod made;

use std::collections::BTreeSet;
use std::io::Read;

use base64::Engine as _;
use explorer::Recording;
use page::{Options, show};
use roxmltree::{Document, Node, ParsingOptions};
use sha2::{Digest, Sha256};

use made::{flag_bug, hostile, long};

/// An exercise's page.
const LARGEST: usize = 300_000;

/// The committed recordings, by name.
fn committed() -> Vec<(String, Recording)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".json.gz") {
            continue;
        }
        let mut text = String::new();
        let bytes = std::fs::read(entry.path()).expect("a file");
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
        found.push((name, explorer::record::read(&text).expect("a recording")));
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn page(recordings: &[Recording]) -> String {
    show(recordings, &Options { command: "cargo lab show 24".into() })
}

/// Every page that is tried, with a name.
fn pages() -> Vec<(String, Vec<Recording>)> {
    let mut all = vec![
        ("a flag bug".to_owned(), vec![flag_bug()]),
        ("hostile names".to_owned(), vec![hostile(), hostile()]),
        ("a long run".to_owned(), vec![long()]),
    ];
    let committed = committed();
    all.extend(committed.iter().map(|(name, recording)| (name.clone(), vec![recording.clone()])));
    all.push(("side by side".to_owned(), committed.into_iter().map(|(_, recording)| recording).take(6).collect()));
    all.retain(|(_, recordings)| !recordings.is_empty());
    all
}

/// The page as XML. What is in scripts and styles is no markup, so it is cut out first.
fn parsed(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    for _ in 0..3 {
        let begins = ["<style>", "<script "].iter().filter_map(|tag| rest.find(tag)).min().expect("three of them");
        let inside = begins + rest[begins..].find('>').expect("its end") + 1;
        let ends = ["</style>", "</script>"].iter().filter_map(|tag| rest[inside..].find(tag)).min().expect("its end");
        out += &rest[..inside];
        rest = &rest[inside + ends..];
    }
    out + rest
}

fn with_document(page: &str, look: impl FnOnce(&Document<'_>)) {
    let xml = parsed(page);
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    look(
        &Document::parse_with_options(&xml, options).unwrap_or_else(|error| panic!("not well-formed: {error}\n{xml}")),
    );
}

fn named<'a>(document: &'a Document<'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    document.descendants().filter(move |node| node.has_tag_name(name))
}

fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter_map(|node| if node.is_text() { node.text() } else { None }).collect()
}

#[test]
fn every_page_is_well_formed_and_its_ids_and_links_fit() {
    for (name, recordings) in pages() {
        with_document(&page(&recordings), |document| {
            let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
            let unique: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!(unique.len(), ids.len(), "{name}: an id stands there twice");
            for link in named(document, "a").filter_map(|node| node.attribute("href")) {
                let id = link.strip_prefix('#').unwrap_or_else(|| panic!("{name}: {link} leads out of the page"));
                assert!(unique.contains(id), "{name}: {link} leads nowhere");
            }
            for labelled in document.descendants().filter_map(|node| node.attribute("aria-labelledby")) {
                assert!(unique.contains(labelled), "{name}: {labelled} names nothing");
            }
        });
    }
}

#[test]
fn without_a_script_every_event_of_the_run_stands_there_with_its_sentence() {
    for (name, recordings) in pages() {
        with_document(&page(&recordings), |document| {
            let rows = named(document, "tr").filter(|node| node.attribute("id").is_some());
            let mut rows = rows.map(|row| {
                let cells: Vec<String> = row.children().filter(|it| it.has_tag_name("td")).map(text).collect();
                (cells[0].clone(), cells[2].clone())
            });
            for recording in &recordings {
                let passing = recording.passing.map(|at| &recording.runs[at]);
                for run in [Some(&recording.runs[0]), passing].into_iter().flatten() {
                    for (at, sentence) in page::sentences(run).into_iter().enumerate() {
                        let row = rows.next().unwrap_or_else(|| panic!("{name}: no row for event {at}"));
                        assert_eq!(row.0, (at + 1).to_string(), "{name}");
                        assert_eq!(row.1, page::visible(&sentence), "{name}");
                    }
                }
            }
            assert_eq!(rows.next(), None, "{name}: a row more than events");
        });
    }
}

#[test]
fn rows_that_repeat_are_folded_and_unfold_to_all_of_them() {
    let recording = long();
    with_document(&page(std::slice::from_ref(&recording)), |document| {
        let folded: Vec<Node<'_, '_>> =
            named(document, "tr").filter(|it| it.attribute("class") == Some("again")).collect();
        assert_eq!(folded.len(), 2, "the pairs that succeed, and the pairs that do not");
        for row in &folded {
            assert!(row.descendants().any(|it| it.has_tag_name("summary")), "it unfolds without a script");
        }
        let inside = |row: &Node<'_, '_>| row.descendants().filter(|it| it.attribute("id").is_some()).count();
        // The first pair of each kind is shown.
        assert_eq!(folded.iter().map(inside).collect::<Vec<_>>(), [2 * 22, 2 * 54]);
        let summary = text(folded[1].descendants().find(|it| it.has_tag_name("summary")).expect("there is one"));
        assert_eq!(summary, "the same 2 calls, 54 times more");
    });
}

#[test]
fn the_page_says_how_it_went_before_it_shows_it() {
    let page = page(&[flag_bug()]);
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} is missing"));
    let (verdict, what) = (place("lost wakeup</span>"), place("5000 of c0&#39;s 5003 bytes did not come back"));
    let (why, gaps, picture) =
        (place("The edge that reported these bytes is used up"), place("1 of 2 gaps is fatal"), place("<svg"));
    assert!(verdict < what && what < why && why < gaps && gaps < picture);
    assert!(page.contains("Every schedule with one placed step was run: 3 runs."));
    assert!(page.contains("<mark id=\"flag-bug_s0_2\">"), "the line that made a call is marked");
}

#[test]
fn hostile_names_are_text_and_nothing_else() {
    let page = page(&[hostile()]);
    for inert in ["<script>alert", "<img", "<!-- ", "\u{202e}", "\u{2066}", "\0", "\u{1b}", "]]>"] {
        assert!(!page.contains(inert), "{inert:?} stands in the page");
    }
    assert_eq!(page.matches("<script").count(), 2, "the data and the module");
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(page.contains("[U+202E]"), "a reader sees that something is there");
    with_document(&page, |document| {
        let heading = named(document, "bdi").next().map(text).expect("the server's name");
        assert!(heading.contains("</script><script>alert(1)</script>"), "{heading}");
        let names: BTreeSet<&str> =
            document.descendants().filter(Node::is_element).map(|it| it.tag_name().name()).collect();
        assert!(!names.contains("img") && !names.contains("iframe"), "{names:?}");
        let attributes = document.descendants().flat_map(|node| node.attributes());
        assert!(attributes.into_iter().all(|it| !it.name().starts_with("on")), "text became an attribute");
    });
}

#[test]
fn the_data_are_the_recording_with_its_sentences_and_gaps() {
    for recording in [flag_bug(), hostile()] {
        let page = page(std::slice::from_ref(&recording));
        let (_, rest) = page.split_once("id=\"recordings\">").expect("the data");
        let (data, _) = rest.split_once("</script>").expect("their end");
        assert!(data.bytes().all(|it| it.is_ascii_alphanumeric() || b"+/=".contains(&it)), "only base64");
        let packed = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
        let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let one = &all[0];
        for (run, recorded) in one["runs"].as_array().expect("runs").iter().zip(&recording.runs) {
            let sentences = run["events"].as_array().expect("events").iter().map(|it| {
                // Each event stands there once, and a run has their numbers.
                let place = it.as_u64().expect("a number") as usize;
                one["events"][place]["sentence"].as_str()
            });
            let wanted = page::sentences(recorded);
            assert!(
                sentences.eq(wanted
                    .iter()
                    .map(|it| page::visible(it))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(|it| Some(it.as_ref())))
            );
        }
        assert_eq!(one["gaps"].as_array().map(Vec::len), Some(page::gaps(&recording).len()));
        assert!(!text.contains("\\u202e") && !text.contains('\u{202e}'), "the player gets no hidden characters");
        assert_eq!(one["server"], page::visible(&recording.server).as_ref());
    }
}

#[test]
fn the_policy_allows_this_script_and_this_style_and_no_resource() {
    let page = page(&[flag_bug()]);
    with_document(&page, |document| {
        let meta = named(document, "meta").find(|it| it.attribute("http-equiv") == Some("Content-Security-Policy"));
        let policy = meta.and_then(|it| it.attribute("content")).expect("a policy").to_owned();
        let hash = |begin: &str, end: &str| {
            let (_, rest) = page.split_once(begin).expect("its begin");
            let (text, _) = rest.split_once(end).expect("its end");
            base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()))
        };
        let script = hash("<script type=\"module\">", "</script>");
        let style = hash("<style>", "</style>");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains(&format!("script-src 'sha256-{script}';")), "{policy}");
        assert!(policy.contains(&format!("style-src 'sha256-{style}';")), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for node in document.descendants().filter(Node::is_element) {
            for name in ["src", "srcset", "style", "onclick", "onload", "action", "formaction", "data", "poster"] {
                assert_eq!(node.attribute(name), None, "{} has {name}", node.tag_name().name());
            }
            assert!(!["link", "base", "object", "embed", "iframe", "img"].contains(&node.tag_name().name()));
        }
    });
}

#[test]
fn a_page_is_small() {
    for (name, recordings) in pages() {
        let size = page(&recordings).len();
        let most = if recordings.len() > 1 { 2 * LARGEST } else { LARGEST };
        assert!(size < most, "{name}: {size} bytes");
    }
}

#[test]
fn the_same_recording_gives_the_same_page() {
    assert_eq!(page(&[flag_bug()]), page(&[flag_bug()]));
}

#[test]
fn a_recording_whose_names_are_the_pages_own_has_ids_of_its_own() {
    let called = |name: &str| Recording { server: name.into(), ..flag_bug() };
    let names = ["recordings", "beside", "flag-bug", "flag bug", "Flag--Bug", "", "日本"];
    let all: Vec<Recording> = names.map(called).into_iter().collect();
    with_document(&page(&all), |document| {
        let sections = named(document, "section").filter(|it| it.attribute("class") == Some("show"));
        let ids: Vec<&str> = sections.filter_map(|it| it.attribute("id")).collect();
        assert_eq!(ids, ["server", "server-2", "flag-bug", "flag-bug-2", "flag-bug-3", "server-3", "server-4"]);
    });
}

#[test]
fn a_sentence_says_what_happened_and_where() {
    let flag = flag_bug();
    let told = page::sentences(&flag.runs[0]);
    assert_eq!(
        told,
        [
            "recvfrom takes 3 bytes from fd 5 (c0).",
            "recvfrom finds nothing to read in fd 5 (c0): EAGAIN.",
            "c0 sends 5000 bytes just before the server calls epoll_wait(4, timeout 0): 5000 bytes of c0 are unread in fd 5.",
            "epoll_wait reports IN|OUT of fd 5 (c0).",
            "sendto hands 3 bytes to fd 5 (c0).",
            "c0 reads 3 bytes.",
            "The server sleeps for ever in epoll_wait(4): 5000 of c0's 5003 bytes did not come back; 5000 bytes of c0 are \
             unread in fd 5, and the ready list is empty.",
        ]
    );
    assert_eq!(
        page::sentences(&long().runs[0])[100],
        "write takes none of 4096 bytes for c0: EAGAIN, the socket is full."
    );
}

#[test]
fn every_sentence_is_one() {
    for (name, recordings) in pages() {
        for run in recordings.iter().flat_map(|recording| &recording.runs) {
            let sentences = page::sentences(run);
            assert_eq!(sentences.len(), run.events.len(), "{name}");
            for sentence in sentences {
                assert!(sentence.ends_with('.') && !sentence.ends_with(".."), "{name}: {sentence}");
                assert!(!sentence.contains("  ") && !sentence.contains(" ."), "{name}: {sentence}");
            }
        }
    }
}

#[test]
fn a_report_with_players_runs_their_script_and_no_other() {
    let recordings = [hostile()];
    let mut main = markup::Markup::default();
    main.leaf("p", &[], "</main><script>out()</script>");
    page::report::player(&mut main, 0, &recordings[0], "run-1");
    let page = page::report::with_players("a <report>", ".x { margin: 0 }", &main, &recordings);
    let xml = parsed(&page);
    let document = Document::parse_with_options(&xml, ParsingOptions { allow_dtd: true, ..Default::default() });
    let document = document.expect("well-formed");
    let named = |name: &'static str| document.descendants().filter(move |it| it.has_tag_name(name));
    // The data, and the module.
    assert_eq!((named("script").count(), named("event-loop-player").count()), (2, 1));
    assert_eq!(named("section").next().and_then(|it| it.attribute("id")), Some("run-1"));
    assert!(
        page.contains(".x { margin: 0 }") && page.contains("script-src 'sha256-")
            || page.contains("script-src &#39;sha256-")
    );
}
