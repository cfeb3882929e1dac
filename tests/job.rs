// SPDX-License-Identifier: MIT OR Apache-2.0
//! A compute job as ROCm makes one: a process with buffers of every kind and ranges of shared virtual memory.

use crate::stage::demand;
use anyhow::{Context, Result, bail};
use guest::kfd_uapi::{KfdFlags, SvmFlags};
use guest::proto::{Size, Va};
use rdna_emu::GpuVa;
use rdna_emu::tables::{AddressSpace, Entry, Mtype};
use xtask::vm::Vm;
use xtask::vm::compute::{Compute, KfdBuffer};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Where the first buffer is, and how far apart they are.
const FIRST: u64 = 0x2_0000_0000;
const STRIDE: u64 = 128 * MIB;
/// Where the first shared range is, for GPU and CPU.
const SHARED: u64 = 0x6000_0000_0000;

/// Whether a mapping asks to be coherent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// No.
    Nothing,
    /// By a flag of its buffer, or, without a buffer, by the memory type itself.
    Coherence,
}

/// Stock amdgpu's choice for KFD's mappings (facts: KFD asks for DEFAULT, which is NC; a buffer that asks for
/// coherence, and a coherent shared range, is UC).
pub(crate) fn stock(place: &Place) -> Mtype {
    match place.asks {
        Asks::Nothing => Mtype::Nc,
        Asks::Coherence => Mtype::Uc,
    }
}

/// A buffer to make.
struct Kind {
    name: &'static str,
    memory: KfdFlags,
    attribute: KfdFlags,
    size: u64,
}

const fn kind(name: &'static str, memory: KfdFlags, attribute: KfdFlags, size: u64) -> Kind {
    Kind {
        name,
        memory,
        attribute,
        size,
    }
}

const PLAIN: KfdFlags = KfdFlags::NONE;
const COHERENT: KfdFlags = KfdFlags::COHERENT;
const UNCACHED: KfdFlags = KfdFlags::UNCACHED;
const VRAM: KfdFlags = KfdFlags::VRAM;
const GTT: KfdFlags = KfdFlags::GTT;
const USERPTR: KfdFlags = KfdFlags::USERPTR;

const BUFFERS: &[Kind] = &[
    kind("KFD VRAM 64K", VRAM, PLAIN, 64 * KIB),
    kind("KFD VRAM 2M", VRAM, PLAIN, 2 * MIB),
    kind("KFD VRAM 64M", VRAM, PLAIN, 64 * MIB),
    kind("KFD VRAM 2M COHERENT", VRAM, COHERENT, 2 * MIB),
    kind("KFD VRAM 2M UNCACHED", VRAM, UNCACHED, 2 * MIB),
    kind("KFD GTT 64K", GTT, PLAIN, 64 * KIB),
    kind("KFD GTT 2M", GTT, PLAIN, 2 * MIB),
    kind("KFD GTT 64K COHERENT", GTT, COHERENT, 64 * KIB),
    kind("KFD GTT 64K UNCACHED", GTT, UNCACHED, 64 * KIB),
    kind("KFD userptr 64K", USERPTR, PLAIN, 64 * KIB),
    kind("KFD userptr 64K COHERENT", USERPTR, COHERENT, 64 * KIB),
];

/// A shared range to make.
struct Range {
    name: &'static str,
    flags: SvmFlags,
    size: u64,
    /// In the card's memory, else in the system's.
    vram: bool,
}

const RANGES: &[Range] = &[
    Range {
        name: "SVM 2M in VRAM",
        flags: SvmFlags::GPU_EXEC,
        size: 2 * MIB,
        vram: true,
    },
    Range {
        name: "SVM 2M in VRAM, coherent",
        flags: SvmFlags::COHERENT,
        size: 2 * MIB,
        vram: true,
    },
    Range {
        name: "SVM 64K in system memory",
        flags: SvmFlags::GPU_EXEC,
        size: 64 * KIB,
        vram: false,
    },
    Range {
        name: "SVM 64K in system memory, coherent",
        flags: SvmFlags::COHERENT,
        size: 64 * KIB,
        vram: false,
    },
];

/// What the job has mapped.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) va: Va,
    pub(crate) size: Size,
    pub(crate) asks: Asks,
    /// In the card's memory.
    pub(crate) vram: bool,
    /// A range of shared virtual memory, not a buffer.
    pub(crate) shared: bool,
}

impl Place {
    /// Its entries, from the first byte to the last without a hole.
    pub(crate) fn entries<'a>(&self, space: &'a AddressSpace) -> Result<Vec<&'a Entry>> {
        let end = self.va.0 + self.size.0;
        let mut next = self.va.0;
        let entries: Vec<_> = space.leaves(GpuVa(next)..GpuVa(end)).collect();
        for entry in &entries {
            demand!(
                entry.valid() && entry.covers(GpuVa(next)),
                "{}: {entry:?} does not map {next:#x}",
                self.name
            );
            next = entry.va.0 + entry.span().bytes();
        }
        demand!(next >= end, "{}: nothing maps {next:#x}", self.name);
        Ok(entries)
    }
}

/// A running job.
pub(crate) struct Job {
    pub(crate) compute: Compute,
    /// The GPU that it is on.
    gpu: usize,
    buffers: Vec<(&'static Kind, KfdBuffer)>,
}

impl Job {
    /// Starts a process on the render node of GPU `gpu` and makes the buffers; nothing is mapped.
    pub(crate) fn open(vm: &mut Vm, node: &str, gpu: usize) -> Result<Job> {
        let compute = Compute::open(vm, node)?;
        let mut buffers = Vec::new();
        for (index, kind) in (0..).zip(BUFFERS) {
            let buffer = compute
                .alloc(
                    vm,
                    kind.memory | kind.attribute,
                    Va(FIRST + index * STRIDE),
                    Size(kind.size),
                )
                .with_context(|| format!("cannot make {}", kind.name))?;
            buffers.push((kind, buffer));
        }
        Ok(Job {
            compute,
            gpu,
            buffers,
        })
    }

    /// Maps every buffer and shares every range.
    pub(crate) fn map(&self, vm: &mut Vm) -> Result<()> {
        for (kind, buffer) in &self.buffers {
            self.compute
                .map(vm, buffer)
                .with_context(|| format!("cannot map {}", kind.name))?;
        }
        for (index, range) in (0..).zip(RANGES) {
            self.compute
                .share(
                    vm,
                    Va(SHARED + index * STRIDE),
                    Size(range.size),
                    range.flags,
                    range.vram,
                )
                .with_context(|| format!("cannot share {}", range.name))?;
        }
        Ok(())
    }

    /// Undoes [`Self::map`]; the buffers stay.
    pub(crate) fn unmap(&self, vm: &mut Vm) -> Result<()> {
        for (kind, buffer) in &self.buffers {
            self.compute
                .unmap(vm, buffer)
                .with_context(|| format!("cannot unmap {}", kind.name))?;
        }
        (0..)
            .zip(RANGES)
            .try_for_each(|(index, _)| self.compute.unshare(vm, Va(SHARED + index * STRIDE)))
    }

    /// Its address space now.
    pub(crate) fn space(&self, vm: &mut Vm) -> Result<AddressSpace> {
        self.compute.address_space(vm, self.gpu)
    }

    /// All that it maps.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let buffers = self.buffers.iter().map(|(kind, buffer)| Place {
            name: kind.name,
            va: buffer.va,
            size: buffer.size,
            asks: asks(kind.attribute != PLAIN),
            vram: kind.memory == VRAM,
            shared: false,
        });
        let ranges = (0..).zip(RANGES).map(|(index, range)| Place {
            name: range.name,
            va: Va(SHARED + index * STRIDE),
            size: Size(range.size),
            asks: asks(range.flags.has(SvmFlags::COHERENT)),
            vram: range.vram,
            shared: true,
        });
        buffers.chain(ranges)
    }

    /// Demands that everything is mapped with the memory type that `expected` says, and that VRAM is VRAM, or system
    /// memory where the driver of an APU prefers that.
    pub(crate) fn demand(&self, vm: &mut Vm, expected: fn(&Place) -> Mtype) -> Result<()> {
        let space = self.space(vm)?;
        let apu = vm.gpu(self.gpu).options().chip.apu();
        for place in self.places() {
            let vram = place.vram && !apu;
            let wanted = expected(&place);
            for entry in place.entries(&space)? {
                demand!(
                    entry.mtype() == wanted && entry.system() != vram,
                    "{}: found {entry:?}, expected {wanted:?}",
                    place.name
                );
            }
        }
        Ok(())
    }

    /// The largest fragment of all that it maps.
    pub(crate) fn largest_fragment(&self, vm: &mut Vm) -> Result<u8> {
        let space = self.space(vm)?;
        let mut largest = 0;
        for place in self.places() {
            let entries = place.entries(&space)?;
            largest = entries.iter().map(|e| e.fragment()).fold(largest, u8::max);
        }
        Ok(largest)
    }

    /// Demands that nothing of it is mapped.
    pub(crate) fn demand_unmapped(&self, vm: &mut Vm) -> Result<()> {
        let space = self.space(vm)?;
        for place in self.places() {
            let range = GpuVa(place.va.0)..GpuVa(place.va.0 + place.size.0);
            if let Some(entry) = space.leaves(range).find(|entry| entry.valid()) {
                bail!("{} is unmapped, but {entry:?} is there", place.name);
            }
        }
        Ok(())
    }

    /// The one entry of a mapping that has a single one.
    pub(crate) fn single(&self, space: &AddressSpace, name: &str) -> Result<Entry> {
        let place = self
            .places()
            .find(|place| place.name == name)
            .with_context(|| format!("the job has no {name}"))?;
        match place.entries(space)?.as_slice() {
            [entry] => Ok(**entry),
            more => bail!("{name} has {} entries, expected one", more.len()),
        }
    }

    /// Ends the process, with whatever is mapped.
    pub(crate) fn close(self, vm: &mut Vm) -> Result<()> {
        self.compute.close(vm)
    }
}

fn asks(coherence: bool) -> Asks {
    if coherence {
        Asks::Coherence
    } else {
        Asks::Nothing
    }
}
