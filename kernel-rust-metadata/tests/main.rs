// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs kernel-rust-metadata on made-up headers with made-up tools: every refusal, an end at every phase, two
//! runs at once, and what is kept. Real kernels are built by xtask for each target.

mod bench;
mod hook;
mod interrupted;
mod kept;
mod refusals;
