//! On Linux, kevent(2) of this repository's servers is a stand-in over epoll. A failure speaks of kevent all the same:
//! that is what the server calls.
//!
//! Invariant: only words that are epoll's are replaced, each by what the server asked the stand-in for.

use observe::Mask;

use crate::failure::Failure;

/// A rule says so of either.
pub(crate) const RDHUP_OR_EOF: &str = "RDHUP (EV_EOF of kqueue)";
const NOTE: &str = "on Linux, kevent is a stand-in: an epoll instance for each filter";

/// Puts kevent's words in the place of epoll's.
pub(crate) fn speak_of_kevent(failure: &mut Failure) {
    let Failure { what, kernel, calls, cause, .. } = failure;
    let mut found = false;
    // The stand-in asks so whether a descriptor is still registered. The second way also arms it again.
    let is_probe = |call: &&str| call.contains("nothing) = EEXIST") || call.contains("|NVAL)");
    for line in calls.iter_mut() {
        let kept: Vec<&str> = line.split("; ").filter(|call| !is_probe(call)).collect();
        *line = kept.join("; ");
    }
    calls.retain(|line| !line.is_empty());
    for text in [what, cause].into_iter().chain(kernel.iter_mut()).chain(calls.iter_mut()) {
        let translated = translate(text);
        found |= translated != *text;
        *text = translated;
    }
    if found {
        kernel.push(NOTE.into());
    }
}

fn translate(text: &str) -> String {
    let text = text.replace(RDHUP_OR_EOF, "EV_EOF");
    let mut out = String::new();
    let mut rest = text.as_str();
    // What came of a wait is in brackets, or is said to be reported. Elsewhere a mask is what was asked for.
    let (mut in_brackets, mut last) = (false, "");
    while !rest.is_empty() {
        let is_word = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '|');
        let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let end = if end == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { end };
        let (word, after) = rest.split_at(end);
        let is_event = in_brackets || last == "reported";
        out += &in_kevents_words(word, is_event).unwrap_or_else(|| word.to_owned());
        match word {
            "[" => in_brackets = true,
            "]" => in_brackets = false,
            _ => {}
        }
        last = if word == " " { last } else { word };
        rest = after;
    }
    out
}

fn in_kevents_words(word: &str, is_event: bool) -> Option<String> {
    let name = match word {
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "epoll_ctl" => Some("kevent"),
        "epoll" => Some("kqueue"),
        "EPOLL_CTL_ADD" => Some("EV_ADD"),
        "EPOLL_CTL_DEL" => Some("EV_DELETE"),
        "EPOLL_CTL_MOD" => Some("EV_ENABLE"),
        "ADD" => Some("EV_ADD"),
        "MOD" => Some("EV_ENABLE"),
        "DEL" => Some("EV_DELETE"),
        "EPOLLONESHOT" => Some("EV_DISPATCH"),
        _ => None,
    };
    name.map(str::to_owned).or_else(|| mask(word, is_event))
}

/// `IN|RDHUP|ET` as `EVFILT_READ EV_CLEAR`. What the stand-in asks for itself is left out; that an event has it is told.
fn mask(word: &str, is_event: bool) -> Option<String> {
    let mask = Mask::parse(word)?;
    let mut words = Vec::new();
    let ends = Mask(Mask::RDHUP.0 | Mask::HUP.0);
    match (mask.has(Mask(Mask::IN.0 | Mask::RDHUP.0)), mask.has(Mask::OUT)) {
        (true, true) => words.extend(["EVFILT_READ", "EVFILT_WRITE"]),
        (true, false) => words.push("EVFILT_READ"),
        (false, true) => words.push("EVFILT_WRITE"),
        (false, false) => {}
    }
    if mask.has(Mask::ET) {
        words.push("EV_CLEAR");
    } else if mask.has(Mask::ONESHOT) {
        words.push("EV_DISPATCH");
    } else if (words.is_empty() || is_event) && mask.has(ends) {
        words.push("EV_EOF");
    } else if mask.has(Mask::ERR) {
        words.push("EV_ERROR");
    }
    if words.is_empty() { None } else { Some(words.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epolls_words_become_kevents() {
        assert_eq!(
            translate("The server sleeps in epoll_pwait2. fd 7 is registered IN|RDHUP|ET. INDEX: until 0."),
            "The server sleeps in kevent. fd 7 is registered EVFILT_READ EV_CLEAR. INDEX: until 0."
        );
        assert_eq!(
            translate(
                "epoll_wait(7) = 1 [9 IN|RDHUP]; epoll_ctl(7, MOD, 9 IN|RDHUP); reported IN|RDHUP, with 5 unread"
            ),
            "kevent(7) = 1 [9 EVFILT_READ EV_EOF]; kevent(7, EV_ENABLE, 9 EVFILT_READ); reported EVFILT_READ EV_EOF, with \
             5 unread"
        );
        assert_eq!(translate(&format!("{RDHUP_OR_EOF} says that")), "EV_EOF says that");
        assert_eq!(translate("kevent(5) = 1 [7 OUT]; größe"), "kevent(5) = 1 [7 EVFILT_WRITE]; größe");
    }
}
