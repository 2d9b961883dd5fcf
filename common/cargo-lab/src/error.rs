//! Why a command gives up.
//!
//! Invariant: a message says what happened, to what, and what to do about it. Its code is the process's exit code.

use std::fmt;

/// Why a command gave up.
#[derive(Debug)]
pub struct LabError {
    /// What happened; it may have several lines.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

impl LabError {
    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// The command line is right, and the command could not be carried out.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// A signal ended the command.
    pub fn interrupted(signal: i32) -> Self {
        Self { message: "interrupted; no server was left running".into(), code: exit_code(signal) }
    }
}

/// A shell's exit code for a program that a signal ended.
pub fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)
    }
}

impl std::error::Error for LabError {}
