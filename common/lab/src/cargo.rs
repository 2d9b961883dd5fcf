//! Cargo, as the lab calls it: what to build, and what cargo and the compiler answered.
//!
//! Invariant: only cargo knows where a program is. Its path comes from cargo's own messages and is never guessed. Cargo and
//! its compilers are one process group, and whoever ends a build ends all of it.

use std::io::{BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use cargo_lab::lab::cargo;
use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel, DiagnosticSpan};
use cargo_metadata::{Artifact, CompilerMessage, Message, Target};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::LabError;
use crate::workspace;

/// How often a build that may be stopped is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What kind of program a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// `src/main.rs` or one of `src/bin`.
    Bin,
    /// One of `examples`.
    Example,
}

/// A program of this workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The folder of its package, from the workspace's root.
    pub folder: &'static str,
    /// Its package.
    pub package: &'static str,
    /// What kind of target it is.
    pub kind: ProgramKind,
    /// Its name.
    pub name: &'static str,
}

/// A build that ended by itself.
#[derive(Debug)]
pub struct Build {
    /// Whether cargo exited with success.
    pub success: bool,
    /// Cargo's messages.
    pub messages: BuildMessages,
    /// Cargo's stderr, if the command had it piped; and a line if a signal ended cargo.
    pub stderr: String,
}

/// What cargo and the compiler said in one build.
#[derive(Debug, Default)]
pub struct BuildMessages {
    artifacts: Vec<Artifact>,
    diagnostics: Vec<CompilerMessage>,
}

impl ProgramKind {
    /// The option that selects such a target.
    fn option(self) -> &'static str {
        match self {
            Self::Bin => "--bin",
            Self::Example => "--example",
        }
    }

    fn is_kind_of(self, target: &Target) -> bool {
        match self {
            Self::Bin => target.is_bin(),
            Self::Example => target.is_example(),
        }
    }
}

impl BuildMessages {
    /// All messages on a stream, until it ends.
    pub fn read(stream: impl Read) -> Self {
        let mut messages = Self::default();
        for message in Message::parse_stream(BufReader::new(stream)).map_while(Result::ok) {
            messages.add(message);
        }
        messages
    }

    /// Takes one line of cargo's stdout.
    pub fn add_line(&mut self, line: &str) {
        if let Ok(message) = serde_json::from_str(line) {
            self.add(message);
        }
    }

    fn add(&mut self, message: Message) {
        match message {
            Message::CompilerArtifact(artifact) if artifact.executable.is_some() => self.artifacts.push(artifact),
            Message::CompilerMessage(message) => self.diagnostics.push(message),
            _ => {}
        }
    }

    /// The path of a program.
    fn program(&self, root: &Path, program: &Program) -> Option<PathBuf> {
        let manifest = root.join(program.folder).join("Cargo.toml");
        self.executable(|artifact| {
            artifact.manifest_path == manifest
                && artifact.target.name == program.name
                && program.kind.is_kind_of(&artifact.target)
        })
    }

    /// The path of the program whose target has this name.
    pub fn executable_called(&self, name: &str) -> Option<PathBuf> {
        self.executable(|artifact| artifact.target.name == name)
    }

    fn executable(&self, is: impl Fn(&Artifact) -> bool) -> Option<PathBuf> {
        let artifact = self.artifacts.iter().find(|artifact| is(artifact))?;
        artifact.executable.as_ref().map(|path| path.clone().into_std_path_buf())
    }

    /// What the compiler said, as it would stand in a terminal.
    pub fn rendered(&self) -> String {
        self.diagnostics.iter().filter_map(|message| message.message.rendered.as_deref()).collect()
    }

    /// The compiler's warnings about a target, as they would stand in a terminal.
    pub fn warnings_about<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a str> {
        let about = self.diagnostics.iter().filter(move |message| message.target.name == target);
        let warnings = about.map(|message| &message.message).filter(|it| it.level == DiagnosticLevel::Warning);
        warnings.filter_map(|warning| warning.rendered.as_deref())
    }

    /// The compiler's errors.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().map(|message| &message.message).filter(|it| it.level == DiagnosticLevel::Error)
    }
}

/// The files that the spans of a diagnostic quote, those of macros' expansions too.
pub fn quoted_files(diagnostic: &Diagnostic) -> Vec<&str> {
    let mut files = Vec::new();
    let mut spans: Vec<&DiagnosticSpan> = diagnostic.spans.iter().collect();
    while let Some(span) = spans.pop() {
        files.push(span.file_name.as_str());
        if let Some(expansion) = &span.expansion {
            spans.push(&expansion.span);
            spans.extend(&expansion.def_site_span);
        }
    }
    files
}

/// The process groups of the builds that run. A number stands here only until its cargo is reaped, so it is nobody else's.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all builds, with their compilers.
pub fn end_builds() {
    for group in running().iter() {
        // An error means that it has ended by itself.
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

/// A cargo that runs, with its compilers.
struct BuildGroup {
    cargo: Child,
    group: Pid,
}

impl BuildGroup {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        let cargo = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn()?;
        let group = Pid::from_child(&cargo);
        running().push(group);
        Ok(Self { cargo, group })
    }

    /// How cargo has ended, once it has.
    fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        // Held, so that nobody ends a group whose number cargo has just given back.
        let mut running = running();
        let Some(status) = self.cargo.try_wait()? else { return Ok(None) };
        running.retain(|group| *group != self.group);
        // Somebody has killed cargo alone. Its compilers keep the group's number from being given to anybody else.
        // Otherwise cargo has waited for them.
        if status.signal().is_some() {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
        Ok(Some(status))
    }
}

impl Drop for BuildGroup {
    fn drop(&mut self) {
        let mut running = running();
        let before = running.len();
        running.retain(|group| *group != self.group);
        // It was not reaped, so the number is still its own.
        if running.len() < before {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.cargo.wait();
        }
    }
}

/// Runs a build to its end; returns nothing if `stop` was set before.
pub fn run(command: &mut Command, what: &str, stop: &AtomicBool) -> Result<Option<Build>, LabError> {
    let cannot = |error| LabError::failed(format!("cannot run cargo to build {what}: {error}"));
    // What a build leaves running on purpose (a compiler's cache) is no server's, and must not be ended as one.
    observe::detached::adopt(false);
    let mut build = BuildGroup::start(command).map_err(cannot)?;
    let (stdout, stderr) = (build.cargo.stdout.take().expect("piped"), build.cargo.stderr.take());
    let messages = std::thread::spawn(move || BuildMessages::read(stdout));
    let stderr = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = loop {
        if let Some(status) = build.ended().map_err(cannot)? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    };
    let messages = messages.join().unwrap_or_default();
    let mut stderr = stderr.join().unwrap_or_default();
    if status.signal().is_some() {
        stderr += &format!("somebody has ended cargo ({status})\n");
    }
    Ok(Some(Build { success: status.success(), messages, stderr }))
}

/// Builds programs of this workspace with one call of cargo, whose words go to stderr as they come. Returns their paths
/// in order.
pub fn build_programs(programs: &[Program]) -> Result<Vec<PathBuf>, LabError> {
    let root = workspace::root()?;
    let mut command = cargo();
    command.args(["build", "--message-format=json-render-diagnostics", "--manifest-path"]).arg(root.join("Cargo.toml"));
    for program in programs {
        command.args(["--package", program.package, program.kind.option(), program.name]);
    }
    let build = run(&mut command, "the servers", &AtomicBool::new(false))?.expect("nothing stops it");
    if !build.success {
        return Err(LabError::failed("the servers could not be built; cargo says why above"));
    }
    let path = |program: &Program| {
        build.messages.program(&root, program).ok_or_else(|| {
            LabError::failed(format!("cargo built '{}' and did not say where its program is", program.package))
        })
    };
    programs.iter().map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(kind: &str, folder: &str, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"p","manifest_path":"/w/{folder}/Cargo.toml",
            "target":{{"name":"poll","kind":["{kind}"],"crate_types":["bin"],"src_path":"/w/a.rs"}},
            "profile":{{"opt_level":"1","debug_assertions":true,"overflow_checks":true,"test":false}},
            "features":[],"filenames":[],"executable":{executable},"fresh":true}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn a_programs_path_is_taken_from_the_message_about_this_very_program() {
        let program = |kind| Program { folder: "02-poll", package: "poll", kind, name: "poll" };
        let lines = [
            artifact("bin", "other", r#""/t/other""#),
            artifact("lib", "02-poll", "null"),
            "not JSON".to_owned(),
            artifact("example", "02-poll", r#""/t/examples/poll""#),
        ];
        let messages = BuildMessages::read(lines.join("\n").as_bytes());
        let root = Path::new("/w");
        assert_eq!(messages.program(root, &program(ProgramKind::Example)), Some("/t/examples/poll".into()));
        assert_eq!(messages.program(root, &program(ProgramKind::Bin)), None);
        assert_eq!(messages.executable_called("poll"), Some("/t/other".into()));
    }

    #[test]
    fn the_files_that_an_error_quotes_are_those_of_its_macros_too() {
        let span = |file: &str, expansion: &str| {
            format!(
                r#"{{"file_name":"{file}","byte_start":0,"byte_end":1,"line_start":1,"line_end":1,"column_start":1,
                "column_end":2,"is_primary":true,"text":[],"label":null,"suggested_replacement":null,
                "suggestion_applicability":null,"expansion":{expansion}}}"#
            )
        };
        let (inner, site) = (span("inner.rs", "null"), span("macro.rs", "null"));
        let expansion = format!(r#"{{"span":{inner},"macro_decl_name":"m!","def_site_span":{site}}}"#);
        let message = format!(
            r#"{{"reason":"compiler-message","package_id":"p","manifest_path":"/w/Cargo.toml",
            "target":{{"name":"a","kind":["bin"],"crate_types":["bin"],"src_path":"/w/a.rs"}},
            "message":{{"message":"no","code":null,"level":"error","spans":[{}],"children":[],
            "rendered":"error: no\n"}}}}"#,
            span("outer.rs", &expansion)
        );
        let mut messages = BuildMessages::default();
        messages.add_line(&message.replace('\n', ""));
        let error = messages.errors().next().expect("an error");
        let mut files = quoted_files(error);
        files.sort_unstable();
        assert_eq!(files, ["inner.rs", "macro.rs", "outer.rs"]);
        assert_eq!((messages.rendered().as_str(), messages.warnings_about("a").count()), ("error: no\n", 0));
    }

    /// A build that waits for a compiler, and the compiler's number once it runs.
    fn build(test: &str, then: &str) -> (Command, PathBuf) {
        let file = std::env::temp_dir().join(format!("lab-{test}-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let mut cargo = Command::new("sh");
        cargo.arg("-c").arg(format!("sleep 1000 & echo $! >'{0}.new'; mv '{0}.new' '{0}'; {then}", file.display()));
        (cargo, file)
    }

    #[test]
    fn a_build_that_is_stopped_leaves_no_compiler() {
        let (mut cargo, file) = build("stopped", "wait");
        let stop = AtomicBool::new(false);
        // The compiler has the end for writing too.
        let (mut said, writer) = std::io::pipe().expect("a pipe");
        cargo.stderr(writer);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| run(&mut cargo, "it", &stop));
            while !file.exists() {
                std::thread::sleep(LOOK);
            }
            stop.store(true, Ordering::Relaxed);
            assert!(run.join().expect("no panic").expect("it starts").is_none());
        });
        drop(cargo);
        // Ends when nobody has the other end any more.
        said.read_to_end(&mut Vec::new()).expect("its end");
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn a_cargo_that_is_killed_alone_leaves_no_compiler() {
        let (mut cargo, file) = build("killed", "kill -KILL $$");
        // It ends when the compiler's stdout has ended.
        let build = run(&mut cargo, "it", &AtomicBool::new(false)).expect("it starts").expect("nobody stops it");
        assert!(!build.success && build.stderr.contains("signal: 9"), "{build:?}");
        let _ = std::fs::remove_file(file);
    }
}
