// SPDX-License-Identifier: MIT OR Apache-2.0
//! One safe function per ioctl; the only place that turns a structure into a system call.

use guest::uapi::{
    CsArgs, CtxArgs, DRM_COMMAND_BASE, DRM_IOCTL_BASE, DrmVersion, GemCloseArgs, GemCreateArgs,
    GemMmapArgs, GemUserptrArgs, GemVaArgs, InfoArgs, SyncobjCreateArgs, SyncobjDestroyArgs,
    SyncobjWaitArgs, WaitCsArgs, number,
};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::File;

use crate::fail::{Result, Tried};

/// An ioctl of amdgpu that reads and writes its argument.
const fn amdgpu<T>(number: u8) -> Opcode {
    opcode::read_write::<T>(DRM_IOCTL_BASE, DRM_COMMAND_BASE + number)
}

/// An ioctl of amdgpu that only reads its argument.
const fn amdgpu_in<T>(number: u8) -> Opcode {
    opcode::write::<T>(DRM_IOCTL_BASE, DRM_COMMAND_BASE + number)
}

macro_rules! ioctls {
    ($( $(#[$doc:meta])* $name:ident($args:ty) = $opcode:expr, $text:literal; )*) => { $(
        $(#[$doc])*
        pub(super) fn $name(node: &File, args: &mut $args) -> Result<()> {
            loop {
                // SAFETY: The opcode carries the size of `$args`, whose layout is the kernel's (tests in `uapi`), so
                // the kernel reads and writes inside it. Addresses inside the structure are the caller's affair: each
                // caller in `client` passes addresses of live values of the size that it names.
                let result = unsafe { ioctl(node, Updater::<{ $opcode }, $args>::new(args)) };
                match result {
                    // libdrm restarts these too: a signal or a busy GPU is no failure.
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    other => return other.tried(|| $text.into()),
                }
            }
        }
    )* };
}
pub(crate) use ioctls;

ioctls! {
    /// Who drives this node?
    version(DrmVersion) = opcode::read_write::<DrmVersion>(DRM_IOCTL_BASE, 0x00), "ioctl VERSION";
    /// Drop a handle.
    gem_close(GemCloseArgs) = opcode::write::<GemCloseArgs>(DRM_IOCTL_BASE, 0x09), "ioctl GEM_CLOSE";
    /// New buffer.
    gem_create(GemCreateArgs) = amdgpu::<GemCreateArgs>(number::GEM_CREATE), "ioctl AMDGPU_GEM_CREATE";
    /// Offset for mmap.
    gem_mmap(GemMmapArgs) = amdgpu::<GemMmapArgs>(number::GEM_MMAP), "ioctl AMDGPU_GEM_MMAP";
    /// User memory as a buffer.
    gem_userptr(GemUserptrArgs) = amdgpu::<GemUserptrArgs>(number::GEM_USERPTR), "ioctl AMDGPU_GEM_USERPTR";
    /// Map, unmap, clear, replace.
    gem_va(GemVaArgs) = amdgpu_in::<GemVaArgs>(number::GEM_VA), "ioctl AMDGPU_GEM_VA";
    /// New sync object.
    syncobj_create(SyncobjCreateArgs) = opcode::read_write::<SyncobjCreateArgs>(DRM_IOCTL_BASE, 0xbf), "ioctl SYNCOBJ_CREATE";
    /// Drop a sync object.
    syncobj_destroy(SyncobjDestroyArgs) = opcode::read_write::<SyncobjDestroyArgs>(DRM_IOCTL_BASE, 0xc0), "ioctl SYNCOBJ_DESTROY";
    /// Wait for sync objects.
    syncobj_wait(SyncobjWaitArgs) = opcode::read_write::<SyncobjWaitArgs>(DRM_IOCTL_BASE, 0xc3), "ioctl SYNCOBJ_WAIT";
    /// Contexts.
    ctx(CtxArgs) = amdgpu::<CtxArgs>(number::CTX), "ioctl AMDGPU_CTX";
    /// Submit.
    cs(CsArgs) = amdgpu::<CsArgs>(number::CS), "ioctl AMDGPU_CS";
    /// Wait for a submission.
    wait_cs(WaitCsArgs) = amdgpu::<WaitCsArgs>(number::WAIT_CS), "ioctl AMDGPU_WAIT_CS";
    /// Facts.
    info(InfoArgs) = amdgpu_in::<InfoArgs>(number::INFO), "ioctl AMDGPU_INFO";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by a C program from the macros of Linux 7.3's amdgpu_drm.h and drm.h.
    #[test]
    fn opcodes_are_the_kernels() {
        assert_eq!(amdgpu_in::<GemVaArgs>(number::GEM_VA), 0x4040_6448);
        assert_eq!(amdgpu::<CsArgs>(number::CS), 0xc018_6444);
        assert_eq!(amdgpu_in::<InfoArgs>(number::INFO), 0x4020_6445);
        assert_eq!(
            opcode::write::<GemCloseArgs>(DRM_IOCTL_BASE, 0x09),
            0x4008_6409
        );
    }
}
