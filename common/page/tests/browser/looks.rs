//! How the page is seen: without a script, on paper, on a phone, from the last row, in the dark, by axe.
//!
//! Invariant: each look is seen in both palettes where the palette can matter.

use serde_json::json;

use crate::Pages;
use crate::driver::Browser;

const PHONE: (u32, u32) = (390, 844);

/// The pages that are looked at: the sample, one run in two, and all servers.
fn seen(pages: &Pages) -> Vec<(&'static str, String)> {
    vec![
        ("sample", pages.sample.clone()),
        ("pair", format!("{}#sample.1+2@14", pages.sample)),
        ("all", pages.all.clone()),
        ("recorded", pages.each[0].clone()),
    ]
}

pub fn without_a_script(browser: &Browser, pages: &Pages) {
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&pages.sample);
    browser.picture("no-script");
    let seen = browser.value(
        "[!document.querySelector('.player'), document.querySelectorAll('table.events tbody tr').length > 20, \
                              document.querySelector('svg.sequence').getBoundingClientRect().height > 200, \
                              document.querySelector('table.events').checkVisibility()]",
    );
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": false }));
    assert_eq!(seen, json!([true, true, true, true]), "no player; a table; a diagram; both are seen");
}

pub fn paper(browser: &Browser, pages: &Pages) {
    browser.look(None, true, "print");
    browser.play(&pages.sample);
    let seen = browser.value(
        "[getComputedStyle(document.body).backgroundColor, document.querySelector('.player').checkVisibility(), \
          document.querySelector('table.events').checkVisibility(), document.querySelector('svg.sequence').checkVisibility()]",
    );
    assert_eq!(seen, json!(["rgb(255, 255, 255)", false, true, true]));
    let paper = browser.devtools("Page.printToPDF", json!({ "printBackground": true }));
    assert!(paper["data"].as_str().is_some_and(|data| data.starts_with("JVBERi0")), "a PDF, in base64");
    browser.picture("paper");
}

pub fn phone(browser: &Browser, pages: &Pages) {
    // The palette does not change the layout: the dark one is for the pictures.
    for dark in [false, true].into_iter().take(if crate::driver::keeps_pictures() { 2 } else { 1 }) {
        browser.look(Some(PHONE), dark, "");
        for (name, page) in seen(pages) {
            browser.play(&page);
            for moment in ["0", "Math.floor(p.stops.length / 2)", "p.stops.length - 1"] {
                let script = "const p = [...document.querySelectorAll('event-loop-player')].find((it) => it.offsetParent); p.hand(MOMENT); \
                              return document.documentElement.scrollWidth;";
                browser.picture(&format!("phone-{name}-{}", if dark { "dark" } else { "light" }));
                let width = browser.run(&script.replace("MOMENT", moment)).as_u64().expect("a number");
                let wide = browser.value(
                    "[...document.querySelectorAll('body *')].filter((it) => it.getBoundingClientRect().right > 391 && !it.closest('.code, .rows-box, .tracks, figure, .wide, svg')) \
                        .map((it) => it.outerHTML.slice(0, 80))",
                );
                assert!(width <= PHONE.0.into(), "{name} is {width} pixels wide: {wide}");
            }
            browser.run("[...document.querySelectorAll('.controls')].find((it) => it.offsetParent).scrollIntoView()");
            browser.picture(&format!("phone-{name}-{}", if dark { "dark" } else { "light" }));
        }
    }
}

pub fn talk(browser: &Browser, pages: &Pages) {
    for size in [(1280, 720), (1920, 1080)] {
        browser.look(Some(size), false, "");
        for (name, page) in seen(pages) {
            let (file, link) = page.split_once('#').unwrap_or((&page, ""));
            browser.play(&format!("{file}?talk#{link}"));
            browser.run(
                "const p = [...document.querySelectorAll('event-loop-player')].find((it) => it.offsetParent); \
                         if (p.stop === 0) p.hand(p.interesting());",
            );
            browser.picture(&format!("talk-{name}-{}", size.0));
            let outside = browser.value(
                "[...document.querySelectorAll('.say, .controls, .lanes, .rows-box, .source')].filter((it) => it.checkVisibility())
                    .filter((it) => { const box = it.getBoundingClientRect(); \
                       return box.bottom > innerHeight + 1 || box.right > innerWidth + 1 || box.top < 0 || box.height < 40 && !it.matches('.controls, .source.none'); })
                    .map((it) => `${it.className} ${JSON.stringify(it.getBoundingClientRect())}`)",
            );
            assert_eq!(outside, json!([]), "{name} at {size:?}: outside, or too small");
            let scrolls = browser.value("[document.documentElement.scrollHeight > innerHeight, document.documentElement.scrollWidth > innerWidth]");
            assert_eq!(scrolls, json!([false, false]), "{name} at {size:?}");
        }
    }
}

/// The ratio of each text's colour to what is behind it: 4.5 at least, and 3 for large text (WCAG 2, AA).
const CONTRAST: &str = "
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = ([red, green, blue]) => [red, green, blue].map((it) => it / 255)
        .map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4))
        .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (element) => {
        for (let it = element; it; it = it.parentElement) {
            const colour = parse(getComputedStyle(it).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const poor = new Set();
    for (const element of document.querySelectorAll('body *')) {
        if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (element.closest('svg') || ![...element.childNodes].some((it) => it.nodeType === 3 && it.data.trim())) continue;
        const style = getComputedStyle(element);
        const [one, other] = [luminance(parse(style.color)), luminance(behind(element))].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (other + 0.05);
        const large = parseFloat(style.fontSize) >= 24;
        if (ratio < (large ? 3 : 4.5)) poor.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)} ${style.color} '${element.textContent.slice(0, 20)}'`);
    }
    return [...poor];";

pub fn contrast(browser: &Browser, pages: &Pages) {
    for dark in [false, true] {
        browser.look(Some((1440, 1000)), dark, "");
        for (name, page) in seen(pages) {
            browser.play(&page);
            browser.run(
                "const p = [...document.querySelectorAll('event-loop-player')].find((it) => it.offsetParent); \
                         if (p.stop === 0) for (let at = 0; at < 4; at++) p.hand(p.interesting());",
            );
            browser.picture(&format!("wide-{name}-{}", if dark { "dark" } else { "light" }));
            assert_eq!(browser.run(CONTRAST), json!([]), "{name}, dark: {dark}");
        }
    }
}

pub fn reduced_motion(browser: &Browser, pages: &Pages) {
    browser.devtools(
        "Emulation.setEmulatedMedia",
        json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] }),
    );
    browser.play(&pages.sample);
    let moving = browser.value(
        "[...document.querySelectorAll('*')].filter((it) => { const style = getComputedStyle(it); \
           return style.transitionDuration !== '0s' || style.animationName !== 'none' || style.scrollBehavior === 'smooth'; }).length",
    );
    assert_eq!(moving, json!(0));
}

/// axe-core is no part of this repository, and no package of Debian: AXE=FILE names its `axe.min.js`.
pub fn axe_core() -> Option<std::ffi::OsString> {
    std::env::var_os("AXE")
}

pub fn axe(browser: &Browser, pages: &Pages) {
    let file = axe_core().expect("AXE names axe.min.js");
    let axe = std::fs::read_to_string(file).expect("AXE names a file");
    for dark in [false, true] {
        browser.look(None, dark, "");
        for (name, page) in seen(pages).into_iter().chain([("course", pages.course.clone())]) {
            browser.play(&page);
            browser.run(&format!("{axe}; window.axe = axe;"));
            browser.run("window.found = null; axe.run().then((it) => { window.found = it.violations.map((it) => \
                         `${it.id}: ${it.help}; ${it.nodes.length} elements, first ${it.nodes[0].html.slice(0, 150)} ${it.nodes[0].failureSummary}`); });");
            browser.until("window.found !== null");
            assert_eq!(browser.value("window.found"), json!([]), "{name}, dark: {dark}");
        }
    }
}
