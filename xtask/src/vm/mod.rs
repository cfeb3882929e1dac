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
pub(crate) mod launch;
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
use guest::proto::{Answer, Call, Failure, Frame, Hello, Outcome, PowerOff, Request};
use rdna_emu::{Chip, Gpu};
use tempfile::TempDir;

use self::accelerator::Accelerator;
pub use self::gpu::GpuOptions;
use self::initramfs::{Base, GuestFile};
use self::launch::Launch;
use self::machine::Machine;
use crate::guest_bin;
use crate::kernel::Kernel;
use crate::qemu::Qemu;
use crate::ui::Ui;
use crate::userland::Userland;

/// How long powering off may take, also where systemd stops everything in its order.
const OFF_LIMIT: Duration = Duration::from_secs(180);

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
    stock: initramfs::Facts,
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
        let counting = options.counting;
        launch::with_any_accelerator(&qemu, counting, "boot the VM", ui, |accelerator| {
            Self::start(kernel, &qemu, &program, &base, &options, accelerator)
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
        let init = GuestFile {
            executable: true,
            ..GuestFile::copy("/init", program)?
        };
        let mut files = options.files.clone();
        files.push(init);
        if options.userland.is_some() {
            files.extend(session::files(kernel)?);
        }
        let launch = Launch {
            qemu,
            release: &kernel.release,
            options,
            accelerator,
            limit: accelerator.boot_limit(),
        };
        let mut initrd = PathBuf::new();
        let mut vm = launch.start(base.facts.clone(), |command, folder| {
            initrd = folder.join("initrd");
            initramfs::write(&initrd, base, &files)?;
            if let Some(userland) = &options.userland {
                session::arguments(command, userland);
            }
            command.arg("-kernel").arg(&kernel.vmlinuz);
            command.arg("-initrd").arg(&initrd);
            command.args(["-append", &launch::kernel_words(&options.cmdline)]);
            Ok(())
        })?;
        // QEMU has read it whole before the guest runs.
        fs_err::remove_file(&initrd)?;
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
        &self.stock
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
