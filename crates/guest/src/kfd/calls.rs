// SPDX-License-Identifier: MIT OR Apache-2.0
//! One safe function per ioctl of KFD.

use guest::kfd_uapi::{
    AMDKFD_IOCTL_BASE, AcquireVmArgs, AllocMemoryArgs, CreateEventArgs, CreateQueueArgs,
    DestroyQueueArgs, FreeMemoryArgs, MapMemoryArgs, SvmArgs, UpdateQueueArgs, WaitEventsArgs,
    number,
};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::File;

use crate::drm::ioctls;
use crate::fail::{Result, Tried};

/// An ioctl of KFD that reads and writes its argument.
const fn kfd<T>(number: u8) -> Opcode {
    opcode::read_write::<T>(AMDKFD_IOCTL_BASE, number)
}

/// An ioctl of KFD that only reads its argument.
const fn kfd_in<T>(number: u8) -> Opcode {
    opcode::write::<T>(AMDKFD_IOCTL_BASE, number)
}

ioctls! {
    /// Make a DRM client's address space the process's.
    acquire_vm(AcquireVmArgs) = kfd_in::<AcquireVmArgs>(number::ACQUIRE_VM), "ioctl ACQUIRE_VM";
    /// New buffer.
    alloc(AllocMemoryArgs) = kfd::<AllocMemoryArgs>(number::ALLOC_MEMORY_OF_GPU), "ioctl ALLOC_MEMORY_OF_GPU";
    /// Drop a buffer.
    free(FreeMemoryArgs) = kfd_in::<FreeMemoryArgs>(number::FREE_MEMORY_OF_GPU), "ioctl FREE_MEMORY_OF_GPU";
    /// Map a buffer.
    map(MapMemoryArgs) = kfd::<MapMemoryArgs>(number::MAP_MEMORY_TO_GPU), "ioctl MAP_MEMORY_TO_GPU";
    /// Unmap a buffer.
    unmap(MapMemoryArgs) = kfd::<MapMemoryArgs>(number::UNMAP_MEMORY_FROM_GPU), "ioctl UNMAP_MEMORY_FROM_GPU";
    /// New user queue.
    create_queue(CreateQueueArgs) = kfd::<CreateQueueArgs>(number::CREATE_QUEUE), "ioctl CREATE_QUEUE";
    /// Drop a user queue.
    destroy_queue(DestroyQueueArgs) = kfd::<DestroyQueueArgs>(number::DESTROY_QUEUE), "ioctl DESTROY_QUEUE";
    /// Change a user queue.
    update_queue(UpdateQueueArgs) = kfd_in::<UpdateQueueArgs>(number::UPDATE_QUEUE), "ioctl UPDATE_QUEUE";
    /// New event.
    create_event(CreateEventArgs) = kfd::<CreateEventArgs>(number::CREATE_EVENT), "ioctl CREATE_EVENT";
    /// Wait for events.
    wait_events(WaitEventsArgs) = kfd::<WaitEventsArgs>(number::WAIT_EVENTS), "ioctl WAIT_EVENTS";
    /// Set or get attributes of shared virtual memory.
    svm(SvmArgs) = kfd::<SvmArgs>(number::SVM), "ioctl SVM";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by a C program from the macros of Linux 7.3's kfd_ioctl.h; SVM with four attributes.
    #[test]
    fn opcodes_are_the_kernels() {
        assert_eq!(kfd_in::<AcquireVmArgs>(number::ACQUIRE_VM), 0x4008_4b15);
        assert_eq!(
            kfd::<AllocMemoryArgs>(number::ALLOC_MEMORY_OF_GPU),
            0xc028_4b16
        );
        assert_eq!(
            kfd_in::<FreeMemoryArgs>(number::FREE_MEMORY_OF_GPU),
            0x4008_4b17
        );
        assert_eq!(kfd::<MapMemoryArgs>(number::MAP_MEMORY_TO_GPU), 0xc018_4b18);
        assert_eq!(
            kfd::<MapMemoryArgs>(number::UNMAP_MEMORY_FROM_GPU),
            0xc018_4b19
        );
        assert_eq!(kfd::<SvmArgs>(number::SVM), 0xc038_4b20);
        assert_eq!(kfd::<CreateQueueArgs>(number::CREATE_QUEUE), 0xc060_4b02);
        assert_eq!(kfd::<DestroyQueueArgs>(number::DESTROY_QUEUE), 0xc008_4b03);
        assert_eq!(kfd_in::<UpdateQueueArgs>(number::UPDATE_QUEUE), 0x4018_4b07);
        assert_eq!(kfd::<CreateEventArgs>(number::CREATE_EVENT), 0xc020_4b08);
        assert_eq!(kfd::<WaitEventsArgs>(number::WAIT_EVENTS), 0xc018_4b0c);
    }
}
