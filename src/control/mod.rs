// SPDX-License-Identifier: GPL-2.0

//! The switches.
//!
//! - [`switches`] holds them and passes on what they want.
//! - [`params`] is how they appear under `/sys/module/rmcp/parameters`.

pub(crate) mod params;
pub(crate) mod switches;
