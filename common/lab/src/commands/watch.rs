//! `cargo lab watch`: checks an attempt at each save, and answers keys.
//!
//! Invariant: a key is answered at once, whatever a server or the compiler does. Checks run on a thread of their own,
//! and are stopped when their result is not wanted any more. The terminal's modes are restored, however the command
//! ends.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::showing::Showing;
use crate::course::feedback::{self, CheckNews, CheckedAttempt};
use crate::course::{self, Course, WatchLock, attempt};
use crate::error::LabError;
use crate::interrupt::{Interrupt, kill_servers};
use crate::terminal::{self, Palette};
use crate::workspace;
use cargo_lab::commands::{hint, list, reset};

/// How often the attempt's file is looked at.
const LOOK: Duration = Duration::from_millis(150);
/// A file that is missing at so many looks was deleted, and is not just being replaced.
const DELETED: u32 = 7;
/// How long a check that was stopped gets to end.
const GRACE: Duration = Duration::from_millis(1500);

const KEYS: &str = "h hint   n next   p previous   l list   r reset   c check again   s show   q quit";

/// Check an exercise again each time you save it
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Keys: {KEYS}"))]
pub struct WatchArgs {
    /// The exercise (08, 08_nfds, nfds) [default: the one last checked]
    exercise: Option<String>,
}

/// What happens while the command watches.
enum WatchEvent {
    /// A key was pressed.
    Key(u8),
    /// The attempt's file has changed.
    Saved,
    /// The attempt's file is gone.
    Deleted,
    /// The harness has something to say that is no result.
    Note(String),
    /// The check of this number has something to show.
    News(usize, CheckNews),
    /// The check of this number has ended.
    Checked(usize, Result<CheckedAttempt, LabError>),
    /// `cargo lab show` has ended, with this to say.
    Shown(String),
}

/// A check that has not ended yet.
struct RunningCheck {
    /// Tells its events from those of a check that was stopped.
    number: usize,
    stop: Arc<AtomicBool>,
}

struct WatchSession {
    course: Course,
    /// The place of the exercise that is watched.
    at: usize,
    palette: Palette,
    events: Sender<WatchEvent>,
    /// The attempt, for the thread that looks at it.
    file: Arc<Mutex<PathBuf>>,
    running: Option<RunningCheck>,
    /// How many checks were begun.
    begun: usize,
    /// The key that was pressed last and has to be pressed again.
    asked: Option<u8>,
    /// That the attempt is gone was said.
    told_of_deletion: bool,
    lock: Option<WatchLock>,
    /// The `cargo lab show` that runs.
    showing: Option<Showing>,
}

/// Watches until `q`, a signal, or the loss of stdout.
pub fn run(args: &WatchArgs) -> Result<ExitCode, LabError> {
    let course = course::whole()?;
    let at = course.named_or_current(args.exercise.as_deref())?.at;
    let lock = WatchLock::take(&course.exercises)?;
    let interrupt = Interrupt::watch()?;
    let _terminal = RawTerminal::on();
    let (events, receiver) = mpsc::channel();
    let file = Arc::new(Mutex::new(PathBuf::new()));
    let (keys, saves, notes, watched) = (events.clone(), events.clone(), events.clone(), file.clone());
    harness::notes::print_by(Some(Box::new(move |line| drop(notes.send(WatchEvent::Note(line.to_owned()))))));
    std::thread::spawn(move || read_keys(&keys));
    std::thread::spawn(move || look_at(&watched, &saves));
    let palette = Palette::stdout();
    let mut watch = WatchSession {
        course,
        at,
        palette,
        events,
        file,
        running: None,
        begun: 0,
        asked: None,
        told_of_deletion: false,
        lock,
        showing: None,
    };
    watch.go_to(at)?;
    let result = loop {
        let event = receiver.recv_timeout(LOOK);
        // First of all: a build and a server that were ended by a signal have failed for that reason alone.
        if let Err(error) = interrupt.check() {
            break Err(error);
        }
        match event {
            Ok(WatchEvent::Key(b'q' | 4)) => break Ok(ExitCode::SUCCESS),
            Ok(WatchEvent::Key(key)) => watch.key(key)?,
            Ok(WatchEvent::Saved) => watch.check(),
            Ok(WatchEvent::Deleted) => watch.deleted(),
            Ok(WatchEvent::Note(line)) => terminal::print(&format!("{}{}\n", over_progress(), palette.faint(&line))),
            Ok(WatchEvent::News(number, news)) => watch.news(number, news),
            Ok(WatchEvent::Checked(number, checked)) => watch.checked(number, checked)?,
            Ok(WatchEvent::Shown(said)) => watch.shown(&said),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Ok(ExitCode::SUCCESS),
        }
        // Nobody reads what is printed from here on.
        if terminal::stdout_is_lost() {
            break Ok(ExitCode::SUCCESS);
        }
    };
    let was_running = watch.running.is_some();
    watch.stop_check();
    // The thread of the check reaps the servers that were killed.
    let end = Instant::now() + GRACE;
    while was_running
        && Instant::now() < end
        && !matches!(receiver.recv_timeout(LOOK / 10), Ok(WatchEvent::Checked(..)))
    {
        kill_servers();
    }
    result
}

impl WatchSession {
    /// Watches another exercise, and begins it if it is new.
    fn go_to(&mut self, at: usize) -> Result<(), LabError> {
        self.at = at;
        let exercise = &self.course.exercises[at];
        attempt::start(exercise)?;
        if let Some(lock) = &self.lock {
            lock.watches(exercise);
        }
        *self.file.lock().expect("no panic while it is held") = exercise.attempt();
        self.check();
        Ok(())
    }

    /// Begins a check, and stops the check that runs.
    fn check(&mut self) {
        self.stop_check();
        self.told_of_deletion = false;
        self.begun += 1;
        let (number, at, palette, events) = (self.begun, self.at, self.palette, self.events.clone());
        let stop = Arc::new(AtomicBool::new(false));
        self.running = Some(RunningCheck { number, stop: stop.clone() });
        let exercise = &self.course.exercises[at];
        clear();
        let head = format!("{:02} {}", exercise.number, exercise.about.title);
        terminal::print(&format!(
            "{}  {}\n{}\n\n",
            palette.heading(&head),
            palette.faint(&workspace::shown(&exercise.attempt())),
            palette.faint(KEYS)
        ));
        std::thread::spawn(move || {
            // A course of its own: the keys are answered from the session's course meanwhile.
            let checked = course::whole().and_then(|mut course| {
                feedback::check(&mut course, at, palette, false, &stop, |news| {
                    drop(events.send(WatchEvent::News(number, news)))
                })
            });
            let _ = events.send(WatchEvent::Checked(number, checked));
        });
    }

    /// Stops the check that runs. Its servers are killed, so that its thread does not wait for them.
    fn stop_check(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
            kill_servers();
        }
    }

    fn news(&self, number: usize, news: CheckNews) {
        if self.running.as_ref().is_none_or(|running| running.number != number) {
            // A check that was stopped may have started one more server.
            kill_servers();
            return;
        }
        match news {
            CheckNews::Line(line) => terminal::print(&format!("{}{line}\n", over_progress())),
            CheckNews::Progress(text) if is_live() => {
                // A line that wraps could not be taken away again.
                let text: String = format!("  {text}").chars().take(terminal::width().saturating_sub(1)).collect();
                terminal::print(&format!("{}{}", over_progress(), self.palette.faint(&text)));
            }
            CheckNews::Progress(_) => {}
        }
    }

    fn checked(&mut self, number: usize, checked: Result<CheckedAttempt, LabError>) -> Result<(), LabError> {
        if self.running.as_ref().is_none_or(|running| running.number != number) {
            return Ok(());
        }
        self.running = None;
        self.course = course::whole()?;
        // The compiler's words about a file that went away meanwhile would be about something else.
        let is_judged = matches!(checked, Ok(CheckedAttempt::Judged(..)));
        if !is_judged && !self.course.exercises[self.at].attempt().exists() {
            self.deleted();
            return Ok(());
        }
        match checked? {
            CheckedAttempt::Judged(_, told) => terminal::print(&format!("{}\n{told}", over_progress())),
            CheckedAttempt::Refused(why) => terminal::print(&why),
            CheckedAttempt::Stopped => {}
        }
        terminal::print(&self.palette.faint("waiting for the next save\n"));
        Ok(())
    }

    /// The attempt is gone: there is nothing to check until it is back.
    fn deleted(&mut self) {
        self.stop_check();
        if std::mem::replace(&mut self.told_of_deletion, true) {
            return;
        }
        let path = workspace::shown(&self.course.exercises[self.at].attempt());
        terminal::print(&format!(
            "{}{}\nsave it again, or press r to begin anew with the starter\n",
            over_progress(),
            self.palette.bad(&format!("{path} was deleted or renamed"))
        ));
    }

    fn key(&mut self, key: u8) -> Result<(), LabError> {
        let key = key.to_ascii_lowercase();
        let again = self.asked.take() == Some(key);
        terminal::print(over_progress());
        let all = self.course.exercises.len();
        let exercise = &self.course.exercises[self.at];
        match key {
            b'h' => terminal::print(&hint::next_hint(&mut self.course, self.at, self.palette)?),
            b'l' => terminal::print(
                &(list::table(&self.course, Some(self.at), terminal::width(), self.palette)
                    + &list::bar(&self.course, terminal::width(), self.palette)),
            ),
            b'n' if again => return self.go_to((self.at + 1) % all),
            b'p' if again => return self.go_to((self.at + all - 1) % all),
            b'n' => self.ask_to_go(key, (self.at + 1) % all),
            b'p' => self.ask_to_go(key, (self.at + all - 1) % all),
            b'c' => self.check(),
            b's' => self.show(),
            b'r' if again || !exercise.attempt().exists() => {
                self.stop_check();
                terminal::print(&reset::reset(&mut self.course, self.at)?);
                self.check();
            }
            b'r' => {
                self.asked = Some(key);
                terminal::print("press r again to put the starter back; your attempt is kept beside it\n");
            }
            b'\n' | b'\r' | b' ' => {}
            _ => terminal::print(&format!("{KEYS}\n")),
        }
        Ok(())
    }

    /// Begins to make the page of the attempt's runs, which is then opened in the browser. Meanwhile the keys are answered.
    fn show(&mut self) {
        if self.showing.is_some() {
            terminal::print("the page is still being made\n");
            return;
        }
        let (number, events) = (self.course.exercises[self.at].number, self.events.clone());
        terminal::print(&self.palette.faint("exploring; the page of the run is opened when it is made\n"));
        let said = move |said: String| drop(events.send(WatchEvent::Shown(said)));
        match Showing::start(number, said) {
            Ok(showing) => self.showing = Some(showing),
            Err(why) => terminal::print(&format!("{}\n", self.palette.bad(&why))),
        }
    }

    fn shown(&mut self, said: &str) {
        self.showing = None;
        terminal::print(&format!("{}{}\n", over_progress(), said.trim_end()));
    }

    /// Says where the key leads. To leave an exercise by a slip of the finger would be a nuisance.
    fn ask_to_go(&mut self, key: u8, at: usize) {
        let exercise = &self.course.exercises[at];
        let begins = match exercise.attempt().exists() {
            true => String::new(),
            false => format!("; that begins it: {}", workspace::shown(&exercise.attempt())),
        };
        self.asked = Some(key);
        let (number, title) = (exercise.number, &exercise.about.title);
        terminal::print(&format!("press {} again to go to {number:02} {title}{begins}\n", char::from(key)));
    }
}

/// The terminal hands over each key at once and does not echo it. Its modes are restored when this is dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn on() -> Self {
        let stdin = std::io::stdin();
        // Not a terminal: there are no modes to change.
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut now = before.clone();
        // Ctrl-C stays a signal.
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        let _ = tcsetattr(&stdin, OptionalActions::Now, &now);
        restore_at_exit(&before);
        Self(Some(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// A signal ends the process from another thread, where nothing is dropped.
fn restore_at_exit(before: &Termios) {
    let before = before.clone();
    crate::interrupt::at_exit(move || {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    });
}

fn read_keys(events: &Sender<WatchEvent>) {
    let mut stdin = std::io::stdin().lock();
    let mut key = [0];
    // At the end of input (a pipe, /dev/null) there are no more keys; files can still be saved.
    while matches!(stdin.read(&mut key), Ok(1)) {
        if events.send(WatchEvent::Key(key[0])).is_err() {
            return;
        }
    }
}

/// Reports each change of the file that is watched at the time, and its end. The file may be missing for a moment, while
/// an editor replaces it.
fn look_at(file: &Mutex<PathBuf>, events: &Sender<WatchEvent>) {
    type Stamp = Option<(SystemTime, u64)>;
    let mut seen: (PathBuf, Stamp) = (PathBuf::new(), None);
    let mut missing = 0;
    loop {
        let path = file.lock().expect("no panic while it is held").clone();
        let stamp = std::fs::metadata(&path).ok().and_then(|it| Some((it.modified().ok()?, it.len())));
        let changed = seen.0 == path && stamp.is_some() && seen.1 != stamp;
        missing = if stamp.is_some() || seen.0 != path { 0 } else { missing + 1 };
        if stamp.is_some() || seen.0 != path || missing == DELETED {
            seen = (path, stamp);
        }
        let event = if missing == DELETED { Some(WatchEvent::Deleted) } else { changed.then_some(WatchEvent::Saved) };
        if event.is_some_and(|event| events.send(event).is_err()) {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a line on stdout can be written over.
fn is_live() -> bool {
    std::io::stdout().is_terminal() && !console::is_dumb()
}

/// What takes a line of progress away.
fn over_progress() -> &'static str {
    if is_live() { "\r\x1b[K" } else { "" }
}

fn clear() {
    if is_live() {
        let _ = console::Term::stdout().clear_screen();
    }
}
