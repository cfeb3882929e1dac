// SPDX-License-Identifier: GPL-2.0

//! The memory type hook: what a mapping asks for is rewritten before the driver reads it.
//!
//! `gmc_v10_0_get_vm_pte` turns a request into page table flags. Exactly RDNA1 and RDNA2 reach it
//! (GC 10.1 and 10.3), through a function table, so it is never inlined; buffers of GEM and KFD and
//! ranges of SVM all pass it.

use super::{explain, NotArmed, Presence, Target};
use crate::hook::{
    arguments::{ArgumentHook, Arguments, EditArguments},
    bindings,
};
use crate::logic::{
    mtype::{RequestedMtype, VmFlags},
    policy::Policy,
    prototype::{Param, Prototype},
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const TARGET: Target = Target {
    symbol: c"amdgpu:gmc_v10_0_get_vm_pte",
    prototype: Prototype {
        name: "gmc_v10_0_get_vm_pte",
        params: &[
            Param::Struct("amdgpu_device"),
            Param::Struct("amdgpu_vm"),
            Param::Struct("amdgpu_bo"),
            Param::Unsigned(4),
            Param::PointerToUnsigned(8),
        ],
    },
};

/// The policy in force, as [`Policy::to_bits`] gives it. One word, so a call sees the policy before
/// or after a change, never a mixture.
///
/// `core`'s atomic rather than the kernel crate's: the latter's load is a call of a C function where
/// helpers are not inlined, and this one is read for every mapping. A relaxed load and a relaxed
/// store of one word mean the same in both memory models.
static POLICY: AtomicU32 = AtomicU32::new(Policy::Keep.to_bits());

/// Rewrites `vm_flags`, the fourth argument.
struct RewriteRequest;

impl EditArguments for RewriteRequest {
    #[inline(always)]
    fn edit(arguments: &mut Arguments) {
        let policy = Policy::from_bits(POLICY.load(Relaxed));
        // The upper half of the register means nothing for a 32 bit argument.
        let request = VmFlags::new(arguments.register::<4>() as u32);
        arguments.set_register::<4>(policy.apply(request).raw().into());
    }
}

/// The hook in place, with a policy.
pub(super) struct MtypeHook {
    policy: Policy,
    _hook: ArgumentHook,
}

impl MtypeHook {
    /// The hooked function.
    pub(super) const FUNCTION: &'static str = TARGET.prototype.name;

    /// Checks the driver and sets the hook.
    ///
    /// # Safety
    ///
    /// The driver's code must not be freed during the call.
    pub(super) unsafe fn arm(policy: Policy, presence: Presence) -> Result<Self, NotArmed> {
        let site = TARGET.find(presence)?;
        POLICY.store(policy.to_bits(), Relaxed);
        // SAFETY: the caller keeps the driver. `TARGET.find` has checked that the function's
        // fourth argument is the 32 bit integer that `RewriteRequest` edits.
        let hook = unsafe { ArgumentHook::arm::<RewriteRequest>(&[site]) };
        let _hook = hook.map_err(|error| explain(Self::FUNCTION, error))?;
        Ok(Self { policy, _hook })
    }

    /// The policy in force.
    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Changes the policy for the mappings to come.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        POLICY.store(policy.to_bits(), Relaxed);
        self.policy = policy;
    }
}

// The numbers of `crate::logic` against the kernel's header.
const _: () = {
    const fn requests(mtype: RequestedMtype, number: u32) -> bool {
        VmFlags::new(0).with_mtype(mtype).raw() == number
    }
    assert!(VmFlags::PRT == bindings::AMDGPU_VM_PAGE_PRT);
    assert!(VmFlags::MTYPE_MASK == bindings::AMDGPU_VM_MTYPE_MASK);
    assert!(requests(
        RequestedMtype::Default,
        bindings::AMDGPU_VM_MTYPE_DEFAULT
    ));
    assert!(requests(RequestedMtype::Nc, bindings::AMDGPU_VM_MTYPE_NC));
    assert!(requests(RequestedMtype::Wc, bindings::AMDGPU_VM_MTYPE_WC));
    assert!(requests(RequestedMtype::Cc, bindings::AMDGPU_VM_MTYPE_CC));
    assert!(requests(RequestedMtype::Uc, bindings::AMDGPU_VM_MTYPE_UC));
    assert!(requests(RequestedMtype::Rw, bindings::AMDGPU_VM_MTYPE_RW));
};
