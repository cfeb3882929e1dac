// SPDX-License-Identifier: MIT OR Apache-2.0
//! GMC: the graphics memory controller. Turns the addresses of the sixteen VM contexts into places.
//!
//! Registers: `gc_10_1_0_offset.h` (GCVM_*, GCMC_VM_*) and `mmhub_2_0_0_offset.h` (MMVM_*,
//! MMMC_VM_*). VMID 0: the frame buffer aperture, then a flat table (GART). Others: four levels of
//! page directories below PAGE_TABLE_BASE_ADDR. What was translated is remembered (`tlb`) until
//! the driver asks to forget it, which both hubs acknowledge at once. What cannot be translated is
//! reported (`fault`).

mod fault;
mod tlb;

pub(crate) use fault::Denial;
pub use tlb::Mistake;

use crate::bus::Space;
use crate::chip::{Hubs, Spec};
use crate::mem::{Memory, Place};
use crate::regs::{Reg, RegisterFile, Token, Wiring, WiringError};
use crate::report::TlbReport;
use crate::tables::{
    self, Depth, Entry, Fault, Format, Level, Raw, TableSource, Translation, WalkError,
};
use crate::units::{ByteSize, GpuVa, PageDirectory, Vmid};
use fault::Faults;
use serde::Serialize;
use thiserror::Error;
use tlb::Tlb;

/// Contexts of a hub, and invalidation engines of a hub.
const CONTEXTS: u32 = 16;
const ENGINES: u32 = 18;
/// FB_LOCATION_* count in 16 MiB.
const FB_SHIFT: u32 = 24;
/// `VM_INVALIDATE_ENGx_REQ.PER_VMID_INVALIDATE_REQ`.
const PER_VMID: u32 = 0xffff;
/// `VM_L2_CNTL2`: INVALIDATE_ALL_L1_TLBS, INVALIDATE_L2_CACHE.
const INVALIDATE_ALL: u32 = 1 << 0 | 1 << 1;
/// Tokens of the registers that hubs have once; those of invalidation engines are smaller.
const L2_CNTL2: Token = 100;
const FAULT_CNTL: Token = 102;

/// The hub that an engine reaches memory through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hub {
    /// Of the graphics core.
    Gfx,
    /// Of the rest.
    Mm,
}

impl Hub {
    pub(crate) const ALL: [Self; 2] = [Self::Gfx, Self::Mm];

    /// How the names of its registers begin.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Gfx => "GC",
            Self::Mm => "MM",
        }
    }

    /// As amdgpu calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gfx => "gfxhub",
            Self::Mm => "mmhub",
        }
    }
}

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

/// The registers of the hubs.
#[derive(Debug)]
pub(crate) struct Gmc {
    /// Of the graphics core's hub, then of the other.
    contexts: [Vec<Context>; 2],
    depth: Depth,
    hubs: Hubs,
    fb_base: Reg,
    fb_top: Reg,
    /// Acknowledge registers, by token.
    acks: Vec<Reg>,
    tlbs: [Tlb; 2],
    pub(crate) faults: Faults,
}

impl Gmc {
    /// Claims the registers of both hubs.
    pub(crate) fn new(
        wiring: &mut Wiring<'_>,
        spec: &Spec,
        vram: ByteSize,
    ) -> Result<Self, WiringError> {
        let contexts = [contexts(wiring, Hub::Gfx)?, contexts(wiring, Hub::Mm)?];
        let mut acks = Vec::new();
        let low = u32::try_from(spec.fb_base >> FB_SHIFT).unwrap_or(0);
        let high = low + u32::try_from(vram.bytes() >> FB_SHIFT).unwrap_or(1).max(1) - 1;
        for (hub, number) in Hub::ALL.into_iter().zip(0..) {
            let hub = hub.prefix();
            for n in 0..ENGINES {
                let token = Token::try_from(acks.len()).unwrap_or(Token::MAX);
                wiring.on_write(&format!("{hub}VM_INVALIDATE_ENG{n}_REQ"), token)?;
                acks.push(wiring.reg(&format!("{hub}VM_INVALIDATE_ENG{n}_ACK"))?);
                // 1: the reader has the semaphore.
                wiring.fixed(&format!("{hub}VM_INVALIDATE_ENG{n}_SEM"), 1)?;
            }
            wiring.power_on(&format!("{hub}MC_VM_FB_LOCATION_BASE"), low)?;
            wiring.power_on(&format!("{hub}MC_VM_FB_LOCATION_TOP"), high)?;
            wiring.on_write(&format!("{hub}VM_L2_CNTL2"), L2_CNTL2 + number)?;
            let control = format!("{hub}VM_L2_PROTECTION_FAULT_CNTL");
            wiring.on_write(&control, FAULT_CNTL + number)?;
        }
        Ok(Self {
            contexts,
            depth: spec.tables,
            hubs: spec.hubs,
            fb_base: wiring.reg("GCMC_VM_FB_LOCATION_BASE")?,
            fb_top: wiring.reg("GCMC_VM_FB_LOCATION_TOP")?,
            acks,
            tlbs: Hub::ALL.map(|hub| Tlb::new(hub.name())),
            faults: Faults::new(wiring)?,
        })
    }

    /// Forgets translations and faults; the registers are at their power-on values already.
    pub(crate) fn reset(&mut self) {
        self.tlbs.iter_mut().for_each(Tlb::reset);
        self.faults.reset();
    }

    /// A register of a hub was written.
    pub(crate) fn written(&mut self, regs: &mut RegisterFile, token: Token, value: u32) {
        match token {
            L2_CNTL2.. => {
                let hub = if token & 1 == 0 { Hub::Gfx } else { Hub::Mm };
                if token >= FAULT_CNTL {
                    self.faults.control(regs, hub, value);
                } else if value & INVALIDATE_ALL != 0 {
                    self.invalidate(hub, PER_VMID);
                }
            }
            engine => {
                let Some(ack) = self.acks.get(usize::from(engine)) else {
                    return;
                };
                regs.set(*ack, value & PER_VMID);
                let hub = if u32::from(engine) < ENGINES {
                    Hub::Gfx
                } else {
                    Hub::Mm
                };
                self.request(regs, hub, value);
            }
        }
    }

    /// An invalidation as `VM_INVALIDATE_ENGx_REQ` and packets of the same layout ask for it.
    pub(crate) fn request(&mut self, regs: &mut RegisterFile, hub: Hub, value: u32) {
        if value & self.hubs.ptes == self.hubs.ptes {
            self.invalidate(hub, value & PER_VMID);
        }
        if value & self.hubs.clear_status != 0 {
            self.faults.clear(regs, hub);
        }
    }

    /// A hub forgets the translations of these VMIDs, one bit each.
    pub(crate) fn invalidate(&mut self, hub: Hub, vmids: u32) {
        self.tlb(hub).invalidate(vmids & PER_VMID);
    }

    /// A hub forgets the translations of the VMIDs that a process has, as the interrupt handler
    /// knows it: what firmware does for INVALIDATE_TLBS.
    pub(crate) fn invalidate_pasid(&mut self, regs: &RegisterFile, hub: Hub, pasid: u16) {
        let vmids = self.faults.vmids(regs, hub, pasid);
        self.invalidate(hub, vmids);
    }

    fn tlb(&mut self, hub: Hub) -> &mut Tlb {
        let [gfx, mm] = &mut self.tlbs;
        match hub {
            Hub::Gfx => gfx,
            Hub::Mm => mm,
        }
    }

    /// What both hubs' TLBs counted.
    pub(crate) fn tlb_report(&self) -> TlbReport {
        let mut sum = TlbReport::default();
        self.tlbs.iter().for_each(|tlb| sum.add(tlb.counts()));
        sum
    }

    /// Builds an error into the TLBs, or takes it out.
    pub(crate) fn make_mistake(&mut self, mistake: Option<Mistake>) {
        self.tlbs.iter_mut().for_each(|tlb| tlb.make(mistake));
    }

    /// What both hubs' TLBs counted, which begins anew.
    pub(crate) fn take_tlb_report(&mut self) -> TlbReport {
        let mut sum = TlbReport::default();
        self.tlbs.iter_mut().for_each(|tlb| sum.add(&tlb.take()));
        sum
    }

    /// The hub that the SDMA engines sit behind.
    pub(crate) fn sdma_hub(&self) -> Hub {
        self.hubs.sdma
    }

    fn context(&self, hub: Hub, vmid: Vmid) -> Option<&Context> {
        let [gfx, mm] = &self.contexts;
        let contexts = match hub {
            Hub::Gfx => gfx,
            Hub::Mm => mm,
        };
        contexts.get(usize::from(vmid.0))
    }

    /// The root that the driver has set for `vmid` in a hub.
    pub(crate) fn root(&self, regs: &RegisterFile, hub: Hub, vmid: Vmid) -> PageDirectory {
        let context = self.context(hub, vmid);
        PageDirectory(context.map_or(0, |c| regs.pair(c.base_low, c.base_high)))
    }

    /// The address space that engines behind `hub` use for `vmid`. The driver sets VMID 0 up alike in both hubs.
    pub(crate) fn space(&self, regs: &RegisterFile, hub: Hub, vmid: Vmid) -> Space {
        if vmid == Vmid::KERNEL {
            return Space::Kernel;
        }
        Space::Process {
            vmid,
            root: self.root(regs, hub, vmid),
            depth: self.depth,
        }
    }

    /// Where the GART begins, and how many pages it has.
    fn gart_range(&self, regs: &RegisterFile) -> (GpuVa, u64) {
        let Some(c) = self.context(Hub::Gfx, Vmid::KERNEL) else {
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
        &mut self,
        regs: &RegisterFile,
        memory: &Memory,
        hub: Hub,
        space: Space,
        va: GpuVa,
        write: bool,
    ) -> (Result<Option<Place>, VmFault>, u64) {
        let in_page = 0x1000 - (va.0 & 0xfff);
        let found = match space {
            Space::Kernel => {
                let fb = u64::from(regs.get(self.fb_base)) << FB_SHIFT;
                let fb_end = (u64::from(regs.get(self.fb_top)) + 1) << FB_SHIFT;
                if (fb..fb_end).contains(&va.0) {
                    return (Ok(Some(Place::Vram(va.0 - fb))), fb_end - va.0);
                }
                let gart = self.gart_table(regs);
                self.tlb(hub)
                    .translate(Vmid::KERNEL, va, write, &|va| gart.lookup(memory, va))
            }
            Space::Process { vmid, root, depth } => {
                self.tlb(hub).translate(vmid, va, write, &|va| {
                    Ok(tables::lookup(memory, root, depth, va)?)
                })
            }
        };
        match found {
            Err(VmFault::Tables(Fault::Prt)) => (Ok(None), in_page),
            Err(fault) => (Err(fault), in_page),
            Ok((entry, run)) => {
                let raw = Raw(entry.raw());
                let allowed = match space {
                    Space::Kernel => true,
                    Space::Process { .. } if write => raw.writeable(),
                    Space::Process { .. } => raw.readable(),
                };
                let place = allowed.then_some(Some(entry.place(va)));
                (place.ok_or(VmFault::Permission(raw.0)), run)
            }
        }
    }

    fn gart_table(&self, regs: &RegisterFile) -> Gart {
        let (start, pages) = self.gart_range(regs);
        Gart {
            root: Raw(self.root(regs, Hub::Gfx, Vmid::KERNEL).0),
            start,
            pages,
            format: self.depth.format,
        }
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
        let root = self.root(regs, Hub::Gfx, Vmid::KERNEL);
        tables::flat(memory, root, start, count, self.depth.format)
    }
}

/// The context registers of a hub.
fn contexts(wiring: &Wiring<'_>, hub: Hub) -> Result<Vec<Context>, WiringError> {
    let prefix = hub.prefix();
    let context = |n| {
        let reg = |what: &str| wiring.reg(&format!("{prefix}VM_CONTEXT{n}_PAGE_TABLE_{what}"));
        Ok(Context {
            base_low: reg("BASE_ADDR_LO32")?,
            base_high: reg("BASE_ADDR_HI32")?,
            start_low: reg("START_ADDR_LO32")?,
            start_high: reg("START_ADDR_HI32")?,
            end_low: reg("END_ADDR_LO32")?,
            end_high: reg("END_ADDR_HI32")?,
        })
    };
    (0..CONTEXTS).map(context).collect()
}

/// VMID 0's flat table.
struct Gart {
    root: Raw,
    start: GpuVa,
    pages: u64,
    format: Format,
}

impl Gart {
    fn lookup(&self, memory: &Memory, va: GpuVa) -> Result<Translation, VmFault> {
        let page = va.0.checked_sub(self.start.0).map(|d| d >> 12);
        let page = page
            .filter(|page| *page < self.pages)
            .ok_or(VmFault::NoAperture)?;
        let mut word = [0];
        let at = self.root.table().wrapping_add(page * 8);
        if !memory.read_entries(self.root.system(), at, &mut word) {
            let (level, address) = (Level::Ptb, at);
            return Err(Fault::Table { level, address }.into());
        }
        let offset = va.0 & 0xfff;
        match self
            .format
            .decode(GpuVa(va.0 - offset), Level::Ptb, word[0])
        {
            Some(entry) if entry.valid() => Ok(Translation {
                entry,
                system: entry.system(),
                address: entry.address() + offset,
                remaining: 0x1000 - offset,
            }),
            _ => Err(VmFault::Gart(word[0])),
        }
    }
}
