// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose address spaces an emulated GPU has seen.
//!
//! The GPU knows roots and PASIDs, from what hardware sees ([`rdna_emu::Gpu::spaces`]); which process has a PASID stands
//! in `/proc` of the guest. The two are put together here. No page table, and nothing of amdgpu's debugfs, is asked.

use anyhow::{Result, bail};
use guest::proto::{DrmHolder, DrmHolders};
use rdna_emu::tables::AddressSpace;
use rdna_emu::{SeenSpace, SpaceState};
use serde::Serialize;
use std::fmt;

use super::Vm;

/// Whose an address space is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A process that has it now.
    Process(DrmHolder),
    /// No process has its PASID any more: whatever its tables say is of the past.
    Gone,
    /// The PASID has another root by now, or the root another PASID.
    Replaced,
    /// The GPU was never told a PASID.
    Unknown,
}

/// An address space with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedSpace {
    /// What the GPU knows.
    pub space: SeenSpace,
    /// Who has it.
    pub owner: Owner,
}

impl NamedSpace {
    /// The process that has it now.
    #[must_use]
    pub fn process(&self) -> Option<&DrmHolder> {
        match &self.owner {
            Owner::Process(holder) => Some(holder),
            Owner::Gone | Owner::Replaced | Owner::Unknown => None,
        }
    }
}

impl fmt::Display for NamedSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SeenSpace { root, pasid, .. } = &self.space;
        let pasid = pasid.map_or("no PASID".to_owned(), |pasid| format!("PASID {pasid}"));
        write!(f, "{root} ({pasid}): ")?;
        match &self.owner {
            Owner::Process(holder) => write!(f, "process {} {:?}", holder.pid, holder.comm),
            Owner::Gone => f.write_str("its process is gone"),
            Owner::Replaced => f.write_str("stale: replaced"),
            Owner::Unknown => f.write_str("nobody known"),
        }
    }
}

impl Vm {
    /// Every address space that the emulated GPU `gpu` has seen, with the process that has it, in the order of first use.
    pub fn spaces(&mut self, gpu: usize) -> Result<Vec<NamedSpace>> {
        let pci = self.pci_address(gpu)?;
        let holders = self.call(DrmHolders {})?;
        let holders: Vec<_> = holders.into_iter().filter(|one| one.pci == pci).collect();
        let seen = self.gpu(gpu).spaces();
        Ok(seen
            .into_iter()
            .map(|space| named(space, &holders))
            .collect())
    }

    /// The address space of the one process of that name, as it is now, without its doing anything.
    pub fn space_of(&mut self, gpu: usize, comm: &str) -> Result<AddressSpace> {
        let all = self.spaces(gpu)?;
        let mine = |one: &&NamedSpace| one.process().is_some_and(|holder| holder.comm == comm);
        let found: Vec<_> = all.iter().filter(mine).collect();
        match found.as_slice() {
            [one] => Ok(self.gpu(gpu).walk(one.space.root)?),
            _ => {
                let list: Vec<String> = all.iter().map(NamedSpace::to_string).collect();
                bail!(
                    "{} address spaces are of a process called {comm:?}, expected one: {list:#?}",
                    found.len()
                )
            }
        }
    }
}

fn named(space: SeenSpace, holders: &[DrmHolder]) -> NamedSpace {
    let owner = match (space.state, space.pasid) {
        (SpaceState::Replaced, _) => Owner::Replaced,
        (_, None) => Owner::Unknown,
        (_, Some(pasid)) => holders
            .iter()
            .find(|holder| holder.pasid == u32::from(pasid.0))
            .map_or(Owner::Gone, |holder| Owner::Process(holder.clone())),
    };
    NamedSpace { space, owner }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdna_emu::{PageDirectory, Pasid, Sighting};

    fn holder(pid: u32, pasid: u32) -> DrmHolder {
        DrmHolder {
            pid,
            comm: format!("process-{pid}"),
            compute: false,
            client: u64::from(pid),
            pci: "0000:01:00.0".into(),
            pasid,
        }
    }

    fn seen(pasid: Option<u16>, state: SpaceState) -> SeenSpace {
        let sighting = Sighting {
            by: "sdma0".into(),
            order: 0,
        };
        SeenSpace {
            root: PageDirectory(0x20_0001),
            vmid: None,
            pasid: pasid.map(Pasid),
            first: sighting.clone(),
            last: sighting,
            state,
        }
    }

    #[test]
    fn a_pasid_that_nobody_has_is_gone_and_one_that_moved_is_replaced() {
        let holders = [holder(7, 3), holder(8, 4)];
        let owner = |pasid, state| named(seen(pasid, state), &holders).owner;
        let alive = owner(Some(4), SpaceState::Idle);
        assert_eq!(alive, Owner::Process(holders[1].clone()));
        assert_eq!(owner(Some(5), SpaceState::Current), Owner::Gone);
        assert_eq!(owner(Some(4), SpaceState::Replaced), Owner::Replaced);
        assert_eq!(owner(None, SpaceState::Current), Owner::Unknown);
    }
}
