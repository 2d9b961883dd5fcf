//! What a server writes, read to its end so that the server never blocks on a full pipe.
//!
//! Invariant: the beginning is kept as it came, and of what is more than that the end. Memory is bounded, however much a
//! server writes and however long its lines are.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

/// What is kept of each stream's beginning.
const BEGINNING: usize = 64 * 1024;
/// What is kept of its end.
const END: usize = 8 * 1024;
/// The last lines that a message shows, and how much of each.
const LINES: usize = 6;
const LINE: usize = 160;

/// One stream of a server's output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    beginning: Vec<u8>,
    end: Vec<u8>,
}

impl Output {
    /// Reads a stream to its end, in a thread of its own; the first line is told as soon as it is there.
    pub fn collect(stream: impl Read + Send + 'static, first_line: Option<mpsc::Sender<String>>) -> Self {
        let output = Self::default();
        let its = output.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut first_line = first_line;
            let mut line = Vec::new();
            while matches!(reader.by_ref().take(BEGINNING as u64).read_until(b'\n', &mut line), Ok(n) if n > 0) {
                // Kept first: who is told that it listens may ask for its output at once.
                its.lock().keep(&line);
                if let Some(sender) = first_line.take() {
                    let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
                line.clear();
            }
        });
        output
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the stream is still being read.
    pub fn is_open(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The beginning, as it came.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().beginning).into_owned()
    }

    /// The last lines, for a message.
    pub fn last_lines(&self) -> Vec<String> {
        let kept = self.lock();
        let text = String::from_utf8_lossy(if kept.end.is_empty() { &kept.beginning } else { &kept.end });
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| line_of(line)).collect()
    }
}

impl Kept {
    fn keep(&mut self, bytes: &[u8]) {
        let (begins, goes_on) = bytes.split_at(bytes.len().min(BEGINNING - self.beginning.len()));
        self.beginning.extend_from_slice(begins);
        if goes_on.is_empty() {
            return;
        }
        self.end.extend_from_slice(goes_on);
        let too_much = self.end.len().saturating_sub(END);
        self.end.drain(..too_much);
    }
}

/// A line that a server wrote, as a message shows it.
pub(crate) fn line_of(line: &str) -> String {
    observe::text::shown(line.trim_end(), LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_kept_and_the_last_lines_are_shown() {
        let endless = "y".repeat(300_000);
        let output = Output::collect(std::io::Cursor::new(format!("first\n{endless}\n\u{1b}[31mlast\n")), None);
        while output.is_open() {
            std::thread::yield_now();
        }
        assert!(output.text().starts_with("first\nyyy") && output.text().len() == BEGINNING);
        let last = output.last_lines();
        assert_eq!(last.last().map(String::as_str), Some("\\u{1b}[31mlast"));
        assert!(last.iter().all(|line| line.len() < 200), "{last:?}");
    }
}
