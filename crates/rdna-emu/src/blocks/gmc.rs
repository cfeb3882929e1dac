// SPDX-License-Identifier: MIT OR Apache-2.0
//! GMC: the graphics memory controller. Turns the addresses of the sixteen VM contexts into places.
//!
//! Registers: `gc_10_1_0_offset.h` (GCVM_*, GCMC_VM_*) and `mmhub_2_0_0_offset.h` (MMVM_*,
//! MMMC_VM_*). VMID 0: the frame buffer aperture, then a flat table (GART). Others: four levels of
//! page directories below PAGE_TABLE_BASE_ADDR. Both hubs acknowledge an invalidation at once,
//! since nothing is cached here.

use crate::bus::Space;
use crate::chip::Spec;
use crate::mem::{Memory, Place};
use crate::regs::{Reg, RegisterFile, Token, Wiring, WiringError};
use crate::tables::{self, Depth, Entry, Fault, Level, TableSource, WalkError};
use crate::units::{ByteSize, GpuVa, PageDirectory, Vmid};
use thiserror::Error;

/// Contexts of a hub, and invalidation engines of a hub.
const CONTEXTS: u32 = 16;
const ENGINES: u32 = 18;
/// FB_LOCATION_* count in 16 MiB.
const FB_SHIFT: u32 = 24;
/// `VM_INVALIDATE_ENGx_REQ.PER_VMID_INVALIDATE_REQ`.
const PER_VMID: u32 = 0xffff;

/// Why an access through a VM failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum VmFault {
    #[error("{0}")]
    Tables(#[from] Fault),
    #[error("outside of the frame buffer and the GART")]
    NoAperture,
    #[error("the GART entry {0:#018x} is not valid")]
    Gart(u64),
    #[error("the entry {0:#018x} does not allow it")]
    Permission(u64),
}

#[derive(Clone, Copy, Debug)]
struct Context {
    base_low: Reg,
    base_high: Reg,
    start_low: Reg,
    start_high: Reg,
    end_low: Reg,
    end_high: Reg,
}

/// The registers of the hub that engines sit behind.
#[derive(Debug)]
pub(crate) struct Gmc {
    contexts: Vec<Context>,
    fb_base: Reg,
    fb_top: Reg,
    /// Acknowledge registers, by token.
    acks: Vec<Reg>,
}

impl Gmc {
    /// Claims the registers of both hubs.
    pub(crate) fn new(
        wiring: &mut Wiring<'_>,
        spec: &Spec,
        vram: ByteSize,
    ) -> Result<Self, WiringError> {
        let mut contexts = Vec::new();
        for n in 0..CONTEXTS {
            let reg = |what: &str| wiring.reg(&format!("GCVM_CONTEXT{n}_PAGE_TABLE_{what}"));
            contexts.push(Context {
                base_low: reg("BASE_ADDR_LO32")?,
                base_high: reg("BASE_ADDR_HI32")?,
                start_low: reg("START_ADDR_LO32")?,
                start_high: reg("START_ADDR_HI32")?,
                end_low: reg("END_ADDR_LO32")?,
                end_high: reg("END_ADDR_HI32")?,
            });
        }
        let mut acks = Vec::new();
        let low = u32::try_from(spec.fb_base >> FB_SHIFT).unwrap_or(0);
        let high = low + u32::try_from(vram.bytes() >> FB_SHIFT).unwrap_or(1).max(1) - 1;
        for hub in ["GC", "MM"] {
            for n in 0..ENGINES {
                let token = Token::try_from(acks.len()).unwrap_or(Token::MAX);
                wiring.on_write(&format!("{hub}VM_INVALIDATE_ENG{n}_REQ"), token)?;
                acks.push(wiring.reg(&format!("{hub}VM_INVALIDATE_ENG{n}_ACK"))?);
                // 1: the reader has the semaphore.
                wiring.fixed(&format!("{hub}VM_INVALIDATE_ENG{n}_SEM"), 1)?;
            }
            wiring.power_on(&format!("{hub}MC_VM_FB_LOCATION_BASE"), low)?;
            wiring.power_on(&format!("{hub}MC_VM_FB_LOCATION_TOP"), high)?;
        }
        Ok(Self {
            contexts,
            fb_base: wiring.reg("GCMC_VM_FB_LOCATION_BASE")?,
            fb_top: wiring.reg("GCMC_VM_FB_LOCATION_TOP")?,
            acks,
        })
    }

    /// An invalidation was requested.
    pub(crate) fn written(&mut self, regs: &mut RegisterFile, token: Token, value: u32) {
        if let Some(ack) = self.acks.get(usize::from(token)) {
            regs.set(*ack, value & PER_VMID);
        }
    }

    fn context(&self, vmid: Vmid) -> Option<&Context> {
        self.contexts.get(usize::from(vmid.0))
    }

    /// The root that the driver has set for `vmid`.
    pub(crate) fn root(&self, regs: &RegisterFile, vmid: Vmid) -> PageDirectory {
        let context = self.context(vmid);
        PageDirectory(context.map_or(0, |c| regs.pair(c.base_low, c.base_high)))
    }

    /// The address space that engines use for `vmid`.
    pub(crate) fn space(&self, regs: &RegisterFile, vmid: Vmid) -> Space {
        if vmid == Vmid::KERNEL {
            return Space::Kernel;
        }
        Space::Process {
            vmid,
            root: self.root(regs, vmid),
            depth: Depth::FOUR,
        }
    }

    /// Where the GART begins, and how many pages it has.
    fn gart_range(&self, regs: &RegisterFile) -> (GpuVa, u64) {
        let Some(c) = self.context(Vmid::KERNEL) else {
            return (GpuVa(0), 0);
        };
        let start = regs.pair(c.start_low, c.start_high);
        let last = regs.pair(c.end_low, c.end_high);
        let pages = last.checked_sub(start).map_or(0, |n| n.saturating_add(1));
        (GpuVa(start << 12), pages)
    }

    /// The place that `va` leads to (`None`: reads give zero, writes vanish), and how many bytes
    /// from there on lie together.
    pub(crate) fn locate(
        &self,
        regs: &RegisterFile,
        memory: &Memory,
        space: Space,
        va: GpuVa,
        write: bool,
    ) -> (Result<Option<Place>, VmFault>, u64) {
        let in_page = 0x1000 - (va.0 & 0xfff);
        match space {
            Space::Kernel => self.locate_kernel(regs, memory, va),
            Space::Process { root, depth, .. } => match tables::lookup(memory, root, depth, va) {
                Ok(t) => {
                    let allowed = if write {
                        t.entry.writeable()
                    } else {
                        t.entry.readable()
                    };
                    let place = Place::new(t.system, t.address);
                    let result = allowed
                        .then_some(Some(place))
                        .ok_or(VmFault::Permission(t.entry.raw));
                    (result, t.remaining)
                }
                Err(Fault::Prt) => (Ok(None), in_page),
                Err(fault) => (Err(fault.into()), in_page),
            },
        }
    }

    fn locate_kernel(
        &self,
        regs: &RegisterFile,
        memory: &Memory,
        va: GpuVa,
    ) -> (Result<Option<Place>, VmFault>, u64) {
        let in_page = 0x1000 - (va.0 & 0xfff);
        let fb = u64::from(regs.get(self.fb_base)) << FB_SHIFT;
        let fb_end = (u64::from(regs.get(self.fb_top)) + 1) << FB_SHIFT;
        if (fb..fb_end).contains(&va.0) {
            return (Ok(Some(Place::Vram(va.0 - fb))), fb_end - va.0);
        }
        let (start, pages) = self.gart_range(regs);
        let Some(page) = va.0.checked_sub(start.0).map(|d| d >> 12) else {
            return (Err(VmFault::NoAperture), in_page);
        };
        if page >= pages {
            return (Err(VmFault::NoAperture), in_page);
        }
        let root = tables::Raw(self.root(regs, Vmid::KERNEL).0);
        let mut word = [0];
        let at = root.table().wrapping_add(page * 8);
        if !memory.read_entries(root.system(), at, &mut word) {
            let (level, address) = (Level::Ptb, at);
            return (Err(Fault::Table { level, address }.into()), in_page);
        }
        let place = match Entry::decode(GpuVa(va.0 & !0xfff), Level::Ptb, word[0]) {
            Some(e) if e.valid() => Ok(Some(Place::new(e.system(), e.address() + (va.0 & 0xfff)))),
            _ => Err(VmFault::Gart(word[0])),
        };
        (place, in_page)
    }

    /// The entries of VMID 0's table that are not zero.
    pub(crate) fn gart(
        &self,
        regs: &RegisterFile,
        memory: &Memory,
    ) -> Result<Vec<Entry>, WalkError> {
        let (start, pages) = self.gart_range(regs);
        // A table larger than VRAM cannot be; the registers may hold anything.
        let limit = memory.vram_size().bytes() / 8;
        let count = usize::try_from(pages.min(limit)).unwrap_or(0);
        tables::flat(memory, self.root(regs, Vmid::KERNEL), start, count)
    }
}
