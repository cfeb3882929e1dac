// SPDX-License-Identifier: MIT OR Apache-2.0
//! One machine's disk, and how it is booted.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rdna_emu::Chip;
use tempfile::TempDir;

use super::image::{Image, extract};
use super::secure::{Firmware, Keys};
use crate::guest_bin;
use crate::host;
use crate::project;
use crate::qemu::Qemu;
use crate::ui::Ui;
use crate::vm::actions::AMDGPU_PARAMETERS;
use crate::vm::initramfs::{Facts, GuestFile};
use crate::vm::launch::{self, Launch};
use crate::vm::{Vm, VmOptions};

/// Where the guest finds what it is handed over.
pub const GUEST_FILES: &str = "/run/guest";
/// A Debian with systemd takes this many times longer to answer than our own initramfs.
const PATIENCE: u32 = 4;

/// How a machine comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// QEMU loads the kernel and the initramfs that are in its /boot.
    Kernel,
    /// UEFI with Secure Boot on: Debian's shim and GRUB, which load them.
    SecureBoot(Keys<'a>),
}

/// One boot.
#[derive(Debug, Clone)]
pub struct Boot<'a> {
    /// First part of the logs' names.
    pub name: String,
    /// How it comes up.
    pub start: Start<'a>,
    /// Words to add to the kernel's command line.
    pub cmdline: String,
    /// Files for the guest, below [`GUEST_FILES`].
    pub files: Vec<GuestFile>,
}

/// A machine's disk: what its boots write stays until it is dropped.
#[derive(Debug)]
pub struct Disk {
    image: Image,
    folder: TempDir,
}

impl Disk {
    /// A new machine, as the image is.
    pub fn new(image: &Image) -> Result<Disk> {
        let parent = project::target_dir().join("vm");
        fs::create_dir_all(&parent)?;
        let folder = tempfile::Builder::new()
            .prefix("disk-")
            .tempdir_in(parent)?;
        let disk = Disk {
            image: image.clone(),
            folder,
        };
        let mut make = image.base.outside("usr/bin/qemu-img");
        make.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(image.root())
            .arg(disk.root());
        run(&mut make)?;
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(image.boot())
            .arg(disk.boot_image()))?;
        Ok(disk)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.qcow2")
    }

    fn boot_image(&self) -> PathBuf {
        self.folder.path().join("boot.img")
    }

    /// Boots it with an emulated Navi10 and waits until its service says hello. One machine has one boot at a time.
    pub fn boot(&self, boot: &Boot<'_>, ui: &Ui) -> Result<Vm> {
        let program = guest_bin::build(ui)?;
        let kernel = &self.image.kernel;
        let qemu = Qemu::find(&kernel.root)?;
        let guest = self.folder.path().join("guest.img");
        hand_over(&program, &boot.files, &guest)?;
        let amdgpu = AMDGPU_PARAMETERS
            .split(' ')
            .map(|word| format!("amdgpu.{word}"));
        let amdgpu = amdgpu.collect::<Vec<_>>().join(" ");
        let words = format!("root=LABEL=root rw {amdgpu} {}", boot.cmdline);
        let words = launch::kernel_words(&words);
        let options = VmOptions {
            gpus: vec![Chip::Navi10.into()],
            name: boot.name.clone(),
            ..VmOptions::default()
        };
        let firmware = match boot.start {
            Start::Kernel => None,
            Start::SecureBoot(keys) => Some(Firmware::new(
                &self.image,
                keys,
                &words,
                self.folder.path(),
            )?),
        };
        let files = self.kernel_files()?;
        let what = "boot the installed Debian";
        launch::with_any_accelerator(&qemu, false, what, ui, |accelerator| {
            let launch = Launch {
                qemu: &qemu,
                release: &kernel.release,
                options: &options,
                accelerator,
                limit: PATIENCE * accelerator.boot_limit(),
            };
            launch.start(Facts::default(), |command, _| {
                drive(command, &self.root(), "qcow2,cache=unsafe");
                drive(command, &self.boot_image(), "raw,cache=unsafe");
                drive(command, &guest, "raw,readonly=on");
                match &firmware {
                    Some(firmware) => firmware.arguments(command),
                    None => {
                        command.arg("-kernel").arg(&files.0);
                        command.arg("-initrd").arg(&files.1);
                        command.args(["-append", &words]);
                    }
                }
                Ok(())
            })
        })
    }

    /// The names of the files in the initramfs that is in the machine's /boot now.
    pub fn initramfs(&self) -> Result<Vec<String>> {
        let (_, initrd) = self.kernel_files()?;
        let root = self.image.base.clone().showing(self.folder.path());
        let output = root.command("lsinitramfs").arg(&initrd).output()?;
        if !output.status.success() {
            bail!(
                "lsinitramfs ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let names = String::from_utf8_lossy(&output.stdout);
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Kernel and initramfs as they are in the machine's /boot now.
    fn kernel_files(&self) -> Result<(PathBuf, PathBuf)> {
        let release = &self.image.kernel.release;
        let get = |name: &str| -> Result<PathBuf> {
            let to = self.folder.path().join(name);
            let path = format!("/{name}-{release}");
            extract(&self.boot_image(), &path, &to)?;
            Ok(to)
        };
        Ok((get("vmlinuz")?, get("initrd.img")?))
    }
}

/// QEMU's words for one disk.
pub(super) fn drive(command: &mut Command, file: &Path, format: &str) {
    command.args([
        "-drive",
        &format!("if=virtio,file={},format={format}", file.display()),
    ]);
}

/// A small disk with the guest's program and files.
fn hand_over(program: &Path, files: &[GuestFile], image: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::copy(program, folder.path().join("guest"))?;
    for file in files {
        let name = file
            .path
            .strip_prefix(GUEST_FILES)
            .with_context(|| format!("{} is not below {GUEST_FILES}", file.path))?;
        fs::write(
            folder.path().join(name.trim_start_matches('/')),
            &file.content,
        )?;
    }
    if image.exists() {
        fs::remove_file(image)?;
    }
    let mke2fs = host::find("mke2fs").context("mke2fs of e2fsprogs is not there")?;
    run(Command::new(mke2fs)
        .args([
            "-q",
            "-t",
            "ext4",
            "-L",
            "guest",
            "-E",
            "root_owner=0:0",
            "-d",
        ])
        .arg(folder.path())
        .arg(image)
        .arg("64M"))
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim()
        );
    }
    Ok(())
}
