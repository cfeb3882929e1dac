// SPDX-License-Identifier: MIT OR Apache-2.0
//! A walk as a file, written and read back.
//!
//! ```json
//! { "format": "rmcpctl walk 1",
//!   "client": { "pid": 250, "name": "python3", "client": 2, "gpu": "0000:03:00.0", "pasid": 2 },
//!   "tables": { "root": 267837441, "max_pfn": 68719476736, "levels": 3, "block_size": 9, "fragment_size": 9 },
//!   "entries": [ ["000100000000", "Ptb", "000300000ff90271"] ] }
//! ```
//!
//! An entry is its address, its level and its bits, in hex; the rest follows from these.

use super::entry::{Entry, Level};
use crate::clients::{Client, Tables};
use serde::{Deserialize, Serialize};

/// What the document calls itself.
const FORMAT: &str = "rmcpctl walk 1";

/// One address space at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Whose it is.
    pub client: Client,
    /// Where it was read.
    pub tables: Tables,
    /// What was found, by address.
    pub entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    client: Client,
    tables: Tables,
    entries: Vec<(String, Level, String)>,
}

impl Walk {
    /// log2 of the pages in a table.
    pub fn block(&self) -> u32 {
        // Walks have no others.
        u32::try_from(self.tables.block_size).unwrap_or(9)
    }

    /// As text.
    pub fn to_json(&self) -> String {
        let document = Document {
            format: FORMAT.into(),
            client: self.client.clone(),
            tables: self.tables,
            entries: self.entries.iter().map(words).collect(),
        };
        // There is nothing in it that JSON cannot hold.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Reads what [`Walk::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let Document {
            format,
            client,
            tables,
            entries,
        } = document;
        if format != FORMAT {
            return Err(format!("the format is {format:?}, expected {FORMAT:?}"));
        }
        let block = match tables.block_size {
            block @ 9..=13 => u32::try_from(block).unwrap_or(9),
            other => return Err(format!("the block size is {other}, expected 9 to 13")),
        };
        let mut read: Vec<Entry> = Vec::with_capacity(entries.len());
        for (va, level, raw) in entries {
            let (va, raw) = (hex(&va)?, hex(&raw)?);
            let entry = Entry { va, level, raw };
            if va >> 48 != 0 || va & (entry.span(block) - 1) != 0 {
                return Err(format!("no {level:?} entry can begin at {va:#x}"));
            }
            if entry.kind().is_none() {
                return Err(format!("{raw:016x} at {va:#x} says nothing"));
            }
            if read.last().is_some_and(|last| place(last) >= place(&entry)) {
                return Err(format!("the entry at {va:#x} is not behind the one before"));
            }
            read.push(entry);
        }
        Ok(Self {
            client,
            tables,
            entries: read,
        })
    }
}

/// Where an entry stands: by address, a directory before what it points at.
pub(super) fn place(entry: &Entry) -> (u64, std::cmp::Reverse<Level>) {
    (entry.va, std::cmp::Reverse(entry.level))
}

fn words(entry: &Entry) -> (String, Level, String) {
    let Entry { va, level, raw } = entry;
    (format!("{va:012x}"), *level, format!("{raw:016x}"))
}

fn hex(text: &str) -> Result<u64, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
        .ok_or_else(|| format!("{text:?} is not a number in hex"))
}
