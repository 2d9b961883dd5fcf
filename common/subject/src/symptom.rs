//! The kinds of trouble that the harness tells apart.
//!
//! Invariant: a symptom has one spelling wherever people read it, `read-lost`: in a failure's text, in JSON and in
//! exercise.toml.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The enum, and the list of what it can be.
macro_rules! symptoms {
    ($($(#[doc = $about:literal])+ $name:ident $spelling:literal,)+) => {
        /// The kinds of trouble the harness tells apart. The proof of the harness (its mutants) asserts these by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Symptom {
            $($(#[doc = $about])+ #[serde(rename = $spelling)] $name,)+
        }

        impl Symptom {
            /// All of them, as they are spelt.
            pub const NAMES: &[&str] = &[$($spelling),+];

            /// How it is spelt.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $spelling,)+
                }
            }

            /// The one that is spelt so.
            pub fn named(word: &str) -> Option<Self> {
                match word {
                    $($spelling => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

symptoms! {
    /// The server sleeps in its wait while connections stay in the accept queue.
    AcceptQueueNotDrained "accept-queue-not-drained",
    /// The server sleeps in its wait while bytes stay unread in a socket.
    ReadLost "read-lost",
    /// The server read the bytes, sleeps in its wait, and has no way to go on sending them.
    WriteLost "write-lost",
    /// The peer finished, everything was echoed, and the server does not finish.
    EofLost "eof-lost",
    /// The loop sleeps in a call that is not its wait (recv, send, accept ...).
    Blocked "blocked",
    /// The server uses CPU or wakes up with nothing to do.
    Spinning "spinning",
    /// Bytes came back changed, twice, out of order or on the wrong connection.
    WrongBytes "wrong-bytes",
    /// The connection ended before all that was owed had come.
    Truncated "truncated",
    /// The connection was reset.
    Reset "reset",
    /// The server refused or closed a connection that it had to serve.
    Refused "refused",
    /// The server process ended.
    Exited "exited",
    /// A descriptor or memory was kept that had to be freed, or more was used than the bound allows.
    Leak "leak",
    /// One client had to wait for more of the others' work than the bound allows.
    Starved "starved",
    /// Something is not set as the contract says (flags, exit code, output).
    Contract "contract",
    /// The server had work, was given time, and did not answer; the kernel's view does not tell why.
    Slow "slow",
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symptom_has_one_spelling() {
        for name in Symptom::NAMES {
            assert_eq!(Symptom::named(name).unwrap().to_string(), *name);
        }
        assert_eq!(Symptom::AcceptQueueNotDrained.name(), "accept-queue-not-drained");
        assert!(Symptom::named("ReadLost").is_none());
    }
}
