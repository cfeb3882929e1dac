// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB: what a hub remembers of translations, for each VMID, until it is told to forget.
//!
//! Words: an *entry* is one remembered translation. It is as large as the fragment of the page-table
//! entry that it was made of (or as the table's level, if that is more), begins at an address that
//! is a multiple of its size, and says that all of it is contiguous, which is what FRAG promises
//! (`amdgpu_vm_pte_fragment`). Only valid entries are remembered, as drivers rely on.
//!
//! The TLB decides where an access goes, right or wrong. Each use is compared with what the tables
//! say at that moment; [`TlbReport`] tells what differed and why: the entry is *stale* when the
//! page-table entry that it was made of has changed since, and a *wrong fragment* when that one is
//! as it was, but another page that it speaks for lies elsewhere.
//!
//! A [`Mistake`] concerns processes only, and only what they read: a write that would go astray is
//! counted, but goes where the tables say, so that a guest outlives it.
//!
//! A TLB is bounded ([`ENTRIES`] for each VMID). Used by `gmc` for every access of every engine.

use super::VmFault;
use crate::mem::Place;
use crate::report::{TlbReport, TlbUse};
use crate::tables::{Fault, Translation};
use crate::units::{GpuVa, Vmid};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// VMIDs of a hub.
const VMIDS: usize = 16;
/// Entries of one VMID; when there are more, all of them are dropped, as hardware may at any time.
const ENTRIES: usize = 1 << 15;
/// The largest entry: 2^36 pages are all of a 48-bit address space.
const LARGEST: u32 = 36;
/// Examples kept of what went wrong.
const EXAMPLES: usize = 8;
/// Bits of a page-table entry that are not about what an access does: address, FRAG, and the mark
/// of a directory entry that maps (bit 54).
const PLACE_BITS: u64 = 0x0000_ffff_ffff_f000 | 0x1f << 7 | 1 << 54;
const PAGE: u32 = 12;

/// An error built into the device on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Each entry of the TLB is twice as large as its fragment says.
    FragmentsOneLarger,
    /// Nothing that the driver asks to be forgotten is forgotten.
    InvalidationsIgnored,
}

/// What the TLB says about one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The first page that the entry covers, and log2 of how many.
    first: u64,
    order: u32,
    /// Where that page is; the others follow it.
    address: u64,
    system: bool,
    /// The page-table entry that it was made of, and that one's page.
    raw: u64,
    origin: u64,
}

impl Remembered {
    fn new(at: &Translation, enlarge: u32) -> Self {
        let origin = at.entry.va.0 >> PAGE;
        let level = at.entry.level.shift() - PAGE;
        let order = (u32::from(at.entry.fragment()).max(level) + enlarge).min(LARGEST);
        let first = origin >> order << order;
        let before = (origin - first) << PAGE;
        Self {
            first,
            order,
            address: at.entry.address().wrapping_sub(before),
            system: at.system,
            raw: at.entry.raw,
            origin,
        }
    }

    fn key(&self) -> u64 {
        key(self.first, self.order)
    }

    /// Where `va`, which it covers, is.
    pub(super) fn address(&self, va: GpuVa) -> u64 {
        let offset = (va.0 & 0xffff_ffff_ffff).wrapping_sub(self.first << PAGE);
        self.address.wrapping_add(offset)
    }

    /// The same as a place.
    pub(super) fn place(&self, va: GpuVa) -> Place {
        Place::new(self.system, self.address(va))
    }

    /// The page-table entry's bits, of which the rights are taken.
    pub(super) fn raw(&self) -> u64 {
        self.raw
    }

    /// Whether an access to `va` does what the tables say now.
    fn agrees(&self, va: GpuVa, now: &Result<Translation, VmFault>) -> bool {
        now.as_ref().is_ok_and(|now| {
            now.system == self.system
                && now.address == self.address(va)
                && (now.entry.raw ^ self.raw) & !PLACE_BITS == 0
        })
    }
}

fn key(first: u64, order: u32) -> u64 {
    first >> order << 6 | u64::from(order)
}

/// Spreads the bits of a key; the keys are the driver's, not an attacker's on the host.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// The entries of one VMID.
#[derive(Debug, Default)]
struct Context {
    entries: HashMap<u64, Remembered, BuildHasherDefault<Spread>>,
    /// Bit n: there may be entries of 2^n pages.
    orders: u64,
}

impl Context {
    /// The smallest entry that covers `page`.
    fn find(&self, page: u64) -> Option<Remembered> {
        let mut orders = self.orders;
        while orders != 0 {
            let order = orders.trailing_zeros();
            if let Some(found) = self.entries.get(&key(page, order)) {
                return Some(*found);
            }
            orders &= orders - 1;
        }
        None
    }

    fn forget(&mut self) {
        self.entries.clear();
        self.orders = 0;
    }
}

/// The TLB of one hub.
#[derive(Debug)]
pub(super) struct Tlb {
    name: &'static str,
    contexts: [Context; VMIDS],
    counts: TlbReport,
    mistake: Option<Mistake>,
}

impl Tlb {
    /// An empty one; `name` is the hub's, for examples.
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            contexts: Default::default(),
            counts: TlbReport::default(),
            mistake: None,
        }
    }

    /// What `va` is translated with. `tables` looks an address up in the tables as they are now.
    pub(super) fn translate(
        &mut self,
        vmid: Vmid,
        va: GpuVa,
        write: bool,
        tables: &dyn Fn(GpuVa) -> Result<Translation, VmFault>,
    ) -> Result<(Remembered, u64), VmFault> {
        let mistake = self.mistake.filter(|_| vmid != Vmid::KERNEL);
        let in_page = 0x1000 - (va.0 & 0xfff);
        let now = tables(va);
        let context = &mut self.contexts[usize::from(vmid.0) % VMIDS];
        let page = (va.0 & 0xffff_ffff_ffff) >> PAGE;
        // An address that is no address is refused before it is looked up.
        let known = match now {
            Err(VmFault::Tables(Fault::TooWide)) => None,
            _ => context.find(page),
        };
        let Some(entry) = known else {
            let now = now?;
            self.counts.misses += 1;
            let enlarge = u32::from(mistake == Some(Mistake::FragmentsOneLarger));
            let entry = Remembered::new(&now, enlarge);
            if context.entries.len() >= ENTRIES {
                self.counts.evictions += context.entries.len() as u64;
                context.forget();
            }
            context.orders |= 1 << entry.order;
            context.entries.insert(entry.key(), entry);
            return Ok((entry, now.remaining));
        };
        self.counts.hits += 1;
        if entry.agrees(va, &now) {
            return Ok((entry, now.map_or(in_page, |now| now.remaining)));
        }
        self.wrong(vmid, va, entry, now, tables);
        if write && mistake.is_some() {
            return now.map(|now| (Remembered::new(&now, 0), in_page));
        }
        Ok((entry, in_page))
    }

    /// Counts a use of `entry` for `va` that the tables do not bear out.
    fn wrong(
        &mut self,
        vmid: Vmid,
        va: GpuVa,
        entry: Remembered,
        now: Result<Translation, VmFault>,
        tables: &dyn Fn(GpuVa) -> Result<Translation, VmFault>,
    ) {
        let origin = GpuVa(entry.origin << PAGE);
        let unchanged = tables(origin).is_ok_and(|now| now.entry.raw == entry.raw);
        if unchanged {
            self.counts.wrong_fragments += 1;
        } else {
            self.counts.stale += 1;
        }
        if self.counts.examples.len() < EXAMPLES {
            self.counts.examples.push(TlbUse {
                hub: self.name.to_owned(),
                vmid,
                va,
                stale: !unchanged,
                used: entry.raw,
                of: origin,
                now: match now {
                    Ok(now) => Ok(now.entry.raw),
                    Err(fault) => Err(fault.to_string()),
                },
            });
        }
    }

    /// Forgets what it knows of these VMIDs, one bit each.
    pub(super) fn invalidate(&mut self, vmids: u32) {
        self.counts.invalidations += u64::from(vmids.count_ones());
        let ignored = self.mistake == Some(Mistake::InvalidationsIgnored);
        for (number, context) in self.contexts.iter_mut().enumerate() {
            if vmids >> number & 1 == 1 && !(ignored && number > 0) {
                context.forget();
            }
        }
    }

    /// Forgets everything: a reset.
    pub(super) fn reset(&mut self) {
        self.contexts.iter_mut().for_each(Context::forget);
    }

    /// Makes a mistake from now on, or none; what former mistakes left behind is forgotten.
    pub(super) fn make(&mut self, mistake: Option<Mistake>) {
        self.mistake = mistake;
        self.reset();
    }

    /// What was counted, which begins anew.
    pub(super) fn take(&mut self) -> TlbReport {
        std::mem::take(&mut self.counts)
    }

    /// What was counted since the device started.
    pub(super) fn counts(&self) -> &TlbReport {
        &self.counts
    }
}

#[cfg(test)]
mod tests;
