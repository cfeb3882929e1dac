// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same conversation in a Debian that was booted by its own init: this program is one of its services there.
//!
//! Everything that PID 1 sets up is there already, and the machine is switched off by whoever is PID 1.

use std::process::{Command, ExitCode};

use crate::{port, serve};

/// First argument of the service.
pub(crate) const ARGUMENT: &str = "service";

/// Answers the host until it asks for power-off.
pub(crate) fn run() -> ExitCode {
    match port::open()
        .and_then(serve::serve)
        .and_then(|()| power_off())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The unit sends this to the console.
            eprintln!("guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Asks init to stop everything in its order; returns before that is done.
fn power_off() -> anyhow::Result<()> {
    let status = Command::new("systemctl")
        .args(["--no-block", "poweroff"])
        .status()?;
    anyhow::ensure!(status.success(), "systemctl poweroff ended with {status}");
    Ok(())
}
