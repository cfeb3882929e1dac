// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of KFD's user-space interface that the guest uses, by hand.
//!
//! Layouts and numbers: `include/uapi/linux/kfd_ioctl.h` of Linux 7.3. As in [`crate::uapi`], reserved words are named
//! `pad` and every structure starts as all zeroes.

use crate::uapi::flags;
use serde::{Deserialize, Serialize};
use std::ops::BitOr;

flags! {
    /// `KFD_IOC_ALLOC_MEM_FLAGS_*`: what kind of memory, and what may be done with it.
    KfdFlags(u32) {
        /// The card's own memory.
        VRAM = 1 << 0;
        /// System memory, allocated by the driver.
        GTT = 1 << 1;
        /// System memory of the process.
        USERPTR = 1 << 2;
        /// The process's doorbells: two pages of the doorbell BAR.
        DOORBELL = 1 << 3;
        /// The page of registers that user space may use.
        MMIO_REMAP = 1 << 4;
        /// In one piece of VRAM.
        CONTIGUOUS = 1 << 23;
        /// Coherent with other devices too.
        EXT_COHERENT = 1 << 24;
        /// Never cached.
        UNCACHED = 1 << 25;
        /// Coherent within the device and with the CPU.
        COHERENT = 1 << 26;
        /// Mapped twice, one after the other, with half as much memory behind.
        AQL_QUEUE_MEM = 1 << 27;
        /// Only this kind of memory will do.
        NO_SUBSTITUTE = 1 << 28;
        /// The CPU may map it.
        PUBLIC = 1 << 29;
        /// The GPU may execute.
        EXECUTABLE = 1 << 30;
        /// The GPU may write.
        WRITABLE = 1 << 31;
    }
    /// `KFD_IOCTL_SVM_FLAG_*`: how a range of shared virtual memory is mapped.
    SvmFlags(u32) {
        /// The CPU may access it while the GPU has it.
        HOST_ACCESS = 1 << 0;
        /// Coherent with the CPU; on unless it is switched off.
        COHERENT = 1 << 1;
        /// Kept within GPUs that are linked.
        HIVE_LOCAL = 1 << 2;
        /// The GPU may not write.
        GPU_RO = 1 << 3;
        /// The GPU may execute.
        GPU_EXEC = 1 << 4;
        /// Written rarely.
        GPU_READ_MOSTLY = 1 << 5;
        /// Mapped all the time, not only when the GPU faults.
        GPU_ALWAYS_MAPPED = 1 << 6;
        /// Coherent with other devices too.
        EXT_COHERENT = 1 << 7;
        /// Every flag that there is.
        ALL = 0xff;
    }
}

/// ioctl type byte of KFD.
pub const AMDKFD_IOCTL_BASE: u8 = b'K';

/// Numbers of KFD's ioctls (`AMDKFD_IOC_*`).
pub mod number {
    /// New user queue.
    pub const CREATE_QUEUE: u8 = 0x02;
    /// Drop a user queue.
    pub const DESTROY_QUEUE: u8 = 0x03;
    /// Change a user queue.
    pub const UPDATE_QUEUE: u8 = 0x07;
    /// New event.
    pub const CREATE_EVENT: u8 = 0x08;
    /// Wait for events.
    pub const WAIT_EVENTS: u8 = 0x0c;
    /// Make a DRM client's address space the process's on that GPU.
    pub const ACQUIRE_VM: u8 = 0x15;
    /// New buffer.
    pub const ALLOC_MEMORY_OF_GPU: u8 = 0x16;
    /// Drop a buffer.
    pub const FREE_MEMORY_OF_GPU: u8 = 0x17;
    /// Map a buffer.
    pub const MAP_MEMORY_TO_GPU: u8 = 0x18;
    /// Unmap a buffer.
    pub const UNMAP_MEMORY_FROM_GPU: u8 = 0x19;
    /// Shared virtual memory.
    pub const SVM: u8 = 0x20;
}

/// `KFD_IOCTL_SVM_OP_SET_ATTR`
pub const SVM_OP_SET_ATTR: u32 = 0;
/// `KFD_IOCTL_SVM_OP_GET_ATTR`
pub const SVM_OP_GET_ATTR: u32 = 1;

/// `enum kfd_ioctl_svm_attr_type`
pub mod svm_attribute {
    /// Where the memory is best kept: a GPU, 0 for system memory, all ones for no preference.
    pub const PREFERRED_LOC: u32 = 0;
    /// Where the memory shall be now: a GPU, or 0 for system memory.
    pub const PREFETCH_LOC: u32 = 1;
    /// A GPU that may access the range.
    pub const ACCESS: u32 = 2;
    /// A GPU that may access the range where it is.
    pub const ACCESS_IN_PLACE: u32 = 3;
    /// A GPU that may not access the range.
    pub const NO_ACCESS: u32 = 4;
    /// Flags to switch on.
    pub const SET_FLAGS: u32 = 5;
    /// Flags to switch off.
    pub const CLR_FLAGS: u32 = 6;
    /// How much moves at a time: logarithm of the pages.
    pub const GRANULARITY: u32 = 7;
}

/// `KFD_IOC_QUEUE_TYPE_*`
pub mod queue_type {
    /// PM4 packets.
    pub const COMPUTE: u32 = 0;
    /// Packets of a copy engine.
    pub const SDMA: u32 = 1;
    /// AQL packets.
    pub const COMPUTE_AQL: u32 = 2;
}

/// `KFD_IOC_EVENT_SIGNAL`
pub const EVENT_SIGNAL: u32 = 0;
/// `KFD_IOC_WAIT_RESULT_COMPLETE`
pub const WAIT_RESULT_COMPLETE: u32 = 0;
/// Doorbells of a process on one GPU: bytes (`kfd_doorbell_process_slice`).
pub const DOORBELL_SLICE: u64 = 8192;

/// `struct kfd_ioctl_acquire_vm_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct AcquireVmArgs {
    /// The DRM client's file.
    pub drm_fd: u32,
    /// KFD's number of the GPU.
    pub gpu_id: u32,
}

/// `struct kfd_ioctl_alloc_memory_of_gpu_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct AllocMemoryArgs {
    /// GPU address at which it will be mapped.
    pub va_addr: u64,
    /// Bytes.
    pub size: u64,
    /// Out: the buffer.
    pub handle: u64,
    /// In: the CPU address of a user pointer. Out: the offset for mmap.
    pub mmap_offset: u64,
    /// KFD's number of the GPU.
    pub gpu_id: u32,
    /// [`KfdFlags`]
    pub flags: u32,
}

/// `struct kfd_ioctl_free_memory_of_gpu_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct FreeMemoryArgs {
    /// The buffer.
    pub handle: u64,
}

/// `struct kfd_ioctl_map_memory_to_gpu_args` and `struct kfd_ioctl_unmap_memory_from_gpu_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MapMemoryArgs {
    /// The buffer.
    pub handle: u64,
    /// Address of an array of KFD's numbers of GPUs.
    pub device_ids: u64,
    /// Its length.
    pub n_devices: u32,
    /// In and out: how many are done.
    pub n_success: u32,
}

/// `struct kfd_ioctl_svm_attribute`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SvmAttribute {
    /// [`svm_attribute`]
    pub kind: u32,
    /// Its value.
    pub value: u32,
}

/// `struct kfd_ioctl_svm_args` with room for a few attributes, which the ioctl's size counts as well.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SvmArgs {
    /// First address.
    pub start_addr: u64,
    /// Bytes.
    pub size: u64,
    /// [`SVM_OP_SET_ATTR`]
    pub op: u32,
    /// How many attributes are used.
    pub nattr: u32,
    /// The attributes.
    pub attrs: [SvmAttribute; 4],
}

/// `struct kfd_ioctl_create_queue_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CreateQueueArgs {
    /// GPU address of the ring.
    pub ring_base_address: u64,
    /// GPU address of the write pointer.
    pub write_pointer_address: u64,
    /// GPU address at which the read pointer is reported.
    pub read_pointer_address: u64,
    /// Out: offset for mmap of the process's doorbells, and in its low bits the doorbell among them.
    pub doorbell_offset: u64,
    /// Bytes, a power of two.
    pub ring_size: u32,
    /// KFD's number of the GPU.
    pub gpu_id: u32,
    /// [`queue_type`]
    pub queue_type: u32,
    /// 0 to 100.
    pub queue_percentage: u32,
    /// 0 to 15.
    pub queue_priority: u32,
    /// Out: the queue.
    pub queue_id: u32,
    /// GPU address of the buffer for end-of-pipe events.
    pub eop_buffer_address: u64,
    /// Its bytes.
    pub eop_buffer_size: u64,
    /// GPU address of the area for preempted waves.
    pub ctx_save_restore_address: u64,
    /// Its bytes, without what is for debuggers.
    pub ctx_save_restore_size: u32,
    /// Bytes of the control stack in it.
    pub ctl_stack_size: u32,
    /// Copy engine, for one type of queue.
    pub sdma_engine_id: u32,
    /// Bytes of metadata behind an AQL ring.
    pub metadata_ring_size: u32,
}

/// `struct kfd_ioctl_update_queue_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateQueueArgs {
    /// GPU address of the ring.
    pub ring_base_address: u64,
    /// The queue.
    pub queue_id: u32,
    /// Bytes.
    pub ring_size: u32,
    /// 0 to 100.
    pub queue_percentage: u32,
    /// 0 to 15.
    pub queue_priority: u32,
}

/// `struct kfd_ioctl_destroy_queue_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct DestroyQueueArgs {
    /// The queue.
    pub queue_id: u32,
    #[doc(hidden)]
    pub pad: u32,
}

/// `struct kfd_ioctl_create_event_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CreateEventArgs {
    /// In: the buffer that is to be the event page, or 0.
    pub event_page_offset: u64,
    /// Out: what the GPU's interrupt shall carry.
    pub event_trigger_data: u32,
    /// [`EVENT_SIGNAL`]
    pub event_type: u32,
    /// Whether waiting resets it.
    pub auto_reset: u32,
    #[doc(hidden)]
    pub node_id: u32,
    /// Out: the event.
    pub event_id: u32,
    /// Out: its qword in the event page.
    pub event_slot_index: u32,
}

/// `struct kfd_event_data`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct EventData {
    /// A union; for signal events the first qword is the age that the caller has seen, 0 for none.
    pub data: [u64; 4],
    #[doc(hidden)]
    pub ext: u64,
    /// The event.
    pub event_id: u32,
    #[doc(hidden)]
    pub pad: u32,
}

/// `struct kfd_ioctl_wait_events_args`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitEventsArgs {
    /// Address of an array of [`EventData`].
    pub events_ptr: u64,
    /// Its length.
    pub num_events: u32,
    /// Whether all must come.
    pub wait_for_all: u32,
    /// Milliseconds.
    pub timeout: u32,
    /// Out: [`WAIT_RESULT_COMPLETE`] or not.
    pub wait_result: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    /// Sizes of the C structures of Linux 7.3's kfd_ioctl.h, printed by a C program.
    #[test]
    fn sizes_are_the_kernels() {
        assert_eq!(size_of::<AcquireVmArgs>(), 8);
        assert_eq!(size_of::<AllocMemoryArgs>(), 40);
        assert_eq!(size_of::<FreeMemoryArgs>(), 8);
        assert_eq!(size_of::<MapMemoryArgs>(), 24);
        assert_eq!(size_of::<SvmAttribute>(), 8);
        assert_eq!(size_of::<SvmArgs>(), 24 + 4 * 8);
        assert_eq!(size_of::<CreateQueueArgs>(), 96);
        assert_eq!(size_of::<UpdateQueueArgs>(), 24);
        assert_eq!(size_of::<DestroyQueueArgs>(), 8);
        assert_eq!(size_of::<CreateEventArgs>(), 32);
        assert_eq!(size_of::<EventData>(), 48);
        assert_eq!(size_of::<WaitEventsArgs>(), 24);
    }
}
