// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl try` on made-up machines: every verdict, every reason to stop, and the policy that comes back.

#[path = "../machine/mod.rs"]
mod common;
mod lab;
mod processes;
mod restore;
mod verdicts;
