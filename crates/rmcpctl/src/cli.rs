// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use crate::fail::{Failure, Status};
use crate::output::Output;
use crate::system::{Disk, Nobody, Recording, System, This};
use crate::{doctor, pagetable, set, snapshot, status, r#try, workloads};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// See and set what rmcp does to a GPU's mappings, prove what is in its page tables, and find out what else may be wrong.
#[derive(Debug, Parser)]
#[command(name = "rmcpctl", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,

    /// Look at the machine whose files are below this folder, or in this recording, instead of at this one
    #[arg(long, global = true, value_name = "PATH")]
    root: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show the GPUs, what rmcp does to each, and what it has counted
    Status(status::Args),
    /// Set switches, all or none, and show them before and after
    Set(set::Args),
    /// Set all switches to their defaults and forget what was kept for later starts
    Reset(set::ResetArgs),
    /// Read the page tables of processes, and say whether the policy reached them
    Pagetable(pagetable::Args),
    /// Look for what is known to make GPU jobs fail, and read the logs for GPU faults
    Doctor(doctor::Args),
    /// Run a command under one policy after another, and say what the runs show
    Try(r#try::Args),
    /// Run what people hit trouble with in PyTorch, and compare every result with the CPU's
    Workloads(workloads::Args),
    /// Put what a report of a bug needs into one file, without what is private
    Snapshot(snapshot::Args),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// Puts back what a killed `try` left, and keeps out of the way of one that runs.
    fn prepare(&self, system: &System, output: &Output) -> Result<(), Failure> {
        if matches!(self, Self::Completions { .. }) {
            return Ok(());
        }
        if let Some(done) = r#try::recover(system) {
            output.progress(&done);
        }
        match self {
            Self::Set(_) | Self::Reset(_) | Self::Try(_) => r#try::refuse_while_running(system),
            _ => Ok(()),
        }
    }

    fn run(&self, system: &System, output: &mut Output) -> Result<Status, Failure> {
        match self {
            Self::Status(args) => status::run(args, system, output),
            Self::Set(args) => set::run(args, system, output),
            Self::Reset(args) => set::reset(args, system, output),
            Self::Pagetable(args) => pagetable::run(args, system, output),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Cli::command(), "rmcpctl", &mut script);
                output.raw(&script)?;
                Ok(Status::Fine)
            }
            Self::Doctor(args) => doctor::run(args, system, output),
            Self::Try(args) => r#try::run(args, system, output),
            Self::Workloads(args) => workloads::run(args, system, output),
            Self::Snapshot(args) => snapshot::run(args, system, output),
        }
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    // clap ends the program itself, with status 2 for what it does not understand.
    let cli = Cli::parse();
    let mut output = Output::standard(cli.json);
    let done = here(&cli)
        .and_then(|()| system(cli.root.as_deref()))
        .and_then(|system| {
            if cli.root.is_none() {
                cli.command.prepare(&system, &output)?;
            }
            cli.command.run(&system, &mut output)
        });
    match done {
        Ok(status) => status.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.status.into()
        }
    }
}

/// Refuses what cannot be done on another machine.
fn here(cli: &Cli) -> Result<(), Failure> {
    match (&cli.root, &cli.command) {
        (Some(_), Command::Workloads(_)) => Err(Failure::new(
            Status::Usage,
            "workloads run on this machine, and --root names another",
        )),
        _ => Ok(()),
    }
}

/// The machine to look at.
fn system(root: Option<&Path>) -> Result<System, Failure> {
    let Some(root) = root else {
        return Ok(System::this());
    };
    let unusable = |what: String| {
        Failure::new(Status::Usage, format!("{}: {what}", root.display()))
            .cure("--root takes a folder or a recording")
    };
    if root.is_dir() {
        return Ok(System::new(Disk::new(root), This::default()));
    }
    let text = std::fs::read_to_string(root).map_err(|error| unusable(error.to_string()))?;
    let recording = Recording::parse(&text).map_err(unusable)?;
    Ok(System::new(recording, Nobody))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_completed() {
        Cli::command().debug_assert();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rmcpctl", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["status", "pagetable", "update-initramfs"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_and_option_is_in_the_manual() {
        let manual = include_str!("../../../docs/rmcpctl.8");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(manual.contains(&format!("\n.Ss {name}\n")), "{name}");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(
                    manual.contains(&format!("Fl -{option}")),
                    "{name} --{option}"
                );
            }
        }
    }
}
