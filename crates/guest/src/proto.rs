// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation between host and guest: one JSON object per line, one reply per request, in order.
//!
//! The host sends a [`Frame`], the guest answers with an [`Answer`] of the same `id`. When it is ready the guest
//! speaks first, once, with a [`Hello`]: that is the positive marker without which a boot counts as failed.
//! Every request is a struct that implements [`Call`], which ties it to the type of its reply, so the host's side is
//! checked by the compiler. Bytes travel as base64, since parameters under test may be no UTF-8 or hold NULs.

mod compute;
mod session;
#[cfg(test)]
mod tests;
mod values;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use self::compute::*;
pub use self::session::*;
pub use self::values::*;
pub use crate::bytes::Bytes;
use crate::uapi::{Domain, GemFlags, VmFlags};

/// Name of the virtio-serial port on which guest and host talk.
pub const PORT: &str = "org.rmcp.guest";

/// First line of the guest: it is up, and what runs under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Always "rmcp guest": tells this line from noise on the port.
    pub hello: String,
    /// Release of the running kernel, as `uname -r` prints it.
    pub release: String,
}

impl Hello {
    /// The value of [`Hello::hello`].
    pub const MARK: &'static str = "rmcp guest";
}

/// A request with the number that its answer repeats.
#[derive(Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Chosen by the host, repeated in the answer.
    pub id: u64,
    /// What to do.
    pub request: Request,
}

/// The answer to one [`Frame`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number.
    pub id: u64,
    /// Result or failure.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Result of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The reply, shaped as the request's [`Call::Reply`].
    Ok(serde_json::Value),
    /// It failed.
    Error(Failure),
}

impl From<Result<serde_json::Value, Failure>> for Outcome {
    fn from(result: Result<serde_json::Value, Failure>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(failure) => Self::Error(failure),
        }
    }
}

/// Why a request failed in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kernel's errno, when a system call was what failed.
    pub errno: Option<i32>,
    /// What was tried and what came back, in words.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// A request that knows the type of its reply.
pub trait Call: Into<Request> {
    /// What the guest answers.
    type Reply: DeserializeOwned;
}

/// Requests that belong together: a structure for each with the type of its reply, and an enum of them all. `$into` makes
/// a [`Request`] of the enum; `$more` are variants that hold another such enum.
macro_rules! calls {
    (
        $(#[$enum_doc:meta])* $requests:ident, tagged $tag:literal, into $into:path
        $(, $(#[$more_doc:meta])* $more:ident($inner:ty))*;
        $( $(#[$doc:meta])* $name:ident { $( $(#[$fdoc:meta])* $field:ident : $type:ty ),* $(,)? } -> $reply:ty; )*
    ) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(tag = $tag, rename_all = "snake_case")]
        pub enum $requests {
            $( $(#[$doc])* $name($name), )*
            $( $(#[$more_doc])* $more($inner), )*
        }

        impl $requests {
            /// The request's name, for messages.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $( Self::$name(_) => stringify!($name), )*
                    $( Self::$more(inner) => inner.name(), )*
                }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Serialize, Deserialize)]
            pub struct $name { $( $(#[$fdoc])* pub $field: $type, )* }

            impl From<$name> for Request {
                fn from(call: $name) -> Self { $into($requests::$name(call)) }
            }

            impl Call for $name { type Reply = $reply; }
        )*
    };
}
pub(crate) use calls;

calls! {
    /// Everything that the guest can be asked for.
    Request, tagged "op", into std::convert::identity,
    /// What is about compute clients.
    Compute(ComputeRequest);

    /// Load a module from a file (`finit_module`).
    Insmod {
        /// Path of the `.ko` in the guest.
        path: String,
        /// Its parameters, separated by spaces, as given; not necessarily UTF-8.
        params: Bytes,
    } -> ();
    /// Unload a module (`delete_module`, without waiting for its users).
    Rmmod {
        /// The module's name.
        name: String,
    } -> ();
    /// Read a whole file.
    ReadFile {
        /// Its path.
        path: String,
    } -> Bytes;
    /// Write to an existing file with one `write` system call; the reply says how many bytes it took.
    WriteFile {
        /// Its path.
        path: String,
        /// What to write.
        data: Bytes,
    } -> Written;
    /// Create or replace a file with this content.
    CreateFile {
        /// Its path; missing folders are made.
        path: String,
        /// Its content.
        data: Bytes,
    } -> ();
    /// Make a copy of a file that differs in a few bytes.
    PatchFile {
        /// The original.
        from: String,
        /// The copy.
        to: String,
        /// How long the copy is; what is beyond in the original is left out.
        length: Size,
        /// Bytes to write over the copy.
        patches: Vec<Patch>,
    } -> ();
    /// Delete a file.
    RemoveFile {
        /// Its path.
        path: String,
    } -> ();
    /// Facts about a file.
    Stat {
        /// Its path.
        path: String,
    } -> FileInfo;
    /// Names in a folder, sorted.
    List {
        /// The folder's path.
        path: String,
    } -> Vec<String>;
    /// SHA-256 of a file, in hex.
    Sha256 {
        /// Its path.
        path: String,
    } -> String;
    /// Run a program to its end.
    Run {
        /// Its path, then its arguments.
        words: Vec<String>,
    } -> Ran;
    /// Mount a file system with a distribution's programs, read-only with a memory disk above it for what they write,
    /// and the guest's own `/proc`, `/sys`, `/dev` and [`SHOWN`] inside.
    MountRoot {
        /// The block device.
        device: String,
        /// The file system's name.
        kind: String,
        /// Where to mount it.
        at: String,
    } -> ();
    /// Run a program with its streams carried while it runs: until the answer, the host sends [`SessionInput`]s and
    /// the guest [`SessionOutput`]s, one a line. PID 1 only.
    Session {
        /// Its path, then its arguments.
        words: Vec<String>,
        /// The folder that is its root; none is the guest's own.
        root: Option<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
        /// Seconds after which it is killed with all that it started.
        limit: Option<u32>,
        /// A terminal of this size, else pipes.
        terminal: Option<TerminalSize>,
    } -> Ended;
    /// `uname`.
    Uname {} -> UnameInfo;
    /// The kernel's log from record `since` on.
    KernelLog {
        /// First record wanted; 0 means from the start.
        since: u64,
    } -> LogPart;
    /// Open a render node as a new DRM client with its own address space.
    DrmOpen {
        /// Path of the node; `/dev/dri/renderD128` is the first.
        node: String,
    } -> ClientId;
    /// Close a client; its buffers and mappings go with it.
    DrmClose {
        /// Which client.
        client: ClientId,
    } -> ();
    /// Driver and device facts.
    DrmInfo {
        /// Which client.
        client: ClientId,
    } -> DrmFacts;
    /// Who has amdgpu's files open, all processes.
    DrmHolders {} -> Vec<DrmHolder>;
    /// Wait until every update of a client's page tables that was asked for so far is done; nothing is submitted.
    DrmSettle {
        /// Which client.
        client: ClientId,
    } -> ();
    /// Bytes in use, device wide, as amdgpu's INFO ioctl counts them.
    DrmUsage {
        /// Which client.
        client: ClientId,
    } -> UsageBytes;
    /// GEM_CREATE: a new buffer.
    GemCreate {
        /// Which client.
        client: ClientId,
        /// Size in bytes.
        size: Size,
        /// Alignment in bytes; 0 leaves it to the driver.
        alignment: Size,
        /// Where it lives.
        domain: Domain,
        /// `AMDGPU_GEM_CREATE_*`.
        flags: GemFlags,
    } -> Handle;
    /// GEM_USERPTR: anonymous memory of the guest process as a buffer.
    GemUserptr {
        /// Which client.
        client: ClientId,
        /// Size in bytes.
        size: Size,
    } -> Handle;
    /// GEM_CLOSE: drop a buffer, with its mappings.
    GemClose {
        /// Which client.
        client: ClientId,
        /// The buffer.
        handle: Handle,
    } -> ();
    /// GEM_VA: map, unmap, replace or clear.
    GemVa {
        /// Which client.
        client: ClientId,
        /// What to do.
        operation: VaOperation,
        /// The buffer; 0 for PRT and CLEAR.
        handle: Handle,
        /// GPU address.
        va: Va,
        /// First byte of the buffer to map.
        offset: Size,
        /// Bytes to map.
        size: Size,
        /// `AMDGPU_VM_*`.
        flags: VmFlags,
    } -> ();
    /// Many GEM_VA calls in one message, in order, whatever becomes of each; replies with the errno of each, 0 for
    /// success.
    GemVaBatch {
        /// Which client.
        client: ClientId,
        /// What to do.
        steps: Vec<VaStep>,
    } -> Vec<i32>;
    /// Let SDMA copy whole pages through the client's address space, and wait until all is done. The submissions name
    /// the buffers that do not belong to the address space for good, so their mappings are up to date too.
    GpuCopy {
        /// Which client.
        client: ClientId,
        /// What to copy; nothing is a submission as well.
        copies: Vec<CopyStep>,
    } -> ();
    /// Let SDMA fill pages through the client's address space as [`Paint`] does, and wait until all is done: `first + i`
    /// in every word of page `i` but the last, which gets the complement.
    GpuPaint {
        /// Which client.
        client: ClientId,
        /// Where the pages are mapped.
        va: Va,
        /// How large they are together.
        size: Size,
        /// What page 0 gets.
        first: u32,
    } -> ();
    /// Let the CPU write `first + i` into the first word of each page `i` of a buffer, and its complement into the
    /// last.
    Paint {
        /// Which client.
        client: ClientId,
        /// The buffer.
        handle: Handle,
        /// How large it is.
        size: Size,
        /// What page 0 gets.
        first: u32,
    } -> ();
    /// Read the first and the last word of each page of a buffer by the CPU: 8 bytes for each page.
    Sample {
        /// Which client.
        client: ClientId,
        /// The buffer.
        handle: Handle,
        /// How large it is.
        size: Size,
    } -> Bytes;
    /// Map and unmap a buffer again and again and count the ticks that each takes; in between SDMA finishes.
    CountMaps {
        /// Which client.
        client: ClientId,
        /// The buffer.
        handle: Handle,
        /// GPU address.
        va: Va,
        /// Bytes to map, from the buffer's first on.
        size: Size,
        /// `AMDGPU_VM_*`.
        flags: VmFlags,
        /// How many rounds.
        rounds: u32,
    } -> CountedMaps;
    /// Let SDMA write `value` through the client's address space into a buffer of its own, and read it back by mmap.
    Submit {
        /// Which client.
        client: ClientId,
        /// What SDMA writes.
        value: u32,
        /// Where the buffer that is written lives.
        domain: Domain,
    } -> Submitted;
    /// Let the graphics ring run a program that does nothing, and wait until it is done.
    GfxNothing {
        /// Which client.
        client: ClientId,
    } -> ();
    /// Let a compute ring of the kernel's run a program that does nothing, and wait until it is done.
    ComputeNothing {
        /// Which client.
        client: ClientId,
    } -> ();
    /// Start processes that map and unmap a buffer until told to stop.
    StormStart {
        /// Render node.
        node: String,
        /// How many processes.
        processes: u32,
        /// Size of the buffer that each maps.
        size: Size,
    } -> StormId;
    /// Wait until each process of a storm has mapped and unmapped this many more times; replies with the counts.
    StormWait {
        /// Which storm.
        storm: StormId,
        /// Rounds to wait for.
        rounds: u64,
    } -> Vec<u64>;
    /// Stop a storm and reap its processes; replies with the rounds that each made.
    StormStop {
        /// Which storm.
        storm: StormId,
    } -> Vec<u64>;
    /// Start a process of its own that takes the same requests.
    ProcessStart {} -> ProcessId;
    /// Let a process do something; the reply is that of the request.
    Within {
        /// Which process.
        process: ProcessId,
        /// What it shall do.
        request: Box<Request>,
    } -> serde_json::Value;
    /// Let a process do something that may take long, without waiting for it. It must neither take nor give back
    /// references to the driver. Nothing else can be asked of the process before its answer was fetched.
    LaterStart {
        /// Which process.
        process: ProcessId,
        /// What it shall do.
        request: Box<Request>,
    } -> ();
    /// Whether a process has answered what [`LaterStart`] asked, at this moment.
    LaterEnded {
        /// Which process.
        process: ProcessId,
    } -> bool;
    /// Wait for the answer to what [`LaterStart`] asked; the reply is that of the request.
    LaterEnd {
        /// Which process.
        process: ProcessId,
    } -> serde_json::Value;
    /// Let a process close what it has and end; the reply comes when the driver has let go of all of it.
    ProcessEnd {
        /// Which process.
        process: ProcessId,
    } -> ();
    /// Suspend to idle and resume; the reply comes after. Up to the last step, which would stop the processors until
    /// an interrupt wakes them: everything that drivers do is done. PID 1 only.
    Suspend {} -> ();
    /// Close every client, write everything back and power off; the reply is sent before.
    PowerOff {} -> ();
}
