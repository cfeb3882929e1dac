// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tells one chip from another, as data: PCI identity, IP versions, register bases, sizes.
//!
//! A new chip is a new file here with one [`Spec`]; the blocks ask the spec and have no branch per
//! chip. Used by everything that depends on identity: `discovery`, `vbios`, `pci`, `regs`.

use std::fmt;
use std::str::FromStr;

/// A chip that can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chip {
    /// Radeon RX 5700 XT: 1002:731f, GC 10.1.10.
    Navi10,
}

impl Chip {
    /// Every chip there is.
    pub const ALL: &'static [Self] = &[Self::Navi10];

    /// The name used on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Navi10 => "navi10",
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Chip {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.name() == s)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|c| c.name()).collect();
                format!("no chip is called {s:?}; known: {}", known.join(", "))
            })
    }
}
