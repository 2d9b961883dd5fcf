//! Buffers that are shared, lent twice or freed too early.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
