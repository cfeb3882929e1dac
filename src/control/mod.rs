// SPDX-License-Identifier: GPL-2.0

//! The switches and what follows from them.
//!
//! - [`params`] is how the switches appear under `/sys/module/rmcp/parameters`.
//! - [`machine`] brings the hooks in line with the switches and with the driver's coming and going.

pub(crate) mod machine;
pub(crate) mod params;
