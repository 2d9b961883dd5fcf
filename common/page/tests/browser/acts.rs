//! The parts of the course's page that have recorded runs: captions, six servers, gaps, pitfalls.
//!
//! Invariant: a test waits for what the page comes to. Two look whether nothing happens, and they wait a given time.

use std::time::Duration;

use serde_json::json;

use crate::Pages;
use crate::driver::Browser;

/// A page of many players opens in two seconds on a machine that does nothing else. These tests run beside others.
const OPENS: Duration = Duration::from_secs(2);
const SLIDES: [&str; 6] = ["sixty", "six", "edge-flag", "edge-textbook", "pitfalls-drain", "pitfalls-stale"];

/// How often it is opened at most: a machine that is busy is not a page that is slow.
const TRIES: usize = 10;

pub fn opens_at_once_with_no_error_and_no_request(browser: &Browser, pages: &Pages) {
    let took = || {
        browser.play(&pages.course);
        browser.value("performance.getEntriesByName('alive')[0].startTime").as_f64().expect("a time")
    };
    let limit = OPENS.as_millis() as f64;
    let all: Vec<f64> = std::iter::repeat_with(took)
        .take(TRIES)
        .scan(false, |done, took| {
            let before = std::mem::replace(done, took < limit);
            (!before).then_some(took)
        })
        .collect();
    assert!(all.iter().any(|took| *took < limit), "it opened after {all:?} ms, and never in less than {limit}");
    let logs = browser.logs();
    assert!(logs.errors.is_empty(), "{:?}", logs.errors);
    let other: Vec<&String> =
        logs.requests.iter().filter(|url| !url.starts_with("file:") && *url != "about:blank").collect();
    assert!(other.is_empty(), "{other:?}");
}

pub fn captions_drive_the_player(browser: &Browser, pages: &Pages) {
    browser.play(&pages.course);
    let caption = || browser.value("document.querySelector('.caption-box').innerText");
    let row = || {
        browser.value("[...document.querySelectorAll('.stage event-loop-player')].find((it) => it.offsetParent).stop")
    };
    let item =
        |at: usize, what: &str| browser.value(&format!("document.querySelectorAll('.captions li')[{at}].{what}"));
    let first = caption();
    // That nothing comes has no state to wait for; a load only makes this look later.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(caption(), first, "nothing starts by itself");
    assert_eq!(browser.value("document.querySelector('.stage-voice').hidden"), json!(true), "no voice is here");
    for at in 1..12 {
        browser.click(".stage-next");
        let text = item(at, "querySelector('.caption').textContent");
        let text = text.as_str().expect("a caption");
        assert!(caption().as_str().is_some_and(|shown| shown.contains(text)), "{text}");
        assert_eq!(row().to_string(), item(at, "dataset.to").as_str().expect("a row"), "{text}");
    }
    browser.click(".stage-restart");
    assert_eq!(caption(), first);
    // It plays on from caption to caption, and stops where it is stopped.
    browser.click(".stage-next");
    browser.click(".stage-play");
    browser.until("document.querySelector('.stage .position').value === '3 of 12'");
    browser.click(".stage-play");
    assert_eq!(
        row().to_string(),
        item(2, "dataset.to").as_str().expect("a row"),
        "paused, it shows the caption's last row"
    );
}

pub fn a_local_voice_is_asked_for_and_waited_for(browser: &Browser, pages: &Pages) {
    // A browser without a voice gets one that says what it was told.
    let voice = "class Said extends EventTarget { constructor(text) { super(); this.text = text; } } \
                 window.SpeechSynthesisUtterance = Said; window.said = []; \
                 const voices = [{ localService: true, lang: 'en-GB', name: 'test' }]; \
                 Object.defineProperty(window, 'speechSynthesis', { value: { speaking: false, pending: false, \
                   getVoices: () => voices, addEventListener() {}, cancel() {}, speak(it) { window.said.push(it); } } });";
    let script = browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": voice }));
    browser.play(&pages.course);
    let seen = browser.value(
        "[document.querySelector('.stage-voice').hidden, document.querySelector('.stage-voice').getAttribute('aria-pressed')]",
    );
    assert_eq!(seen, json!([false, "false"]), "there, and off");
    browser.click(".stage-play");
    assert_eq!(browser.value("window.said.length"), json!(0), "nothing is spoken unasked");
    browser.click(".stage-voice");
    assert_eq!(browser.value("window.said.length"), json!(1));
    // Longer than a caption's five seconds: that nothing comes has no state to wait for.
    std::thread::sleep(Duration::from_millis(5600));
    assert_eq!(
        browser.value("document.querySelector('.stage .position').value"),
        json!("1 of 12"),
        "it waits for the voice"
    );
    browser.run("window.said[0].dispatchEvent(new Event('end'))");
    assert_eq!(
        browser.value("[window.said.length, document.querySelector('.stage .position').value]"),
        json!([2, "2 of 12"])
    );
    browser.click(".stage-play");
    browser.devtools("Page.removeScriptToEvaluateOnNewDocument", json!({ "identifier": script["identifier"] }));
}

pub fn players_begin_when_they_are_near(browser: &Browser, pages: &Pages) {
    browser.play(&pages.course);
    let begun = |part: &str| {
        browser.value(&format!("document.querySelectorAll('#{part} event-loop-player.upgraded').length > 0"))
    };
    assert_eq!(begun("pitfalls-buffer"), json!(false), "a table stands there");
    browser.run("document.querySelector('#edge-flag event-loop-player').scrollIntoView()");
    browser.until("document.querySelectorAll('#edge-flag event-loop-player.upgraded').length === 1");
    let shown = "document.querySelector('#edge-flag .track .verdict').textContent";
    assert_eq!(browser.value(shown), json!("lost wakeup"));
    browser.click("#edge-flag .gap.ok");
    assert_eq!(browser.value(shown), json!("passes"), "the gap leads the first server");
    browser.run("document.querySelector('#six event-loop-player').scrollIntoView()");
    browser.until("document.querySelectorAll('#six .track').length === 6");
}

pub fn without_a_script_the_runs_stand_there(browser: &Browser, pages: &Pages) {
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&pages.course);
    let seen = browser.value(
        "[document.querySelector('.stage').checkVisibility(), document.querySelectorAll('.captions li').length, \
          document.querySelector('#six table.by-steps').checkVisibility(), \
          document.querySelectorAll('#edge figure.gaps').length, \
          document.querySelectorAll('#pitfalls :is(table.by-steps, .printed)').length]",
    );
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": false }));
    assert_eq!(seen, json!([false, 12, true, 2, 7]));
}

pub fn the_course_fits_a_phone_and_a_projector(browser: &Browser, pages: &Pages) {
    browser.look(Some((390, 844)), true, "");
    browser.play(&pages.course);
    for id in SLIDES {
        browser.run(&format!("document.getElementById('{id}').scrollIntoView()"));
        browser.until(&format!(
            "[...document.querySelectorAll('#{id} event-loop-player')].slice(0, 1).every((it) => it.classList.contains('upgraded'))"
        ));
        assert_eq!(browser.value("document.documentElement.scrollWidth"), json!(390), "{id}");
        browser.picture(&format!("course-phone-{id}"));
    }
    browser.look(Some((1280, 720)), false, "");
    for id in SLIDES {
        browser.play(&format!("{}?talk#{id}", pages.course));
        browser.until("document.querySelector('.talk-place') !== null");
        let fits =
            browser.value("document.querySelector('section.talk-now').getBoundingClientRect().bottom <= innerHeight");
        assert_eq!(fits, json!(true), "{id}");
        browser.picture(&format!("course-talk-{id}"));
    }
}

pub fn paper(browser: &Browser, pages: &Pages) {
    browser.look(None, true, "print");
    browser.play(&pages.course);
    let seen = browser.value(
        "[getComputedStyle(document.body).backgroundColor, document.querySelector('.stage').checkVisibility(), \
          document.querySelector('#six table.by-steps').checkVisibility()]",
    );
    assert_eq!(seen, json!(["rgb(255, 255, 255)", false, true]));
}
