// SPDX-License-Identifier: GPL-2.0

//! The fragment hooks: a limit that works on RDNA, where amdgpu's own parameter does nothing.
//!
//! The driver chooses a fragment in `amdgpu_vm_ptes_update`, from the range that it is given. A limit
//! takes up to three hooks:
//!
//! - [`LimitFragment`] at the entry of the functions that write entries: FRAG is lowered in the flags
//!   that they are given. Enough for limits of 2 MiB and more.
//! - [`CutRange`] in place of `amdgpu_vm_ptes_update`, for limits below 2 MiB: calls it once for each
//!   piece that cannot fill a page directory entry, so that none acts as page table entry.
//! - [`SetUpDevice`] at the entry of `amdgpu_vm_adjust_size`: user space is told of the limit. It is in
//!   place without a limit too, because it also says when a device's pointer gets another meaning.
//!
//! All these functions serve every chip, so each asks first whether it knows the device.

use super::{
    devices::{self, Device, Slot},
    layout, mtype,
    targets::{Target, ADJUST_SIZE, CPU_UPDATE, PTES_UPDATE, SDMA_UPDATE},
};
use crate::hook::{
    arguments::{Arguments, EditArguments},
    replacement::{Original, Replace},
};
use crate::logic::{
    counters::Cell,
    fragment::{Limits, Page, Span},
    pte::{bits, Pte},
};
use kernel::prelude::*;

/// The functions that write entries.
pub(super) const WRITERS: [Target; 2] = [SDMA_UPDATE, CPU_UPDATE];
/// Their names, for messages about both.
pub(super) const WRITERS_NAMES: &str = "amdgpu_vm_sdma_update or amdgpu_vm_cpu_update";
/// The function that updates a range.
pub(super) const RANGE: Target = PTES_UPDATE;
/// The function in which a device is set up.
pub(super) const SETUP: Target = ADJUST_SIZE;

/// The GPU of an update, if it is known.
///
/// # Safety
///
/// `update` is the address of a live `struct amdgpu_vm_update_params`.
#[inline(always)]
unsafe fn slot_of(update: u64) -> Option<&'static Slot> {
    // SAFETY: the caller's promise; the member is a pointer.
    devices::find(Device(unsafe { layout::UPDATE_DEVICE.read::<u64>(update) }))
}

/// Whether the limits are for the client of an update.
///
/// # Safety
///
/// As for [`slot_of`].
#[inline(always)]
unsafe fn concern_client(limits: Limits, update: u64) -> bool {
    // SAFETY: the caller's promise; the member is a pointer, null or to an address space that lives
    // while it is updated.
    !limits.compute_only || unsafe { mtype::is_compute(layout::UPDATE_VM.read::<u64>(update)) }
}

/// Lowers FRAG in the entries that are about to be written.
pub(super) struct LimitFragment;

impl EditArguments for LimitFragment {
    #[inline(always)]
    fn edit(mut arguments: Arguments) {
        const UPDATE: usize = 1;
        /// From one entry's address to the next one's; 0 for directory entries that point to tables.
        const INCREMENT: usize = 6;
        const FLAGS: usize = 7;

        let flags = arguments.stack::<FLAGS>();
        if flags & bits::VALID == 0 || arguments.register::<INCREMENT>() as u32 == 0 {
            return;
        }
        let update = arguments.register::<UPDATE>();
        // SAFETY: the functions' first argument is a live update (`SDMA_UPDATE` and `CPU_UPDATE` have
        // checked the prototypes).
        let Some(slot) = (unsafe { slot_of(update) }) else {
            return;
        };
        let entry = Pte::new(flags);
        let limits = slot.limits();
        let asked = entry.fragment();
        let mut fragment = limits.apply(asked, flags & bits::PDE_AS_PTE != 0);
        // SAFETY: as above.
        if fragment != asked && !unsafe { concern_client(limits, update) } {
            fragment = asked;
        }
        slot.count(Cell::asked(asked).number());
        slot.count(Cell::wrote(fragment).number());
        if fragment != asked {
            arguments.set_stack::<FLAGS>(entry.with_fragment(fragment).raw());
        }
    }
}

/// Hands a range to the driver in pieces.
pub(super) struct CutRange;

impl Replace for CutRange {
    fn replace(arguments: [u64; 5], original: Original) -> c_int {
        let [update, start, end, mut address, flags] = arguments;
        let range = Span {
            start: Page(start),
            end: Page(end),
        };
        if flags & bits::VALID == 0 || range.is_one_piece() {
            return original.call(arguments);
        }
        // SAFETY: the function's first argument is a live update (`PTES_UPDATE` has checked the
        // prototype).
        let Some(slot) = (unsafe { slot_to_cut(update) }) else {
            return original.call(arguments);
        };
        slot.count(Cell::UPDATES_CUT.number());
        for piece in range.pieces() {
            slot.count(Cell::PIECES.number());
            let (Page(start), Page(end)) = (piece.start, piece.end);
            let error = original.call([update, start, end, address, flags]);
            if error != 0 {
                return error;
            }
            address = address.wrapping_add(piece.bytes());
        }
        0
    }
}

/// The GPU of an update that is to be cut.
///
/// # Safety
///
/// As for [`slot_of`].
unsafe fn slot_to_cut(update: u64) -> Option<&'static Slot> {
    // SAFETY: the caller's promise, for all four; the members are as their shapes say.
    unsafe {
        let slot = slot_of(update)?;
        let limits = slot.limits();
        // An unlocked update only clears. Scattered pages have no fragments, and their address is an
        // offset into the list of pages.
        let plain = layout::UPDATE_UNLOCKED.read::<u8>(update) == 0
            && layout::UPDATE_PAGES.read::<u64>(update) == 0;
        (limits.pieces && plain && concern_client(limits, update)).then_some(slot)
    }
}

/// Forgets what was known by the device's pointer, and lowers the fragment size that its user space is
/// told (`pte_fragment_size`).
pub(super) struct SetUpDevice;

impl EditArguments for SetUpDevice {
    fn edit(mut arguments: Arguments) {
        const DEVICE: usize = 1;
        const DEFAULT: usize = 3;

        let device = Device(arguments.register::<DEVICE>());
        devices::arrives(device);
        // SAFETY: the function's first argument is a live device, whose PCI device and versions the
        // driver has set before; hooks are set after `layout::learn`.
        let slot = unsafe {
            if !devices::gc_version(device).is_rdna1_or_2() {
                return;
            }
            devices::learn(device)
        };
        let Some(limits) = slot.map(Slot::limits) else {
            return;
        };
        // What is told is told to every client, so a limit for some of them is not.
        if !limits.compute_only {
            let default = arguments.register::<DEFAULT>() as u32;
            let limit = u32::from(limits.table.log2_pages());
            arguments.set_register::<DEFAULT>(default.min(limit).into());
        }
    }
}
