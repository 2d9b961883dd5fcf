//! Names of functions, as a reader of the source knows them.
//!
//! Invariant: a name comes out short and without generics, hashes or crates: `Server::accept`, `epoll_ctl`, `main`.

/// What the debug information calls a function, as its source does. Names of C stay as they are.
pub fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// The last part of a path, with its type if it is a method: `<a::Server as b::Serve>::run::<T>` is `Server::run`.
pub fn short(path: &str) -> String {
    let parts = parts(path);
    let Some((last, before)) = parts.split_last() else { return path.to_owned() };
    if last.starts_with('{') {
        // A closure says little without the function that it stands in.
        let owner = short(&before.join("::"));
        return if owner.is_empty() { "{closure}".to_owned() } else { format!("{owner}::{{closure}}") };
    }
    match before.last().map(|it| of_type(it)) {
        Some(owner) if owner.starts_with(char::is_uppercase) => format!("{owner}::{last}"),
        _ => (*last).to_owned(),
    }
}

/// `Server` of `<a::Server<T> as b::Serve>`, and of `Server`.
fn of_type(part: &str) -> String {
    let inner = part.strip_prefix('<').and_then(|it| it.strip_suffix('>')).unwrap_or(part);
    let inner = inner.strip_prefix("impl ").unwrap_or(inner);
    let inner = match inner.split_once(" as ") {
        Some((own, _)) => own,
        None => inner.rsplit(" for ").next().unwrap_or(inner),
    };
    let inner = inner.trim_start_matches(['&', '*']).trim_start_matches("mut ");
    parts(inner).last().map_or_else(String::new, |it| (*it).to_owned())
}

/// The parts of a path, without the generics behind them.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            // `->` in a type closes nothing.
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && bytes.get(at + 1) == Some(&b':') => {
                parts.push(&path[start..at]);
                start = at + 2;
            }
            _ => {}
        }
    }
    parts.push(path.get(start..).unwrap_or_default());
    // Angle brackets are a type where a path begins with them, or an implementation; elsewhere they are generics.
    let is_one =
        |at: usize, part: &str| !part.is_empty() && (at == 0 || !part.starts_with('<') || part.starts_with("<impl "));
    let mut parts: Vec<&str> =
        parts.into_iter().enumerate().filter(|(at, part)| is_one(*at, part)).map(|(_, part)| part).collect();
    for part in &mut parts {
        // `read<TcpStream>`, as the inlined ones are called.
        if let Some(at) = part.find('<').filter(|at| *at > 0) {
            *part = &part[..at];
        }
    }
    parts
}

/// What a thin wrapper of a system call is called, besides the call's own name.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("accept4", &["accept"]),
    ("epoll_pwait", &["epoll_wait"]),
    ("epoll_pwait2", &["epoll_wait", "epoll_pwait"]),
    ("ppoll", &["poll"]),
    ("pselect6", &["select", "pselect"]),
    ("recvfrom", &["recv", "read"]),
    ("recvmsg", &["recv"]),
    ("sendto", &["send", "write"]),
    ("sendmsg", &["send"]),
];

/// The most lines that a thin wrapper has.
const THIN: usize = 20;

/// Whether a function does no more than this call: a short function, not a method, with the call's name. `Server::accept` is
/// a method, which is what a reader wants to see. `text` is that of its file, if it is known: the debug information says
/// neither whose method a function is nor how long it is.
pub fn is_thin(function: &str, call: &str, text: Option<&str>, line: u32) -> bool {
    let others = WRAPPERS.iter().find(|(name, _)| *name == call).map_or(&[][..], |(_, others)| others);
    let is_named = function == call || others.contains(&function) || matches!(function, "syscall" | "check" | "cvt");
    is_named
        && text.and_then(|text| definition(text, function, line)).is_none_or(|it| !it.is_method && it.lines <= THIN)
}

struct Definition {
    is_method: bool,
    lines: usize,
}

/// The function of this name in which a line is. `None` where nothing looks like one, as in C.
fn definition(text: &str, name: &str, line: u32) -> Option<Definition> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |text: &str| {
        let behind = text.split_once("fn ").and_then(|(_, behind)| behind.strip_prefix(name));
        behind.is_some_and(|behind| behind.starts_with(['(', '<']))
    };
    let start = lines.iter().take(line as usize).rposition(|line| begins(line))?;
    let indent = lines[start].len() - lines[start].trim_start().len();
    let is_end =
        |line: &str| line.trim_end().strip_suffix('}').is_some_and(|it| it.len() == indent && it.trim().is_empty());
    let end = lines[start..].iter().position(|line| is_end(line)).unwrap_or(0);
    let parameters = lines[start..].join(" ");
    let parameters = parameters.split([')', ',', ':']).next().unwrap_or_default();
    Some(Definition { is_method: parameters.ends_with("self"), lines: end + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        for (path, expected) in [
            ("main", "main"),
            ("epoll_et::main", "main"),
            ("epoll_et::server::Server::accept", "Server::accept"),
            ("<epoll_et::server::Server>::accept", "Server::accept"),
            ("<std::net::tcp::TcpStream as std::io::Read>::read", "TcpStream::read"),
            ("std::io::impls::<impl std::io::Read for &std::net::TcpStream>::read", "TcpStream::read"),
            ("core::iter::traits::iterator::Iterator::find::<alloc::vec::Vec<u8>>", "Iterator::find"),
            ("read<std::net::tcp::TcpStream>", "read"),
            ("x::serve::{closure#0}", "serve::{closure}"),
            ("<x::Server>::run::{{closure}}", "Server::run::{closure}"),
            ("common_server::main_with::<kqueue::server::Server, fn(a) -> b, c>", "main_with"),
            ("", ""),
            ("odd<", "odd"),
        ] {
            assert_eq!(short(path), expected, "{path}");
        }
    }

    #[test]
    fn a_wrapper_has_the_name_of_its_call_and_is_short() {
        let by_name = |function, call| is_thin(function, call, None, 1);
        assert!(
            by_name("epoll_ctl", "epoll_ctl") && by_name("recv", "recvfrom") && by_name("epoll_wait", "epoll_pwait2")
        );
        assert!(!by_name("serve", "recvfrom") && !by_name("main", "read"));

        let wrapper = "fn accept(fd: RawFd) -> io::Result<RawFd> {\n    check(unsafe { libc::accept(fd) })\n}\n";
        assert!(is_thin("accept", "accept4", Some(wrapper), 2));
        let method = "impl Server {\n    fn accept(&mut self) {\n        self.listener.accept()\n    }\n}\n";
        assert!(!is_thin("accept", "accept4", Some(method), 3), "a method is the lesson");
        let long = wrapper.replace("    check", &"    a_line();\n".repeat(30));
        assert!(!is_thin("accept", "accept4", Some(&long), 4), "a long function is the lesson");
        assert!(is_thin("check", "close", Some("int check(int result) {\n  return result;\n}\n"), 2), "C");
    }
}
