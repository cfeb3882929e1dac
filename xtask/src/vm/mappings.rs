// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of mappings: what to map, where each one is, and mapping and unmapping them all at once.
//!
//! The buffers are made once and keep their place in memory and in the address space, so that the entries of two
//! moments can be compared bit for bit, address included.

use anyhow::{Context, Result};
use guest::proto::{
    ClientId, DrmClose, DrmOpen, GemCreate, GemUserptr, GemVa, Handle, Size, Va, VaOperation,
};
use guest::uapi::{Domain, GemFlags, VmFlags};
use serde::Serialize;

use super::Vm;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Where the first mapping of a [`Layout`] is.
const FIRST: u64 = 0x1_0000_0000;
/// Where mappings outside of the set are.
const EXTRA: u64 = 0x4_0000_0000;
/// The distance from one mapping to the next: more than the largest, and a multiple of every fragment size.
const STRIDE: u64 = 128 * MIB;

/// What is behind a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// The card's memory.
    Vram,
    /// System memory, allocated by the driver.
    Gtt,
    /// System memory of a process.
    Userptr,
    /// Nothing: a partially resident mapping.
    Prt,
}

/// One mapping to make.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// How people call it.
    pub name: &'static str,
    /// What is behind it.
    pub memory: Memory,
    /// How large it is.
    pub size: Size,
    /// How its buffer is made.
    pub gem: GemFlags,
    /// How it is mapped.
    pub vm: VmFlags,
}

impl Mapping {
    /// An ordinary mapping: read, write, execute, memory type left to the driver.
    #[must_use]
    pub const fn new(name: &'static str, memory: Memory, bytes: u64) -> Mapping {
        let vm = match memory {
            Memory::Prt => VmFlags::PRT,
            Memory::Vram | Memory::Gtt | Memory::Userptr => VmFlags::RWX,
        };
        Mapping {
            name,
            memory,
            size: Size(bytes),
            gem: GemFlags::NONE,
            vm,
        }
    }

    /// The same with buffer flags.
    #[must_use]
    pub const fn gem(self, flags: GemFlags) -> Mapping {
        Mapping { gem: flags, ..self }
    }

    /// The same with more mapping flags.
    #[must_use]
    pub const fn also(self, flags: VmFlags) -> Mapping {
        Mapping {
            vm: VmFlags(self.vm.0 | flags.0),
            ..self
        }
    }

    /// The same with other mapping flags.
    #[must_use]
    pub const fn only(self, flags: VmFlags) -> Mapping {
        Mapping { vm: flags, ..self }
    }
}

/// The mappings of the demo, in its order.
pub const DEMO: &[Mapping] = &[
    Mapping::new("VRAM 4K", Memory::Vram, 4 * KIB),
    Mapping::new("VRAM 64K", Memory::Vram, 64 * KIB),
    Mapping::new("VRAM 2M", Memory::Vram, 2 * MIB),
    Mapping::new("VRAM 64M", Memory::Vram, 64 * MIB),
    Mapping::new("VRAM 64K as NC", Memory::Vram, 64 * KIB).also(VmFlags::MTYPE_NC),
    Mapping::new("VRAM 64K as WC", Memory::Vram, 64 * KIB).also(VmFlags::MTYPE_WC),
    Mapping::new("VRAM 64K as CC", Memory::Vram, 64 * KIB).also(VmFlags::MTYPE_CC),
    Mapping::new("VRAM 64K as UC", Memory::Vram, 64 * KIB).also(VmFlags::MTYPE_UC),
    Mapping::new("VRAM 64K as RW", Memory::Vram, 64 * KIB).also(VmFlags::MTYPE_RW),
    Mapping::new("VRAM 1M COHERENT", Memory::Vram, MIB).gem(GemFlags::COHERENT),
    Mapping::new("VRAM 1M UNCACHED", Memory::Vram, MIB).gem(GemFlags::UNCACHED),
    Mapping::new("VRAM 1M read-only", Memory::Vram, MIB).only(VmFlags::READABLE),
    Mapping::new("VRAM 1M NOALLOC", Memory::Vram, MIB).also(VmFlags::NOALLOC),
    Mapping::new("GTT 64K", Memory::Gtt, 64 * KIB),
    Mapping::new("GTT 64K as CC", Memory::Gtt, 64 * KIB).also(VmFlags::MTYPE_CC),
    Mapping::new("GTT 64K as UC", Memory::Gtt, 64 * KIB).also(VmFlags::MTYPE_UC),
    Mapping::new("GTT 64K COHERENT", Memory::Gtt, 64 * KIB).gem(GemFlags::COHERENT),
    Mapping::new("PRT 64K", Memory::Prt, 64 * KIB),
];

/// More kinds, for the scenarios.
pub const MORE: &[Mapping] = &[
    Mapping::new("VRAM 16M", Memory::Vram, 16 * MIB),
    Mapping::new("VRAM 1M EXT_COHERENT", Memory::Vram, MIB).gem(GemFlags::EXT_COHERENT),
    Mapping::new("VRAM 64K COHERENT as NC", Memory::Vram, 64 * KIB)
        .gem(GemFlags::COHERENT)
        .also(VmFlags::MTYPE_NC),
    Mapping::new("VRAM 64K UNCACHED as CC", Memory::Vram, 64 * KIB)
        .gem(GemFlags::UNCACHED)
        .also(VmFlags::MTYPE_CC),
    Mapping::new("VRAM 64K write-only", Memory::Vram, 64 * KIB).only(VmFlags::WRITEABLE),
    Mapping::new("GTT 64K as NC", Memory::Gtt, 64 * KIB).also(VmFlags::MTYPE_NC),
    Mapping::new("GTT 64K as WC", Memory::Gtt, 64 * KIB).also(VmFlags::MTYPE_WC),
    Mapping::new("GTT 64K as RW", Memory::Gtt, 64 * KIB).also(VmFlags::MTYPE_RW),
    Mapping::new("GTT 64K UNCACHED", Memory::Gtt, 64 * KIB).gem(GemFlags::UNCACHED),
    Mapping::new("GTT 2M", Memory::Gtt, 2 * MIB),
    Mapping::new("userptr 1M", Memory::Userptr, MIB),
    Mapping::new("userptr 64K as UC", Memory::Userptr, 64 * KIB).also(VmFlags::MTYPE_UC),
    Mapping::new("userptr 64K as CC", Memory::Userptr, 64 * KIB).also(VmFlags::MTYPE_CC),
    Mapping::new("PRT 4M", Memory::Prt, 4 * MIB),
];

/// A mapping with its buffer and its place.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    /// What it is.
    pub mapping: Mapping,
    /// Its buffer; 0 for PRT.
    pub handle: Handle,
    /// Its address.
    pub va: Va,
}

impl Placed {
    /// Does this mapping cover the address?
    #[must_use]
    pub fn covers(&self, va: u64) -> bool {
        va.checked_sub(self.va.0)
            .is_some_and(|offset| offset < self.mapping.size.0)
    }
}

/// A client with a set of buffers, each with its address; nothing is mapped at first.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The client.
    pub client: ClientId,
    /// The mappings, in the order given.
    pub placed: Vec<Placed>,
}

impl Layout {
    /// Opens a client on `node` and makes a buffer for each mapping.
    pub fn create(vm: &mut Vm, node: &str, mappings: &[Mapping]) -> Result<Layout> {
        let client = vm.call(DrmOpen { node: node.into() })?;
        let mut placed = Vec::new();
        for (index, mapping) in mappings.iter().enumerate() {
            let va = Va(FIRST + index as u64 * STRIDE);
            let handle = buffer(vm, client, mapping)
                .with_context(|| format!("cannot make the buffer of {}", mapping.name))?;
            placed.push(Placed {
                mapping: *mapping,
                handle,
                va,
            });
        }
        Ok(Layout { client, placed })
    }

    /// A mapping of the same client that is not part of the set: it stays when the set is unmapped.
    pub fn extra(&self, vm: &mut Vm, slot: u64, mapping: &Mapping) -> Result<Placed> {
        let va = Va(EXTRA + slot * STRIDE);
        let placed = Placed {
            mapping: *mapping,
            handle: buffer(vm, self.client, mapping)?,
            va,
        };
        map(vm, self.client, &placed, mapping.vm)?;
        Ok(placed)
    }

    /// The mapping of that name.
    ///
    /// # Panics
    /// When there is none: names are constants.
    #[must_use]
    pub fn named(&self, name: &str) -> &Placed {
        let found = self
            .placed
            .iter()
            .find(|placed| placed.mapping.name == name);
        found.unwrap_or_else(|| panic!("no mapping is called {name:?}"))
    }

    /// The mapping that covers an address.
    #[must_use]
    pub fn owner(&self, va: u64) -> Option<&Placed> {
        self.placed.iter().find(|placed| placed.covers(va))
    }

    /// Maps everything.
    pub fn map(&self, vm: &mut Vm) -> Result<()> {
        self.placed
            .iter()
            .try_for_each(|placed| map(vm, self.client, placed, placed.mapping.vm))
    }

    /// Unmaps everything.
    pub fn unmap(&self, vm: &mut Vm) -> Result<()> {
        self.placed
            .iter()
            .try_for_each(|placed| unmap(vm, self.client, placed))
    }

    /// Closes the client.
    pub fn close(self, vm: &mut Vm) -> Result<()> {
        vm.call(DrmClose {
            client: self.client,
        })
    }
}

/// Maps one buffer with these flags.
pub fn map(vm: &mut Vm, client: ClientId, placed: &Placed, flags: VmFlags) -> Result<()> {
    operate(vm, client, placed, VaOperation::Map, flags)
}

/// Undoes [`map`].
pub fn unmap(vm: &mut Vm, client: ClientId, placed: &Placed) -> Result<()> {
    // A PRT mapping belongs to no buffer; the flag says so here as well.
    let flags = if placed.mapping.memory == Memory::Prt {
        VmFlags::PRT
    } else {
        VmFlags::NONE
    };
    operate(vm, client, placed, VaOperation::Unmap, flags)
}

fn operate(
    vm: &mut Vm,
    client: ClientId,
    placed: &Placed,
    operation: VaOperation,
    flags: VmFlags,
) -> Result<()> {
    let Placed {
        mapping,
        handle,
        va,
    } = *placed;
    vm.call(GemVa {
        client,
        operation,
        handle,
        va,
        offset: Size(0),
        size: mapping.size,
        flags,
    })
    .with_context(|| format!("cannot {operation:?} {} at {va}", mapping.name))
}

fn buffer(vm: &mut Vm, client: ClientId, mapping: &Mapping) -> Result<Handle> {
    let domain = match mapping.memory {
        Memory::Vram => Domain::VRAM,
        Memory::Gtt => Domain::GTT,
        Memory::Userptr => {
            return vm.call(GemUserptr {
                client,
                size: mapping.size,
            });
        }
        Memory::Prt => return Ok(Handle(0)),
    };
    // Buffers that live and die with their client need no list at each submission.
    let flags = mapping.gem | GemFlags::VM_ALWAYS_VALID;
    vm.call(GemCreate {
        client,
        size: mapping.size,
        alignment: mapping.size,
        domain,
        flags,
    })
}
