// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask vm`: a machine with emulated GPUs for a person, with a root shell or for one command.
//!
//! The guest has Debian's programs (see [`crate::userland`]), amdgpu is loaded and, when asked for, rmcp before it.

mod size;
mod terminal;

use std::io::Write;

use anyhow::{Context, Result, bail};
use guest::proto::{Ended, Session, SessionInput, SessionOutput};

pub use self::size::Size;
use crate::kernel::Kernel;
use crate::ui::Ui;
use crate::userland::Userland;
use crate::vm::actions::Mark;
use crate::vm::initramfs::GuestFile;
use crate::vm::session::{News, of_debian};
use crate::vm::{GpuOptions, Vm, VmOptions};
use crate::{module, programs};

/// The module under test, as the guest calls it.
const RMCP: &str = "rmcp";
/// MiB for the guest: a ROCm program loads LLVM, and amdgpu fills some itself.
const MEMORY: u32 = 3072;

/// What is wanted.
#[derive(Debug)]
pub struct Options {
    /// The GPUs.
    pub gpus: Vec<GpuOptions>,
    /// rmcp's switches; none is without rmcp.
    pub rmcp: Option<String>,
    /// A command for `sh -c`; none is a shell on this terminal.
    pub exec: Option<String>,
}

/// Boots, does what is wanted, powers off; hands back how the command or shell ended.
pub fn run(kernel: &Kernel, options: &Options, ui: &Ui) -> Result<Ended> {
    if options.exec.is_none() {
        terminal::demand()?;
    }
    let userland = Userland::prepare(ui)?;
    let mut files = programs::build(&userland, ui)?;
    files.push(programs::rmcpctl(ui)?);
    if options.rmcp.is_some() {
        files.push(GuestFile::module(&module::build(kernel, ui)?)?);
    }
    let boot = VmOptions {
        gpus: options.gpus.clone(),
        memory: MEMORY,
        files,
        userland: Some(userland),
        name: format!("visit-{}", std::process::id()),
        ..VmOptions::default()
    };
    let mut vm = Vm::boot(kernel, boot, ui)?;
    ui.step("load the driver", |step| load(&mut vm, options, step))?;
    let ended = match &options.exec {
        Some(command) => execute(&mut vm, command)?,
        None => {
            welcome(&vm, options, ui);
            match terminal::attend(&mut vm, shell())? {
                Some(ended) => ended,
                None => {
                    ui.note("the machine was stopped");
                    return Ok(Ended::Signal(terminal::QUIT));
                }
            }
        }
    };
    if let Some(trouble) = vm.trouble_since(Mark::default())? {
        ui.note(format!("{trouble}"));
    }
    if let Some(trouble) = vm.gpu_trouble() {
        ui.note(trouble);
    }
    let log = vm.log_file().to_path_buf();
    ui.step("power off", |_| vm.power_off())
        .with_context(|| format!("the console's log is {}", log.display()))?;
    Ok(ended)
}

fn load(vm: &mut Vm, options: &Options, step: &crate::ui::Step) -> Result<()> {
    if let Some(switches) = &options.rmcp {
        step.detail(format!("rmcp {switches}"));
        vm.load(RMCP, switches)?;
    }
    step.detail("amdgpu");
    vm.load_amdgpu()?;
    if options.rmcp.is_some() {
        let state = vm.parameter(RMCP, "state")?;
        // Disabled by its switches, as asked.
        let fine = ["armed", "disabled"];
        if !fine.iter().any(|good| state.starts_with(good)) {
            bail!("rmcp did not arm:\n{state}");
        }
    }
    Ok(())
}

fn welcome(vm: &Vm, options: &Options, ui: &Ui) {
    let chips: Vec<_> = options.gpus.iter().map(|gpu| gpu.chip.name()).collect();
    let rmcp = match options.rmcp.as_deref() {
        None => String::new(),
        Some("") => ", rmcp".into(),
        Some(switches) => format!(", rmcp {switches}"),
    };
    ui.note(format!(
        "A root shell in the guest: {}{rmcp}. `exit` leaves and powers off, Ctrl-\\ stops the machine at once.\n\
         Kernel modules are in /modules; the console's log is {}",
        chips.join(", "),
        vm.log_file().display()
    ));
}

fn shell() -> Session {
    let mut session = of_debian(&["/bin/bash"]);
    session.limit = None;
    let term = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
    session.environment.push(("TERM".into(), term));
    session
}

/// Runs one command and prints what it prints while it runs.
fn execute(vm: &mut Vm, command: &str) -> Result<Ended> {
    let mut session = of_debian(&["/bin/sh", "-c", command]);
    session.limit = None;
    let mut program = vm.begin(session)?;
    program.tell(&SessionInput::End)?;
    loop {
        match program.news()? {
            News::Said(SessionOutput::Out(bytes)) => print(&mut std::io::stdout(), &bytes.0)?,
            News::Said(SessionOutput::Err(bytes)) => print(&mut std::io::stderr(), &bytes.0)?,
            News::Ended(ended) => return Ok(ended),
        }
    }
}

fn print(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .context("cannot print what the command prints")
}
