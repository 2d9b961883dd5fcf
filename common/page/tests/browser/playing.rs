//! Driving the player.
//!
//! Invariant: what is clicked is a button that a person can see; what is compared is the whole of the player's elements.

use serde_json::json;

use crate::Pages;
use crate::driver::Browser;
use crate::sample::GAPS;

/// The player that is seen, as an expression.
const PLAYER: &str = "[...document.querySelectorAll('event-loop-player')].find((it) => it.offsetParent !== null)";

/// What is written in an element of the player that is seen.
fn text(browser: &Browser, selector: &str) -> String {
    let text = browser.value(&format!("{PLAYER}.querySelector({selector:?})?.innerText ?? 'missing'"));
    text.as_str().expect("a text").to_owned()
}

fn pressed(browser: &Browser, selector: &str) -> bool {
    browser.value(&format!("{PLAYER}.querySelector({selector:?}).getAttribute('aria-pressed')")) == "true"
}

/// A number behind the last `@` of the address, and the number of the step that the player says it shows.
fn step(browser: &Browser) -> (u64, u64) {
    let address = browser.value("location.hash.split('@')[1] ?? '0'");
    let says = text(browser, ".position");
    let says = says.split(' ').next().and_then(|it| it.parse().ok()).expect("`5 of 25`");
    (address.as_str().and_then(|it| it.parse().ok()).unwrap_or(0), says)
}

pub fn opens_with_no_error_and_no_request(browser: &Browser, pages: &Pages) {
    for page in pages.each.iter().chain([&pages.sample, &pages.all]) {
        browser.play(page);
        let logs = browser.logs();
        assert!(logs.errors.is_empty(), "{page}: {:?}", logs.errors);
        let others: Vec<_> = logs.requests.iter().filter(|url| *url != page && *url != "about:blank").collect();
        assert!(others.is_empty(), "{page} asks for {others:?}");
        assert!(logs.requests.contains(page), "the requests are not seen at all: {:?}", logs.requests);
    }
}

/// In one call for each page: a request for each step would take minutes.
const BACK_AND_FORTH: &str = "
    const player = PLAYER;
    const button = (name) => player.querySelector(`.button-${name}`);
    const scrub = player.querySelector('input[type=range]');
    const seen = () => player.querySelector('.player').outerHTML + location.hash + scrub.value;
    const ends = (name) => button(name).getAttribute('aria-disabled') === 'true';
    button('first').click();
    const forward = [[scrub.value, seen()]];
    while (!ends('next')) {
        button('next').click();
        forward.push([scrub.value, seen()]);
        if (forward.length > 5000) return 'it does not end';
    }
    for (const [place, what] of forward.slice(0, -1).reverse()) {
        button('back').click();
        if (scrub.value !== place) return `back leads to ${scrub.value} and not to ${place}`;
        if (seen() !== what) return `at ${place} the page is another than before`;
    }
    if (!ends('back')) return 'back does not lead to the start';
    // From anywhere to anywhere.
    for (const [place, what] of forward.map((it, at) => forward[(at * 7919) % forward.length])) {
        scrub.value = place;
        scrub.dispatchEvent(new Event('input'));
        if (seen() !== what) return `scrubbed to ${place}, the page is another than before`;
    }
    return forward.length > 3 ? 'equal' : 'there are no steps';";

pub fn stepping_back_gives_the_same_page(browser: &Browser, pages: &Pages) {
    let script = BACK_AND_FORTH.replace("PLAYER", PLAYER);
    for page in pages.each.iter().chain([&pages.sample]) {
        browser.play(page);
        assert_eq!(browser.run(&script), json!("equal"), "{page}");
    }
    browser.play(&format!("{}#sample.1+2@1", pages.sample));
    assert_eq!(browser.run(&script), json!("equal"), "two runs beside each other");
    browser.play(&pages.all);
    assert_eq!(browser.run(&script), json!("equal"), "all servers beside each other");
}

pub fn the_gap_picker_shows_the_run(browser: &Browser, pages: &Pages) {
    browser.play(&pages.sample);
    assert_eq!(text(browser, ".gaps h3"), "2 of 5 gaps are fatal");
    let cells = browser.value(&format!("{PLAYER}.querySelectorAll('.gap').length"));
    assert_eq!(cells, json!(GAPS.len()));
    for (at, (_, fatal)) in GAPS.into_iter().enumerate() {
        // The failing run stands first in the recording, and stands for its gap.
        let run = if at == 2 { 0 } else { at + 2 };
        let cell = format!(".gap[data-run='{run}']");
        browser.click(&cell);
        assert!(pressed(browser, &cell), "gap {at}");
        let shown = text(browser, "tr.now");
        assert!(shown.contains("» c0 send 5000"), "gap {at} shows {shown}");
        browser.run(&format!("const p = {PLAYER}; p.hand(p.stops.length - 1);"));
        assert_eq!(text(browser, ".say").contains("for ever"), fatal, "gap {at}: {}", text(browser, ".say"));
        let kind = browser.value(&format!("{PLAYER}.querySelector({cell:?}).className"));
        assert_eq!(kind, json!(if fatal { "gap bad" } else { "gap ok" }));
    }
    browser.click(".gaps [data-run='1']:not(.gap)");
    assert!(!text(browser, ".rows").contains("» c0"), "no step is placed in this run");
}

pub fn a_link_leads_to_a_run_and_a_step(browser: &Browser, pages: &Pages) {
    let open = |link: &str| browser.play(&format!("{}{link}", pages.sample));
    open("#sample@7");
    assert_eq!(step(browser), (7, 7));
    browser.click(".button-next");
    assert_eq!(step(browser), (8, 8));
    assert_eq!(browser.value("location.hash"), json!("#sample@8"), "the first run needs no number");
    open("#sample.2@9");
    assert!(!text(browser, ".rows").contains("» c0"), "the second run has no placed step");
    browser.click(".button-back");
    assert_eq!(browser.value("location.hash"), json!("#sample.2@8"));
    open("#sample.1+2@5");
    assert_eq!(browser.value(&format!("{PLAYER}.querySelectorAll('.track').length")), json!(2));
    browser.run("location.hash = '#sample.2@4'");
    browser.until(&format!("{PLAYER}.querySelectorAll('.track').length === 1"));
    assert_eq!(step(browser), (4, 4));
    // Nonsense is ignored.
    for nonsense in ["#sample.99@3", "#sample@99999", "#nobody@3", "#%00@@", "#sample.1+1+1+1+1@2", "#recordings@1"] {
        open(nonsense);
        assert!(browser.logs().errors.is_empty(), "{nonsense}");
        assert!(text(browser, ".say").len() > 5, "{nonsense}");
    }
}

pub fn two_runs_part_at_a_stop_of_its_own(browser: &Browser, pages: &Pages) {
    browser.play(&format!("{}#sample.1+2@1", pages.sample));
    browser.click(".parting");
    let said = text(browser, ".say");
    assert!(said.starts_with("Here they part."), "{said}");
    let rows = browser.value(&format!("[...{PLAYER}.querySelectorAll('tr.now .what')].map((it) => it.innerText)"));
    let rows: Vec<&str> = rows.as_array().expect("two").iter().filter_map(|it| it.as_str()).collect();
    assert!(rows[0].starts_with("» c0 send 5000") && rows[1].starts_with("sendto(5 c0, 3) = 3"), "{rows:?}");
    // Later the same step of the script is reached in both, at one stop.
    let together = "
        const player = PLAYER;
        return player.stops.every(({ at }, stop) => at.every((it, track) => it >= (player.stops[stop - 1]?.at[track] ?? -1)))
            && player.tracks.every((it, track) => it.look.events.every((_, at) => player.stops.some((stop) => stop.at[track] === at)));";
    assert_eq!(
        browser.run(&together.replace("PLAYER", PLAYER)),
        json!(true),
        "no event is left out, and none comes twice"
    );
}

pub fn servers_stand_beside_each_other(browser: &Browser, pages: &Pages) {
    browser.play(&pages.all);
    let tracks = browser.value(&format!("{PLAYER}.querySelectorAll('.track').length"));
    assert_eq!(tracks, json!(pages.each.len().min(6)));
    // Where the servers run one script, each step of it comes at one stop.
    let aligned = "
        const player = PLAYER;
        const scripts = new Set(player.tracks.map((it) => it.recording.script));
        if (scripts.size > 1) return 'equal';
        const stopsOf = (track) => player.tracks[track].look.events
            .map((event, at) => (event.script_step ?? null) === null ? null : [event.script_step, player.stopOf(track, at)])
            .filter(Boolean).join(' ');
        const first = stopsOf(0);
        return player.tracks.every((_, track) => stopsOf(track) === first) ? 'equal' : 'the steps are not aligned';";
    assert_eq!(browser.run(&aligned.replace("PLAYER", PLAYER)), json!("equal"));
    browser.click(".tabs button:nth-child(2)");
    assert_eq!(browser.value(&format!("{PLAYER}.querySelectorAll('.track').length")), json!(1));
}

pub fn a_line_leads_to_its_rows(browser: &Browser, pages: &Pages) {
    browser.play(&pages.sample);
    browser.click(".line:nth-child(31) .number");
    let here = || text(browser, ".line.at .number");
    assert_eq!((here(), text(browser, "tr.now .what")), ("31".into(), "recvfrom(5 c0, 4096) = 3".into()));
    browser.click(".line:nth-child(31) .number");
    assert_eq!(text(browser, "tr.now .what"), "recvfrom(5 c0, 4096) = EAGAIN", "the next row of the line");
    let chosen = browser.value(&format!(
        "[...{PLAYER}.querySelectorAll('tr.chosen')].every((it) => it.innerText.includes('recvfrom'))"
    ));
    assert_eq!(chosen, json!(true));
    assert_eq!(text(browser, ".line.caller .number"), "2", "its caller is marked too");
}

pub fn folded_rows_unfold(browser: &Browser, pages: &Pages) {
    browser.play(&format!("{}#sample.2@1", pages.sample));
    let shown = || {
        let rows = format!(
            "[...{PLAYER}.querySelectorAll('.rows tbody tr:not(.fold)')].filter((it) => it.offsetParent).length"
        );
        browser.value(&rows).as_u64().expect("a number")
    };
    let all = browser.value(&format!("{PLAYER}.tracks[0].look.events.length")).as_u64().expect("a number");
    assert_eq!(shown(), all - 8, "four times two rows are folded");
    assert!(text(browser, ".unfold").contains("4 times more (8 rows)"), "{}", text(browser, ".unfold"));
    browser.click(".unfold");
    assert_eq!(shown(), all);
}

pub fn predictions_are_asked_for_and_answered(browser: &Browser, pages: &Pages) {
    browser.play(&format!("{}#sample.2@4", pages.sample));
    assert_eq!(browser.value("document.querySelector('.ask')"), json!(null), "it is off at first");
    browser.click(".check input");
    browser.click(".button-next");
    assert!(text(browser, ".ask legend").contains("What will epoll_wait(4) return?"), "{}", text(browser, ".ask"));
    assert_eq!(step(browser).1, 4, "the answer is not shown yet");
    let choices = browser
        .value(&format!("[...{PLAYER}.querySelectorAll('.choices button:not(.link)')].map((it) => it.innerText)"));
    let choices: Vec<&str> = choices.as_array().expect("some").iter().filter_map(|it| it.as_str()).collect();
    assert!(choices.contains(&"3 listener IN") && choices.len() > 2, "{choices:?}");
    let right = choices.iter().position(|it| *it == "3 listener IN").expect("it is there");
    browser.click(&format!(".choices button:nth-child({})", right + 1));
    assert!(text(browser, ".say").contains("Right."), "{}", text(browser, ".say"));
    assert_eq!(step(browser), (5, 5));
}

pub fn playing_goes_to_the_end(browser: &Browser, pages: &Pages) {
    browser.play(&format!("{}#sample@12", pages.sample));
    let live = || browser.value(&format!("{PLAYER}.querySelector('.say').getAttribute('aria-live')"));
    assert_eq!(live(), json!("polite"));
    browser.run(&format!("{PLAYER}.speed.value = 'fast'"));
    browser.click(".button-play");
    assert_eq!(live(), json!("off"));
    browser.until(&format!("{PLAYER}.querySelector('.button-next').getAttribute('aria-disabled') === 'true'"));
    browser.until(&format!("{PLAYER}.querySelector('.button-play').title === 'Play'"));
    assert_eq!(live(), json!("polite"));
    assert!(text(browser, ".say").contains("for ever"));
}

pub fn hostile_names_are_text(browser: &Browser, pages: &Pages) {
    browser.play(&pages.hostile);
    let logs = browser.logs();
    assert!(logs.errors.is_empty(), "{:?}", logs.errors);
    assert_eq!(browser.value("document.querySelectorAll('img, main style, script:not([type])').length"), json!(0));
    assert_ne!(browser.value("document.title"), json!("out"));
    for _ in 0..4 {
        browser.click(".button-flag");
    }
    assert_eq!(
        browser.value("document.body.textContent.includes('\\u202e')"),
        json!(false),
        "it turns the text around it"
    );
    assert_eq!(
        browser.value("document.body.innerText.includes('</script><img src=x')"),
        json!(true),
        "it is shown as it is"
    );
}
