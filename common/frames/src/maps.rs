//! Which files a process has mapped, and where.
//!
//! Invariant: a mapping that is no file, or whose file is gone, is left out.

use std::ops::Range;

/// A file that is mapped, in one or several pieces that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub path: String,
    /// From the start of the first piece to the end of the last.
    pub range: Range<u64>,
    /// Where in the file the first piece starts.
    pub offset: u64,
}

/// Reads the text of `/proc/PID/maps`.
pub fn parse(text: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for piece in text.lines().filter_map(line) {
        match found.last_mut() {
            Some(last) if last.path == piece.path => last.range.end = piece.range.end,
            _ => found.push(piece),
        }
    }
    found
}

/// `55d0c8a00000-55d0c8a2f000 r--p 00000000 fe:00 1234    /bin/a server`
fn line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (from, to) = fields.next()?.split_once('-')?;
    let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
    let path = fields.nth(2)?.trim_start();
    if !path.starts_with('/') || path.ends_with(" (deleted)") {
        return None;
    }
    let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
    Some(Mapping { path: path.to_owned(), range, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_file_are_one_mapping() {
        let text = "\
5500-5600 r--p 00000000 fe:00 12                       /bin/a server
5600-5700 r-xp 00001000 fe:00 12                       /bin/a server
5700-5800 rw-p 00000000 00:00 0                        [heap]
7f00-7f80 r-xp 00002000 fe:00 13                       /lib/libc.so.6
7f80-7f90 rw-p 00000000 00:00 0
8000-8100 r-xp 00000000 fe:00 14                       /tmp/gone (deleted)
";
        let mapping = |path: &str, range, offset| Mapping { path: path.into(), range, offset };
        assert_eq!(
            parse(text),
            [mapping("/bin/a server", 0x5500..0x5700, 0), mapping("/lib/libc.so.6", 0x7f00..0x7f80, 0x2000)]
        );
    }
}
