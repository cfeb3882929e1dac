// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares all page-table entries of one moment with those that stock wrote, under a policy.
//!
//! Nothing is sampled: every entry of the client's address space (leaves, PRT and directories) and every entry of the
//! GART is looked at, and an entry that is there in one of the two only is a deviation as well.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use guest::uapi::VmFlags;
use rdna_emu::tables::{AddressSpace, Entry, Kind, Level};
use serde::Serialize;

use super::policy::{self, Policy};
use crate::vm::Vm;
use crate::vm::mappings::{Layout, Memory, Placed};

/// All entries at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The client's address space.
    pub space: AddressSpace,
    /// The kernel's own table.
    pub gart: Vec<Entry>,
}

impl Snapshot {
    /// Reads everything, after work of the client has run and so every update of its tables is done.
    pub fn take(vm: &mut Vm, layout: &Layout, gpu: usize) -> Result<Snapshot> {
        let space = vm.address_space(layout.client, gpu)?;
        Ok(Snapshot {
            space,
            gart: vm.gpu(gpu).gart()?,
        })
    }

    /// The entries of one mapping.
    pub fn of(&self, placed: &Placed) -> impl Iterator<Item = &Entry> {
        self.space
            .entries
            .iter()
            .filter(|entry| entry.kind != Kind::Directory && placed.covers(entry.va.0))
    }
}

/// How many entries were compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Entries of the mappings under test: leaves and PRT.
    pub mapped: usize,
    /// Entries of mappings that were there before and stay: the driver's own and the submission's.
    pub resident: usize,
    /// Directory entries.
    pub directories: usize,
    /// GART entries.
    pub gart: usize,
    /// Entries whose memory type differs from stock's.
    pub changed: usize,
    /// Tables that the driver freed and made anew elsewhere, so that the address in the entry above differs.
    pub moved_tables: usize,
}

impl Counts {
    /// All entries.
    #[must_use]
    pub fn total(&self) -> usize {
        self.mapped + self.resident + self.directories + self.gart
    }
}

/// One entry that is not as it must be.
#[derive(Debug, Clone, Serialize)]
pub struct Deviation {
    /// Which mapping or table.
    pub what: String,
    /// The entry's address and level.
    pub place: String,
    /// What it must be, in hex; `none` when nothing may be there.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            place,
            expected,
            found,
        } = self;
        write!(
            f,
            "{what}: entry {place}: expected {expected}, found {found}"
        )
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// How many entries.
    pub counts: Counts,
    /// Those that are wrong.
    pub deviations: Vec<Deviation>,
}

type Place = (u64, Level);

/// Compares `now` with `stock`. Entries inside `layout`'s mappings must be as `policy` says, all others as they were.
#[must_use]
pub fn compare(policy: Policy, layout: &Layout, stock: &Snapshot, now: &Snapshot) -> Comparison {
    let mut result = Comparison::default();
    let then = by_place(&stock.space.entries);
    let found = by_place(&now.space.entries);
    let mut places: Vec<Place> = then.keys().chain(found.keys()).copied().collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        one(
            policy,
            layout,
            then.get(&place).copied(),
            found.get(&place).copied(),
            &mut result,
        );
    }
    gart(stock, now, &mut result);
    result
}

fn by_place(entries: &[Entry]) -> BTreeMap<Place, &Entry> {
    entries
        .iter()
        .map(|entry| ((entry.va.0, entry.level), entry))
        .collect()
}

fn one(
    policy: Policy,
    layout: &Layout,
    then: Option<&Entry>,
    now: Option<&Entry>,
    result: &mut Comparison,
) {
    let Some(any) = then.or(now) else { return };
    let owner = layout
        .owner(any.va.0)
        .filter(|_| any.kind != Kind::Directory);
    let what = match (any.kind, owner) {
        (Kind::Directory, _) => "page directory".to_owned(),
        (_, Some(placed)) => placed.mapping.name.to_owned(),
        (_, None) => "mapping that stays".to_owned(),
    };
    let counts = &mut result.counts;
    match (any.kind, owner) {
        (Kind::Directory, _) => counts.directories += 1,
        (_, Some(_)) => counts.mapped += 1,
        (_, None) => counts.resident += 1,
    }
    let expected = then.map(|entry| match owner {
        Some(placed) => policy::entry(policy, &placed.mapping, entry),
        None => entry.raw,
    });
    let raw = now.map(|entry| entry.raw);
    if let (Some(then), Some(now)) = (then, now) {
        if (then.raw ^ now.raw) & policy::MTYPE_MASK != 0 {
            counts.changed += 1;
        }
        // A directory entry is its flags; where the table lies is the driver's business.
        if then.kind == Kind::Directory && now.kind == Kind::Directory {
            let flags = |entry: &Entry| entry.raw & !entry.address();
            if flags(then) == flags(now) {
                counts.moved_tables += usize::from(then.raw != now.raw);
                return;
            }
        }
    }
    if expected != raw {
        let place = format!("{} {:?}", any.va, any.level);
        result.deviations.push(Deviation {
            what,
            place,
            expected: hex(expected),
            found: hex(raw),
        });
    }
}

/// Entries of the GART come and go with the kernel's buffers; one that is there at both moments must have the same
/// flags, and one that is new must have flags that stock's have.
fn gart(stock: &Snapshot, now: &Snapshot, result: &mut Comparison) {
    let flags = |entry: &Entry| entry.raw & !entry.address();
    let then: BTreeMap<_, _> = stock.gart.iter().map(|entry| (entry.va, entry)).collect();
    let known: Vec<u64> = stock.gart.iter().map(flags).collect();
    for entry in &now.gart {
        result.counts.gart += 1;
        let (fine, expected) = match then.get(&entry.va) {
            Some(before) => (flags(before) == flags(entry), Some(before.raw)),
            None => (known.contains(&flags(entry)), None),
        };
        if !fine {
            let place = entry.va.to_string();
            let (expected, found) = (hex(expected), hex(Some(entry.raw)));
            result.deviations.push(Deviation {
                what: "GART".into(),
                place,
                expected,
                found,
            });
        }
    }
}

/// What must hold for stock itself: each mapping is covered from end to end, once, with the rights that were asked.
#[must_use]
pub fn sound(layout: &Layout, stock: &Snapshot) -> Vec<Deviation> {
    let mut deviations = Vec::new();
    for placed in &layout.placed {
        let Placed { mapping, va, .. } = placed;
        let mut next = va.0;
        for entry in stock.of(placed) {
            // Without such a bit the driver drops the wish.
            let nowhere = mapping.vm.has(VmFlags::NOALLOC) && !entry.format.has_noalloc();
            let rights = [
                (VmFlags::READABLE, entry.readable()),
                (VmFlags::WRITEABLE, entry.writeable()),
                (VmFlags::EXECUTABLE, entry.executable()),
                (VmFlags::NOALLOC, entry.noalloc() || nowhere),
            ];
            let wrong = entry.va.0 != next
                || entry.prt() != (mapping.memory == Memory::Prt)
                || entry.valid() == (mapping.memory == Memory::Prt)
                || (entry.valid() && entry.system() == (mapping.memory == Memory::Vram))
                || (entry.valid()
                    && rights
                        .iter()
                        .any(|(asked, given)| mapping.vm.has(*asked) != *given));
            if wrong {
                deviations.push(Deviation {
                    what: mapping.name.to_owned(),
                    place: format!("{} {:?}", entry.va, entry.level),
                    expected: format!("an entry for {next:#x} with the rights that were asked"),
                    found: format!("{entry:?}"),
                });
            }
            next = entry.va.0 + entry.span().bytes();
        }
        if next != va.0 + mapping.size.0 {
            deviations.push(Deviation {
                what: mapping.name.to_owned(),
                place: va.to_string(),
                expected: format!("entries up to {:#x}", va.0 + mapping.size.0),
                found: format!("entries up to {next:#x}"),
            });
        }
    }
    deviations
}

fn hex(raw: Option<u64>) -> String {
    raw.map_or_else(|| "none".into(), |raw| format!("{raw:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::mappings::Mapping;
    use guest::proto::{ClientId, Handle, Va};
    use rdna_emu::{GpuVa, PageDirectory};

    const VA: u64 = 0x1_0000_0000;

    fn layout() -> Layout {
        let mapping = Mapping::new("VRAM 64K", Memory::Vram, 0x1_0000);
        Layout {
            client: ClientId(0),
            placed: vec![Placed {
                mapping,
                handle: Handle(1),
                va: Va(VA),
            }],
        }
    }

    fn snapshot(entries: &[(u64, Level, u64)]) -> Snapshot {
        let entries = entries
            .iter()
            .map(|(va, level, raw)| Entry::decode(GpuVa(*va), *level, *raw).unwrap());
        Snapshot {
            space: AddressSpace {
                root: PageDirectory(1),
                entries: entries.collect(),
            },
            gart: vec![Entry::decode(GpuVa(0), Level::Ptb, 0x0003_0000_0001_0077).unwrap()],
        }
    }

    const DIRECTORY: (u64, Level, u64) = (VA, Level::Pdb0, 0x0000_0000_0fe0_0001);
    const STOCK: (u64, Level, u64) = (VA, Level::Ptb, 0x0000_0000_0ffd_0271);
    const UC: (u64, Level, u64) = (VA, Level::Ptb, 0x0003_0000_0ffd_0271);
    const RESIDENT: (u64, Level, u64) = (0x7f_0000_0000, Level::Ptb, 0x0000_0000_0aaa_0071);

    #[test]
    fn what_the_policy_says_passes_and_is_counted() {
        let stock = snapshot(&[DIRECTORY, STOCK, RESIDENT]);
        let now = snapshot(&[DIRECTORY, UC, RESIDENT]);
        let result = compare(Policy::Uc, &layout(), &stock, &now);
        assert!(result.deviations.is_empty(), "{:?}", result.deviations);
        assert_eq!(
            result.counts,
            Counts {
                mapped: 1,
                resident: 1,
                directories: 1,
                gart: 1,
                changed: 1,
                moved_tables: 0
            }
        );
        assert_eq!(result.counts.total(), 4);
    }

    #[test]
    fn a_wrong_type_is_a_deviation() {
        let stock = snapshot(&[STOCK]);
        assert_eq!(
            compare(Policy::Uc, &layout(), &stock, &stock)
                .deviations
                .len(),
            1
        );
        assert_eq!(
            compare(Policy::Stock, &layout(), &stock, &snapshot(&[UC]))
                .deviations
                .len(),
            1
        );
    }

    #[test]
    fn any_other_bit_is_a_deviation() {
        let stock = snapshot(&[STOCK]);
        for bit in [1, 2, 4, 5, 6, 7, 16, 58] {
            let now = snapshot(&[(UC.0, UC.1, UC.2 ^ (1 << bit))]);
            assert_eq!(
                compare(Policy::Uc, &layout(), &stock, &now)
                    .deviations
                    .len(),
                1,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn missing_and_new_entries_are_deviations() {
        let (both, one) = (snapshot(&[STOCK, RESIDENT]), snapshot(&[STOCK]));
        assert_eq!(
            compare(Policy::Stock, &layout(), &both, &one)
                .deviations
                .len(),
            1
        );
        assert_eq!(
            compare(Policy::Stock, &layout(), &one, &both)
                .deviations
                .len(),
            1
        );
    }

    #[test]
    fn resident_and_gart_entries_keep_their_type_under_every_policy() {
        let stock = snapshot(&[RESIDENT]);
        let now = snapshot(&[(RESIDENT.0, RESIDENT.1, RESIDENT.2 | (3 << 48))]);
        assert_eq!(
            compare(Policy::Uc, &layout(), &stock, &now)
                .deviations
                .len(),
            1
        );
        let mut now = snapshot(&[RESIDENT]);
        now.gart[0].raw = 0x0000_0000_0001_0077;
        let result = compare(Policy::Nc, &layout(), &stock, &now);
        assert_eq!(result.deviations.len(), 1);
        assert_eq!(result.deviations[0].what, "GART");
    }

    #[test]
    fn a_moved_table_is_counted_and_its_flags_are_compared() {
        let stock = snapshot(&[DIRECTORY]);
        let moved = snapshot(&[(DIRECTORY.0, DIRECTORY.1, 0x0000_0000_0fd0_0001)]);
        let result = compare(Policy::Uc, &layout(), &stock, &moved);
        assert!(result.deviations.is_empty());
        assert_eq!(result.counts.moved_tables, 1);
        let flagged = snapshot(&[(DIRECTORY.0, DIRECTORY.1, 0x0003_0000_0fe0_0001)]);
        assert_eq!(
            compare(Policy::Uc, &layout(), &stock, &flagged)
                .deviations
                .len(),
            1
        );
    }
}
