// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The switches: how each is written and read, and all of them packed into one word.
//!
//! What is printed can be written back. One newline at the end is allowed, because `echo` writes
//! it; anything else that is not exactly a listed value is refused.

use super::policy::Policy;

/// A switch that a user can write.
pub trait Switch: Copy + Sized {
    /// The values, for messages.
    const VALUES: &'static str;

    /// Reads exactly one value, without a newline. `None` when it is no value of this switch.
    fn from_value(value: &[u8]) -> Option<Self>;

    /// The value as it is printed.
    fn as_str(self) -> &'static str;

    /// Reads one value with at most one newline behind it.
    fn parse(text: &[u8]) -> Option<Self> {
        Self::from_value(text.strip_suffix(b"\n").unwrap_or(text))
    }
}

/// The switch `enable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enable {
    /// Nothing is hooked.
    No,
    /// Hooked, as far as the other switches need it.
    Yes,
}

impl Switch for Enable {
    const VALUES: &'static str = "Y or N";

    fn from_value(value: &[u8]) -> Option<Self> {
        match value {
            b"Y" | b"y" | b"1" => Some(Self::Yes),
            b"N" | b"n" | b"0" => Some(Self::No),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "Y",
            Self::No => "N",
        }
    }
}

impl Switch for Policy {
    const VALUES: &'static str = "keep, nc or uc";

    fn from_value(value: &[u8]) -> Option<Self> {
        match value {
            b"keep" => Some(Self::Keep),
            b"nc" => Some(Self::Nc),
            b"uc" => Some(Self::Uc),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Nc => "nc",
            Self::Uc => "uc",
        }
    }
}

/// All switches together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switches {
    /// The switch `enable`.
    pub enable: Enable,
    /// The switch `mtype`.
    pub mtype: Policy,
}

/// What the switches ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// No hook at all, and why.
    Nothing(Idle),
    /// The memory type hook with this policy, which is not [`Policy::Keep`].
    Mtype(Policy),
}

/// Why nothing is to be hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idle {
    /// `enable=N`.
    Disabled,
    /// `mtype=keep`: there is nothing to change.
    Keep,
}

impl Switches {
    /// What a module loaded without options does.
    pub const DEFAULT: Self = Self {
        enable: Enable::Yes,
        mtype: Policy::Nc,
    };

    const ENABLE_BIT: u32 = 1 << 0;
    const MTYPE_SHIFT: u32 = 1;
    const MTYPE_MASK: u32 = 0x3;

    /// Packs the switches, so that they can be stored and read in one go.
    pub const fn to_word(self) -> u32 {
        let enable = match self.enable {
            Enable::Yes => Self::ENABLE_BIT,
            Enable::No => 0,
        };
        enable | (self.mtype.to_bits() << Self::MTYPE_SHIFT)
    }

    /// The reverse of [`Switches::to_word`].
    pub const fn from_word(word: u32) -> Self {
        Self {
            enable: if word & Self::ENABLE_BIT != 0 {
                Enable::Yes
            } else {
                Enable::No
            },
            mtype: Policy::from_bits((word >> Self::MTYPE_SHIFT) & Self::MTYPE_MASK),
        }
    }

    /// What is to be hooked.
    pub const fn wanted(self) -> Wanted {
        match (self.enable, self.mtype) {
            (Enable::No, _) => Wanted::Nothing(Idle::Disabled),
            (Enable::Yes, Policy::Keep) => Wanted::Nothing(Idle::Keep),
            (Enable::Yes, policy) => Wanted::Mtype(policy),
        }
    }
}
