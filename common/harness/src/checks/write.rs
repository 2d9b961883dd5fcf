//! Clients that read slowly, late or never.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
