// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a running device tells its user: submissions seen, unknown accesses, faults.

use crate::blocks::gmc::Hub;
use crate::units::{GpuVa, PageDirectory, Vmid};
use serde::Serialize;

/// An indirect buffer of a user process that an engine executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Submission {
    /// Counts from 0 in the order of execution.
    pub seq: u64,
    /// The engine: `sdma0`, `sdma1`, `gfx`, …
    pub engine: String,
    /// The VM context that it ran in.
    pub vmid: Vmid,
    /// The root of that context's page tables at that moment.
    pub root: PageDirectory,
    /// Where the buffer lies in the process's address space.
    pub address: GpuVa,
    /// Its length in dwords.
    pub dwords: u32,
    /// Its first dword, 0 when it could not be read.
    pub first_dword: u32,
}

/// How something unknown was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// A register was read.
    Read,
    /// A register was written.
    Write,
    /// An engine met a packet.
    Packet,
    /// A message to the SMU.
    Message,
    /// A doorbell that belongs to no queue.
    Doorbell,
}

/// Something that the driver did and the model does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Name if there is one, else block and number.
    pub what: String,
    /// How it was touched.
    pub access: Access,
    /// How often.
    pub count: u64,
}

/// Something that real hardware would report as an error: DMA outside of memory, a page fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceFault {
    /// What happened, with the first address.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// What the TLBs of a device did. A driver may leave entries behind that are out of date, as long
/// as nobody uses them; `stale` and `wrong_fragments` count uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlbReport {
    /// Accesses that found an entry.
    pub hits: u64,
    /// Accesses that made one.
    pub misses: u64,
    /// Entries dropped for lack of room.
    pub evictions: u64,
    /// VMIDs that were invalidated, each time it was asked for.
    pub invalidations: u64,
    /// Uses of an entry whose page-table entry says something else by now.
    pub stale: u64,
    /// Uses of an entry for a page that lies elsewhere than its fragment promises.
    pub wrong_fragments: u64,
    /// The first uses that were wrong.
    pub examples: Vec<TlbUse>,
}

impl TlbReport {
    /// Puts what another hub counted to this.
    pub(crate) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.evictions += other.evictions;
        self.invalidations += other.invalidations;
        self.stale += other.stale;
        self.wrong_fragments += other.wrong_fragments;
        self.examples.extend_from_slice(&other.examples);
    }
}

/// An access that the TLB sent elsewhere than the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlbUse {
    /// The hub.
    pub hub: String,
    /// Whose address.
    pub vmid: Vmid,
    /// The address.
    pub va: GpuVa,
    /// Whether the page-table entry changed since it was remembered; else its fragment is too large.
    pub stale: bool,
    /// The page-table entry that was remembered.
    pub used: u64,
    /// The address that it was remembered for.
    pub of: GpuVa,
    /// What the tables say now about `va`: the entry, or why there is none.
    pub now: Result<u64, String>,
}

/// A page fault that a hub met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageFault {
    /// Counts from 0.
    pub seq: u64,
    /// The hub.
    pub hub: Hub,
    /// The number of the client in the hub's status register.
    pub client: u16,
    /// Whose address.
    pub vmid: Vmid,
    /// The process, as the driver has told the interrupt handler.
    pub pasid: u16,
    /// The address.
    pub va: GpuVa,
    /// A write, else a read.
    pub write: bool,
    /// What is wrong, in words.
    pub why: String,
    /// What the status register held of it; `None` when an earlier fault was still there.
    pub status: Option<u32>,
    /// Whether an interrupt was sent.
    pub interrupt: bool,
}
