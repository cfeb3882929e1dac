// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address spaces as JSON, written and read back.
//!
//! ```json
//! {
//!   "format": "rdna-emu walk 1",
//!   "root": "0x0000000000200001",
//!   "entries": [
//!     {
//!       "va": "0x000100000000", "level": "Ptb", "kind": "Leaf", "raw": "000300000ff90271",
//!       "span": 4096, "address": "0x00000ff90000",
//!       "valid": true, "system": false, "snooped": false,
//!       "executable": true, "readable": true, "writeable": true,
//!       "fragment": 4, "mtype": "UC", "prt": false, "noalloc": false
//!     }
//!   ]
//! }
//! ```
//!
//! `root`: the page directory's address with the flags that the driver gave it. `va`, `address`: bytes; an address is
//! an offset into video memory, or a bus address when `system`. `span`: bytes that the entry covers. `fragment`: log2 of
//! 4 KiB pages. `raw`: all 64 bits, in hex. Entries ascend by `va`, a directory comes before what it points at, and
//! fields stand in this order, so the same tables give the same text.
//!
//! An entry of another generation than GFX10 ends with `"layout": "Gfx9"`.
//!
//! Reading takes `va`, `level`, `kind` and `raw` (and `layout`); the other fields follow from these.

use super::{AddressSpace, Entry, Format, Kind, Level};
use crate::units::{GpuVa, PageDirectory};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};

/// What the document calls itself.
const FORMAT: &str = "rdna-emu walk 1";

impl Serialize for AddressSpace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("AddressSpace", 3)?;
        s.serialize_field("format", FORMAT)?;
        s.serialize_field("root", &format_args!("{:#018x}", self.root.0))?;
        s.serialize_field("entries", &self.entries)?;
        s.end()
    }
}

/// A document before it is checked.
#[derive(Deserialize)]
struct Document {
    format: String,
    root: String,
    entries: Vec<Entry>,
}

impl<'de> Deserialize<'de> for AddressSpace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::deserialize(deserializer)?;
        if document.format != FORMAT {
            let found = document.format;
            let text = format!("the format is {found:?}, expected {FORMAT:?}");
            return Err(D::Error::custom(text));
        }
        let root = number(&document.root, "root").map_err(D::Error::custom)?;
        let mut entries = document.entries;
        entries.sort_by_key(Entry::place);
        Ok(Self {
            root: PageDirectory(root),
            entries,
        })
    }
}

/// An entry before it is checked.
#[derive(Deserialize)]
struct Text {
    va: String,
    level: Level,
    kind: Kind,
    raw: String,
    #[serde(default)]
    layout: Format,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        text.entry().map_err(D::Error::custom)
    }
}

impl Text {
    fn entry(self) -> Result<Entry, String> {
        let (va, raw) = (number(&self.va, "va")?, number(&self.raw, "raw")?);
        let Self {
            level,
            kind,
            layout,
            ..
        } = self;
        if va >> 48 != 0 || va & ((1 << level.shift()) - 1) != 0 {
            return Err(format!("no {level:?} entry can begin at {va:#x}"));
        }
        let va = GpuVa(va);
        let entry = Entry {
            va,
            level,
            kind,
            raw,
            format: layout,
        };
        // A flat table lists what does nothing as well.
        let decoded = layout
            .decode(va, level, raw)
            .map_or(Kind::Inert, |e| e.kind);
        if decoded != kind {
            return Err(format!(
                "{raw:016x} at {va} is a {decoded:?}, not a {kind:?}"
            ));
        }
        Ok(entry)
    }
}

/// A number in hex, with or without `0x`.
fn number(text: &str, what: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
        .ok_or_else(|| format!("{what} is {text:?}, expected a number in hex"))
}
