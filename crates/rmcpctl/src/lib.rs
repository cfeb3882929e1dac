// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user's command for rmcp: what is the case, what shall be, what really got into the page tables, and what else may
//! be wrong with a GPU job.
//!
//! Rooms, and which way they look: `cli` knows the commands (`status`, `doctor`, …); a command knows what it reads
//! ([`gpu`], [`rmcp`]) and how it is shown ([`output`]); all of them see the machine only through [`system::System`], so
//! that a recorded or made-up machine can stand in for a real one.
//!
//! A command is one module with
//! - `Args`, a `clap::Args`;
//! - a report that is [`output::Report`]: serde makes its JSON, `show` its text;
//! - `run(&Args, &System, &mut Output) -> Result<Status, Failure>`;
//!
//! and a line in `cli::Command`. Names and values of the switches are those of `src/logic`, through `rmcp-logic`. The
//! reader of page tables shares no code with it, nor with the emulated GPU, whose walker judges ours.

pub mod cli;
pub mod clients;
pub mod doctor;
pub mod fail;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gpu;
pub mod output;
pub mod pagetable;
pub mod rmcp;
pub mod set;
pub mod snapshot;
pub mod status;
pub mod system;
pub mod r#try;
pub mod workloads;
