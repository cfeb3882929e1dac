// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `cargo xtask`; all work is done by the library.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::cache::Cache;
use xtask::kernel::{self, Kernel};
use xtask::ui::Ui;
use xtask::{module, target};

/// Sets up kernels, builds rmcp, runs its checks and its demo.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make a kernel ready: root file system with its toolchain, image, modules, firmware, Rust metadata
    Kernel(Which),
    /// Build rmcp.ko for a kernel and print where it is
    Module {
        #[command(flatten)]
        which: Which,
        /// Build the tests' helper modules too
        #[arg(long)]
        helpers: bool,
    },
}

/// Which kernel.
#[derive(clap::Args, Clone)]
struct Which {
    /// The target, as listed in xtask/src/targets.toml
    #[arg(short, long, value_name = "TARGET", env = "KERNEL", default_value_t = target::default())]
    kernel: String,
    /// Ask the archive for its newest kernel even when it was asked within a day
    #[arg(long)]
    refresh: bool,
}

impl Which {
    fn prepare(&self, ui: &Ui) -> Result<Kernel> {
        kernel::prepare_with(&self.kernel, self.refresh, ui)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new();
    match run(cli.command, &ui) {
        Ok(code) => code,
        Err(error) => {
            ui.table();
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, ui: &Ui) -> Result<ExitCode> {
    match task {
        Task::Kernel(which) => {
            let kernel = which.prepare(ui)?;
            println!(
                "{} {} ({})",
                kernel.target, kernel.release, kernel.package_version
            );
            println!("build folder {}", kernel.kdir.display());
        }
        Task::Module { which, helpers } => {
            let kernel = which.prepare(ui)?;
            println!("{}", module::build(&kernel, ui)?.display());
            if helpers {
                for file in module::build_helpers(&kernel, ui)? {
                    println!("{}", file.display());
                }
            }
        }
    }
    finish(ui)?;
    Ok(ExitCode::SUCCESS)
}

/// The table of times and the cache's size, for commands that may take long.
fn finish(ui: &Ui) -> Result<()> {
    ui.table();
    ui.note(Cache::open()?.summary()?);
    Ok(())
}
