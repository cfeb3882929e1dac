// SPDX-License-Identifier: MIT OR Apache-2.0
//! A compute job as ROCm makes one: a process with buffers of every kind and ranges of shared virtual memory.

mod kinds;

use self::kinds::{Kind, Range};
use crate::stage::demand;
use anyhow::{Context, Result, bail};
use guest::kfd_uapi::KfdFlags;
use guest::proto::{ReadFile, Size, Va};
use rdna_emu::GpuVa;
use rdna_emu::tables::{AddressSpace, Entry, Level, Mtype};
use std::collections::BTreeMap;
use xtask::vm::Vm;
use xtask::vm::compute::{Compute, KfdBuffer};

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

/// What the job has mapped.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) va: Va,
    pub(crate) size: Size,
    pub(crate) asks: Asks,
    /// Which of execute and write its entries allow.
    rights: u64,
    /// Mapped twice, one behind the other.
    twice: bool,
    /// In the card's memory.
    pub(crate) vram: bool,
    /// A range of shared virtual memory, not a buffer.
    pub(crate) shared: bool,
}

/// Parts of an entry that are judged by themselves: address, FRAG, MTYPE, PTE-in-directory.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const FRAGMENT: u64 = 0x1f << 7;
const MTYPE: u64 = 7 << 48;
const MTYPE_GFX9: u64 = 3 << 57;
const DIRECTORY: u64 = 1 << 54;
const PAGE: u64 = 4096;

impl Place {
    /// Its pages, from the first to the last.
    fn pages(&self, space: &AddressSpace) -> Result<Vec<Page>> {
        let entries = self.entries(space)?;
        let end = self.va.0 + self.size.0;
        let mut pages = Vec::new();
        for entry in entries {
            let first = entry.va.0.max(self.va.0);
            let last = (entry.va.0 + entry.span().bytes()).min(end);
            for va in (first..last).step_by(4096) {
                pages.push(Page {
                    system: entry.system(),
                    address: entry.address() + (va - entry.va.0),
                    fragment: entry.fragment(),
                });
            }
        }
        demand!(
            pages.len() as u64 == self.size.0 / PAGE,
            "{}: {} pages",
            self.name,
            pages.len()
        );
        Ok(pages)
    }

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
    buffers: Vec<(Kind, KfdBuffer)>,
    ranges: Vec<Range>,
}

/// A page as an entry maps it: where it is, and the fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) system: bool,
    pub(crate) address: u64,
    pub(crate) fragment: u8,
}

/// Pages of every mapping, by its name.
pub(crate) type Pages = BTreeMap<String, Vec<Page>>;

/// Whether amdgpu's BTF has a member or function of this name.
pub(crate) fn driver_has(vm: &mut Vm, name: &str) -> Result<bool> {
    let btf = vm.call(ReadFile {
        path: "/sys/kernel/btf/amdgpu".into(),
    })?;
    let name = format!("\0{name}\0");
    Ok(btf
        .0
        .windows(name.len())
        .any(|words| words == name.as_bytes()))
}

impl Job {
    /// Starts a process on the render node of GPU `gpu` and makes the buffers; nothing is mapped.
    pub(crate) fn open(vm: &mut Vm, node: &str, gpu: usize) -> Result<Job> {
        let compute = Compute::open(vm, node)?;
        let options = vm.gpu(gpu).options();
        let (vram, bar) = (options.vram, options.bar.unwrap_or(options.vram));
        let mut buffers = Vec::new();
        for (index, kind) in (0..).zip(kinds::buffers()) {
            let buffer =
                compute.alloc_exactly(vm, kind.flags, Va(FIRST + index * STRIDE), Size(kind.size));
            // KFD makes no VRAM for the CPU's eyes where the BAR does not show all of it (`kfd_dev_is_large_bar`).
            if bar < vram && kind.flags.has(KfdFlags::VRAM) && kind.flags.has(KfdFlags::PUBLIC) {
                demand!(
                    buffer.is_err(),
                    "GPU {gpu}: {} can be made although the BAR shows {bar} of {vram}",
                    kind.name
                );
                continue;
            }
            let buffer = buffer.with_context(|| format!("cannot make {}", kind.name))?;
            buffers.push((kind, buffer));
        }
        Ok(Job {
            compute,
            gpu,
            buffers,
            ranges: kinds::ranges(),
        })
    }

    /// Maps every buffer and shares every range.
    pub(crate) fn map(&self, vm: &mut Vm) -> Result<()> {
        for (kind, buffer) in &self.buffers {
            self.compute
                .map(vm, buffer)
                .with_context(|| format!("cannot map {}", kind.name))?;
        }
        for (index, range) in (0..).zip(&self.ranges) {
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
            .zip(&self.ranges)
            .try_for_each(|(index, _)| self.compute.unshare(vm, Va(SHARED + index * STRIDE)))
    }

    /// After a suspend the shared ranges are where the driver has put them: Linux 7.2's moves them out of the card's memory
    /// when it evicts that, and leaves them there; 7.3's saves and restores what is in it.
    pub(crate) fn suspended(&mut self, vm: &mut Vm) -> Result<()> {
        if driver_has(vm, "svm_range_evict_svm_bo_worker")? {
            for range in &mut self.ranges {
                range.vram = false;
            }
        }
        Ok(())
    }

    /// Its address space now.
    pub(crate) fn space(&self, vm: &mut Vm) -> Result<AddressSpace> {
        self.compute.address_space(vm, self.gpu)
    }

    /// All that it maps.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let buffers = self.buffers.iter().map(|(kind, buffer)| Place {
            name: kind.name.clone(),
            va: buffer.va,
            size: buffer.size,
            asks: asks(kind.coherent()),
            rights: kind.rights(),
            twice: kind.flags.has(KfdFlags::AQL_QUEUE_MEM),
            vram: kind.vram(),
            shared: false,
        });
        let ranges = (0..).zip(&self.ranges).map(|(index, range)| Place {
            name: range.name.clone(),
            va: Va(SHARED + index * STRIDE),
            size: Size(range.size),
            asks: asks(range.coherent()),
            rights: range.rights(),
            twice: false,
            vram: range.vram,
            shared: true,
        });
        buffers.chain(ranges)
    }

    /// Demands that everything is mapped with the memory type that `expected` says, and every other bit as stock has it.
    /// VRAM is VRAM, or system memory where the driver of an APU prefers that.
    pub(crate) fn demand(&self, vm: &mut Vm, expected: fn(&Place) -> Mtype) -> Result<()> {
        let space = self.space(vm)?;
        let apu = vm.gpu(self.gpu).options().chip.apu();
        let mtype = if apu { MTYPE_GFX9 } else { MTYPE };
        for place in self.places() {
            let vram = place.vram && !apu;
            let wanted = expected(&place);
            let bits = kinds::bits(vram, place.rights);
            for entry in place.entries(&space)? {
                let rest = entry.raw & !(ADDRESS | FRAGMENT | mtype | DIRECTORY);
                let directory = entry.level != Level::Ptb;
                demand!(
                    entry.mtype() == wanted && rest == bits && entry.pde_as_pte() == directory,
                    "{}: found {entry:?}, expected {wanted:?} and {bits:#x}",
                    place.name,
                );
            }
            if place.twice {
                let pages = place.pages(&space)?;
                let (first, second) = pages.split_at(pages.len() / 2);
                let same = first.iter().zip(second);
                demand!(
                    same.clone().count() == second.len()
                        && same.clone().all(|(a, b)| a.address == b.address),
                    "{}: its halves are different memory",
                    place.name
                );
            }
        }
        Ok(())
    }

    /// All pages of everything that it maps.
    pub(crate) fn pages(&self, vm: &mut Vm) -> Result<Pages> {
        let space = self.space(vm)?;
        self.places()
            .map(|place| Ok((place.name.clone(), place.pages(&space)?)))
            .collect()
    }

    /// Demands that every page is where `stock` had it, with stock's fragment or the cap if that is lower. Shared
    /// ranges are made anew, so of them only the cap is demanded. How many pages were compared.
    pub(crate) fn demand_capped(&self, vm: &mut Vm, stock: &Pages, cap: u8) -> Result<usize> {
        let (now, mut compared) = (self.pages(vm)?, 0);
        for place in self.places() {
            let (Some(then), Some(now)) = (stock.get(&place.name), now.get(&place.name)) else {
                bail!("{} has no pages", place.name);
            };
            for (then, now) in then.iter().zip(now) {
                let capped = Page {
                    fragment: then.fragment.min(cap),
                    ..*then
                };
                let right = match place.shared {
                    true => now.fragment <= cap,
                    false => *now == capped,
                };
                demand!(
                    right,
                    "{}: {now:x?}, stock had {then:x?}, the cap is {cap}",
                    place.name
                );
                compared += 1;
            }
        }
        Ok(compared)
    }

    /// The largest fragment of all that it maps.
    pub(crate) fn largest_fragment(&self, vm: &mut Vm) -> Result<u8> {
        let pages = self.pages(vm)?;
        let all = pages.values().flatten();
        Ok(all.map(|page| page.fragment).max().unwrap_or(0))
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
