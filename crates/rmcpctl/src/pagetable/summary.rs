// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a walk says when entries are added up: totals by memory type and by fragment, and ranges of entries that are
//! alike.

use super::entry::{Entry, Kind, Mtype};
use super::saved::Walk;
use serde::Serialize;
use std::collections::BTreeMap;

/// Where memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    Vram,
    System,
}

impl Place {
    fn of(entry: &Entry) -> Self {
        if entry.system() {
            Self::System
        } else {
            Self::Vram
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Vram => "vram",
            Self::System => "system",
        }
    }
}

/// Mapped memory of one kind and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ByType {
    pub(super) memory: Place,
    pub(super) mtype: Mtype,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// Mapped memory with one fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ByFragment {
    pub(super) fragment: u8,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// Sums over an address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) types: Vec<ByType>,
    pub(super) fragments: Vec<ByFragment>,
    /// Directory entries that map memory themselves, and what they map.
    pub(super) directories_as_pages: u64,
    pub(super) directories_as_pages_bytes: u64,
    /// Bytes that are partially resident.
    pub(super) prt_bytes: u64,
    /// Directory entries that point at tables.
    pub(super) directories: u64,
}

/// Entries without a gap that say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Range {
    #[serde(serialize_with = "hex")]
    pub(super) va: u64,
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// None where nothing is mapped: partially resident.
    pub(super) memory: Option<Place>,
    pub(super) mtype: Option<Mtype>,
    pub(super) fragment: Option<u8>,
    pub(super) rights: String,
    pub(super) kind: Kind,
}

fn hex<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#014x}"))
}

impl Totals {
    pub(super) fn of(walk: &Walk) -> Self {
        let mut types: BTreeMap<(Place, Mtype), (u64, u64)> = BTreeMap::new();
        let mut fragments: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        let mut totals = Self {
            types: Vec::new(),
            fragments: Vec::new(),
            directories_as_pages: 0,
            directories_as_pages_bytes: 0,
            prt_bytes: 0,
            directories: 0,
        };
        for entry in &walk.entries {
            let bytes = entry.span(walk.block());
            match entry.kind() {
                Some(Kind::Leaf) => {
                    let by_type = types.entry((Place::of(entry), entry.mtype())).or_default();
                    let by_fragment = fragments.entry(entry.fragment()).or_default();
                    for sum in [by_type, by_fragment] {
                        sum.0 += 1;
                        sum.1 += bytes;
                    }
                    if entry.level != super::entry::Level::Ptb {
                        totals.directories_as_pages += 1;
                        totals.directories_as_pages_bytes += bytes;
                    }
                }
                Some(Kind::Prt) => totals.prt_bytes += bytes,
                Some(Kind::Directory) => totals.directories += 1,
                None => {}
            }
        }
        totals.types = types
            .into_iter()
            .map(|((memory, mtype), (entries, bytes))| ByType {
                memory,
                mtype,
                entries,
                bytes,
            })
            .collect();
        totals.fragments = fragments
            .into_iter()
            .map(|(fragment, (entries, bytes))| ByFragment {
                fragment,
                entries,
                bytes,
            })
            .collect();
        totals
    }

    /// Bytes that are mapped.
    pub(super) fn mapped(&self) -> u64 {
        self.types.iter().map(|sum| sum.bytes).sum()
    }
}

/// The ranges, by address.
pub(super) fn ranges(walk: &Walk) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for entry in &walk.entries {
        let Some(kind) = entry.kind().filter(|kind| *kind != Kind::Directory) else {
            continue;
        };
        let mapped = kind == Kind::Leaf;
        let next = Range {
            va: entry.va,
            bytes: entry.span(walk.block()),
            entries: 1,
            memory: mapped.then(|| Place::of(entry)),
            mtype: mapped.then(|| entry.mtype()),
            fragment: mapped.then(|| entry.fragment()),
            rights: entry.rights(),
            kind,
        };
        match ranges.last_mut() {
            Some(last) if last.goes_on(&next) => {
                last.bytes += next.bytes;
                last.entries += 1;
            }
            _ => ranges.push(next),
        }
    }
    ranges
}

impl Range {
    fn goes_on(&self, next: &Self) -> bool {
        self.va + self.bytes == next.va
            && (self.memory, self.mtype, self.fragment, self.kind)
                == (next.memory, next.mtype, next.fragment, next.kind)
            && self.rights == next.rights
    }
}
