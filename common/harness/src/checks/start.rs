//! The command line, the first line, the signals.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
