//! Where in the source a thread stands, if this program was built with the feature `frames`.
//!
//! Invariant: looked up only if events are kept: reading a program's debug information takes longer than most runs. Without
//! the feature, nothing is compiled that reads it, and no call has a frame.

use std::rc::Rc;

use observe::Process;

use crate::record::{Frame, Source};

/// The frames of a thread, the innermost first, and the place of the one that means something to a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    pub frames: Vec<Frame>,
    pub meaning: Option<usize>,
}

#[cfg(feature = "frames")]
pub use with::Frames;
#[cfg(not(feature = "frames"))]
pub use without::Frames;

#[cfg(feature = "frames")]
mod with {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use frames::{Locator, Registers};
    use observe::ptrace::{self, StackRegisters};

    use super::{Frame, Located, Process, Rc, Source};

    /// The files of the server's processes, read when the first frame is wanted.
    #[derive(Default)]
    pub struct Frames(RefCell<BTreeMap<i32, Locator>>);

    impl Frames {
        /// Where a stopped thread stands, which is about to make this call.
        pub fn locate(&self, process: Process, tid: i32, call: &str) -> Rc<Located> {
            let Ok(StackRegisters { pc, sp, fp, lr }) = ptrace::stack_registers(tid) else { return Rc::default() };
            let mut locators = self.0.borrow_mut();
            let locator = locators.entry(process.pid).or_insert_with(|| Locator::new(process.pid));
            let mut word = |at: u64| Some(u64::from_ne_bytes(process.word(at)));
            let found = locator.locate(call, Registers { pc, sp, fp, lr }, &mut word);
            let frame = |it: frames::Frame| Frame {
                function: it.function,
                file: Some(it.file),
                source: None,
                line: Some(it.line),
            };
            Rc::new(Located { frames: found.frames.into_iter().map(frame).collect(), meaning: found.meaning })
        }

        /// The process runs another program now.
        pub fn forget(&self, process: i32) {
            self.0.borrow_mut().remove(&process);
        }

        /// The lesson's files that frames were in.
        pub fn sources(&self) -> Vec<Source> {
            let mut all: Vec<Source> = Vec::new();
            for source in self.0.borrow().values().flat_map(Locator::sources) {
                if all.iter().all(|known| known.path != source.path) {
                    all.push(Source { path: source.path.clone(), text: source.text.clone() });
                }
            }
            all
        }

        /// Why there are no frames, if there are none.
        pub fn nothing(&self) -> Option<String> {
            let locators = self.0.borrow();
            let mut reasons = locators.values().map(Locator::nothing).peekable();
            match reasons.peek() {
                None => Some("the server made no call that is recorded".into()),
                Some(_) => reasons.collect::<Option<Vec<String>>>()?.into_iter().next(),
            }
        }
    }
}

#[cfg(not(feature = "frames"))]
mod without {
    use super::{Located, Process, Rc, Source};

    /// Nothing: this program was built without them.
    #[derive(Default)]
    pub struct Frames {}

    impl Frames {
        pub fn locate(&self, _: Process, _: i32, _: &str) -> Rc<Located> {
            Rc::default()
        }

        pub fn forget(&self, _: i32) {}

        pub fn sources(&self) -> Vec<Source> {
            Vec::new()
        }

        pub fn nothing(&self) -> Option<String> {
            Some("this program was built without the part that finds source lines".into())
        }
    }
}
