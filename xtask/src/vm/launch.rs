// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every boot of a VM has in common, whatever its kernel comes from: accelerators to try, QEMU's arguments for the
//! machine and its emulated GPUs, and the guest's hello.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use guest::proto::{Hello, PORT};
use rdna_emu::Gpu;

use super::accelerator::Accelerator;
use super::initramfs::Facts;
use super::machine::Machine;
use super::{CONTROL, Vm, VmOptions};
use crate::project;
use crate::qemu::Qemu;
use crate::ui::Ui;

/// The kernel's command line: a console, an end at the first oops, a log that keeps everything, and these words.
pub(crate) fn kernel_words(more: &str) -> String {
    let words = format!(
        "console=ttyS0 panic=-1 oops=panic ignore_loglevel log_buf_len=16M rcupdate.rcu_cpu_stall_timeout=120 {more}"
    );
    words.trim().to_owned()
}

/// Starts a VM with each accelerator in turn until one brings it up.
pub(crate) fn with_any_accelerator(
    qemu: &Qemu,
    counting: bool,
    what: &str,
    ui: &Ui,
    start: impl Fn(Accelerator) -> Result<Vm>,
) -> Result<Vm> {
    ui.step(what, |step| {
        let mut broken = false;
        let candidates = match counting {
            true => Accelerator::counting(),
            false => Accelerator::candidates(qemu),
        };
        for accelerator in candidates {
            step.detail(format!("with {accelerator}"));
            match start(*accelerator) {
                Ok(vm) => {
                    if broken {
                        Accelerator::note_failure(qemu);
                    }
                    return Ok(vm);
                }
                Err(_) if *accelerator == Accelerator::Kvm => broken = true,
                Err(error) if died_early(&error) => {
                    // Seen once in some fifty boots: the stock kernel ends before our program starts, with
                    // "Oops: int3" in code that it has just patched; TCG with two threads ran it stale.
                    let why = format!("{error:#}");
                    ui.note(format!(
                        "the kernel died while booting, trying once more: {}",
                        first_line(&why)
                    ));
                    return start(*accelerator);
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no way to run QEMU was tried")
    })
}

/// One start of QEMU.
pub(crate) struct Launch<'a> {
    pub(crate) qemu: &'a Qemu,
    /// The release that the guest must report.
    pub(crate) release: &'a str,
    pub(crate) options: &'a VmOptions,
    pub(crate) accelerator: Accelerator,
    /// How long the guest may take to its hello.
    pub(crate) limit: Duration,
}

impl Launch<'_> {
    /// Starts it and waits for the hello. `add` adds what it boots from; the folder lives as long as the VM.
    pub(crate) fn start(
        &self,
        stock: Facts,
        add: impl FnOnce(&mut Command, &Path) -> Result<()>,
    ) -> Result<Vm> {
        let Launch {
            qemu,
            release,
            options,
            accelerator,
            limit,
        } = *self;
        let folder = tempfile::Builder::new()
            .prefix("rmcp-vm")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let logs = options
            .logs
            .clone()
            .unwrap_or_else(|| project::target_dir().join("vm"));
        fs_err::create_dir_all(&logs)?;
        let log = logs.join(format!("{}-console.log", options.name));

        let mut gpus = Vec::new();
        let mut command = qemu.command();
        machine_arguments(&mut command, options.memory, accelerator);
        for (index, gpu) in options.gpus.iter().enumerate() {
            let socket = folder.path().join(format!("gpu{index}.sock"));
            let gpu_log = logs.join(format!("{}-gpu{index}.log", options.name));
            gpus.push(Gpu::start(gpu.device(&socket).log(gpu_log))?);
            gpu.arguments(&mut command, index, &socket);
        }
        add(&mut command, folder.path())?;
        command.arg("-qmp").arg(format!(
            "unix:{},server=on,wait=off",
            folder.path().join(CONTROL).display()
        ));

        let began = Instant::now();
        let machine = Machine::start(command, PORT, &log)?;
        let hello = Hello {
            hello: String::new(),
            release: String::new(),
        };
        let mut vm = Vm {
            machine,
            gpus,
            stock,
            hello,
            log,
            next: 0,
            patience: accelerator.patience(),
            began,
            folder,
        };
        let line = vm.receive(limit).context("the guest did not come up")?;
        vm.hello = serde_json::from_str(&line)
            .with_context(|| format!("the guest's first line is no hello: {line}"))?;
        if vm.hello.hello != Hello::MARK || vm.hello.release != release {
            bail!(
                "expected a hello from {} under {release}, got {:?}",
                Hello::MARK,
                vm.hello
            );
        }
        Ok(vm)
    }
}

/// Whether the kernel panicked before the guest's hello, over a breakpoint that was no breakpoint any more.
fn died_early(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("Kernel panic") && text.contains("Oops: int3")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn machine_arguments(command: &mut Command, memory: u32, accelerator: Accelerator) {
    command
        .args([
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
        ])
        .args([
            "-object",
            &format!("memory-backend-memfd,id=memory,size={memory}M,share=on"),
        ])
        .args([
            "-machine",
            "q35,memory-backend=memory",
            "-m",
            &format!("{memory}M"),
        ])
        .args(accelerator.arguments());
}
