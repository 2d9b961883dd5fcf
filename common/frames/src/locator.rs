//! The frames of a process's threads.
//!
//! Invariant: the files are read once, when the locator is made; a thread's frames are then a matter of its registers and
//! its stack. The same stack gives the same frames in each run.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::files::{File, Files, Part, Source};
use crate::image::{self, Image};
use crate::maps;
use crate::names;
use crate::stack::{Registers, Stack};

/// A place in the source: a function that has called the next inner one, or the system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function: `Server::accept`.
    pub function: String,
    /// The file, from the root of its workspace; or its name.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// Where a thread stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// The frames, the innermost first. Those of the compiler's library, of crates and of the system are left out.
    pub frames: Vec<Frame>,
    /// The place of the frame that means something to a reader: the innermost one of the lesson's own source that is not a
    /// thin wrapper of the call.
    pub meaning: Option<usize>,
}

/// A frame, and what its file is.
#[derive(Clone)]
struct Placed {
    frame: Frame,
    file: Rc<File>,
}

/// Knows the files that a process has mapped.
pub struct Locator {
    program: PathBuf,
    images: Vec<(Image, bool)>,
    stack: Stack,
    files: Files,
    /// By address.
    known: HashMap<u64, Rc<[Placed]>>,
    sources: Vec<Source>,
    /// Whether any thread had a frame.
    found: bool,
}

impl Locator {
    /// Reads what a process has mapped by now. Its libraries should be loaded: before `main` they are not.
    pub fn new(pid: i32) -> Self {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let (mut images, mut stack) = (Vec::new(), Stack::new());
        // Its calls come from its own code, which is not the lesson.
        let is_interpreter = is_interpreter(&program);
        for mapping in maps::parse(&maps).iter().filter(|_| !is_interpreter) {
            if let Some((image, module)) = image::load(mapping) {
                images.push((image, Path::new(&mapping.path) == program));
                stack.add(module);
            }
        }
        let files = Files::new(&program);
        Self { program, images, stack, files, known: HashMap::new(), sources: Vec::new(), found: false }
    }

    /// Where a thread stands that is about to make this call, or has just made it. `word` reads its memory.
    pub fn locate(&mut self, call: &str, at: Registers, word: &mut dyn FnMut(u64) -> Option<u64>) -> Located {
        let mut placed: Vec<Placed> = Vec::new();
        for address in self.stack.addresses(at, word) {
            placed.extend_from_slice(&self.placed(address));
        }
        self.found |= !placed.is_empty();
        let sources = &self.sources;
        let text = |it: &Placed| sources.iter().find(|source| source.path == it.frame.file).map(|it| it.text.as_str());
        let is_thin = |it: &Placed| names::is_thin(&it.frame.function, call, text(it), it.frame.line);
        let lesson = |thin: bool| placed.iter().position(|it| it.file.part == Part::Lesson && is_thin(it) == thin);
        // A wrapper that nothing of the lesson calls is all that there is.
        let meaning = lesson(false).or_else(|| lesson(true));
        Located { meaning, frames: placed.into_iter().map(|it| it.frame).collect() }
    }

    fn placed(&mut self, address: u64) -> Rc<[Placed]> {
        if let Some(known) = self.known.get(&address) {
            return Rc::clone(known);
        }
        let image = self.images.iter().find(|(image, _)| image.range.contains(&address));
        let mut placed = Vec::new();
        for function in image.map_or_else(Vec::new, |(image, _)| image.functions(address)) {
            let own = image.is_some_and(|(_, own)| *own);
            let Some(file) = self.files.get(&function.file, own) else { continue };
            if self.sources.iter().all(|source| source.path != file.path) {
                self.sources.extend(self.files.source(&file));
            }
            let name = names::short(&names::demangled(&function.name));
            placed.push(Placed { frame: Frame { function: name, file: file.path.clone(), line: function.line }, file });
        }
        let placed: Rc<[Placed]> = placed.into();
        self.known.insert(address, Rc::clone(&placed));
        placed
    }

    /// The lesson's files that frames were in, in the order in which they were met.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Why there are no frames, if there are none.
    pub fn nothing(&self) -> Option<String> {
        if self.found {
            return None;
        }
        let name =
            self.program.file_name().map_or_else(|| "the program".into(), |it| it.to_string_lossy().into_owned());
        if is_interpreter(&self.program) {
            return Some(format!(
                "{name} is an interpreter: its system calls come from its own code, and which line of the script it was at \
                 cannot be seen from outside"
            ));
        }
        Some(match self.images.iter().any(|(image, own)| *own && image.has_lines()) {
            true => format!("no line of the source of {name} was found on its stack"),
            false => format!(
                "{name} has no line numbers in it: compile it with debug information (-g; for cargo, the profile dev)"
            ),
        })
    }
}

/// A program that runs scripts: `python3.11`, `node`.
fn is_interpreter(program: &Path) -> bool {
    const KNOWN: [&str; 21] = [
        "python", "pypy", "node", "deno", "bun", "ruby", "perl", "php", "lua", "luajit", "java", "beam.smp", "guile",
        "racket", "tclsh", "dotnet", "bash", "dash", "zsh", "sh", "busybox",
    ];
    let name = program.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
    let name = name.trim_end_matches(|it: char| it.is_ascii_digit() || matches!(it, '.' | '-'));
    KNOWN.contains(&name)
}
