// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TLB against hand-made tables, and against a model that keeps a list and searches it whole.

use super::*;
use crate::tables::{Entry, Level};
use std::collections::BTreeMap;

/// Valid, executable, readable, writeable.
const RWX: u64 = 0x71;

/// Page tables as a list: page number to entry; each covers 4 KiB, or 2 MiB when it has bit 54.
#[derive(Clone, Default)]
struct Tables(BTreeMap<u64, u64>);

impl Tables {
    fn lookup(&self, va: GpuVa) -> Result<Translation, VmFault> {
        let absent = VmFault::Tables(Fault::NotPresent(Level::Ptb));
        let page = va.0 >> PAGE;
        let small = self.0.get_key_value(&page);
        let large = self.0.get_key_value(&(page >> 9 << 9));
        let large = large.filter(|(_, raw)| *raw >> 54 & 1 == 1);
        let (&first, &raw) = large.or(small).ok_or(absent)?;
        let level = if raw >> 54 & 1 == 1 {
            Level::Pdb0
        } else {
            Level::Ptb
        };
        let entry = Entry::decode(GpuVa(first << PAGE), level, raw).ok_or(absent)?;
        let offset = va.0 - (first << PAGE);
        Ok(Translation {
            entry,
            system: entry.system(),
            address: entry.address() + offset,
            remaining: entry.span().bytes() - offset,
        })
    }

    /// Maps `pages` pages from `first` on to `address` on, all with this FRAG.
    fn map(&mut self, first: u64, pages: u64, address: u64, fragment: u64) {
        for i in 0..pages {
            let raw = (address + (i << PAGE)) | fragment << 7 | RWX;
            self.0.insert(first + i, raw);
        }
    }
}

fn at(tlb: &mut Tlb, tables: &Tables, vmid: u8, va: u64) -> Option<u64> {
    let lookup = |va| tables.lookup(va);
    let found = tlb.translate(Vmid(vmid), GpuVa(va), false, &lookup);
    found.ok().map(|(entry, _)| entry.address(GpuVa(va)))
}

fn sums(tlb: &Tlb) -> [u64; 4] {
    let counts = tlb.counts();
    [
        counts.hits,
        counts.misses,
        counts.stale,
        counts.wrong_fragments,
    ]
}

#[test]
fn a_fragment_is_one_entry() {
    let mut tables = Tables::default();
    tables.map(0x100, 16, 0x40_0000, 4);
    let mut tlb = Tlb::new("hub");
    // The middle first: the entry begins where the fragment does.
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_5008), Some(0x40_5008));
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x40_0000));
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_f000), Some(0x40_f000));
    assert_eq!(at(&mut tlb, &tables, 1, 0x11_0000), None);
    assert_eq!(sums(&tlb), [2, 1, 0, 0]);
}

#[test]
fn a_directory_entry_is_as_large_as_its_level_and_its_address_need_not_be_aligned() {
    let mut tables = Tables::default();
    tables.0.insert(0x200, 1 << 54 | 0x123_4000 | 9 << 7 | RWX);
    let mut tlb = Tlb::new("hub");
    assert_eq!(at(&mut tlb, &tables, 1, 0x20_0000), Some(0x123_4000));
    assert_eq!(at(&mut tlb, &tables, 1, 0x3f_f000), Some(0x143_3000));
    assert_eq!(sums(&tlb), [1, 1, 0, 0]);
}

#[test]
fn a_fragment_that_claims_too_much_delivers_what_is_behind_it() {
    let mut tables = Tables::default();
    // Two pages in a row, the next two elsewhere, all four in one claimed fragment.
    tables.map(0x100, 2, 0x40_0000, 2);
    tables.map(0x102, 2, 0x90_0000, 2);
    let mut tlb = Tlb::new("hub");
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x40_0000));
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_3000), Some(0x40_3000));
    assert_eq!(sums(&tlb), [1, 1, 0, 1]);
    let example = &tlb.counts().examples[0];
    assert!(!example.stale);
    assert_eq!(
        (example.va.0, example.of.0, example.used),
        (0x10_3000, 0x10_0000, 0x40_0171)
    );
    assert_eq!(example.now, Ok(0x90_1171));
}

#[test]
fn what_is_remembered_is_used_until_its_vmid_is_invalidated() {
    let mut tables = Tables::default();
    tables.map(0x100, 1, 0x40_0000, 0);
    let mut tlb = Tlb::new("hub");
    assert_eq!(at(&mut tlb, &tables, 3, 0x10_0000), Some(0x40_0000));
    tables.map(0x100, 1, 0x50_0000, 0);
    assert_eq!(at(&mut tlb, &tables, 3, 0x10_0000), Some(0x40_0000));
    assert_eq!(at(&mut tlb, &tables, 4, 0x10_0000), Some(0x50_0000));
    tlb.invalidate(1 << 4);
    assert_eq!(at(&mut tlb, &tables, 3, 0x10_0000), Some(0x40_0000));
    assert_eq!(sums(&tlb), [2, 2, 2, 0]);
    tlb.invalidate(1 << 3);
    assert_eq!(at(&mut tlb, &tables, 3, 0x10_0000), Some(0x50_0000));
    // Unmapped, and still remembered.
    tables.0.clear();
    assert_eq!(at(&mut tlb, &tables, 3, 0x10_0000), Some(0x50_0000));
    assert_eq!(sums(&tlb)[2], 3);
    assert!(tlb.counts().examples[2].now.is_err());
}

#[test]
fn other_rights_and_memory_types_are_stale_too_and_another_fragment_is_not() {
    let mut tables = Tables::default();
    tables.map(0x100, 4, 0x40_0000, 2);
    let mut tlb = Tlb::new("hub");
    at(&mut tlb, &tables, 1, 0x10_0000);
    // Split by the driver: the same pages, smaller fragments.
    tables.map(0x100, 4, 0x40_0000, 0);
    at(&mut tlb, &tables, 1, 0x10_1000);
    assert_eq!(sums(&tlb), [1, 1, 0, 0]);
    tables.0.insert(0x101, 0x40_1000 | 0x31);
    at(&mut tlb, &tables, 1, 0x10_1000);
    tables.0.insert(0x101, 0x40_1000 | RWX | 3 << 48);
    at(&mut tlb, &tables, 1, 0x10_1000);
    assert_eq!(sums(&tlb), [3, 1, 2, 0]);
}

#[test]
fn what_is_not_there_is_not_remembered() {
    let mut tables = Tables::default();
    let mut tlb = Tlb::new("hub");
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), None);
    tables.map(0x100, 1, 0x40_0000, 0);
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x40_0000));
    assert_eq!(sums(&tlb), [0, 1, 0, 0]);
}

#[test]
fn mistakes_are_made_when_asked_for() {
    let mut tables = Tables::default();
    tables.map(0x100, 1, 0x40_0000, 0);
    tables.map(0x101, 1, 0x90_0000, 0);
    let mut tlb = Tlb::new("hub");
    tlb.make(Some(Mistake::FragmentsOneLarger));
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x40_0000));
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_1000), Some(0x40_1000));
    assert_eq!(sums(&tlb), [1, 1, 0, 1]);
    tlb.make(Some(Mistake::InvalidationsIgnored));
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x40_0000));
    tlb.invalidate(u32::MAX);
    tables.map(0x100, 1, 0x50_0000, 0);
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x40_0000));
    assert_eq!(sums(&tlb), [2, 2, 1, 1]);
    // What was counted is handed over once, and what was wrong is gone with the mistake.
    tlb.make(None);
    assert_eq!(at(&mut tlb, &tables, 1, 0x10_0000), Some(0x50_0000));
    let taken = tlb.take();
    assert_eq!((taken.stale, taken.wrong_fragments), (1, 1));
    assert_eq!(sums(&tlb), [0; 4]);
}

#[test]
fn a_mistake_is_not_made_for_the_kernel_nor_in_what_is_written() {
    let mut tables = Tables::default();
    tables.map(0x100, 1, 0x40_0000, 0);
    tables.map(0x101, 1, 0x90_0000, 0);
    let mut tlb = Tlb::new("hub");
    tlb.make(Some(Mistake::FragmentsOneLarger));
    for (vmid, wrong) in [(0, 0), (1, 1)] {
        at(&mut tlb, &tables, vmid, 0x10_0000);
        let va = GpuVa(0x10_1000);
        let found = tlb.translate(Vmid(vmid), va, true, &|va| tables.lookup(va));
        assert_eq!(found.unwrap().0.address(va), 0x90_0000);
        assert_eq!(sums(&tlb)[3], wrong);
    }
}

#[test]
fn it_is_bounded() {
    let mut tables = Tables::default();
    tables.map(0, ENTRIES as u64 + 1, 0x40_0000, 0);
    let mut tlb = Tlb::new("hub");
    for page in 0..=ENTRIES as u64 {
        at(&mut tlb, &tables, 1, page << PAGE);
    }
    assert_eq!(tlb.counts().evictions, ENTRIES as u64);
    assert_eq!(tlb.contexts[1].entries.len(), 1);
}

/// A list of what was read from the tables, in order; nothing is ever looked up but by searching it.
#[derive(Default)]
struct Model {
    /// VMID, the page whose entry was read, the entry.
    read: Vec<(u8, u64, u64)>,
    stale: u64,
    wrong: u64,
}

impl Model {
    /// Pages that an entry read for `page` speaks for.
    fn reach(page: u64, raw: u64) -> (u64, u64) {
        let pages = 1 << (raw >> 7 & 0x1f);
        (page - page % pages, pages)
    }

    fn at(&mut self, tables: &Tables, vmid: u8, page: u64) -> Option<u64> {
        let covering = self.read.iter().filter(|(owner, of, raw)| {
            let (first, pages) = Self::reach(*of, *raw);
            *owner == vmid && (first..first + pages).contains(&page)
        });
        let smallest = covering.min_by_key(|(_, of, raw)| Self::reach(*of, *raw).1);
        let now = tables.0.get(&page).copied();
        let Some(&(_, of, raw)) = smallest else {
            self.read.push((vmid, page, now?));
            return Some((now? & 0xffff_ffff_f000) >> PAGE);
        };
        let used = ((raw & 0xffff_ffff_f000) >> PAGE) as i64 + page as i64 - of as i64;
        let says = |raw: u64| ((raw & 0xffff_ffff_f000) >> PAGE) as i64;
        let rights = |raw: u64| raw & 0x7f;
        if now.is_none_or(|now| says(now) != used || rights(now) != rights(raw)) {
            if tables.0.get(&of) == Some(&raw) {
                self.wrong += 1;
            } else {
                self.stale += 1;
            }
        }
        Some(used as u64)
    }
}

#[test]
fn random_histories_are_as_a_list_says() {
    let seed = std::env::var("RMCP_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut state: u64 = seed;
    let mut random = |end: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let (mut tlb, mut tables, mut model) = (Tlb::new("hub"), Tables::default(), Model::default());
    for step in 0..20_000 {
        match random(20) {
            0 => {
                let vmid = u8::try_from(random(3)).unwrap() + 1;
                tlb.invalidate(1 << vmid);
                model.read.retain(|(owner, ..)| *owner != vmid);
            }
            1..=3 => {
                // Honest fragments and others.
                let fragment = random(4);
                let (first, pages) = (random(64), 1 + random(12));
                tables.map(
                    first + 0x100,
                    pages,
                    (0x1000 + random(64)) << PAGE,
                    fragment,
                );
            }
            4 => {
                tables.0.remove(&(0x100 + random(64)));
            }
            _ => {
                let (vmid, page) = (u8::try_from(random(3)).unwrap() + 1, 0x100 + random(64));
                let found = at(&mut tlb, &tables, vmid, page << PAGE | 4);
                let expected = model.at(&tables, vmid, page);
                assert_eq!(
                    found.map(|address| address >> PAGE),
                    expected,
                    "seed {seed}, step {step}, page {page:#x}"
                );
            }
        }
    }
    let [hits, misses, stale, wrong] = sums(&tlb);
    assert_eq!((stale, wrong), (model.stale, model.wrong), "seed {seed}");
    assert!(
        hits > 1000 && misses > 100 && stale > 100 && wrong > 100,
        "too little happened: {:?}",
        sums(&tlb)
    );
}
