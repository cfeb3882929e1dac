// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Bounded lines: what fits is kept, what does not is cut where a character ends.

use rmcp_logic::logic::text::Line;
use std::fmt::Write as _;

#[test]
fn what_fits_is_kept() {
    assert_eq!(
        Line::<16>::from_args(format_args!("{} is {}", "it", 42)).as_str(),
        "it is 42"
    );
    assert_eq!(Line::<16>::new().as_str(), "");
}

#[test]
fn what_does_not_fit_ends_in_a_mark() {
    let line = Line::<8>::from_args(format_args!("{}{}", "abcdefgh", "ij"));
    assert_eq!(line.as_str(), "abcde...");
}

#[test]
fn nothing_follows_the_mark() {
    let mut line = Line::<8>::new();
    line.write_str("abcdefgh").unwrap();
    line.write_str("x").unwrap();
    assert_eq!(line.as_str(), "abcde...");
}

#[test]
fn characters_stay_whole() {
    assert_eq!(
        Line::<7>::from_args(format_args!("aaa\u{20ac}b")).as_str(),
        "aaa..."
    );
}
