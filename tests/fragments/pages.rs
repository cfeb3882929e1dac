// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables as pages: every entry spread over the 4 KiB pages that it maps, so that two ways of mapping the same can be
//! compared page by page.

use crate::stage::demand;
use anyhow::{Result, bail};
use rdna_emu::tables::{AddressSpace, Entry, Kind, Level};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where an entry leads. Tables are as large as pages and aligned, so the bits below are flags there too.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// FRAG, the address and "PDE as PTE" are looked at apart; the rest of an entry is its flags.
const NOT_FLAGS: u64 = 0x1f << 7 | ADDRESS | 1 << 54;

/// What the tables say of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its number in the address space.
    pub(crate) number: u64,
    /// Where it leads.
    pub(crate) address: u64,
    /// FRAG of its entry.
    pub(crate) fragment: u8,
    /// The level of its entry.
    pub(crate) level: Level,
    /// Whether the entry is marked as one of a directory that maps memory.
    pub(crate) marked: bool,
    /// System memory.
    pub(crate) system: bool,
    /// All other bits.
    pub(crate) flags: u64,
}

/// All pages that are mapped in `window`, in order.
pub(crate) fn pages(space: &AddressSpace, window: &Range<u64>) -> Vec<Page> {
    let mut pages = Vec::new();
    let inside = |entry: &&Entry| window.contains(&(entry.va.0 >> 12));
    let leaves = space
        .entries
        .iter()
        .filter(|entry| entry.kind == Kind::Leaf);
    for entry in leaves.filter(inside) {
        let first = entry.va.0 >> 12;
        pages.extend((0..entry.span().bytes() >> 12).map(|index| Page {
            number: first + index,
            address: entry.address() + (index << 12),
            fragment: entry.fragment(),
            level: entry.level,
            marked: entry.pde_as_pte(),
            system: entry.system(),
            flags: entry.raw & !NOT_FLAGS,
        }));
    }
    pages
}

/// The tables below `window`: first page and level of each entry that points at one, and that entry without the
/// address.
pub(crate) type Tables = BTreeMap<(u64, Level), u64>;

/// The tables below `window`.
pub(crate) fn tables(space: &AddressSpace, window: &Range<u64>) -> Tables {
    space
        .directories()
        .map(|entry| ((entry.va.0 >> 12, entry.level), entry.raw & !ADDRESS))
        .filter(|((page, _), _)| window.contains(page))
        .collect()
}

/// Each fragment must be the truth: 2^FRAG pages, aligned, one after the other in memory, with the same flags. The
/// hardware takes any one of its entries for all of them.
pub(crate) fn truthful(pages: &[Page]) -> Result<()> {
    let mut rest = pages;
    while let Some(first) = rest.first() {
        let length = 1_usize << first.fragment;
        let Some((block, behind)) = rest.split_at_checked(length) else {
            bail!("{first:x?} claims more pages than are mapped");
        };
        demand!(
            first.number % length as u64 == 0,
            "{first:x?} is the first page of a fragment that begins elsewhere"
        );
        let numbers = (0..).map(|index| (first.number + index, first.address + (index << 12)));
        for (page, (number, address)) in block.iter().zip(numbers) {
            let expected = Page {
                number,
                address,
                ..*first
            };
            demand!(
                *page == expected,
                "in the fragment of {first:x?}: {page:x?}"
            );
        }
        rest = behind;
    }
    Ok(())
}
