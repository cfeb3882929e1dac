// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which GPU: PCI addresses, lists of them, and GC versions.

use core::fmt;

/// A PCI address: domain, bus, device and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress(u32);

impl PciAddress {
    /// Reads `0000:03:00.0`, or `03:00.0` in domain 0; hexadecimal digits in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.rsplitn(3, |&byte| byte == b':');
        let last = fields.next()?;
        let bus = hex(fields.next()?, 2)?;
        let domain = fields.next().map_or(Some(0), |domain| hex(domain, 4))?;
        let (device, function) = match last {
            [device @ .., b'.', function] => (hex(device, 2)?, hex(&[*function], 1)?),
            _ => return None,
        };
        (device < 32 && function < 8)
            .then_some(Self(domain << 16 | bus << 8 | device << 3 | function))
    }

    /// As one number.
    pub const fn to_word(self) -> u32 {
        self.0
    }

    /// The reverse of [`PciAddress::to_word`].
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// Exactly `digits` hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |number, &byte| {
        Some(number << 4 | char::from(byte).to_digit(16)?)
    })
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(word) = *self;
        let (domain, bus) = (word >> 16, word >> 8 & 0xff);
        let (device, function) = (word >> 3 & 0x1f, word & 0x7);
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// The values of the switch `devices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Devices {
    /// Every GPU.
    All,
    /// The listed ones.
    Named(DeviceList),
}

impl Devices {
    /// Whether the policy is for this GPU.
    pub fn include(&self, device: PciAddress) -> bool {
        match self {
            Self::All => true,
            Self::Named(list) => list.iter().any(|named| named == device),
        }
    }
}

/// Some PCI addresses, each once, in the order given.
///
/// # Invariants
///
/// `len` is at most [`DeviceList::MOST`] and not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceList {
    addresses: [PciAddress; Self::MOST],
    len: usize,
}

impl DeviceList {
    /// How many a list holds.
    pub const MOST: usize = 16;

    /// Reads addresses separated by commas. `None` when one is none, and when there are none or too
    /// many.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // INVARIANT: not handed out before something was added, and `add` watches the length.
        let mut list = Self {
            addresses: [PciAddress(0); Self::MOST],
            len: 0,
        };
        for part in text.split(|&byte| byte == b',') {
            let address = PciAddress::parse(part)?;
            if !list.iter().any(|known| known == address) {
                *list.addresses.get_mut(list.len)? = address;
                list.len += 1;
            }
        }
        (list.len > 0).then_some(list)
    }

    /// The addresses.
    pub fn iter(&self) -> impl Iterator<Item = PciAddress> + '_ {
        self.addresses.iter().take(self.len).copied()
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            address.fmt(f)?;
        }
        Ok(())
    }
}

/// The version of a graphics core, as amdgpu's IP discovery has it (`IP_VERSION_FULL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GcVersion(u32);

impl GcVersion {
    /// Takes what the driver's table of versions holds.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// RDNA1 is GC 10.1, RDNA2 is GC 10.3.
    pub const fn is_rdna1_or_2(self) -> bool {
        matches!((self.0 >> 24, self.0 >> 16 & 0xff), (10, 1 | 3))
    }
}

impl fmt::Display for GcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(raw) = *self;
        write!(
            f,
            "GC {}.{}.{}",
            raw >> 24,
            raw >> 16 & 0xff,
            raw >> 8 & 0xff
        )
    }
}
