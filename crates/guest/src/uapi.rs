// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of the DRM and amdgpu user-space interface that the guest uses, by hand.
//!
//! Layouts and numbers: `include/uapi/drm/drm.h` and `include/uapi/drm/amdgpu_drm.h` of Linux 7.3. Kernel interfaces
//! only ever grow at the end, and DRM zero-fills what an older caller leaves out, so a fixed copy stays right. Reserved
//! words are named `pad`, and every structure starts as all zeroes.

use serde::{Deserialize, Serialize};
use std::ops::BitOr;

macro_rules! flags {
    ($( $(#[$doc:meta])* $name:ident($inner:ty) { $( $(#[$cdoc:meta])* $constant:ident = $value:expr; )* } )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// None.
            pub const NONE: Self = Self(0);
            $( $(#[$cdoc])* pub const $constant: Self = Self($value); )*

            /// Are all bits of `other` set?
            #[must_use]
            pub fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }

        impl BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    )* };
}
pub(crate) use flags;

flags! {
    /// `AMDGPU_GEM_DOMAIN_*`: where a buffer lives.
    Domain(u32) {
        /// System memory that the GPU reaches through the GART.
        GTT = 0x2;
        /// The card's own memory.
        VRAM = 0x4;
    }
    /// `AMDGPU_GEM_CREATE_*`: what kind of buffer.
    GemFlags(u64) {
        /// The CPU must be able to map it.
        CPU_ACCESS_REQUIRED = 1 << 0;
        /// One physical piece.
        VRAM_CONTIGUOUS = 1 << 5;
        /// Lives and dies with its client's address space.
        VM_ALWAYS_VALID = 1 << 6;
        /// Coherent within the device and with the CPU.
        COHERENT = 1 << 13;
        /// Never cached.
        UNCACHED = 1 << 14;
        /// Coherent with other devices too.
        EXT_COHERENT = 1 << 15;
    }
    /// `AMDGPU_VM_PAGE_*` and `AMDGPU_VM_MTYPE_*`: how a buffer is mapped.
    VmFlags(u32) {
        /// The GPU may read.
        READABLE = 1 << 1;
        /// The GPU may write.
        WRITEABLE = 1 << 2;
        /// The GPU may execute.
        EXECUTABLE = 1 << 3;
        /// Partially resident texture: reads give zero, nothing is behind it.
        PRT = 1 << 4;
        /// Memory type left to the driver.
        MTYPE_DEFAULT = 0;
        /// Non-coherent.
        MTYPE_NC = 1 << 5;
        /// Write-combining.
        MTYPE_WC = 2 << 5;
        /// Cache-coherent.
        MTYPE_CC = 3 << 5;
        /// Uncached.
        MTYPE_UC = 4 << 5;
        /// Read-write cached; amdgpu treats it as NC on GFX10.
        MTYPE_RW = 5 << 5;
        /// Do not allocate in the last-level cache.
        NOALLOC = 1 << 9;
        /// Read, write and execute.
        RWX = 0b1110;
    }
}

/// ioctl type byte of DRM.
pub const DRM_IOCTL_BASE: u8 = b'd';
/// First driver-specific DRM ioctl.
pub const DRM_COMMAND_BASE: u8 = 0x40;

/// Numbers of amdgpu's ioctls (`DRM_AMDGPU_*`), counted from [`DRM_COMMAND_BASE`].
pub mod number {
    /// Create a buffer.
    pub const GEM_CREATE: u8 = 0x00;
    /// Offset for mmap.
    pub const GEM_MMAP: u8 = 0x01;
    /// Submission contexts.
    pub const CTX: u8 = 0x02;
    /// Command submission.
    pub const CS: u8 = 0x04;
    /// Device facts.
    pub const INFO: u8 = 0x05;
    /// Mappings.
    pub const GEM_VA: u8 = 0x08;
    /// Wait for a submission.
    pub const WAIT_CS: u8 = 0x09;
    /// User memory as a buffer.
    pub const GEM_USERPTR: u8 = 0x11;
}

/// `AMDGPU_CTX_OP_ALLOC_CTX`
pub const CTX_OP_ALLOC: u32 = 1;
/// `AMDGPU_CHUNK_ID_IB`
pub const CHUNK_ID_IB: u32 = 1;
/// `AMDGPU_CHUNK_ID_BO_HANDLES`
pub const CHUNK_ID_BO_HANDLES: u32 = 6;
/// `AMDGPU_HW_IP_GFX`
pub const HW_IP_GFX: u32 = 0;
/// `AMDGPU_HW_IP_COMPUTE`
pub const HW_IP_COMPUTE: u32 = 1;
/// `AMDGPU_HW_IP_DMA`
pub const HW_IP_DMA: u32 = 2;
/// `AMDGPU_INFO_VRAM_USAGE`
pub const INFO_VRAM_USAGE: u32 = 0x10;
/// `AMDGPU_INFO_GTT_USAGE`
pub const INFO_GTT_USAGE: u32 = 0x11;
/// `AMDGPU_INFO_DEV_INFO`
pub const INFO_DEV_INFO: u32 = 0x16;
/// `AMDGPU_GEM_USERPTR_ANONONLY | _VALIDATE | _REGISTER`
pub const USERPTR_FLAGS: u32 = 0b1110;

/// `struct drm_version`; pointers as the kernel sees them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct DrmVersion {
    /// Interface version.
    pub major: i32,
    /// Interface version.
    pub minor: i32,
    /// Interface version.
    pub patch: i32,
    /// Room at `name`; the kernel puts the true length here.
    pub name_len: u64,
    /// Address of a buffer for the driver's name.
    pub name: u64,
    /// Unused here.
    pub date_len: u64,
    /// Unused here.
    pub date: u64,
    /// Unused here.
    pub desc_len: u64,
    /// Unused here.
    pub desc: u64,
}

/// `struct drm_gem_close`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GemCloseArgs {
    /// The buffer.
    pub handle: u32,
    /// Reserved.
    pub pad: u32,
}

/// `union drm_amdgpu_gem_create`: the input; the kernel overwrites the first word with the new handle.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GemCreateArgs {
    /// In: size in bytes. Out: the handle in the low 32 bits.
    pub size_or_handle: u64,
    /// Alignment in bytes.
    pub alignment: u64,
    /// [`Domain`]
    pub domains: u64,
    /// [`GemFlags`]
    pub flags: u64,
}

/// `union drm_amdgpu_gem_mmap`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GemMmapArgs {
    /// In: the handle in the low 32 bits. Out: the offset for mmap.
    pub handle_or_offset: u64,
}

/// `struct drm_amdgpu_gem_userptr`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GemUserptrArgs {
    /// CPU address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// [`USERPTR_FLAGS`]
    pub flags: u32,
    /// Out: the handle.
    pub handle: u32,
}

/// `struct drm_amdgpu_gem_va`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GemVaArgs {
    /// The buffer.
    pub handle: u32,
    /// Reserved.
    pub pad: u32,
    /// `AMDGPU_VA_OP_*`
    pub operation: u32,
    /// [`VmFlags`]
    pub flags: u32,
    /// GPU address.
    pub va: u64,
    /// First byte of the buffer.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Point of the timeline; 0: the object has one fence.
    pub timeline_point: u64,
    /// A sync object that gets the fence of the last update of the tables; 0: none.
    pub timeline_syncobj_out: u32,
    /// Unused here.
    pub num_syncobj_handles: u32,
    /// Unused here.
    pub input_fence_syncobj_handles: u64,
}

/// `struct drm_syncobj_create`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SyncobjCreateArgs {
    /// Out: the object.
    pub handle: u32,
    /// 0: not signalled yet.
    pub flags: u32,
}

/// `struct drm_syncobj_destroy`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SyncobjDestroyArgs {
    /// The object.
    pub handle: u32,
    /// Reserved.
    pub pad: u32,
}

/// `struct drm_syncobj_wait`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SyncobjWaitArgs {
    /// Address of the objects' handles.
    pub handles: u64,
    /// Until when, on the monotonic clock, in nanoseconds.
    pub timeout: i64,
    /// How many.
    pub count: u32,
    /// `DRM_SYNCOBJ_WAIT_FLAGS_*`
    pub flags: u32,
    /// Out: which was signalled first.
    pub first_signaled: u32,
    /// Reserved.
    pub pad: u32,
    /// A hint; unused here.
    pub deadline: u64,
}

/// `union drm_amdgpu_ctx`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CtxArgs {
    /// In: `AMDGPU_CTX_OP_*`. Out: the context.
    pub op_or_id: u32,
    /// Flags.
    pub flags: u32,
    /// In: the context.
    pub ctx_id: u32,
    /// `AMDGPU_CTX_PRIORITY_*`
    pub priority: i32,
}

/// `struct drm_amdgpu_cs_chunk`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CsChunk {
    /// `AMDGPU_CHUNK_ID_*`
    pub id: u32,
    /// Length of the data in dwords.
    pub length_dw: u32,
    /// Address of the data.
    pub data: u64,
}

/// `struct drm_amdgpu_cs_chunk_ib`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CsChunkIb {
    /// Reserved.
    pub pad: u32,
    /// `AMDGPU_IB_FLAG_*`
    pub flags: u32,
    /// GPU address of the indirect buffer.
    pub va: u64,
    /// Its bytes.
    pub bytes: u32,
    /// `AMDGPU_HW_IP_*`
    pub ip_type: u32,
    /// Which of that type.
    pub ip_instance: u32,
    /// Which ring.
    pub ring: u32,
}

/// `struct drm_amdgpu_bo_list_in`: the buffers that a submission uses.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct BoListIn {
    /// Unused in a submission: all ones.
    pub operation: u32,
    /// Unused in a submission: all ones.
    pub list_handle: u32,
    /// How many.
    pub number: u32,
    /// Bytes of one [`BoListEntry`].
    pub info_size: u32,
    /// Address of the first.
    pub info: u64,
}

/// `struct drm_amdgpu_bo_list_entry`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct BoListEntry {
    /// The buffer.
    pub handle: u32,
    /// How much it wants to stay where it is.
    pub priority: u32,
}

/// `union drm_amdgpu_cs`: the input; the kernel overwrites the first 8 bytes with the fence's number.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CsArgs {
    /// In: context (low half) and buffer list (high half). Out: the fence.
    pub ctx_and_list_or_fence: u64,
    /// Number of chunks.
    pub num_chunks: u32,
    /// Flags.
    pub flags: u32,
    /// Address of an array of addresses of chunks.
    pub chunks: u64,
}

/// `union drm_amdgpu_wait_cs`: the input; the kernel overwrites the first 8 bytes with 0 (done) or 1 (still busy).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitCsArgs {
    /// In: the fence. Out: the status.
    pub fence_or_status: u64,
    /// Absolute time in ns of CLOCK_MONOTONIC.
    pub timeout: u64,
    /// `AMDGPU_HW_IP_*`
    pub ip_type: u32,
    /// Which of that type.
    pub ip_instance: u32,
    /// Which ring.
    pub ring: u32,
    /// The context.
    pub ctx_id: u32,
}

/// `struct drm_amdgpu_info` with the longest of its unions as padding.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct InfoArgs {
    /// Where the kernel writes.
    pub pointer: u64,
    /// How much it may write.
    pub size: u32,
    /// `AMDGPU_INFO_*`
    pub query: u32,
    /// The query's own arguments.
    pub arguments: [u32; 4],
}

/// The head of `struct drm_amdgpu_info_device`, up to the last field that is used; the kernel writes what fits.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceInfo {
    /// PCI device ID.
    pub device_id: u32,
    /// Revisions.
    pub revisions: [u32; 3],
    /// Chip family.
    pub family: u32,
    /// Shader engines, arrays, counter frequency.
    pub shader: [u32; 3],
    /// Engine and memory clock.
    pub clocks: [u64; 2],
    /// Compute units and their masks (2 + 16 words), render backends (2), contexts, PCIe generation.
    pub units: [u32; 22],
    /// Flags.
    pub ids_flags: u64,
    /// First GPU address.
    pub va_first: u64,
    /// End of the GPU's addresses.
    pub va_max: u64,
    /// Alignment of addresses.
    pub va_alignment: u32,
    /// Fragment size in bytes.
    pub pte_fragment_size: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    /// Sizes from pahole on the C structures of Linux 7.3.
    #[test]
    fn sizes_are_the_kernels() {
        assert_eq!(size_of::<DrmVersion>(), 64);
        assert_eq!(size_of::<GemCloseArgs>(), 8);
        assert_eq!(size_of::<GemCreateArgs>(), 32);
        assert_eq!(size_of::<GemMmapArgs>(), 8);
        assert_eq!(size_of::<GemUserptrArgs>(), 24);
        assert_eq!(size_of::<GemVaArgs>(), 64);
        assert_eq!(size_of::<SyncobjCreateArgs>(), 8);
        assert_eq!(size_of::<SyncobjDestroyArgs>(), 8);
        assert_eq!(size_of::<SyncobjWaitArgs>(), 40);
        assert_eq!(size_of::<CtxArgs>(), 16);
        assert_eq!(size_of::<CsChunk>(), 16);
        assert_eq!(size_of::<CsChunkIb>(), 32);
        assert_eq!(size_of::<BoListIn>(), 24);
        assert_eq!(size_of::<BoListEntry>(), 8);
        assert_eq!(size_of::<CsArgs>(), 24);
        assert_eq!(size_of::<WaitCsArgs>(), 32);
        assert_eq!(size_of::<InfoArgs>(), 32);
    }

    /// Offsets from the C structure of Linux 7.3.
    #[test]
    fn device_info_fields_sit_where_the_kernel_puts_them() {
        assert_eq!(offset_of!(DeviceInfo, family), OFFSETS[0]);
        assert_eq!(offset_of!(DeviceInfo, va_first), OFFSETS[1]);
        assert_eq!(offset_of!(DeviceInfo, va_max), OFFSETS[2]);
        assert_eq!(offset_of!(DeviceInfo, pte_fragment_size), OFFSETS[3]);
    }
    const OFFSETS: [usize; 4] = [16, 144, 152, 164];
}
