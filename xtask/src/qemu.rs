// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU that can attach a vfio-user device.
//!
//! The machine's own when it can; else the one in the kernel's root file system, which runs outside of
//! it through its own dynamic loader: no chroot and no namespace, so that it is an ordinary child with
//! ordinary sockets.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::host;
use crate::root::Root;

const PROGRAM: &str = "qemu-system-x86_64";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A QEMU that was found.
#[derive(Clone, Debug)]
pub struct Qemu {
    place: Place,
    version: String,
}

#[derive(Clone, Debug)]
enum Place {
    Machine(PathBuf),
    Root(PathBuf),
}

impl Qemu {
    /// The machine's QEMU when it knows vfio-user-pci, else the root file system's.
    pub fn find(root: &Root) -> Result<Qemu> {
        let places = [
            host::find(PROGRAM).map(Place::Machine),
            Some(Place::Root(root.dir().to_path_buf())),
        ];
        for place in places.into_iter().flatten() {
            let devices = print(&place, &["-device", "help"]).unwrap_or_default();
            if devices.contains("\"vfio-user-pci\"") {
                let version = print(&place, &["--version"])?;
                let version = version.lines().next().unwrap_or_default().trim().to_owned();
                return Ok(Qemu { place, version });
            }
        }
        bail!(
            "neither this machine's {PROGRAM} nor the one in {} has the device vfio-user-pci; QEMU 10.1 or newer has it",
            root.dir().display()
        )
    }

    /// Starts QEMU; arguments are to be added.
    pub fn command(&self) -> Command {
        command(&self.place)
    }

    /// What `--version` says.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// QEMU, which ends with the thread that starts it, also when that is killed.
fn command(place: &Place) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    match place {
        Place::Machine(program) => command.arg(program),
        Place::Root(root) => command
            .arg(root.join("lib64/ld-linux-x86-64.so.2"))
            .env_remove("LD_LIBRARY_PATH")
            .env("QEMU_MODULE_DIR", root.join(LIBRARIES).join("qemu"))
            .arg("--library-path")
            .arg(libraries(root))
            .arg(root.join("usr/bin").join(PROGRAM))
            .arg("-L")
            .arg(root.join("usr/share/qemu"))
            .arg("-L")
            .arg(root.join("usr/share/seabios")),
    };
    command
}

fn libraries(root: &Path) -> PathBuf {
    root.join(LIBRARIES)
}

fn print(place: &Place, arguments: &[&str]) -> Result<String> {
    let output = command(place)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start QEMU")?;
    if !output.status.success() {
        bail!(
            "QEMU ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
