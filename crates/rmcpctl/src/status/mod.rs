// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl status`: the GPUs, what rmcp does to each, and what it has counted.

use crate::fail::{Failure, Status};
use crate::gpu::{self, Gpu};
use crate::output::{Output, Page, Report, Table, Tone};
use crate::rmcp::{self, State};
use crate::system::System;
use serde::Serialize;
use std::io;

/// What can be said behind `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// The report.
#[derive(Debug, Serialize)]
struct Overview {
    gpus: Vec<Gpu>,
    state: Option<State>,
}

impl Report for Overview {
    const FORMAT: &'static str = "rmcpctl status 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        for gpu in &self.gpus {
            page.line(Tone::Title, &gpu.address)?;
            let mut facts = Table::new();
            facts.fact("generation", gpu.generation.to_string());
            page.table(&facts)?;
        }
        match &self.state {
            Some(state) => page.line(Tone::Plain, &format!("rmcp: {}", state.said)),
            None => page.line(Tone::Note, "rmcp is not loaded"),
        }
    }
}

/// Does it.
///
/// # Errors
///
/// When the GPUs cannot be listed, or the report not be written.
pub fn run(_: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let gpus = gpu::all(system).map_err(|refusal| {
        Failure::new(
            Status::Missing,
            format!("the PCI devices cannot be listed: {refusal}"),
        )
    })?;
    output.report(&Overview {
        gpus,
        state: rmcp::state(system).ok(),
    })?;
    Ok(Status::Fine)
}
