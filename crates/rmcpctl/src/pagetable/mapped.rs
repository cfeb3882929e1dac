// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client has mapped, in sums: for `try`, which looks while a command runs.

use super::summary::Totals;
use crate::clients::Client;
use crate::fail::Failure;
use crate::system::System;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes that are mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// By memory and memory type, such as `vram NC`.
    pub types: BTreeMap<String, u64>,
    /// By fragment, as log2 of pages.
    pub fragments: BTreeMap<u8, u64>,
}

impl Mapped {
    /// Reads a client's page tables.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn of(system: &System, client: &Client) -> Result<Self, Failure> {
        let totals = Totals::of(&super::read(system, client)?);
        let mut mapped = Self::default();
        for sum in totals.types {
            let name = format!("{} {}", sum.memory.as_str(), sum.mtype);
            mapped.types.insert(name, sum.bytes);
        }
        let fragments = totals.fragments.into_iter();
        mapped
            .fragments
            .extend(fragments.map(|sum| (sum.fragment, sum.bytes)));
        Ok(mapped)
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.types.values().sum()
    }

    /// Adds another client's.
    pub fn add(&mut self, other: &Self) {
        for (name, bytes) in &other.types {
            *self.types.entry(name.clone()).or_default() += bytes;
        }
        for (&fragment, bytes) in &other.fragments {
            *self.fragments.entry(fragment).or_default() += bytes;
        }
    }
}
