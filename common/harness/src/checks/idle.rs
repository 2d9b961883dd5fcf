//! A server with nothing to do does nothing.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
