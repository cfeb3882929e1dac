// SPDX-License-Identifier: MIT OR Apache-2.0
//! A size as people type it: `256M`, `1G`.

use std::str::FromStr;

use rdna_emu::ByteSize;

/// Whole MiB, a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub ByteSize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, mib) = match text.strip_suffix(['G', 'g']) {
            Some(digits) => (digits, 1024),
            None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("{text:?} is no size; write 256M or 1G"))?;
        let mib = number.checked_mul(mib).filter(|mib| mib.is_power_of_two());
        match mib {
            Some(mib @ 256..=4096) => Ok(Self(ByteSize::mib(mib))),
            _ => Err(format!("{text} is no power of two from 256M to 4G")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_wild_ones_refused() {
        assert_eq!("256M".parse(), Ok(Size(ByteSize::mib(256))));
        assert_eq!("1G".parse(), Ok(Size(ByteSize::mib(1024))));
        assert_eq!("512".parse(), Ok(Size(ByteSize::mib(512))));
        for wrong in ["", "G", "3G", "8G", "1T", "-1G", "99999999999999999999G"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
