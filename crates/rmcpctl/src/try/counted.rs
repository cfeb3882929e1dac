// SPDX-License-Identifier: MIT OR Apache-2.0
//! What rmcp counted while a command ran: the mappings of the whole machine, by what was written.

use crate::rmcp::{self, Counters};
use crate::system::{Found, System};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was counted between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Mappings that the module saw.
    pub mappings: u64,
    /// Those that it changed.
    pub changed: u64,
    /// Those that it left alone since `clients=compute` is not for them.
    pub other_clients: u64,
    /// Mappings by the memory type that was written.
    pub types: BTreeMap<String, u64>,
    /// Entries by the fragment that was written, as log2 of pages.
    pub fragments: BTreeMap<u8, u64>,
}

/// The counters now.
pub(super) fn now(system: &System) -> Found<Counters> {
    rmcp::counters(system)
}

impl Counted {
    /// What was added from one look to the next.
    pub(super) fn between(before: &Counters, after: &Counters) -> Self {
        let mut counted = Self::default();
        for device in &after.devices {
            let then = before.device(&device.address);
            for (name, &count) in &device.counts {
                let was = then.map_or(0, |then| then.count(name));
                // One that went back was reset in between.
                counted.take(name, count.saturating_sub(was));
            }
        }
        counted
    }

    fn take(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        match name.split(' ').collect::<Vec<_>>()[..] {
            ["mappings"] => self.mappings += count,
            ["changed"] => self.changed += count,
            ["left-alone", "client"] => self.other_clients += count,
            ["requested", _, "written", written] => {
                *self.types.entry(written.to_uppercase()).or_default() += count;
            }
            ["fragment", "written", fragment, "count"] => {
                if let Ok(fragment) = fragment.parse() {
                    *self.fragments.entry(fragment).or_default() += count;
                }
            }
            _ => {}
        }
    }

    /// Adds another run's.
    pub(super) fn add(&mut self, other: &Self) {
        self.mappings += other.mappings;
        self.changed += other.changed;
        self.other_clients += other.other_clients;
        for (name, count) in &other.types {
            *self.types.entry(name.clone()).or_default() += count;
        }
        for (&fragment, count) in &other.fragments {
            *self.fragments.entry(fragment).or_default() += count;
        }
    }

    /// Whether a policy was for any mapping that was made.
    pub(super) fn met(&self) -> bool {
        self.mappings > self.other_clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_counts() {
        let before = Counters::parse(
            "0000:03:00.0 mappings 12\n0000:03:00.0 requested default written nc 12\n\
             0000:03:00.0 fragment written 9 count 4\n0000:03:00.0 fragment written largest 9\n",
        );
        let after = Counters::parse(
            "0000:03:00.0 mappings 20\n0000:03:00.0 changed 5\n0000:03:00.0 requested default written nc 13\n\
             0000:03:00.0 requested default written uc 5\n0000:03:00.0 requested rw written uc 2\n\
             0000:03:00.0 fragment written 9 count 4\n0000:03:00.0 fragment written 0 count 7\n\
             0000:03:00.0 fragment written largest 9\n0000:03:00.0 left-alone client 3\n",
        );
        let counted = Counted::between(&before, &after);
        let expected = Counted {
            mappings: 8,
            changed: 5,
            other_clients: 3,
            types: BTreeMap::from([("NC".into(), 1), ("UC".into(), 7)]),
            fragments: BTreeMap::from([(0, 7)]),
        };
        assert_eq!(counted, expected);
        assert!(counted.met());
        assert!(!Counted::between(&after, &before).met());
    }
}
