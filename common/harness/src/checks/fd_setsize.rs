//! Descriptors at and above 1024.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
