// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading the register tables: one register a line, `NAME OFFSET BASE_INDEX`, `#` for comments.
//!
//! The tables hold what the driver touches or a block models, taken from AMD's `*_offset.h`
//! headers in the kernel's source (MIT) by the `regtable` example.

use super::{Reg, WiringError};
use crate::chip::Ip;

/// The registers that `text` names, at their dword addresses.
pub(super) fn parse(
    ip: Ip,
    text: &'static str,
    bases: &'static [u32],
) -> impl Iterator<Item = Result<(&'static str, Reg), WiringError>> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(move |line| {
            entry(line, bases).map_err(|problem| WiringError::BadTable {
                ip,
                line: line.to_owned(),
                problem,
            })
        })
}

fn entry(line: &'static str, bases: &[u32]) -> Result<(&'static str, Reg), &'static str> {
    let mut fields = line.split_ascii_whitespace();
    let (Some(name), Some(offset), Some(index), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("expected NAME OFFSET BASE_INDEX");
    };
    let offset = offset.strip_prefix("0x").ok_or("the offset must be 0x…")?;
    let offset = u32::from_str_radix(offset, 16).map_err(|_| "the offset is no number")?;
    let index: usize = index.parse().map_err(|_| "the base index is no number")?;
    let base = bases.get(index).ok_or("the chip has no such base")?;
    Ok((name, Reg(base + offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASES: &[u32] = &[0x1260, 0xa000];

    fn one(line: &'static str) -> Result<(&'static str, Reg), String> {
        let mut all = parse(Ip::Gc, line, BASES);
        all.next().expect("one line").map_err(|e| e.to_string())
    }

    #[test]
    fn offsets_count_from_the_base_with_that_index() {
        assert_eq!(one("A 0x0010 0").unwrap(), ("A", Reg(0x1270)));
        assert_eq!(one("B 0x0010 1").unwrap(), ("B", Reg(0xa010)));
    }

    #[test]
    fn broken_lines_are_named() {
        for line in ["A", "A 10 0", "A 0xg 0", "A 0x1 2", "A 0x1 0 9"] {
            assert!(one(line).unwrap_err().contains(line), "{line}");
        }
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        assert_eq!(parse(Ip::Gc, "# x\n\n", BASES).count(), 0);
    }
}
