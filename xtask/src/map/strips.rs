// SPDX-License-Identifier: MIT OR Apache-2.0
//! An address space as strips: one for each mapping, cut where memory type or fragment change.
//!
//! A walk has entries and no mappings. What lies together without a gap and differs in nothing but memory type, fragment
//! and address is one mapping, unless names say more ([`Names`]).

use rdna_emu::tables::{AddressSpace, Entry, Kind, Mtype};
use rdna_emu::{ByteSize, GpuVa};

/// Above lies what submissions and the driver itself need in every address space.
const END: GpuVa = GpuVa(0x7e_0000_0000);

/// What a piece's entries say, all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// They map memory: its type, and log2 of the 4 KiB pages of a fragment.
    Mapped {
        /// Memory type.
        mtype: Mtype,
        /// Fragment.
        fragment: u8,
    },
    /// Partially resident.
    Prt,
}

/// Part of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its first address.
    pub va: GpuVa,
    /// Its length.
    pub size: ByteSize,
    /// What its entries say.
    pub says: Says,
}

/// A mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strip {
    /// What people call it.
    pub name: String,
    /// Its pieces, in order, without gaps.
    pub pieces: Vec<Piece>,
}

impl Strip {
    /// Its first address.
    #[must_use]
    pub fn va(&self) -> GpuVa {
        self.pieces.first().map_or(GpuVa(0), |piece| piece.va)
    }

    /// Its length.
    #[must_use]
    pub fn size(&self) -> ByteSize {
        ByteSize(self.pieces.iter().map(|piece| piece.size.bytes()).sum())
    }
}

/// Which mapping an address belongs to: its name.
pub type Names<'a> = &'a dyn Fn(GpuVa) -> Option<&'a str>;

/// The strips of what the process itself has mapped, in ascending order.
#[must_use]
pub fn strips(space: &AddressSpace, names: Names<'_>) -> Vec<Strip> {
    let mut strips: Vec<Strip> = Vec::new();
    let mut last: Option<(&Entry, Option<&str>)> = None;
    for entry in space.leaves(GpuVa(0)..END) {
        let name = names(entry.va);
        let says = match entry.kind {
            Kind::Prt => Says::Prt,
            Kind::Leaf | Kind::Directory | Kind::Inert => Says::Mapped {
                mtype: entry.mtype(),
                fragment: entry.fragment(),
            },
        };
        let piece = Piece {
            va: entry.va,
            size: entry.span(),
            says,
        };
        let goes_on = last.is_some_and(|(before, former)| {
            before.va.plus(before.span().bytes()) == entry.va
                && former == name
                && (name.is_some() || alike(before, entry))
        });
        match strips.last_mut().filter(|_| goes_on) {
            Some(strip) => add(strip, piece),
            None => strips.push(Strip {
                name: name.map_or_else(String::new, str::to_owned),
                pieces: vec![piece],
            }),
        }
        if let (None, Some(strip)) = (name, strips.last_mut()) {
            strip.name = described(entry, strip.size());
        }
        last = Some((entry, name));
    }
    strips
}

fn add(strip: &mut Strip, piece: Piece) {
    match strip.pieces.last_mut() {
        Some(last) if last.says == piece.says => {
            last.size = ByteSize(last.size.bytes() + piece.size.bytes());
        }
        _ => strip.pieces.push(piece),
    }
}

fn alike(a: &Entry, b: &Entry) -> bool {
    let flags = |e: &Entry| {
        (
            e.kind,
            e.system(),
            e.snooped(),
            e.readable(),
            e.writeable(),
            e.executable(),
        )
    };
    flags(a) == flags(b)
}

/// A name for a mapping that nobody named.
fn described(entry: &Entry, size: ByteSize) -> String {
    let memory = match (entry.kind, entry.system()) {
        (Kind::Prt, _) => "PRT",
        (_, true) => "system",
        (_, false) => "VRAM",
    };
    format!("{memory} {}", short(size))
}

/// 4K, 64K, 2M.
#[must_use]
pub fn short(size: ByteSize) -> String {
    match size.bytes() {
        n if n >= 1 << 30 && n % (1 << 30) == 0 => format!("{}G", n >> 30),
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{}M", n >> 20),
        n => format!("{}K", n >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdna_emu::PageDirectory;
    use rdna_emu::tables::Level;

    fn space(entries: &[(u64, Level, u64)]) -> AddressSpace {
        let entry = |&(va, level, raw): &(u64, Level, u64)| Entry::decode(GpuVa(va), level, raw);
        AddressSpace {
            root: PageDirectory(1),
            entries: entries.iter().filter_map(entry).collect(),
        }
    }

    fn mapped(mtype: Mtype, fragment: u8) -> Says {
        Says::Mapped { mtype, fragment }
    }

    #[test]
    fn neighbours_that_differ_in_fragment_are_pieces_of_one_strip() {
        use Level::{Pdb0, Ptb};
        // Raw entries as stock writes them: a buffer mapped at +4K, then a gap, then 2 MiB.
        let space = space(&[
            (0x1000, Ptb, 0x0000_0000_0ff1_0071),
            (0x2000, Ptb, 0x0000_0000_0ff1_10f1),
            (0x3000, Ptb, 0x0000_0000_0ff1_20f1),
            (0x20_0000, Pdb0, 0x0043_0000_0fc0_04f1),
            (0x80_0000, Ptb, 0x0088_0000_0000_0206),
            (0x7f_0000_0000, Ptb, 0x0000_0000_0ff1_0071),
        ]);
        let found = strips(&space, &|_| None);
        let names: Vec<_> = found.iter().map(|strip| strip.name.as_str()).collect();
        assert_eq!(names, ["VRAM 12K", "VRAM 2M", "PRT 4K"]);
        let pieces: Vec<_> = found[0]
            .pieces
            .iter()
            .map(|p| (p.va.0, p.size.0, p.says))
            .collect();
        let expected = [
            (0x1000, 0x1000, mapped(Mtype::Nc, 0)),
            (0x2000, 0x2000, mapped(Mtype::Nc, 1)),
        ];
        assert_eq!(pieces, expected);
        assert_eq!(found[1].pieces[0].says, mapped(Mtype::Uc, 9));
        assert_eq!(found[2].pieces[0].says, Says::Prt);
        // Names part what the entries do not.
        let name = |va: GpuVa| (va.0 < 0x20_0000).then_some(if va.0 < 0x3000 { "a" } else { "b" });
        let names: Vec<_> = strips(&space, &name).into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["a", "b", "VRAM 2M", "PRT 4K"]);
    }
}
