// SPDX-License-Identifier: MIT OR Apache-2.0
//! Targets of the compiler (gfx1030): how they are written in various places, and which graphics core has which.

use crate::gpu::{Gc, Generation};
use serde::Serialize;
use std::fmt;

/// A target of the compiler: gfx1030 is 10, 3, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gfx {
    /// 10 in gfx1030.
    pub major: u8,
    /// 3 in gfx1030.
    pub minor: u8,
    /// The last digit, which is hexadecimal (gfx90a).
    pub stepping: u8,
}

impl Gfx {
    /// A target by its numbers.
    pub const fn new(major: u8, minor: u8, stepping: u8) -> Self {
        Self {
            major,
            minor,
            stepping,
        }
    }

    /// The generation it belongs to.
    pub fn generation(self) -> Generation {
        match (self.major, self.minor) {
            (10, 1) => Generation::Rdna1,
            (10, 3) => Generation::Rdna2,
            _ => Generation::Other,
        }
    }

    /// KFD's `gfx_target_version`: 100300 for gfx1030.
    pub fn from_target_version(number: u64) -> Option<Self> {
        let part = |n: u64| u8::try_from(n).ok();
        let gfx = Self {
            major: part(number / 10_000)?,
            minor: part(number / 100 % 100)?,
            stepping: part(number % 100)?,
        };
        (gfx.major > 0).then_some(gfx)
    }

    /// The value of `HSA_OVERRIDE_GFX_VERSION`: `10.3.0`.
    pub fn from_override(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let mut next = || -> Option<u8> { parts.next()?.parse().ok() };
        let gfx = Self::new(next()?, next()?, next()?);
        parts.next().is_none().then_some(gfx)
    }

    /// A name at the start of `text`, and how long it is: `gfx1030` of `gfx1030:xnack-`.
    ///
    /// The last digit is the stepping, the one before the minor number; both are hexadecimal, the rest is decimal.
    pub fn find(text: &str) -> Option<(Self, usize)> {
        let digits = text.strip_prefix("gfx")?;
        let length = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        let digits = digits
            .get(..length)
            .filter(|d| (3..=4).contains(&d.len()))?;
        // gfx10-3-generic and the like name no chip.
        let (major, rest) = digits.split_at(digits.len() - 2);
        let number = |text: &str| u8::from_str_radix(text, 16).ok();
        let (minor, stepping) = rest.split_at(1);
        let gfx = Self::new(major.parse().ok()?, number(minor)?, number(stepping)?);
        Some((gfx, 3 + length))
    }
}

impl fmt::Display for Gfx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gfx{}{:x}{:x}", self.major, self.minor, self.stepping)
    }
}

impl Serialize for Gfx {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The target that KFD gives a graphics core: `kgd2kfd_probe()`.
pub fn of_core(gc: Gc) -> Option<Gfx> {
    let (minor, stepping) = match (gc.major, gc.minor, gc.revision) {
        (10, 1, 10) => (1, 0),
        (10, 1, 2) => (1, 1),
        (10, 1, 1) => (1, 2),
        (10, 1, 3 | 4) => (1, 3),
        (10, 3, 0) => (3, 0),
        (10, 3, 2) => (3, 1),
        (10, 3, 4) => (3, 2),
        (10, 3, 1) => (3, 3),
        (10, 3, 5) => (3, 4),
        (10, 3, 3) => (3, 5),
        (10, 3, 6 | 7) => (3, 6),
        _ => return None,
    };
    Some(Gfx::new(10, minor, stepping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_compiler() {
        for (version, name) in [
            (100_100, "gfx1010"),
            (100_102, "gfx1012"),
            (100_306, "gfx1036"),
            (90_010, "gfx90a"),
            (110_001, "gfx1101"),
            (90_402, "gfx942"),
        ] {
            let gfx = Gfx::from_target_version(version).unwrap();
            assert_eq!(gfx.to_string(), name);
            assert_eq!(Gfx::find(name), Some((gfx, name.len())));
        }
        assert_eq!(Gfx::from_target_version(0), None);
        assert_eq!(Gfx::from_target_version(u64::MAX), None);
    }

    #[test]
    fn an_override_is_three_numbers() {
        assert_eq!(Gfx::from_override("10.3.0"), Some(Gfx::new(10, 3, 0)));
        for bad in ["", "10.3", "10.3.0.1", "gfx1030", "10.3.x", "10.3.999"] {
            assert_eq!(Gfx::from_override(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_ends_where_its_digits_end() {
        assert_eq!(Gfx::find("gfx90a:xnack-").unwrap().1, 6);
        for none in [
            "gfx",
            "gfx1",
            "gfx10-3-generic",
            "gfxzzz",
            "gfx123456",
            "GFX1030",
        ] {
            assert_eq!(Gfx::find(none), None, "{none}");
        }
    }

    /// From `kgd2kfd_probe()` of Linux 7.3.
    #[test]
    fn a_graphics_core_has_the_target_that_kfd_gives_it() {
        for (gc, target) in [
            ((10, 1, 10), 100_100),
            ((10, 1, 2), 100_101),
            ((10, 1, 1), 100_102),
            ((10, 1, 3), 100_103),
            ((10, 3, 0), 100_300),
            ((10, 3, 2), 100_301),
            ((10, 3, 1), 100_303),
            ((10, 3, 4), 100_302),
            ((10, 3, 5), 100_304),
            ((10, 3, 3), 100_305),
            ((10, 3, 7), 100_306),
        ] {
            let (major, minor, revision) = gc;
            let gfx = of_core(Gc {
                major,
                minor,
                revision,
            });
            assert_eq!(gfx, Gfx::from_target_version(target), "{gc:?}");
        }
        let renoir = Gc {
            major: 9,
            minor: 3,
            revision: 0,
        };
        assert_eq!(of_core(renoir), None);
    }
}
