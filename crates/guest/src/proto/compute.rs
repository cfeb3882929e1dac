// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about compute clients: KFD's memory, shared virtual memory, user queues and events.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{Bytes, Call, ClientId, GpuId, KfdHandle, QueueId, Request, Size, Va, calls};
use crate::kfd_uapi::{KfdFlags, SvmFlags};

/// What the ring of a user queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Packets of a copy engine.
    Sdma,
    /// Packets of the command processor.
    Pm4,
    /// Packets in the architected queuing language.
    Aql,
}

/// Memory of a compute client, as its CPU sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KfdPlace {
    /// In a buffer, so many bytes behind its begin.
    Buffer(KfdHandle, Size),
    /// In a shared range, at this address.
    Shared(Va),
}

/// An event of KFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KfdEvent {
    /// Its number, which the GPU's interrupt carries.
    pub id: u32,
    /// Its qword in the event page; anything but all ones signals it.
    pub slot: u32,
}

calls! {
    /// What is about compute clients.
    ComputeRequest, tagged "compute", into Request::Compute;

    /// KFD's ACQUIRE_VM: make a client's address space the compute address space of this process on that GPU.
    KfdAcquire {
        /// Which client; it must not have mapped anything.
        client: ClientId,
    } -> GpuId;
    /// KFD's ALLOC_MEMORY_OF_GPU: a new buffer with its address.
    KfdAlloc {
        /// A client handed to [`KfdAcquire`]: on its GPU.
        client: ClientId,
        /// Kind and attributes.
        flags: KfdFlags,
        /// GPU address.
        va: Va,
        /// Bytes.
        size: Size,
    } -> KfdHandle;
    /// KFD's FREE_MEMORY_OF_GPU.
    KfdFree {
        /// The buffer.
        handle: KfdHandle,
    } -> ();
    /// KFD's MAP_MEMORY_TO_GPU.
    KfdMap {
        /// On which GPU: a client handed to [`KfdAcquire`].
        client: ClientId,
        /// The buffer.
        handle: KfdHandle,
    } -> ();
    /// KFD's UNMAP_MEMORY_FROM_GPU.
    KfdUnmap {
        /// On which GPU: a client handed to [`KfdAcquire`].
        client: ClientId,
        /// The buffer.
        handle: KfdHandle,
    } -> ();
    /// KFD's SVM: share memory of this process with a GPU at the same address; asked again, change its attributes.
    SvmSet {
        /// Which GPU: a client handed to [`KfdAcquire`].
        client: ClientId,
        /// First address.
        va: Va,
        /// Bytes.
        size: Size,
        /// Flags that shall be on; the others go off.
        flags: SvmFlags,
        /// Move it to the card's memory now, else to system memory.
        prefetch: bool,
    } -> ();
    /// Unmap a shared range from this process, and so from the GPU.
    SvmDrop {
        /// Its first address.
        va: Va,
    } -> ();
    /// What KFD's topology says about the GPU: the numbers of its node's `properties`, and `gpu_id`.
    KfdNode {
        /// Which GPU: a client handed to [`KfdAcquire`].
        client: ClientId,
    } -> BTreeMap<String, u64>;
    /// Let the CPU write into memory of the compute client.
    KfdWrite {
        /// Where.
        place: KfdPlace,
        /// What.
        data: Bytes,
    } -> ();
    /// Let the CPU read memory of the compute client.
    KfdRead {
        /// Where.
        place: KfdPlace,
        /// How much.
        size: Size,
    } -> Bytes;
    /// Wait until the CPU finds this dword there, at most a minute.
    KfdAwait {
        /// Where.
        place: KfdPlace,
        /// What.
        value: u32,
    } -> ();
    /// KFD's SVM: change any attributes of a range that is shared or of this process's memory.
    SvmChange {
        /// First address.
        va: Va,
        /// Bytes.
        size: Size,
        /// Pairs of `KFD_IOCTL_SVM_ATTR_*` and value.
        attributes: Vec<(u32, u32)>,
    } -> ();
    /// KFD's SVM: ask for attributes; replies with the values.
    SvmQuery {
        /// First address.
        va: Va,
        /// Bytes.
        size: Size,
        /// Pairs of `KFD_IOCTL_SVM_ATTR_*` and value asked about.
        attributes: Vec<(u32, u32)>,
    } -> Vec<(u32, u32)>;
    /// KFD's CREATE_QUEUE. Ring and pointers are mapped buffers, each the whole of its buffer.
    QueueCreate {
        /// Which GPU: a client handed to [`KfdAcquire`].
        client: ClientId,
        /// What the ring will hold.
        kind: QueueKind,
        /// The ring.
        ring: (Va, Size),
        /// Where the write pointer will be.
        write_pointer: Va,
        /// Where the read pointer is to be reported.
        read_pointer: Va,
        /// Buffer for end-of-pipe events; compute queues.
        eop: (Va, Size),
        /// Area for the state of preempted waves, with the bytes of its control stack; compute queues.
        save: (Va, Size, Size),
        /// 0 to 100; with 0 the queue is not mapped.
        percentage: u32,
    } -> QueueId;
    /// KFD's UPDATE_QUEUE.
    QueueUpdate {
        /// Which queue.
        queue: QueueId,
        /// The ring.
        ring: (Va, Size),
        /// 0 to 100; with 0 the queue is taken off the hardware.
        percentage: u32,
    } -> ();
    /// KFD's DESTROY_QUEUE.
    QueueDestroy {
        /// Which queue.
        queue: QueueId,
    } -> ();
    /// Write a queue's doorbell, 64 bits.
    QueueRing {
        /// Which queue.
        queue: QueueId,
        /// What to write.
        value: u64,
    } -> ();
    /// KFD's CREATE_EVENT: an event that the GPU can signal.
    EventCreate {
        /// The process's event page: a buffer of 32 KiB in GTT; the first event of a process makes it so.
        page: KfdHandle,
    } -> KfdEvent;
    /// KFD's WAIT_EVENTS, for one event; replies with whether it came in time.
    EventWait {
        /// Which event.
        event: u32,
        /// How long.
        milliseconds: u32,
    } -> bool;
}
