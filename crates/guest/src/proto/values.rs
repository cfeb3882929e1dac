// SPDX-License-Identifier: MIT OR Apache-2.0
//! What requests and replies are made of: numbers that cannot be mixed up, and the shapes of replies.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::bytes::Bytes;
use crate::uapi::VmFlags;

macro_rules! number {
    ($( $(#[$doc:meta])* $name:ident($inner:ty); )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);
    )* };
}

number! {
    /// A DRM client in the guest: one open render node.
    ClientId(u32);
    /// A GEM handle of one client.
    Handle(u32);
    /// A running storm.
    StormId(u32);
    /// A process that takes requests.
    ProcessId(u32);
    /// KFD's number of a GPU.
    GpuId(u32);
    /// A buffer of KFD.
    KfdHandle(u64);
    /// A user queue of a compute client.
    QueueId(u32);
    /// A GPU virtual address.
    Va(u64);
    /// A number of bytes.
    Size(u64);
}

impl fmt::Display for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What GEM_VA is asked to do (`AMDGPU_VA_OP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaOperation {
    /// Map; fails when something is there.
    Map,
    /// Undo one map.
    Unmap,
    /// Drop whatever is mapped in the range.
    Clear,
    /// Clear, then map.
    Replace,
}

/// One call of [`super::GemVaBatch`]; as in [`super::GemVa`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaStep {
    /// What to do.
    pub operation: VaOperation,
    /// The buffer; 0 for PRT and CLEAR.
    pub handle: Handle,
    /// GPU address.
    pub va: Va,
    /// First byte of the buffer to map.
    pub offset: Size,
    /// Bytes to map.
    pub size: Size,
    /// `AMDGPU_VM_*`.
    pub flags: VmFlags,
}

/// One copy of [`super::GpuCopy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStep {
    /// The GPU address to read.
    pub from: Va,
    /// The GPU address to write.
    pub to: Va,
    /// How many bytes.
    pub size: Size,
}

/// Reply to [`super::WriteFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// What `write` returned.
    pub bytes: usize,
}

/// Bytes to write over a copy; see [`super::PatchFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Where the first byte goes.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// Reply to [`super::Stat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Permission bits, as in `0644`.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Is it a folder?
    pub folder: bool,
}

/// Reply to [`super::Run`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended, in words; `None` when it ended well.
    pub failure: Option<String>,
    /// What it printed, errors included.
    pub output: String,
}

/// Reply to [`super::Uname`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnameInfo {
    /// `uname -r`
    pub release: String,
    /// `uname -v`
    pub version: String,
    /// `uname -m`
    pub machine: String,
}

/// Reply to [`super::KernelLog`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogPart {
    /// The text of each record, without its header.
    pub lines: Vec<String>,
    /// Pass this as `since` next time.
    pub next: u64,
    /// Records that the kernel overwrote before they could be read.
    pub lost: u64,
}

/// Reply to [`super::DrmInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrmFacts {
    /// The driver's name.
    pub driver: String,
    /// Its interface version: major, minor, patch level.
    pub version: (i32, i32, i32),
    /// PCI device ID.
    pub device_id: u32,
    /// Chip family.
    pub family: u32,
    /// First and last GPU address for user space.
    pub va: (Va, Va),
    /// What the INFO ioctl tells about fragments.
    pub pte_fragment_size: u32,
}

/// One entry of the reply to [`super::DrmHolders`]: a client of amdgpu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrmHolder {
    /// The process that has it open.
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// Whether KFD knows the process.
    pub compute: bool,
    /// The kernel's number of the client; no two ever have the same.
    pub client: u64,
    /// PCI address of the GPU.
    pub pci: String,
    /// By this the GPU knows the client's address space; 0 when it has none.
    pub pasid: u32,
}

/// Reply to [`super::DrmUsage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBytes {
    /// VRAM in use.
    pub vram: Size,
    /// GTT in use.
    pub gtt: Size,
}

/// Reply to [`super::CountMaps`]; all in ticks of the TSC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedMaps {
    /// Each round's map.
    pub map: Vec<u64>,
    /// Each round's unmap.
    pub unmap: Vec<u64>,
    /// What reading the clock itself takes.
    pub own: u64,
}

/// Reply to [`super::Submit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// What the CPU reads after SDMA is done.
    pub read: u32,
    /// The GPU address of the indirect buffer, to find the submission in the emulator.
    pub ib: Va,
    /// The GPU address that was written.
    pub target: Va,
}
