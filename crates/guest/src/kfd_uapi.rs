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
        /// Coherent with other devices too.
        EXT_COHERENT = 1 << 24;
        /// Never cached.
        UNCACHED = 1 << 25;
        /// Coherent within the device and with the CPU.
        COHERENT = 1 << 26;
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
        /// The GPU may execute.
        GPU_EXEC = 1 << 4;
        /// Mapped all the time, not only when the GPU faults.
        GPU_ALWAYS_MAPPED = 1 << 6;
        /// Every flag that there is.
        ALL = 0xff;
    }
}

/// ioctl type byte of KFD.
pub const AMDKFD_IOCTL_BASE: u8 = b'K';

/// Numbers of KFD's ioctls (`AMDKFD_IOC_*`).
pub mod number {
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

/// `enum kfd_ioctl_svm_attr_type`
pub mod svm_attribute {
    /// Where the memory shall be now: a GPU, or 0 for system memory.
    pub const PREFETCH_LOC: u32 = 1;
    /// A GPU that may access the range.
    pub const ACCESS: u32 = 2;
    /// Flags to switch on.
    pub const SET_FLAGS: u32 = 5;
    /// Flags to switch off.
    pub const CLR_FLAGS: u32 = 6;
}

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
    }
}
