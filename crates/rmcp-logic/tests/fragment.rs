// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fragment limits and pieces.

use proptest::prelude::*;
use rmcp_logic::logic::fragment::{Fragment, FragmentSize, Limits, Page, Span};

fn at_most(log2: u8) -> FragmentSize {
    FragmentSize::AtMost(Fragment::new(log2).unwrap())
}

#[test]
fn limits_lower_and_never_raise() {
    for limit in 0..=31u8 {
        let limits = Limits::KEEP.followed_by(at_most(limit), false);
        for asked in 0..=31u8 {
            let fragment = limits.apply(Fragment::new(asked).unwrap(), false);
            assert_eq!(fragment.log2_pages(), asked.min(limit));
        }
        assert_eq!(limits.pieces, limit < 9, "limit {limit}");
    }
    let keep = Limits::KEEP.followed_by(FragmentSize::Keep, true);
    for asked in 0..=31u8 {
        let asked = Fragment::new(asked).unwrap();
        assert_eq!(keep.apply(asked, false), asked);
        assert_eq!(keep.apply(asked, true), asked);
    }
}

/// A directory entry that is written below 9 belongs to an update that began under the limit before.
#[test]
fn directory_entries_keep_the_limit_under_which_they_began() {
    let before = Limits::KEEP.followed_by(at_most(12), false);
    let after = before.followed_by(at_most(4), false);
    let asked = Fragment::new(14).unwrap();
    assert_eq!(after.apply(asked, true).log2_pages(), 12);
    assert_eq!(after.apply(asked, false).log2_pages(), 4);
    let again = after.followed_by(at_most(10), false);
    assert_eq!(again.apply(asked, true).log2_pages(), 10);
}

#[test]
fn a_piece_never_fills_a_directory_entry() {
    // A page directory entry of the lowest level covers 512 pages.
    assert_eq!(Span::PIECE_PAGES, 256);
}

fn span(start: u64, pages: u64) -> Span {
    Span {
        start: Page(start),
        end: Page(start + pages),
    }
}

proptest! {
    #[test]
    fn pieces_cover_the_span_in_order(start in 0u64..1 << 36, pages in 1u64..1 << 16) {
        let whole = span(start, pages);
        let mut next = start;
        let mut count = 0;
        for piece in whole.pieces() {
            prop_assert_eq!(piece.start.0, next);
            prop_assert!(piece.end.0 > piece.start.0);
            prop_assert_eq!(piece.start.0 / 256, (piece.end.0 - 1) / 256, "crosses a boundary");
            prop_assert_eq!(piece.bytes(), (piece.end.0 - piece.start.0) * 4096);
            next = piece.end.0;
            count += 1;
        }
        prop_assert_eq!(next, start + pages);
        prop_assert_eq!(whole.is_one_piece(), count == 1);
    }

    #[test]
    fn odd_spans_end(start: u64, end: u64) {
        let odd = Span { start: Page(start), end: Page(end) };
        prop_assert!(odd.pieces().take(3).all(|piece| piece.end > piece.start));
        if start >= end {
            prop_assert!(odd.is_one_piece());
            prop_assert_eq!(odd.pieces().count(), 0);
        }
    }

    #[test]
    fn limits_survive_being_packed(limit in 0u8..=31, before in 9u8..=31, compute: bool) {
        let limits = Limits::KEEP
            .followed_by(at_most(before), false)
            .followed_by(at_most(limit), compute);
        prop_assert_eq!(Limits::from_word(limits.to_word()), limits);
    }
}

#[test]
fn the_last_page_of_all_is_no_trouble() {
    let last = Span {
        start: Page(u64::MAX - 300),
        end: Page(u64::MAX),
    };
    assert_eq!(last.pieces().count(), 2);
}
