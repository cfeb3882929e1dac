// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl status`: the GPUs, what rmcp does to each, and what it has counted.

mod overview;
mod pending;
mod show;

use crate::fail::{Failure, Status};
use crate::output::Output;
use crate::rmcp::{self, Counters};
use crate::system::System;
use overview::Overview;
use std::time::Duration;

/// What can be said behind `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show it again and again until Ctrl-C; with --json one document after another
    #[arg(long, short)]
    watch: bool,

    /// Seconds between two readings of the counters, from which the rates come; 0 leaves rates out [default: 0.5, with
    /// --watch 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    interval: Option<Duration>,
}

/// With one reading there is no rate, so the first one is worth half a second.
const ONCE: Duration = Duration::from_millis(500);
const WATCHING: Duration = Duration::from_secs(2);
const LONGEST: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.0..=LONGEST).contains(&number) {
        return Err("expected 0 to 86400".into());
    }
    Ok(Duration::from_secs_f64(number))
}

/// The counters at a moment.
pub struct Reading {
    /// When.
    time: Duration,
    /// What they were.
    counters: Counters,
}

impl Reading {
    fn take(system: &System) -> Option<Self> {
        let counters = rmcp::counters(system).ok()?;
        Some(Self {
            time: system.host().now(),
            counters,
        })
    }
}

/// Does it.
///
/// # Errors
///
/// When the GPUs cannot be listed, or the report not be written.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let usual = if args.watch { WATCHING } else { ONCE };
    let interval = args.interval.unwrap_or(usual);
    if !args.watch {
        let before = match interval {
            Duration::ZERO => None,
            _ => Reading::take(system),
        };
        if before.is_some() {
            system.host().pause(interval);
        }
        output.report(&Overview::read(system, before.as_ref())?)?;
        return Ok(Status::Fine);
    }
    if interval.is_zero() {
        return Err(
            Failure::new(Status::Usage, "--watch does not go with --interval 0")
                .cure("give the seconds between two looks"),
        );
    }
    let mut before = None;
    loop {
        let now = Reading::take(system);
        output.again()?;
        output.report(&Overview::read(system, before.as_ref())?)?;
        before = now;
        if !system.host().pause(interval) {
            return Ok(Status::Fine);
        }
    }
}
