// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test VM: a stock kernel, emulated GPUs, and the guest program that does what the host asks.
//!
//! ```no_run
//! use guest::proto::Uname;
//! use xtask::{kernel, ui::Ui, vm};
//!
//! # fn main() -> anyhow::Result<()> {
//! let ui = Ui::new();
//! let kernel = kernel::prepare("trixie-backports", &ui)?;
//! let mut vm = vm::Vm::boot(&kernel, vm::VmOptions::default(), &ui)?;
//! println!("{}", vm.call(Uname {})?.release);
//! vm.power_off()
//! # }
//! ```
//!
//! A boot counts only when the guest has said hello. From then on every request is answered, or the run ends at once
//! with the reason and the console's last lines: [`machine`] watches QEMU and the console, this module the emulated
//! GPUs and the time. QEMU is killed when the [`Vm`] is dropped.

mod accelerator;
pub mod actions;
pub mod compute;
pub mod figures;
mod gpu;
pub mod initramfs;
pub mod log;
pub mod machine;
pub mod mappings;
pub mod modprobe;
pub mod modules;
pub mod pci;
mod qmp;
pub mod queues;
pub mod session;
pub mod spaces;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use guest::proto::{Answer, Call, Failure, Frame, Hello, Outcome, PORT, PowerOff, Request};
use rdna_emu::{Chip, Gpu};
use tempfile::TempDir;

use self::accelerator::Accelerator;
pub use self::gpu::GpuOptions;
use self::initramfs::{Base, GuestFile};
use self::machine::Machine;
use crate::kernel::Kernel;
use crate::qemu::Qemu;
use crate::ui::Ui;
use crate::userland::Userland;
use crate::{guest_bin, project};

/// How long powering off may take.
const OFF_LIMIT: Duration = Duration::from_secs(60);

/// The device number, on bus 0, of the first emulated GPU's root port; the others follow.
const ROOT_PORTS: usize = 0x10;

/// How long the guest may take to let go of a device.
const UNPLUG_LIMIT: Duration = Duration::from_secs(60);
/// QEMU's control channel, in the VM's folder.
const CONTROL: &str = "qmp.sock";

/// What to boot.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// The emulated GPUs, each on its own PCIe root port: chips (`Chip::Navi10.into()`), or more precisely.
    pub gpus: Vec<GpuOptions>,
    /// Guest memory in MiB.
    pub memory: u32,
    /// Words to add to the kernel's command line.
    pub cmdline: String,
    /// Files to add to the guest.
    pub files: Vec<GuestFile>,
    /// Where the console's log and the GPUs' logs go; by default `target/vm` below the checkout.
    pub logs: Option<PathBuf>,
    /// First part of the logs' names.
    pub name: String,
    /// Debian's programs, mounted in the guest and run with [`Vm::debian`].
    pub userland: Option<Userland>,
    /// One CPU whose clock, and so its TSC, goes on by 1 ns with each instruction that it executes.
    pub counting: bool,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            gpus: vec![Chip::Navi10.into()],
            memory: 2048,
            cmdline: String::new(),
            files: Vec::new(),
            logs: None,
            name: "vm".into(),
            userland: None,
            counting: false,
        }
    }
}

/// A booted VM.
pub struct Vm {
    // Dropped in this order: QEMU first, then the devices that it is connected to, then their sockets' folder.
    machine: Machine,
    gpus: Vec<Gpu>,
    base: Base,
    hello: Hello,
    log: PathBuf,
    next: u64,
    patience: u32,
    began: Instant,
    folder: TempDir,
}

impl Vm {
    /// Boots and waits for the guest's hello.
    pub fn boot(kernel: &Kernel, options: VmOptions, ui: &Ui) -> Result<Vm> {
        let program = guest_bin::build(ui)?;
        let qemu = Qemu::find(&kernel.root)?;
        let base = initramfs::base(kernel, &gpu::firmware(&options.gpus), ui)?;
        ui.step("boot the VM", |step| {
            let mut broken = false;
            let candidates = match options.counting {
                true => Accelerator::counting(),
                false => Accelerator::candidates(&qemu),
            };
            for accelerator in candidates {
                step.detail(format!("with {accelerator}"));
                match Self::start(kernel, &qemu, &program, &base, &options, *accelerator) {
                    Ok(vm) => {
                        if broken {
                            Accelerator::note_failure(&qemu);
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
                        return Self::start(kernel, &qemu, &program, &base, &options, *accelerator);
                    }
                    Err(error) => return Err(error),
                }
            }
            bail!("no way to run QEMU was tried")
        })
    }

    fn start(
        kernel: &Kernel,
        qemu: &Qemu,
        program: &Path,
        base: &Base,
        options: &VmOptions,
        accelerator: Accelerator,
    ) -> Result<Vm> {
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

        let init = GuestFile {
            executable: true,
            ..GuestFile::copy("/init", program)?
        };
        let initrd = folder.path().join("initrd");
        let mut files = options.files.clone();
        files.push(init);
        if options.userland.is_some() {
            files.extend(session::files(kernel)?);
        }
        initramfs::write(&initrd, base, &files)?;

        let mut gpus = Vec::new();
        let mut command = qemu.command();
        machine_arguments(&mut command, options.memory, accelerator);
        for (index, gpu) in options.gpus.iter().enumerate() {
            let socket = folder.path().join(format!("gpu{index}.sock"));
            let gpu_log = logs.join(format!("{}-gpu{index}.log", options.name));
            gpus.push(Gpu::start(gpu.device(&socket).log(gpu_log))?);
            gpu.arguments(&mut command, index, &socket);
        }
        if let Some(userland) = &options.userland {
            session::arguments(&mut command, userland);
        }
        let cmdline = format!(
            "console=ttyS0 panic=-1 oops=panic ignore_loglevel log_buf_len=16M rcupdate.rcu_cpu_stall_timeout=120 {}",
            options.cmdline
        );
        command
            .arg("-kernel")
            .arg(&kernel.vmlinuz)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", cmdline.trim()])
            .arg("-qmp")
            .arg(format!(
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
            base: base.clone(),
            hello,
            log,
            next: 0,
            patience: accelerator.patience(),
            began,
            folder,
        };
        let limit = accelerator.boot_limit();
        let line = vm.receive(limit).context("the guest did not come up")?;
        // QEMU has read it whole before the guest runs.
        fs_err::remove_file(&initrd)?;
        vm.hello = serde_json::from_str(&line)
            .with_context(|| format!("the guest's first line is no hello: {line}"))?;
        if vm.hello.hello != Hello::MARK || vm.hello.release != kernel.release {
            bail!(
                "expected a hello from {} under {}, got {:?}",
                Hello::MARK,
                kernel.release,
                vm.hello
            );
        }
        if options.userland.is_some() {
            session::mount(&mut vm, kernel)?;
        }
        Ok(vm)
    }

    /// Does what is asked; a failure in the guest is an error.
    pub fn call<C: Call>(&mut self, call: C) -> Result<C::Reply> {
        let request: Request = call.into();
        let name = request.name();
        self.outcome::<C>(request)?
            .map_err(|failure| anyhow!(failure).context(format!("the guest failed at {name}")))
    }

    /// Does what is asked and hands back the guest's failure, if that is how it went, to be looked at.
    pub fn attempt<C: Call>(&mut self, call: C) -> Result<Result<C::Reply, Failure>> {
        self.outcome::<C>(call.into())
    }

    fn outcome<C: Call>(&mut self, request: Request) -> Result<Result<C::Reply, Failure>> {
        let limit = self.patience * limit(&request);
        let name = request.name();
        let id = self.next;
        self.next += 1;
        self.machine
            .send(&serde_json::to_vec(&Frame { id, request })?)?;
        let line = self
            .receive(limit)
            .with_context(|| format!("while the guest did {name}"))?;
        let answer: Answer =
            serde_json::from_str(&line).with_context(|| format!("not an answer: {line}"))?;
        if answer.id != id {
            bail!(
                "the guest answered request {} instead of {id} ({name})",
                answer.id
            );
        }
        Ok(match answer.outcome {
            Outcome::Ok(value) => Ok(serde_json::from_value(value)
                .with_context(|| format!("an unexpected reply to {name}: {line}"))?),
            Outcome::Error(failure) => Err(failure),
        })
    }

    fn receive(&mut self, limit: Duration) -> Result<String> {
        let gpus = &self.gpus;
        let sick = || {
            gpus.iter()
                .find_map(Gpu::failure)
                .map(|why| format!("the emulated GPU failed: {why}"))
        };
        self.machine.receive(limit, &sick)
    }

    /// The emulated GPU in slot `index`.
    ///
    /// # Panics
    /// When the VM was booted with fewer GPUs.
    #[must_use]
    pub fn gpu(&self, index: usize) -> &Gpu {
        &self.gpus[index]
    }

    /// Pulls out the emulated GPU in slot `index`: from now on nothing answers the guest, as when a card has left its
    /// slot. The GPUs behind it move up.
    ///
    /// # Panics
    /// When the VM has fewer GPUs.
    pub fn pull_out(&mut self, index: usize) {
        drop(self.gpus.remove(index));
    }

    /// Unplugs the emulated GPU in slot `index` as a user of the machine would: its slot's button is pressed, the guest
    /// lets go of the device, and QEMU takes it out. The GPUs behind it move up.
    ///
    /// # Panics
    /// When the VM has fewer GPUs.
    pub fn unplug(&mut self, index: usize) -> Result<()> {
        let limit = self.patience * UNPLUG_LIMIT;
        qmp::unplug(&self.folder.path().join(CONTROL), &gpu::name(index), limit)?;
        self.pull_out(index);
        Ok(())
    }

    /// How many emulated GPUs there are.
    #[must_use]
    pub fn gpus(&self) -> usize {
        self.gpus.len()
    }

    /// What the emulated GPUs met since the boot that they do not know, that hardware would report as an error, or that a
    /// TLB would have translated wrongly.
    #[must_use]
    pub fn gpu_trouble(&self) -> Option<String> {
        let mut met = Vec::new();
        for (index, gpu) in self.gpus.iter().enumerate() {
            for unknown in gpu.unknowns() {
                met.push(format!(
                    "GPU {index} does not know: {} ({:?}, {} times)",
                    unknown.what, unknown.access, unknown.count
                ));
            }
            for fault in gpu.faults() {
                met.push(format!(
                    "GPU {index}: {} ({} times)",
                    fault.what, fault.count
                ));
            }
            let tlb = gpu.tlb();
            if tlb.stale + tlb.wrong_fragments > 0 {
                met.push(format!(
                    "GPU {index}: {} uses of stale translations, {} of fragments that are too large: {:x?}",
                    tlb.stale, tlb.wrong_fragments, tlb.examples
                ));
            }
        }
        (!met.is_empty()).then(|| met.join("\n"))
    }

    /// What the guest said at its start.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What the stock part of the guest's file system holds.
    #[must_use]
    pub fn stock(&self) -> &initramfs::Facts {
        &self.base.facts
    }

    /// The console so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.machine.console().lines().join("\n")
    }

    /// The file that holds the console.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Why the VM cannot be used any more, if it cannot.
    #[must_use]
    pub fn dead(&self) -> Option<&str> {
        self.machine.dead()
    }

    /// Powers off and waits until QEMU has ended; a sound end is demanded.
    pub fn power_off(mut self) -> Result<()> {
        self.call(PowerOff {})?;
        self.machine.wait(OFF_LIMIT)
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

/// How long the guest may take, for a machine that emulates its CPU and shares its own with others. A command that
/// needs longer has hung.
fn limit(request: &Request) -> Duration {
    Duration::from_secs(match request {
        // 12 s for amdgpu on an idle machine.
        Request::Insmod(_) | Request::Rmmod(_) | Request::LaterEnd(_) => 240,
        // 50 MB of emulated SHA-256.
        Request::Sha256(_)
        | Request::StormWait(_)
        | Request::StormStop(_)
        | Request::StormStart(_) => 180,
        Request::Within(within) => return limit(&within.request),
        _ => 120,
    })
}

fn machine_arguments(command: &mut std::process::Command, memory: u32, accelerator: Accelerator) {
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
