//! The page in a browser: what only a browser can tell.
//!
//! Invariant: one browser for all tests, which run one after the other. Without a browser they are ignored, and the reason
//! is printed. `SCREENSHOTS=FOLDER cargo test -p page --test browser` keeps the pictures.

mod acts;
mod beside;
mod driver;
mod keyboard;
mod looks;
mod playing;
mod sample;

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use driver::Browser;
use explorer::record::{Recording, read};
use libtest_mimic::{Arguments, Trial};

/// A test, and what it is given: the browser and the pages.
type Test = fn(&Browser, &Pages);

/// The test that needs a file which is no part of this repository.
const AXE: &str = "axe_finds_nothing";

const TESTS: &[(&str, Test)] = &[
    ("opens_from_a_file_with_no_error_and_no_request", playing::opens_with_no_error_and_no_request),
    ("stepping_back_gives_the_same_page", playing::stepping_back_gives_the_same_page),
    ("the_gap_picker_shows_the_run", playing::the_gap_picker_shows_the_run),
    ("a_link_leads_to_a_run_and_a_step", playing::a_link_leads_to_a_run_and_a_step),
    ("two_runs_part_at_a_stop_of_its_own", playing::two_runs_part_at_a_stop_of_its_own),
    ("servers_stand_beside_each_other", playing::servers_stand_beside_each_other),
    ("a_line_of_the_source_leads_to_its_rows", playing::a_line_leads_to_its_rows),
    ("folded_rows_unfold", playing::folded_rows_unfold),
    ("predictions_are_asked_for_and_answered", playing::predictions_are_asked_for_and_answered),
    ("playing_goes_to_the_end_and_is_not_read_aloud", playing::playing_goes_to_the_end),
    ("hostile_names_are_text", playing::hostile_names_are_text),
    ("the_keyboard_reaches_everything", keyboard::reaches_everything),
    ("keys_work_in_the_player_only", keyboard::keys_work_in_the_player_only),
    ("without_a_script_the_run_stands_there", looks::without_a_script),
    ("paper_is_light_and_has_the_static_part", looks::paper),
    ("a_phone_needs_no_sideways_scrolling", looks::phone),
    ("a_talk_needs_no_scrolling", looks::talk),
    ("text_has_contrast_in_both_palettes", looks::contrast),
    ("nothing_moves_for_those_who_asked_for_that", looks::reduced_motion),
    ("any_two_chapters_stand_beside_each_other", beside::any_two_chapters_stand_beside_each_other),
    ("the_course_opens_at_once_with_no_error_and_no_request", acts::opens_at_once_with_no_error_and_no_request),
    ("captions_drive_the_player", acts::captions_drive_the_player),
    ("a_local_voice_is_asked_for_and_waited_for", acts::a_local_voice_is_asked_for_and_waited_for),
    ("players_begin_when_they_are_near", acts::players_begin_when_they_are_near),
    ("without_a_script_the_course_has_its_runs", acts::without_a_script_the_runs_stand_there),
    ("the_course_fits_a_phone_and_a_projector", acts::the_course_fits_a_phone_and_a_projector),
    ("paper_has_the_courses_runs_as_tables", acts::paper),
    (AXE, looks::axe),
];

/// The one browser and its pages, or why there is none.
type Started = Result<Mutex<(Browser, Pages)>, String>;

/// The pages that the tests open, as `file://` addresses.
pub struct Pages {
    /// The sample, made by hand.
    pub sample: String,
    /// The sample under names that try to get out of their place.
    pub hostile: String,
    /// Each recording of `recordings/`, and how many there are.
    pub each: Vec<String>,
    /// All of them on one page, up to six.
    pub all: String,
    /// The page of the course.
    pub course: String,
}

fn pages() -> Pages {
    let page = |name: &str, recordings: &[Recording]| {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
        std::fs::write(&file, page::show(recordings, &page::Options::default())).expect("the folder is there");
        format!("file://{}", file.display())
    };
    let sample = |server: &str, remark: &str| [sample::recording(server, remark)];
    let hostile = "</script><img src=x onerror=\"document.title='out'\"><style>*{display:none}</style>\u{202e}evil";
    let recorded = recorded();
    Pages {
        sample: page("sample", &sample("sample", "a remark")),
        hostile: page("hostile", &sample(hostile, hostile)),
        each: recorded
            .iter()
            .enumerate()
            .map(|(at, it)| page(&format!("recorded-{at}"), std::slice::from_ref(it)))
            .collect(),
        all: page("all", &recorded[..recorded.len().min(6)]),
        course: beside::course(),
    }
}

/// The reference recordings, in the order of their names.
fn recorded() -> Vec<Recording> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let entries = std::fs::read_dir(folder).expect("the recordings are committed").flatten();
    let mut files: Vec<PathBuf> = entries.map(|it| it.path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "gz"));
    files.sort();
    assert!(files.len() > 5, "a recording for each chapter: {files:?}");
    files.iter().map(|file| unpacked(file)).collect()
}

/// All that are committed, each with its file's name.
fn named_recordings() -> Vec<(String, Recording)> {
    let mut named = Vec::new();
    for folder in ["recordings", "recordings/pairs"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).expect("the recordings are committed").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".json.gz") else { continue };
            named.push((name.to_owned(), unpacked(&entry.path())));
        }
    }
    named
}

fn unpacked(file: &std::path::Path) -> Recording {
    let mut text = String::new();
    let packed = std::fs::File::open(file).expect("it is there");
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("it is a text");
    read(&text).expect("it is a recording")
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let missing = driver::programs().err();
    if let Some(why) = &missing {
        eprintln!("skipped: {why}");
    } else if looks::axe_core().is_none() {
        eprintln!("skipped: {AXE}: AXE does not name a file of axe-core (axe.min.js)");
    }
    // It ends with this function, and not in a static, which is never dropped.
    let browser: Arc<OnceLock<Started>> = Arc::default();
    let trial = |(name, test): &(&'static str, Test)| {
        let (test, browser) = (*test, browser.clone());
        let run = move || {
            let both = browser.get_or_init(|| {
                let pages = pages();
                Ok(Mutex::new((Browser::start()?, pages)))
            });
            let both = both.as_ref().map_err(Clone::clone)?.lock().unwrap_or_else(PoisonError::into_inner);
            both.0.look(None, false, "");
            test(&both.0, &both.1);
            Ok(())
        };
        let ignored = missing.is_some() || *name == AXE && looks::axe_core().is_none();
        Trial::test(*name, run).with_ignored_flag(ignored)
    };
    let trials = TESTS.iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(browser);
    conclusion.exit_code()
}
