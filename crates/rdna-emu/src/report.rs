// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a running device tells its user: submissions seen, unknown accesses, faults.

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
