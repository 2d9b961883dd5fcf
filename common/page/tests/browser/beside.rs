//! Two chapters beside each other, in the page of the course: what the script shows is what the page has without it.

use std::path::{Path, PathBuf};

use page::book::{Inputs, Workspace, make};
use serde_json::{Value, json};

use super::Pages;
use super::driver::Browser;

/// The page of the course, as a `file://` address.
pub fn course() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let reference = std::fs::read_to_string(root.join("common/bench/reference.json")).expect("the reference");
    let inputs = Inputs {
        recordings: super::named_recordings(),
        reference: figures::Record::parse(&reference).expect("a record"),
        own: None,
        workspace: Workspace::new(root, "./"),
        command: "cargo lab page".into(),
    };
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("beside.html");
    std::fs::write(&file, make(&inputs).expect("the page")).expect("the folder is there");
    format!("file://{}", file.display())
}

/// What a reader sees of the pair.
const SEEN: &str = "document.querySelector('chapters-beside').innerText";

/// Chooses as a reader does: the left one, then the right one.
fn choose(browser: &Browser, left: usize, right: usize) {
    browser.run(&format!(
        "const [left, right] = document.querySelectorAll('.choose-two select');
         for (const [select, value] of [[left, '{left}'], [right, '{right}']]) {{
           select.value = value;
           select.dispatchEvent(new Event('change'));
         }}"
    ));
}

pub fn any_two_chapters_stand_beside_each_other(browser: &Browser, _: &Pages) {
    browser.open(&course());
    browser.until("document.querySelectorAll('.choose-two select').length === 2");
    let still = browser.value(SEEN);
    choose(browser, 0, 5);
    let other = browser.value(SEEN);
    assert_ne!(still, other);
    for left in 0..6 {
        for right in (0..6).filter(|right| *right != left) {
            choose(browser, left, right);
            let lines = browser.value("document.querySelectorAll('chapters-beside :is(code, del, ins)').length");
            assert!(lines.as_u64() > Some(200), "{left} {right}: {lines}");
            let names = browser.value("document.querySelectorAll('chapters-beside h3 span').length");
            assert_eq!(names, json!(2));
        }
    }
    // Rust and the script write the same rows.
    choose(browser, 2, 3);
    assert_eq!(browser.value(SEEN), still);
    let folded = "document.querySelectorAll('chapters-beside details:not([open])').length";
    assert!(browser.value(folded).as_u64() > Some(5));
    browser.click(".choose-two button");
    assert_eq!(browser.value(folded), json!(0));
    assert_eq!(browser.logs().errors, Vec::<String>::new());
    browser.look(Some((390, 844)), true, "");
    let width = browser.run("const it = document.getElementById('beside'); return it.scrollWidth <= it.clientWidth;");
    assert_eq!(width, Value::Bool(true), "a phone does not scroll sideways");
    browser.run("document.querySelector('.choose-two').scrollIntoView()");
    browser.picture("beside-phone-dark");
}
