//! What the machine and hostile clients do to a server: no descriptors left, signals, resets.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
