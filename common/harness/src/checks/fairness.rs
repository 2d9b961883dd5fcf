//! Clients that flood, and one that does not.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
