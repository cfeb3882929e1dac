// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables through amdgpu's debugfs: `amdgpu_vram` for those in video memory, `amdgpu_iomem` for those in system
//! memory. Both are read only, and read in whole tables.

use super::walk::Memory;
use crate::clients::{self, Client, DRI};
use crate::fail::{Failure, Status};
use crate::rmcp;
use crate::system::{Found, Places, Refusal, System};

/// The memory of a GPU as debugfs shows it.
pub(super) struct Debugfs {
    vram: Box<dyn Places>,
    /// Opened only where it is needed; it is a newer file.
    system: Found<Box<dyn Places>>,
}

impl Debugfs {
    /// Opens it.
    pub(super) fn open(system: &System, gpu: &str) -> Result<Self, Failure> {
        let folder = format!("{DRI}/{gpu}");
        let files = system.files();
        let vram = files.places(&format!("{folder}/amdgpu_vram"));
        Ok(Self {
            vram: vram.map_err(|refusal| refused(system, &refusal))?,
            system: files.places(&format!("{folder}/amdgpu_iomem")),
        })
    }
}

impl Memory for Debugfs {
    fn read(&self, system: bool, address: u64, into: &mut [u8]) -> Found<()> {
        let places = match (system, &self.system) {
            (false, _) => &self.vram,
            (true, Ok(places)) => places,
            (true, Err(refusal)) => return Err(refusal.clone()),
        };
        places.read_at(address, into).map_err(|refusal| {
            let memory = if system { "system" } else { "video" };
            Refusal::Other(format!(
                "the table at {address:#x} in {memory} memory cannot be read: {refusal}"
            ))
        })
    }
}

/// Where a client's tables are.
pub(super) fn tables(system: &System, client: &Client) -> Result<clients::Tables, Failure> {
    clients::tables(system, client.client).map_err(|refusal| refused(system, &refusal))
}

/// Why the kernel does not show page tables, and what can be done.
fn refused(system: &System, refusal: &Refusal) -> Failure {
    let root = system.host().is_root();
    match refusal {
        Refusal::Denied if !root => {
            Failure::new(Status::Denied, "only root may read page tables").cure("ask as root")
        }
        Refusal::Denied => Failure::new(
            Status::Denied,
            "the kernel is locked down and shows no page tables",
        )
        .cure("without lockdown they can be read, as can rmcp's counters; `rmcpctl status` has the rest"),
        Refusal::Missing => Failure::new(
            Status::Missing,
            "this kernel shows no page tables in /sys/kernel/debug/dri",
        )
        .cure(format!(
            "mount debugfs there; it takes Linux 7.3's amdgpu{}",
            counted(system)
        )),
        other => Failure::new(
            Status::Failed,
            format!("page tables cannot be read: {other}"),
        ),
    }
}

/// What the counters say instead: not of one process, but of all.
fn counted(system: &System) -> String {
    let counters = rmcp::counters(system).unwrap_or_default();
    counters
        .devices
        .iter()
        .map(|device| {
            let (all, changed) = (device.count("mappings"), device.count("changed"));
            let address = &device.address;
            format!("; rmcp's counters say of {address}: {changed} of {all} mappings were changed")
        })
        .collect()
}
