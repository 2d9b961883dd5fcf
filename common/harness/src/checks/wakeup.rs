//! Nobody who is owed something sleeps on: every connection, in every order, after every pause.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
