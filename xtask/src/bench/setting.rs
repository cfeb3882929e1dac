// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is compared: stock, rmcp with one set of switches after the other, and other ways to the same effect.

use serde::Serialize;

/// One row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// How it is called in tables.
    pub name: &'static str,
    /// Who is on the driver's functions.
    #[serde(skip)]
    pub who: Who,
    /// Is mapping counted too, not only the call?
    #[serde(skip)]
    pub maps: bool,
}

/// Who is on the driver's functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Nobody; rmcp is not loaded.
    Nobody,
    /// rmcp, loaded with these switches.
    Rmcp(&'static str),
    /// rmcp_bench, with one of its mechanisms.
    Helper(&'static str),
}

/// The first and the last row.
pub const STOCK: &str = "stock";
/// rmcp loaded, and told to do nothing.
pub const DISABLED: &str = "enable=N";

const fn rmcp(name: &'static str) -> Setting {
    with(name, name)
}

const fn with(name: &'static str, switches: &'static str) -> Setting {
    Setting {
        name,
        who: Who::Rmcp(switches),
        maps: true,
    }
}

const fn helper(name: &'static str, mechanism: &'static str) -> Setting {
    Setting {
        name,
        who: Who::Helper(mechanism),
        maps: false,
    }
}

const fn nobody(name: &'static str) -> Setting {
    Setting {
        name,
        who: Who::Nobody,
        maps: true,
    }
}

/// All of them, in the order of counting. Stock comes first and last, so that a run shows how well it repeats.
pub const ALL: &[Setting] = &[
    nobody(STOCK),
    rmcp(DISABLED),
    rmcp("mtype=nc fragment_size=keep"),
    rmcp("mtype=uc fragment_size=keep"),
    rmcp("mtype=nc mtype_scope=vram fragment_size=keep"),
    rmcp("mtype=nc mtype_scope=system fragment_size=keep"),
    rmcp("mtype=nc mtype_strict=Y fragment_size=keep"),
    rmcp("mtype=nc clients=compute fragment_size=keep"),
    with("mtype=nc fragment_size=9 (default)", ""),
    rmcp("mtype=uc fragment_size=9"),
    rmcp("mtype=nc clients=compute fragment_size=9"),
    rmcp("mtype=keep fragment_size=31"),
    rmcp("mtype=keep fragment_size=12"),
    rmcp("mtype=keep fragment_size=10"),
    rmcp("mtype=keep fragment_size=9"),
    rmcp("mtype=keep fragment_size=8"),
    rmcp("mtype=keep fragment_size=4"),
    rmcp("mtype=keep fragment_size=1"),
    rmcp("mtype=keep fragment_size=0"),
    rmcp("mtype=nc fragment_size=0"),
    helper("direct call (assembly)", "direct"),
    helper("ftrace_ops in C", "ops"),
    helper("IPMODIFY replacement in C", "ipmodify"),
    helper("fprobe at entry", "fprobe_entry"),
    helper("kprobe", "kprobe"),
    helper("kretprobe", "kretprobe"),
    helper("fprobe at entry and exit", "fprobe"),
    nobody(AGAIN),
];

/// Stock once more.
pub const AGAIN: &str = "stock again";

/// Those that are counted with page tables written by the CPU too.
pub fn by_cpu() -> impl Iterator<Item = &'static Setting> {
    const NAMES: [&str; 7] = [
        STOCK,
        DISABLED,
        "mtype=nc fragment_size=keep",
        "mtype=nc fragment_size=9 (default)",
        "mtype=keep fragment_size=8",
        "mtype=keep fragment_size=0",
        AGAIN,
    ];
    ALL.iter().filter(|setting| NAMES.contains(&setting.name))
}

impl Setting {
    /// The fragment cap that it asks for, if it does.
    #[must_use]
    pub fn cap(&self) -> Option<u32> {
        self.value("fragment_size")?.parse().ok()
    }

    /// Does it change nothing but memory types?
    #[must_use]
    pub fn is_mtype_only(&self) -> bool {
        self.value("fragment_size") == Some("keep")
    }

    /// Does it treat a client by what it is?
    #[must_use]
    pub fn asks_for_client(&self) -> bool {
        self.value("clients") == Some("compute")
    }

    /// The value of a switch that its name tells.
    fn value(&self, switch: &str) -> Option<&'static str> {
        self.name
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .find(|(name, _)| *name == switch)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tell_the_switches() {
        for (index, one) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != one.name));
            if let Who::Rmcp(switches) = one.who {
                assert!(switches.is_empty() || switches == one.name);
            }
        }
        let of = |name| ALL.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!(of("mtype=keep fragment_size=10").cap(), Some(10));
        assert_eq!(of("mtype=nc fragment_size=9 (default)").cap(), Some(9));
        assert_eq!(of("mtype=uc fragment_size=keep").cap(), None);
        assert!(of("mtype=uc fragment_size=keep").is_mtype_only());
        assert!(of("mtype=nc clients=compute fragment_size=9").asks_for_client());
        assert!(!of("mtype=uc fragment_size=keep").asks_for_client());
        assert!(!of(STOCK).is_mtype_only() && !of(DISABLED).is_mtype_only());
    }

    #[test]
    fn every_setting_that_is_named_is_there() {
        assert_eq!(by_cpu().count(), 7);
    }

    #[test]
    fn the_caps_of_the_issue_are_there() {
        for cap in [31, 12, 10, 9, 8, 4, 1, 0] {
            assert!(ALL.iter().any(|setting| setting.cap() == Some(cap)));
        }
    }
}
