// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fragments: how many pages the GPU may translate as one, and how rmcp limits them.
//!
//! The driver chooses a fragment from the alignment and the length of the range that it is given
//! (`amdgpu_vm_pte_fragment`); a range of 2 MiB or more that is aligned becomes page directory entries
//! that act as page table entries. From 2^9 pages on a limit is a matter of the entry's FRAG field
//! alone. Below that no directory entry may map anything, so that ranges are handed to the driver in
//! [pieces](Span::pieces) of [`Span::PIECE_PAGES`]: the largest that never fill a directory entry.

/// How many 4 KiB pages the translation may treat as one: 2 to the power of this, bits 11:7 of an
/// entry.
///
/// # Invariants
///
/// At most 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fragment(u8);

impl Fragment {
    /// The largest number that the field holds.
    pub const MAX: u8 = 31;

    /// One page.
    pub const PAGE: Self = Self(0);
    /// What a page directory entry of the lowest level covers: 2 MiB.
    pub const DIRECTORY: Self = Self(9);
    /// The largest.
    pub const LARGEST: Self = Self(Self::MAX);

    /// `None` when the field cannot hold `log2_pages`.
    pub const fn new(log2_pages: u8) -> Option<Self> {
        if log2_pages <= Self::MAX {
            // INVARIANT: just compared.
            Some(Self(log2_pages))
        } else {
            None
        }
    }

    /// Reads the low 5 bits of `raw`.
    #[inline(always)]
    pub const fn from_bits(raw: u8) -> Self {
        // INVARIANT: the mask leaves 5 bits.
        Self(raw & Self::MAX)
    }

    /// Two to the power of this many pages.
    #[inline(always)]
    pub const fn log2_pages(self) -> u8 {
        self.0
    }
}

/// The values of the switch `fragment_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FragmentSize {
    /// Leave the driver's choice as it is.
    Keep,
    /// No fragment above this one.
    AtMost(Fragment),
}

impl FragmentSize {
    /// Whether ranges have to be handed to the driver in pieces.
    pub const fn needs_pieces(self) -> bool {
        match self {
            Self::Keep => false,
            Self::AtMost(limit) => limit.0 < Fragment::DIRECTORY.0,
        }
    }
}

/// The fragment policy for one GPU, as the hooks read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The limit in page tables.
    pub table: Fragment,
    /// The limit in page directories. Not below [`Fragment::DIRECTORY`]: only an update that began
    /// before the limit was lowered can still write one, and it goes on as it began.
    pub directory: Fragment,
    /// Whether ranges are handed to the driver in pieces.
    pub pieces: bool,
    /// `clients=compute`.
    pub compute_only: bool,
}

impl Limits {
    /// Leaves everything as it is.
    pub const KEEP: Self = Self {
        table: Fragment::LARGEST,
        directory: Fragment::LARGEST,
        pieces: false,
        compute_only: false,
    };

    /// The limits of the switches, for a GPU that had `self` before.
    #[must_use]
    pub const fn followed_by(self, size: FragmentSize, compute_only: bool) -> Self {
        match size {
            FragmentSize::Keep => Self::KEEP,
            FragmentSize::AtMost(limit) => {
                let pieces = size.needs_pieces();
                Self {
                    table: limit,
                    directory: if pieces { self.directory } else { limit },
                    pieces,
                    compute_only,
                }
            }
        }
    }

    const DIRECTORY_SHIFT: u32 = 8;
    const PIECES_BIT: u32 = 1 << 16;
    const COMPUTE_BIT: u32 = 1 << 17;

    /// Packs the limits into one word, so that they are stored and read in one go.
    pub const fn to_word(self) -> u32 {
        let pieces = if self.pieces { Self::PIECES_BIT } else { 0 };
        let compute = if self.compute_only {
            Self::COMPUTE_BIT
        } else {
            0
        };
        // `u32::from` is not const; the casts widen.
        self.table.0 as u32 | (self.directory.0 as u32) << Self::DIRECTORY_SHIFT | pieces | compute
    }

    /// The reverse of [`Limits::to_word`].
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self {
            // The casts keep the low byte, of which 5 bits are read.
            table: Fragment::from_bits(word as u8),
            directory: Fragment::from_bits((word >> Self::DIRECTORY_SHIFT) as u8),
            pieces: word & Self::PIECES_BIT != 0,
            compute_only: word & Self::COMPUTE_BIT != 0,
        }
    }

    /// The fragment to write where the driver chose `asked`.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, asked: Fragment, directory: bool) -> Fragment {
        let limit = match directory {
            true => self.directory,
            false => self.table,
        };
        match asked.0 > limit.0 {
            true => limit,
            false => asked,
        }
    }
}

/// A 4 KiB page of a GPU address space, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Page(pub u64);

/// Pages one after the other: from `start`, up to but without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first.
    pub start: Page,
    /// The one behind the last.
    pub end: Page,
}

impl Span {
    /// The length of a piece: half of what a page directory entry covers.
    pub const PIECE_PAGES: u64 = 1 << (Fragment::DIRECTORY.0 - 1);

    /// Whether it lies inside one piece.
    #[inline]
    pub const fn is_one_piece(self) -> bool {
        self.start.0 >= self.end.0
            || self.start.0 / Self::PIECE_PAGES == (self.end.0 - 1) / Self::PIECE_PAGES
    }

    /// How many bytes it covers.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self.end.0.wrapping_sub(self.start.0) << 12
    }

    /// The pieces, from the first page to the last: each as long as its place allows.
    #[inline]
    pub fn pieces(self) -> impl Iterator<Item = Self> {
        let mut next = self.start;
        core::iter::from_fn(move || {
            if next >= self.end {
                return None;
            }
            let start = next;
            let boundary = (start.0 | (Self::PIECE_PAGES - 1)).saturating_add(1);
            next = Page(boundary.min(self.end.0));
            Some(Self { start, end: next })
        })
    }
}
