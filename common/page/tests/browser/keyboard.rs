//! The player without a mouse.
//!
//! Invariant: only real key presses lead from one element to the next.

use serde_json::{Value, json};

use crate::Pages;
use crate::driver::Browser;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const LEFT: &str = "\u{e012}";
const RIGHT: &str = "\u{e014}";
const END: &str = "\u{e010}";
const HOME: &str = "\u{e011}";

/// Everything that is seen and does something. A row that is not shown now has the keys of the player for that.
const REACHABLE: &str = "[...document.querySelectorAll('a[href], button, select, input, summary, [tabindex=\"0\"]')]
    .filter((it) => it.tabIndex >= 0 && it.checkVisibility({ visibilityProperty: true }))";

pub fn reaches_everything(browser: &Browser, pages: &Pages) {
    browser.play(&pages.sample);
    let wanted = browser.value(&format!("{REACHABLE}.length")).as_u64().expect("a number");
    assert!(wanted > 20, "{wanted} elements");
    browser.run("window.reached = new Set(); addEventListener('focusin', (it) => window.reached.add(it.target));");
    // One round and a bit: the focus also goes to the browser's own elements.
    browser.press(&vec![TAB; wanted as usize + 5]);
    let missed = browser
        .value(&format!("{REACHABLE}.filter((it) => !window.reached.has(it)).map((it) => it.outerHTML.slice(0, 120))"));
    assert_eq!(missed, json!([]), "not reached by Tab");
    let unseen = browser
        .value("[...window.reached].filter((it) => it.offsetWidth === 0).map((it) => it.outerHTML.slice(0, 120))");
    assert_eq!(unseen, json!([]), "reached, and not to be seen");
    // Each has a name to be read aloud.
    let nameless = browser.value(&format!(
        "{REACHABLE}.filter((it) => !(it.innerText || it.getAttribute('aria-label') || it.closest('label')?.innerText))
            .map((it) => it.outerHTML.slice(0, 120))"
    ));
    assert_eq!(nameless, json!([]), "without a name");
}

pub fn keys_work_in_the_player_only(browser: &Browser, pages: &Pages) {
    browser.play(&pages.sample);
    let step = || browser.value("document.querySelector('.position').innerText.split(' ')[0]");
    let focus = |selector: &str| browser.run(&format!("document.querySelector({selector:?}).focus()"));
    browser.press(&[RIGHT, RIGHT, "n", END, " "]);
    assert_eq!(step(), json!("1"), "nothing in the player has the focus");
    focus(".rows-box");
    browser.press(&[RIGHT, RIGHT, RIGHT]);
    assert_eq!(step(), json!("4"));
    browser.press(&[LEFT]);
    assert_eq!(step(), json!("3"));
    browser.press(&[END, LEFT]);
    let count = browser.value("Number(document.querySelector('.position').innerText.split(' ')[2])");
    assert_eq!(step(), json!((count.as_u64().expect("a number") - 1).to_string()));
    browser.press(&[HOME, "n"]);
    let landmark: Value = browser.value("document.querySelector('.why').innerText");
    assert_eq!(landmark, json!("a step of the script"));
    // A button does with Enter and Space what it does.
    focus(".button-first");
    browser.press(&[ENTER]);
    assert_eq!(step(), json!("1"));
    focus(".button-next");
    browser.press(&[" ", ENTER, RIGHT]);
    assert_eq!(step(), json!("4"));
    // A list keeps its arrows.
    focus(".controls select");
    browser.press(&[RIGHT]);
    assert_eq!(step(), json!("4"));
}
