// SPDX-License-Identifier: GPL-2.0

//! The memory type hook: what a mapping asks for is rewritten before the driver reads it.
//!
//! It runs at the entry of `gmc_v10_0_get_vm_pte`, for every mapping that is written on an RDNA1/2 GPU.
//! The short way is for GPUs that are known and buffers that do not ask for coherence: one look into a
//! [`Table`]. Everything else takes the long way, which asks [`Rules::decide`](crate::logic::policy::Rules::decide) itself.

use super::{
    devices::{self, Device, Slot},
    layout,
    targets::{Target, GET_VM_PTE},
};
use crate::hook::{
    arguments::{Arguments, EditArguments},
    bindings,
};
use crate::logic::{
    counters::Cell,
    mtype::{RequestedMtype, VmFlags},
    policy::{EntryFlags, Mapping},
    table::Table,
};

/// The hooked function.
pub(super) const TARGET: Target = GET_VM_PTE;

// Its parameters.
const DEVICE: usize = 1;
const VM: usize = 2;
const BUFFER: usize = 3;
const VM_FLAGS: usize = 4;
const FLAGS: usize = 5;

/// `AMDGPU_GEM_CREATE_*` with which the function makes a buffer uncached.
const COHERENT: u64 = (bindings::AMDGPU_GEM_CREATE_COHERENT
    | bindings::AMDGPU_GEM_CREATE_EXT_COHERENT
    | bindings::AMDGPU_GEM_CREATE_UNCACHED) as u64;

/// Rewrites what a mapping asks for.
pub(super) struct RewriteRequest;

impl EditArguments for RewriteRequest {
    #[inline(always)]
    fn edit(arguments: Arguments) {
        match devices::quick(device(&arguments)) {
            Some(slot) if !is_coherent(&arguments) => edit_by(slot.table(), arguments, slot),
            _ => edit_otherwise(arguments),
        }
    }
}

/// The short way.
#[inline(always)]
fn edit_by(table: &Table, mut arguments: Arguments, slot: &Slot) {
    let answer = table.answer(request(&arguments), entry(&arguments));
    // The upper half of the register means nothing for a 32 bit argument.
    arguments.flip_register::<VM_FLAGS>(answer.flipped().into());
    slot.count(answer.cell());
}

/// The short way for GPUs behind the first and for policies that ask for the client, and for all the
/// rest the long way. Not part of the hook, so that there the first GPU's short way is straight.
#[inline(never)]
fn edit_otherwise(arguments: Arguments) {
    let device = device(&arguments);
    if let Some(slot) = devices::find(device) {
        if !is_coherent(&arguments) {
            let vm = arguments.register::<VM>();
            // SAFETY: the function's second argument is null or a live `struct amdgpu_vm`.
            let table = slot.table_of(device, || unsafe { is_compute(vm) });
            if let Some(table) = table {
                return edit_by(table, arguments, slot);
            }
        }
    }
    edit_slowly(arguments)
}

#[inline(always)]
fn device(arguments: &Arguments) -> Device {
    Device(arguments.register::<DEVICE>())
}

#[inline(always)]
fn request(arguments: &Arguments) -> VmFlags {
    // The upper half of the register means nothing for a 32 bit argument.
    VmFlags::new(arguments.register::<VM_FLAGS>() as u32)
}

#[inline(always)]
fn entry(arguments: &Arguments) -> EntryFlags {
    let flags = arguments.register::<FLAGS>();
    let flags = core::ptr::with_exposed_provenance::<u64>(flags as usize);
    // SAFETY: the function's fifth argument points to the entry's flags, which it reads and writes
    // itself right after us (`GET_VM_PTE` has checked the prototype).
    EntryFlags::new(unsafe { flags.read() })
}

#[inline(always)]
fn is_coherent(arguments: &Arguments) -> bool {
    let buffer = arguments.register::<BUFFER>();
    // SAFETY: the function's third argument is null or a live `struct amdgpu_bo`.
    buffer != 0 && unsafe { layout::BUFFER_FLAGS.read::<u64>(buffer) } & COHERENT != 0
}

/// The long way.
#[cold]
#[inline(never)]
fn edit_slowly(arguments: Arguments) {
    // SAFETY: the function's first argument is a live device, and hooks are set after `layout::learn`.
    let Some(slot) = (unsafe { devices::learn(device(&arguments)) }) else {
        return;
    };
    decide(arguments, slot);
}

fn decide(mut arguments: Arguments, slot: &Slot) {
    let request = request(&arguments);
    let rules = slot.rules();
    let vm = arguments.register::<VM>();
    let mapping = Mapping {
        request,
        entry: entry(&arguments),
        coherent: is_coherent(&arguments),
        // SAFETY: the function's second argument is null or a live `struct amdgpu_vm`.
        compute: rules.compute_only && unsafe { is_compute(vm) },
    };
    let decision = rules.decide(mapping);
    arguments.set_register::<VM_FLAGS>(decision.request.raw().into());
    if decision.hide_buffer {
        // Without a buffer, as for SVM, the function looks at nothing but the request.
        arguments.set_register::<BUFFER>(0);
    }
    slot.count(Cell::mapping(request.mtype(), &decision).number());
}

/// Whether KFD has made this address space a compute VM.
///
/// # Safety
///
/// `vm` is 0 or the address of a live `struct amdgpu_vm`.
pub(super) unsafe fn is_compute(vm: u64) -> bool {
    // SAFETY: the caller's promise; C's `bool` is one byte.
    vm != 0 && unsafe { layout::VM_IS_COMPUTE.read::<u8>(vm) } != 0
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
