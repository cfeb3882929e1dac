// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the log tells beyond what is out of the ordinary: each register access, packet, interrupt and translation, by
//! name.
//!
//! As text, a line is its number, the kind, who (a hardware block or engine), what, and fields as `name=value`. As JSON
//! (one object on a line) the same: `{"line":7,"kind":"register","block":"gc","name":"SDMA0_GFX_RB_CNTL","by":"host",
//! "access":"write","value":"0x00001015"}`. Numbers of hardware are hex in quotes, counts are plain. Other lines of the log are
//! `{"line":8,"kind":"log","text":"…"}`.
//!
//! A log holds no time and no address of the host, so the same history on the same options gives the same bytes, as long
//! as time stamps are counted ([`Clock::Counted`](crate::Clock::Counted)) and are what alone the history could not
//! repeat.

use crate::blocks::gmc::VmFault;
use crate::blocks::ih::Vector;
use crate::bus::{Bus, Space};
use crate::mem::Place;
use crate::regs::Reg;
use crate::units::GpuVa;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TraceKind {
    /// Reads and writes of registers, by the host and by packets.
    Registers,
    /// Packets, as engines come to them; one that waits is there again for each try.
    Packets,
    /// Interrupts posted.
    Interrupts,
    /// Addresses that engines translate, with the entry's place.
    Translations,
}

impl TraceKind {
    const ALL: [Self; 4] = [
        Self::Registers,
        Self::Packets,
        Self::Interrupts,
        Self::Translations,
    ];

    /// As it stands in a line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Registers => "register",
            Self::Packets => "packet",
            Self::Interrupts => "interrupt",
            Self::Translations => "translation",
        }
    }
}

impl FromStr for TraceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |kind: &Self| format!("{}s", kind.word()) == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            format!(
                "{text:?} cannot be traced; expected registers, packets, interrupts or translations"
            )
        })
    }
}

/// What to trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    kinds: BTreeSet<TraceKind>,
    blocks: Vec<String>,
}

impl Trace {
    /// Everything, of every block.
    pub fn everything() -> Self {
        Self {
            kinds: TraceKind::ALL.into(),
            blocks: Vec::new(),
        }
    }

    /// These kinds, of every block.
    pub fn of(kinds: impl IntoIterator<Item = TraceKind>) -> Self {
        Self {
            kinds: kinds.into_iter().collect(),
            blocks: Vec::new(),
        }
    }

    /// Only blocks and engines whose name begins so, in lower case: `gc`, `sdma0`, `kiq`, …
    pub fn blocks(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.blocks = names.into_iter().map(|name| name.to_lowercase()).collect();
        self
    }

    /// Whether this kind is traced for any block.
    pub(crate) fn wants(&self, kind: TraceKind) -> bool {
        !self.kinds.is_empty() && self.kinds.contains(&kind)
    }

    /// Whether the block is one that is asked for.
    pub(crate) fn has(&self, block: &str) -> bool {
        self.blocks.is_empty()
            || self
                .blocks
                .iter()
                .any(|name| block.starts_with(name.as_str()))
    }
}

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!(
                "{text:?} is no format of a log; expected text or json"
            )),
        }
    }
}

/// The value of a field.
pub(crate) enum Value<'a> {
    Hex(u64),
    Count(u64),
    Word(&'a str),
}

/// One traced event.
pub(crate) struct Event<'a> {
    pub(crate) kind: TraceKind,
    pub(crate) block: &'a str,
    pub(crate) name: &'a str,
    pub(crate) fields: &'a [(&'static str, Value<'a>)],
}

impl Event<'_> {
    /// As the rest of a line of text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} {} {}", self.kind.word(), self.block, self.name);
        for (name, value) in self.fields {
            text.push_str(&format!(" {name}={value}"));
        }
        text
    }

    /// As a JSON object.
    pub(crate) fn json(&self, line: u64) -> String {
        let mut text = format!(
            "{{\"line\":{line},\"kind\":\"{}\",\"block\":{},\"name\":{}",
            self.kind.word(),
            quoted(self.block),
            quoted(self.name)
        );
        for (name, value) in self.fields {
            let value = match value {
                Value::Count(n) => n.to_string(),
                other => quoted(&other.to_string()),
            };
            text.push_str(&format!(",\"{name}\":{value}"));
        }
        text.push('}');
        text
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex(n) => write!(f, "{n:#010x}"),
            Self::Count(n) => n.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl Bus {
    /// Logs an access to a register, if that is asked for.
    pub(crate) fn trace_register(&mut self, access: &str, reg: Reg, value: u32) {
        if !self.journal.traces(TraceKind::Registers) {
            return;
        }
        let described = self.regs.describe(reg);
        let (block, name) = described.split_once('.').unwrap_or(("", &described));
        let by = match self.by_host {
            true => "host".to_owned(),
            false => self.requester.to_string(),
        };
        self.journal.event(&Event {
            kind: TraceKind::Registers,
            block: &block.to_lowercase(),
            name,
            fields: &[
                ("by", Value::Word(&by)),
                ("access", Value::Word(access)),
                ("value", Value::Hex(value.into())),
            ],
        });
    }

    /// Logs a packet that an engine has come to, if that is asked for.
    pub(crate) fn trace_packet(&mut self, engine: &str, space: Space, name: &str, head: &[u32]) {
        let vmid = space.vmid();
        let words: Vec<String> = head.iter().map(|word| format!("{word:08x}")).collect();
        self.journal.event(&Event {
            kind: TraceKind::Packets,
            block: engine,
            name,
            fields: &[
                ("vmid", Value::Count(vmid.0.into())),
                ("dwords", Value::Word(&words.join(" "))),
            ],
        });
    }

    /// Logs where an address led.
    pub(crate) fn trace_translation(
        &mut self,
        space: Space,
        va: GpuVa,
        write: bool,
        found: &Result<Option<Place>, VmFault>,
        bytes: u64,
    ) {
        let (kind, place) = match found {
            Ok(Some(Place::Vram(at))) => ("vram", *at),
            Ok(Some(Place::System(at))) => ("system", *at),
            Ok(None) => ("prt", 0),
            Err(_) => ("fault", 0),
        };
        self.journal.event(&Event {
            kind: TraceKind::Translations,
            block: &self.requester.to_string(),
            name: kind,
            fields: &[
                ("vmid", Value::Count(space.vmid().0.into())),
                ("va", Value::Hex(va.0)),
                ("access", Value::Word(if write { "write" } else { "read" })),
                ("address", Value::Hex(place)),
                ("bytes", Value::Count(bytes)),
            ],
        });
    }

    /// Logs an interrupt, if that is asked for.
    pub(crate) fn trace_interrupt(&mut self, vector: &Vector) {
        if self.journal.traces(TraceKind::Interrupts) {
            let client = format!("{:?}", vector.client).to_lowercase();
            self.journal.event(&Event {
                kind: TraceKind::Interrupts,
                block: &client,
                name: &format!("source {}", vector.source),
                fields: &[
                    ("ring", Value::Count(vector.ring.into())),
                    ("vmid", Value::Count(vector.vmid.0.into())),
                    ("data", Value::Hex(vector.data[0].into())),
                ],
            });
        }
    }
}

/// A string in JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The name of an SDMA packet (`SDMA_OP_*` of `navi10_sdma_pkt_open.h`).
pub(crate) fn sdma_packet(opcode: u32) -> &'static str {
    match opcode & 0xff {
        0 => "NOP",
        1 => "COPY",
        2 => "WRITE",
        4 => "INDIRECT",
        5 => "FENCE",
        6 => "TRAP",
        7 => "SEM",
        8 => "POLL_REGMEM",
        9 => "COND_EXE",
        10 => "ATOMIC",
        11 => "CONST_FILL",
        12 => "PTEPDE",
        13 => "TIMESTAMP",
        14 => "SRBM_WRITE",
        15 => "PRE_EXE",
        16 => "GPUVM_INV",
        17 => "GCR_REQ",
        _ => "unknown",
    }
}
