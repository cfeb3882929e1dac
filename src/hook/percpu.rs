// SPDX-License-Identifier: GPL-2.0

//! Counters that cost one instruction and share no cache line between CPUs.
//!
//! Each CPU has cells of its own. `inc` on memory relative to the segment register that holds the
//! CPU's offset is one instruction, so neither an interrupt nor being moved to another CPU can come
//! in between, and no lock prefix is needed: nobody else writes to the cell.
//!
//! Who uses it: [`super::replacement`] for the tasks in flight, and hooks that count.

use core::{arch::asm, mem::size_of, ptr::NonNull};
use kernel::{bindings, prelude::*};

/// `N` counters for each CPU, all 0 at first.
///
/// # Invariants
///
/// `cells` is a per-CPU allocation of `N` times 8 bytes that is freed only in `drop`.
pub(crate) struct PerCpu<const N: usize> {
    cells: NonNull<c_void>,
}

// SAFETY: the allocation belongs to no thread, and counting and reading it is atomic.
unsafe impl<const N: usize> Send for PerCpu<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for PerCpu<N> {}

impl<const N: usize> PerCpu<N> {
    /// Allocates them. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let size = N * size_of::<u64>();
        // A cache line of one CPU's cells is not to be shared with something that others write.
        const ALIGN: usize = 64;
        // SAFETY: always allowed where sleeping is. The cells come zeroed.
        let cells =
            unsafe { bindings::pcpu_alloc_noprof(size, ALIGN, false, bindings::GFP_KERNEL) };
        // INVARIANT: just allocated.
        NonNull::new(cells)
            .map(|cells| Self { cells })
            .ok_or(ENOMEM)
    }

    /// A handle that can be copied and stored.
    ///
    /// # Safety
    ///
    /// It may be used as long as `self` lives.
    #[inline(always)]
    pub(crate) unsafe fn cells(&self) -> Cells<N> {
        // INVARIANT: the caller's promise.
        Cells {
            base: self.cells.as_ptr().expose_provenance(),
        }
    }

    /// The counter over all CPUs. What is counted meanwhile may be in it or not; what happened
    /// before the call, as far as the caller knows, is in it. 0 for one that is not there.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        if index >= N {
            return 0;
        }
        let mut sum = 0_u64;
        for cpu in possible_cpus() {
            // SAFETY: by the type's invariants, since `cpu` is possible: every possible CPU has its
            // cells at the allocation's address plus its offset. The cell is only ever written by
            // instructions that write all 8 bytes of it, so that it is never torn.
            sum = sum.wrapping_add(unsafe {
                self.cells
                    .as_ptr()
                    .cast::<u64>()
                    .wrapping_byte_add(cpu_offset(cpu))
                    .wrapping_add(index)
                    .read_volatile()
            });
        }
        sum
    }
}

impl<const N: usize> Drop for PerCpu<N> {
    fn drop(&mut self) {
        // SAFETY: by the type's invariants.
        unsafe { bindings::free_percpu(self.cells.as_ptr()) };
    }
}

/// The counters of a [`PerCpu`], for the hot path: one word that can be copied and stored.
///
/// # Invariants
///
/// `base` is the address of the cells of a [`PerCpu`] that lives as long as this is used.
#[derive(Clone, Copy)]
pub(crate) struct Cells<const N: usize> {
    base: usize,
}

impl<const N: usize> Cells<N> {
    /// As one word, never 0.
    pub(crate) fn into_raw(self) -> usize {
        self.base
    }

    /// From [`Cells::into_raw`].
    ///
    /// # Safety
    ///
    /// - `raw` comes from [`Cells::into_raw`] of the same `N`.
    /// - The [`PerCpu`] lives as long as the result is used.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // INVARIANT: the caller's promise.
        Self { base: raw }
    }

    /// Adds one to the counter of this CPU; one that is not there is not counted.
    #[inline(always)]
    pub(crate) fn add(self, index: usize) {
        if index < N {
            // SAFETY: just compared.
            unsafe { self.add_unchecked(index) };
        }
    }

    /// Adds one to the counter of this CPU, for who knows that it is there.
    ///
    /// # Safety
    ///
    /// `index` is less than `N`.
    #[inline(always)]
    pub(crate) unsafe fn add_unchecked(self, index: usize) {
        // SAFETY: by the type's invariants and the caller's promise each possible CPU has an allocated
        // cell at this address plus its offset, and in the kernel `gs` holds the offset of the CPU that
        // we run on.
        unsafe {
            asm!(
                "inc qword ptr gs:[{base} + 8 * {index}]",
                base = in(reg) self.base,
                index = in(reg) index,
                options(nostack),
            );
        }
    }
}

/// The CPUs that can ever be there.
fn possible_cpus() -> impl Iterator<Item = usize> {
    const WORD: usize = c_ulong::BITS as usize;

    let mask: *const bindings::cpumask = &raw const bindings::__cpu_possible_mask;
    // SAFETY: the mask is only written while the kernel boots.
    let mask: &'static bindings::cpumask = unsafe { &*mask };
    let words = mask.bits.iter().enumerate();
    words.flat_map(|(index, word)| {
        (0..WORD)
            .filter(move |bit| word >> bit & 1 != 0)
            .map(move |bit| index * WORD + bit)
    })
}

/// What to add to the address of a per-CPU allocation for this CPU's part of it.
fn cpu_offset(cpu: usize) -> usize {
    let offsets: *const [c_ulong] = &raw const bindings::__per_cpu_offset;
    // SAFETY: the table is only written while the kernel boots.
    let offsets: &'static [c_ulong] = unsafe { &*offsets };
    offsets.get(cpu).copied().unwrap_or(0)
}
