//! What a check has to say.
//!
//! Invariant: a failure always carries what happened, the steps that led there and the symptom by name; what the kernel
//! showed and the likely cause are added where they can be known.

use std::fmt;

use serde::{Deserialize, Serialize};
pub use subject::Symptom;

/// Why a check failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of trouble.
    pub symptom: Symptom,
    /// What failed: expected and got, in one or two sentences.
    pub what: String,
    /// The client's steps so far, oldest first; the last one failed.
    pub steps: Vec<String>,
    /// What the kernel shows of the server, a line each. Empty where /proc is missing.
    pub kernel: Vec<String>,
    /// The server's own last system calls, a line each, where the check could be run once more under a tracer.
    #[serde(default)]
    pub calls: Vec<String>,
    /// The last lines that the server wrote to stderr, where its end, or its silence, is the failure.
    #[serde(default)]
    pub said: Vec<String>,
    /// The likely cause and what to change. Empty if unknown.
    pub cause: String,
    /// Nearly every other check fails for this reason too, whatever it is about.
    #[serde(default)]
    pub is_fundamental: bool,
}

impl Failure {
    /// A failure without steps, kernel view and calls.
    pub fn new(symptom: Symptom, what: impl Into<String>, cause: impl Into<String>) -> Self {
        let (steps, kernel, calls, said) = Default::default();
        Self { symptom, what: what.into(), steps, kernel, calls, said, cause: cause.into(), is_fundamental: false }
    }

    /// Whether the server ended, or a thread of it panicked. That explains other failures, and no other explains it.
    pub fn is_an_end(&self) -> bool {
        self.symptom == Symptom::Exited || self.said.iter().any(|line| line.contains("panicked at "))
    }

    /// Whether nothing but a guess is known of its cause.
    pub fn is_unclear(&self) -> bool {
        self.cause.is_empty() || self.cause.contains(crate::causes::UNCLEAR)
    }
}

/// Why a check stopped early.
#[derive(Debug)]
pub enum Stop {
    /// The check does not apply, or cannot run here, for this reason.
    Skip(String),
    /// The server does not do what the contract says.
    Fail(Box<Failure>),
    /// The check itself could not be carried out (no descriptors left for the clients, say).
    Broken(String),
}

/// The result of a check or of a step of one.
pub type Step<T = ()> = Result<T, Stop>;

impl Stop {
    /// A failure without steps and kernel view; `Trial` adds those.
    pub fn fail(symptom: Symptom, what: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Fail(Box::new(Failure::new(symptom, what, cause)))
    }

    /// The same failure for a reason that the check knows better than the kernel's view does.
    pub fn because(self, cause: impl Into<String>) -> Self {
        match self {
            Self::Fail(failure) => Self::Fail(Box::new(Failure { cause: cause.into(), ..*failure })),
            other => other,
        }
    }

    /// The same failure, and what the check is about, if the symptom is one of these.
    pub fn suspecting(self, (symptoms, advice): (&[Symptom], &str)) -> Self {
        match self {
            Self::Fail(failure) if symptoms.contains(&failure.symptom) => {
                let cause = format!("{} {advice}", failure.cause);
                Self::Fail(failure).because(cause)
            }
            other => other,
        }
    }

    /// The same failure with what the server wrote to stderr.
    pub fn saying(self, said: Vec<String>) -> Self {
        match self {
            Self::Fail(failure) => Self::Fail(Box::new(Failure { said, ..*failure })),
            other => other,
        }
    }

    /// A skip with its reason.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip(reason.into())
    }
}

impl From<std::io::Error> for Stop {
    /// For the harness's own calls; what a connection reports is judged where it happens.
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "      {step}")?;
        }
        writeln!(f, "  {}", self.what)?;
        writeln!(f, "  symptom: {}", self.symptom)?;
        for line in &self.kernel {
            writeln!(f, "  kernel: {line}")?;
        }
        for line in &self.calls {
            writeln!(f, "  calls: {line}")?;
        }
        for line in &self.said {
            writeln!(f, "  stderr: {line}")?;
        }
        if !self.cause.is_empty() {
            writeln!(f, "  cause: {}", self.cause)?;
        }
        Ok(())
    }
}

/// A number of bytes as a person would write it: `1 byte`, `4097 bytes`, `64 KiB`, `32 MiB`.
pub fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * 1024;
    match bytes {
        1 => "1 byte".into(),
        n if n >= MIB && n % MIB == 0 => format!("{} MiB", n / MIB),
        n if n >= KIB && n % KIB == 0 => format!("{} KiB", n / KIB),
        n => format!("{n} bytes"),
    }
}
