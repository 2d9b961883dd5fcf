//! Every byte comes back, whatever the sizes.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
