//! How connections end: by FIN, by reset, in the middle, in numbers.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
