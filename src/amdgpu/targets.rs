// SPDX-License-Identifier: GPL-2.0

//! The functions of the driver that rmcp hooks: a table of names and prototypes.

use super::{type_info, Blame, NotArmed, Presence, Refusal};
use crate::hook::symbol::{ResolveError, Site};
use crate::logic::{
    btf::Btf,
    prototype::{Param, Prototype, Returns},
};
use kernel::prelude::*;

/// A function of the driver that we hook.
pub(super) struct Target {
    /// As the kernel looks it up: `"amdgpu:NAME"`.
    symbol: &'static CStr,
    prototype: Prototype,
}

const DEVICE: Param = Param::Struct("amdgpu_device");
const UPDATE: Param = Param::Struct("amdgpu_vm_update_params");
const U64: Param = Param::Unsigned(8);
const U32: Param = Param::Unsigned(4);

/// Turns a request into the flags of an entry. Exactly RDNA1 and RDNA2 reach it (GC 10.1 and 10.3),
/// through a function table, so it is never inlined; buffers of GEM and KFD and ranges of SVM all
/// pass it.
pub(super) const GET_VM_PTE: Target = Target {
    symbol: c"amdgpu:gmc_v10_0_get_vm_pte",
    prototype: Prototype {
        name: "gmc_v10_0_get_vm_pte",
        returns: Returns::Nothing,
        params: &[
            DEVICE,
            Param::Struct("amdgpu_vm"),
            Param::Struct("amdgpu_bo"),
            U32,
            Param::PointerToUnsigned(8),
        ],
    },
};

/// What both functions below take: the update, the table, the first entry, the first address, how
/// many entries, from one address to the next, and the entries' flags.
const WRITE_ENTRIES: &[Param] = &[
    UPDATE,
    Param::Struct("amdgpu_bo_vm"),
    U64,
    U64,
    U32,
    U32,
    U64,
];

/// Writes entries by SDMA. Reached through a function table.
pub(super) const SDMA_UPDATE: Target = Target {
    symbol: c"amdgpu:amdgpu_vm_sdma_update",
    prototype: Prototype {
        name: "amdgpu_vm_sdma_update",
        returns: Returns::Int,
        params: WRITE_ENTRIES,
    },
};

/// Writes entries by CPU. Reached through a function table.
pub(super) const CPU_UPDATE: Target = Target {
    symbol: c"amdgpu:amdgpu_vm_cpu_update",
    prototype: Prototype {
        name: "amdgpu_vm_cpu_update",
        returns: Returns::Int,
        params: WRITE_ENTRIES,
    },
};

/// Updates the entries of a range: the update, the first page, the page behind the last, the first
/// address, and the entries' flags.
pub(super) const PTES_UPDATE: Target = Target {
    symbol: c"amdgpu:amdgpu_vm_ptes_update",
    prototype: Prototype {
        name: "amdgpu_vm_ptes_update",
        returns: Returns::Int,
        params: &[UPDATE, U64, U64, U64, U64],
    },
};

/// Sets up a device's address spaces, once in its life, before its first mapping. The third parameter
/// is the fragment size that user space is told.
pub(super) const ADJUST_SIZE: Target = Target {
    symbol: c"amdgpu:amdgpu_vm_adjust_size",
    prototype: Prototype {
        name: "amdgpu_vm_adjust_size",
        returns: Returns::Nothing,
        params: &[DEVICE, U32, U32, U32, U32],
    },
};

impl Target {
    /// The function's name.
    pub(super) const fn name(&self) -> &'static str {
        self.prototype.name
    }

    /// Finds the function.
    pub(super) fn resolve(&self, presence: Presence) -> Result<Site, NotArmed> {
        let name = self.name();
        Site::resolve(self.symbol).map_err(|error| match error {
            ResolveError::Absent if presence.is_there() => Refusal::unknown(fmt!(
                "this amdgpu has no function {name}; a driver that supports RDNA1/2 is needed"
            ))
            .into(),
            ResolveError::Absent => NotArmed::Absent,
            ResolveError::NotTraceable => Refusal::unknown(fmt!(
                "ftrace cannot call out at the entry of {name}; amdgpu must be built with ftrace"
            ))
            .into(),
            ResolveError::Refused(error) => Refusal::new(
                Blame::Kernel,
                fmt!("the kernel does not look up {name} ({error:?})"),
            )
            .into(),
        })
    }

    /// Finds the function and checks its prototype.
    pub(super) fn find(&self, btf: &Btf<'_>, presence: Presence) -> Result<Site, NotArmed> {
        let site = self.resolve(presence)?;
        type_info::check(btf, &self.prototype)?;
        Ok(site)
    }
}
