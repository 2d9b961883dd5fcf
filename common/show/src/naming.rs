//! The name of the file that a page is written to.
//!
//! Invariant: it is a name and no path: letters, digits, `.`, `-` and `_`, and not too long for any file system.

/// Longer names say no more.
const LONGEST: usize = 80;

/// `poll-epoll-et-uring.html`.
pub fn file_name(names: &[String]) -> String {
    let kept = |letter: char| if letter.is_ascii_alphanumeric() || "._".contains(letter) { letter } else { '-' };
    let name: String = names.join("-").trim_end_matches(".rs").chars().map(kept).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.trim_matches('.').is_empty()).collect();
    let name: String = parts.join("-").chars().take(LONGEST).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "run.html".to_owned() } else { format!("{name}.html") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_has_no_odd_letters() {
        let name = |names: &[&str]| file_name(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(name(&["epoll-et"]), "epoll-et.html");
        assert_eq!(name(&["poll", "epoll-et", "uring"]), "poll-epoll-et-uring.html");
        assert_eq!(name(&["./a.out {port}"]), "a.out-port.html");
        assert_eq!(name(&["../../etc/passwd"]), "etc-passwd.html");
        assert_eq!(name(&["</script>\u{202e}"]), "script.html");
        assert_eq!(name(&["/"]), "run.html");
        assert!(name(&["x".repeat(300).as_str()]).len() < 100);
    }
}
