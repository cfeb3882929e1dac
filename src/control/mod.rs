// SPDX-License-Identifier: GPL-2.0

//! The switches and the counters.
//!
//! - [`switches`] holds the switches and passes on what they want.
//! - [`params`] is how they appear under `/sys/module/rmcp/parameters`; [`param_lock`] guards them.
//! - [`counters`] is the file in debugfs.

pub(crate) mod counters;
mod param_lock;
pub(crate) mod params;
pub(crate) mod switches;
