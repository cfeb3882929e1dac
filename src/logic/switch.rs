// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The switches: how each is written and read.
//!
//! What is printed can be written back. One newline at the end is allowed, because `echo` writes
//! it; anything else that is not exactly a value is refused.

use super::{
    device::{DeviceList, Devices},
    fragment::{Fragment, FragmentSize},
    policy::{Policy, Scope},
};
use core::fmt;

/// A switch that a user can write.
pub trait Switch: fmt::Display + Sized {
    /// Its name.
    const NAME: &'static str;

    /// The values, for messages.
    const VALUES: &'static str;

    /// Reads exactly one value, without a newline. `None` when it is no value of this switch.
    fn from_value(value: &[u8]) -> Option<Self>;

    /// Reads one value with at most one newline behind it.
    fn parse(text: &[u8]) -> Option<Self> {
        Self::from_value(text.strip_suffix(b"\n").unwrap_or(text))
    }
}

/// Reads `Y` or `N`, and what the kernel's own switches take beside them.
fn yes_or_no(value: &[u8]) -> Option<bool> {
    match value {
        b"Y" | b"y" | b"1" => Some(true),
        b"N" | b"n" | b"0" => Some(false),
        _ => None,
    }
}

fn write_yes_or_no(f: &mut fmt::Formatter<'_>, yes: bool) -> fmt::Result {
    f.write_str(if yes { "Y" } else { "N" })
}

/// The switch `enable`: whether anything is done at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enable(pub bool);

impl Switch for Enable {
    const NAME: &'static str = "enable";
    const VALUES: &'static str = "Y or N";

    fn from_value(value: &[u8]) -> Option<Self> {
        yes_or_no(value).map(Self)
    }
}

impl fmt::Display for Enable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_yes_or_no(f, self.0)
    }
}

/// The switch `mtype_strict`: whether `mtype=nc` is also for what asks for coherence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strict(pub bool);

impl Switch for Strict {
    const NAME: &'static str = "mtype_strict";
    const VALUES: &'static str = "Y or N";

    fn from_value(value: &[u8]) -> Option<Self> {
        yes_or_no(value).map(Self)
    }
}

impl fmt::Display for Strict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_yes_or_no(f, self.0)
    }
}

/// Implements [`Switch`] for an enum whose values are words.
macro_rules! words {
    ($type:ty, $name:literal, $values:literal, $($word:literal => $value:path),+ $(,)?) => {
        impl Switch for $type {
            const NAME: &'static str = $name;
            const VALUES: &'static str = $values;

            fn from_value(value: &[u8]) -> Option<Self> {
                [$(($word, $value)),+]
                    .into_iter()
                    .find_map(|(word, meant)| (word.as_bytes() == value).then_some(meant))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $($value => $word,)+
                })
            }
        }
    };
}

words!(Policy, "mtype", "keep, nc or uc",
    "keep" => Policy::Keep, "nc" => Policy::Nc, "uc" => Policy::Uc);

words!(Scope, "mtype_scope", "all, vram or system",
    "all" => Scope::All, "vram" => Scope::Vram, "system" => Scope::System);

/// The switch `clients`: whose mappings rmcp touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clients {
    /// Everyone's.
    All,
    /// Those of address spaces that KFD has made compute VMs: ROCm's.
    Compute,
}

words!(Clients, "clients", "all or compute",
    "all" => Clients::All, "compute" => Clients::Compute);

/// The switch `noretry`: what amdgpu is told about retry faults before its init.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoRetry {
    /// Nothing.
    Keep,
    /// `noretry=0`: faults are retried.
    Retry,
    /// `noretry=1`: they are not.
    NoRetry,
}

words!(NoRetry, "noretry", "keep, 0 or 1",
    "keep" => NoRetry::Keep, "0" => NoRetry::Retry, "1" => NoRetry::NoRetry);

impl Switch for FragmentSize {
    const NAME: &'static str = "fragment_size";
    const VALUES: &'static str = "keep or 0 to 31";

    fn from_value(value: &[u8]) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
        let log2_pages = match *value {
            [b'k', b'e', b'e', b'p'] => return Some(Self::Keep),
            [one] => digit(one)?,
            [ten @ b'1'..=b'9', one] => digit(ten)? * 10 + digit(one)?,
            _ => return None,
        };
        Fragment::new(log2_pages).map(Self::AtMost)
    }
}

impl fmt::Display for FragmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::AtMost(limit) => write!(f, "{}", limit.log2_pages()),
        }
    }
}

impl Switch for Devices {
    const NAME: &'static str = "devices";
    const VALUES: &'static str =
        "all, or up to 16 PCI addresses such as 0000:03:00.0 separated by commas";

    fn from_value(value: &[u8]) -> Option<Self> {
        match value {
            b"all" => Some(Self::All),
            _ => DeviceList::parse(value).map(Self::Named),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Named(list) => list.fmt(f),
        }
    }
}
