// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The host's view of the kernel module's pure logic.
//!
//! `src/logic` belongs to the module and is built by Kbuild; this crate compiles the same files with
//! cargo, so that tests and fuzzers run on any machine. Nothing is added here.

#![no_std]

#[path = "../../../src/logic/mod.rs"]
pub mod logic;
