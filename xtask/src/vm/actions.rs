// SPDX-License-Identifier: MIT OR Apache-2.0
//! What scenarios do with a VM, in their own words: load modules, read switches, look at page tables.

use anyhow::{Context, Result, anyhow, bail};
use guest::proto::{
    Bytes, ClientId, Failure, Insmod, KernelLog, ReadFile, Rmmod, Sha256, Submit, Submitted,
    WriteFile,
};
use guest::uapi::Domain;
use rdna_emu::tables::AddressSpace;
use rdna_emu::{GpuVa, PageDirectory};

use super::Vm;
use super::initramfs::{AMDGPU, MODULES};
use super::log::{Trouble, scan};

/// amdgpu's parameters on the emulated GPU: everything but PSP, display, video and JPEG, and patience for an
/// emulated CPU.
pub const AMDGPU_PARAMETERS: &str = "ip_block_mask=0xd7 lockup_timeout=60000";

/// The first render node.
pub const RENDER_NODE: &str = "/dev/dri/renderD128";

/// A place in the guest's kernel log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark(u64);

impl Vm {
    /// The path in the guest of a module that is part of its file system.
    #[must_use]
    pub fn module_path(name: &str) -> String {
        format!("{MODULES}/{name}.ko")
    }

    /// Loads a module; `Err` inside is the kernel's refusal.
    pub fn insmod(&mut self, name: &str, parameters: &str) -> Result<Result<(), Failure>> {
        self.attempt(Insmod {
            path: Self::module_path(name),
            params: Bytes::from(parameters),
        })
    }

    /// Loads a module that must load.
    pub fn load(&mut self, name: &str, parameters: &str) -> Result<()> {
        self.insmod(name, parameters)?
            .map_err(|failure| anyhow!("{name} {parameters:?} did not load: {failure}"))
    }

    /// Unloads a module that must unload.
    pub fn unload(&mut self, name: &str) -> Result<()> {
        self.call(Rmmod { name: name.into() })
            .with_context(|| format!("{name} did not unload"))
    }

    /// Loads what amdgpu needs, without amdgpu; modules that are there already are left alone.
    pub fn load_amdgpu_needs(&mut self) -> Result<()> {
        let order = self.stock().order.clone();
        for name in order.iter().filter(|name| *name != AMDGPU) {
            if !self.loaded(name)? {
                self.load(name, "")?;
            }
        }
        Ok(())
    }

    /// Loads amdgpu with everything that it needs.
    pub fn load_amdgpu(&mut self) -> Result<()> {
        self.load_amdgpu_needs()?;
        self.load(AMDGPU, AMDGPU_PARAMETERS)
    }

    /// Whether a module is loaded (or built in and visible).
    pub fn loaded(&mut self, name: &str) -> Result<bool> {
        let modules = self.text("/proc/modules")?;
        Ok(modules
            .lines()
            .any(|line| line.split(' ').next() == Some(name)))
    }

    /// The reference count of a loaded module.
    pub fn references(&mut self, name: &str) -> Result<u64> {
        let modules = self.text("/proc/modules")?;
        modules
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words[0] == name)
            .and_then(|words| words.get(2)?.parse().ok())
            .with_context(|| format!("{name} is not in /proc/modules"))
    }

    /// A file as text.
    pub fn text(&mut self, path: &str) -> Result<String> {
        let bytes = self.call(ReadFile { path: path.into() })?;
        String::from_utf8(bytes.0).with_context(|| format!("{path} is no text"))
    }

    /// Writes with one system call; `Err` inside is the kernel's refusal.
    pub fn write(&mut self, path: &str, data: &[u8]) -> Result<Result<(), Failure>> {
        let result = self.attempt(WriteFile {
            path: path.into(),
            data: Bytes::from(data),
        })?;
        Ok(match result {
            Ok(written) if written.bytes == data.len() => Ok(()),
            Ok(written) => bail!("{path} took {} of {} bytes", written.bytes, data.len()),
            Err(failure) => Err(failure),
        })
    }

    /// Reads a parameter of a loaded module, without the newline.
    pub fn parameter(&mut self, module: &str, name: &str) -> Result<String> {
        Ok(self
            .text(&parameter_path(module, name))?
            .trim_end_matches('\n')
            .to_owned())
    }

    /// Writes a parameter as `echo` would; it must be taken.
    pub fn set_parameter(&mut self, module: &str, name: &str, value: &str) -> Result<()> {
        self.write(
            &parameter_path(module, name),
            format!("{value}\n").as_bytes(),
        )?
        .map_err(|failure| anyhow!("{module}.{name} did not take {value:?}: {failure}"))
    }

    /// SHA-256 of a module's file in the guest.
    pub fn module_sha256(&mut self, name: &str) -> Result<String> {
        self.call(Sha256 {
            path: Self::module_path(name),
        })
    }

    /// Where the kernel's log ends now.
    pub fn mark(&mut self) -> Result<Mark> {
        Ok(Mark(self.call(KernelLog { since: u64::MAX })?.next))
    }

    /// The kernel's log from `mark` on.
    pub fn log_since(&mut self, mark: Mark) -> Result<Vec<String>> {
        let part = self.call(KernelLog { since: mark.0 })?;
        if part.lost > 0 {
            bail!(
                "the kernel overwrote {} records of its log before they were read",
                part.lost
            );
        }
        Ok(part.lines)
    }

    /// Trouble in the kernel's log from `mark` on, if any.
    pub fn trouble_since(&mut self, mark: Mark) -> Result<Option<Trouble>> {
        Ok(scan(&self.log_since(mark)?))
    }

    /// Submits work as `client`, checks that the data arrived, and hands back the client's root page directory as the
    /// emulated GPU saw it.
    pub fn root_of(&mut self, client: ClientId, gpu: usize) -> Result<PageDirectory> {
        let before = self.gpu(gpu).submissions().len();
        let value = 0x600d_0000 | u32::try_from(before & 0xffff)?;
        let submitted = self.submit(client, value, Domain::VRAM)?;
        self.seen(gpu, before, value, &submitted)
    }

    /// The root under which the emulated GPU ran what was submitted after the first `before` submissions; the value
    /// must have arrived.
    pub(super) fn seen(
        &self,
        gpu: usize,
        before: usize,
        value: u32,
        submitted: &Submitted,
    ) -> Result<PageDirectory> {
        arrived(value, submitted)?;
        let seen = self.gpu(gpu).submissions();
        seen[before..]
            .iter()
            .find(|one| one.address == GpuVa(submitted.ib.0))
            .map(|one| one.root)
            .with_context(|| {
                format!(
                    "the emulated GPU saw no indirect buffer at {}, only {:?}",
                    submitted.ib,
                    &seen[before..]
                )
            })
    }

    /// Lets SDMA write a value through the client's page tables; what the CPU reads back must be that value.
    pub fn submit(&mut self, client: ClientId, value: u32, domain: Domain) -> Result<Submitted> {
        let submitted = self.call(Submit {
            client,
            value,
            domain,
        })?;
        arrived(value, &submitted)?;
        Ok(submitted)
    }

    /// The whole address space of `client`.
    pub fn address_space(&mut self, client: ClientId, gpu: usize) -> Result<AddressSpace> {
        let root = self.root_of(client, gpu)?;
        Ok(self.gpu(gpu).walk(root)?)
    }
}

/// What the CPU reads back must be what SDMA wrote.
fn arrived(value: u32, submitted: &Submitted) -> Result<()> {
    if submitted.read != value {
        bail!(
            "SDMA was to write {value:#x} at {}, but the CPU reads {:#x}",
            submitted.target,
            submitted.read
        );
    }
    Ok(())
}

/// Where a module's parameter is in sysfs.
#[must_use]
pub fn parameter_path(module: &str, name: &str) -> String {
    format!("/sys/module/{module}/parameters/{name}")
}
