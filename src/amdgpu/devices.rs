// SPDX-License-Identifier: GPL-2.0

//! The GPUs that the hooks meet: each with its policy and its counters.
//!
//! A GPU is known by its PCI address for as long as rmcp is loaded, and by the driver's
//! `struct amdgpu_device` for as long as hooks are in place. That pointer is learned from the first
//! call of a hook that only RDNA1/2 GPUs reach, or by [looking](super::survey) for GPUs; it is never
//! followed later, only compared. When the driver sets up a device, whatever was known by the same
//! pointer before is forgotten.
//!
//! # Reading and writing
//!
//! A hook reads a [`Slot`] without a lock: each policy is one word, so a call sees the policy before or
//! after a change. Everything that writes to slots holds [`PLAN`], a spin lock that a hook takes only
//! for a GPU that it does not know. `core`'s atomics rather than the kernel crate's: the latter's
//! loads are calls of C functions where helpers are not inlined.

use super::layout;
use crate::hook::percpu::{Cells, PerCpu};
use crate::logic::{
    counters::Cell,
    device::{GcVersion, PciAddress},
    fragment::Limits,
    policy::Rules,
    switches::Switches,
    table::Table,
};
use core::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
};
use kernel::{bindings, prelude::*};

/// How many GPUs rmcp handles.
pub(crate) const MOST: usize = 8;

/// A `struct amdgpu_device` by its address, to be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Device(pub(super) u64);

impl Device {
    /// No address of a device.
    const NONE: Self = Self(u64::MAX);
}

/// What the hooks need of one GPU.
pub(super) struct Slot {
    /// Its PCI address and [`Slot::TAKEN`]; 0 while the slot is free.
    address: AtomicU64,
    /// Its device while it is known.
    device: AtomicU64,
    /// The same, but [`Device::NONE`] while the policy asks for the client, so that [`Slot::table`] is not enough.
    quick: AtomicU64,
    /// The memory type policy for buffers that do not ask for coherence. Not null where `quick` is set.
    table: AtomicPtr<Table>,
    /// The same device, but only while the policy asks for the client.
    by_client: AtomicU64,
    /// The memory type policy for compute VMs, as `table`. Not null where `by_client` is set.
    compute_table: AtomicPtr<Table>,
    /// The whole memory type policy: [`Rules::to_word`].
    rules: AtomicU32,
    /// The fragment policy: [`Limits::to_word`].
    limits: AtomicU32,
    /// Its counters: [`Cells::into_raw`]. 0 before `start`.
    cells: AtomicUsize,
}

impl Slot {
    const fn free() -> Self {
        Self {
            address: AtomicU64::new(0),
            device: AtomicU64::new(Device::NONE.0),
            quick: AtomicU64::new(Device::NONE.0),
            table: AtomicPtr::new(ptr::null_mut()),
            by_client: AtomicU64::new(Device::NONE.0),
            compute_table: AtomicPtr::new(ptr::null_mut()),
            rules: AtomicU32::new(Rules::KEEP.to_word()),
            limits: AtomicU32::new(Limits::KEEP.to_word()),
            cells: AtomicUsize::new(0),
        }
    }

    const TAKEN: u64 = 1 << 32;

    /// The GPU's address, if the slot is not free.
    fn address(&self) -> Option<PciAddress> {
        let word = self.address.load(Relaxed).checked_sub(Self::TAKEN)?;
        // What was added to is a `u32`.
        Some(PciAddress::from_word(word as u32))
    }

    /// The table for buffers that do not ask for coherence.
    #[inline(always)]
    pub(super) fn table(&self) -> &'static Table {
        // SAFETY: only `apply` writes it, from a `&'static Table`, and does so before the device is
        // known by which a hook finds the slot.
        unsafe { &*self.table.load(Relaxed) }
    }

    /// The table for a mapping of a client, for a device that the slot was found by. `None` while the
    /// policy changes.
    #[inline(always)]
    pub(super) fn table_of(
        &self,
        device: Device,
        is_compute: impl FnOnce() -> bool,
    ) -> Option<&'static Table> {
        if self.quick.load(Relaxed) == device.0 {
            return Some(self.table());
        }
        if self.by_client.load(Relaxed) != device.0 {
            return None;
        }
        Some(if is_compute() {
            // SAFETY: as in `table`.
            unsafe { &*self.compute_table.load(Relaxed) }
        } else {
            Table::other_clients()
        })
    }

    /// The memory type policy.
    pub(super) fn rules(&self) -> Rules {
        Rules::from_word(self.rules.load(Relaxed))
    }

    /// The fragment policy.
    #[inline(always)]
    pub(super) fn limits(&self) -> Limits {
        Limits::from_word(self.limits.load(Relaxed))
    }

    /// Adds one.
    #[inline(always)]
    pub(super) fn count(&self, cell: u16) {
        // SAFETY: a slot is found by its device only, which is known only between `start` and the end
        // of the hooks; the counters live longer. Whoever numbers cells stays below `Cell::COUNT`.
        unsafe {
            Cells::<{ Cell::COUNT }>::from_raw(self.cells.load(Relaxed)).add_unchecked(cell.into());
        }
    }

    /// Takes on the policy of the switches. The lock is held.
    fn apply(&self, address: PciAddress, switches: &Switches) {
        let rules = switches.rules(address);
        let limits = switches.limits(address, self.limits());
        self.limits.store(limits.to_word(), Relaxed);
        // Each of these stores leaves a policy that is wholly the old or wholly the new one for each
        // call: where `quick` is set, `table` says the same as one of the two `rules`, and where
        // `by_client` is set, `compute_table` does.
        let device = self.device.load(Relaxed);
        let raw = |table| ptr::from_ref::<Table>(table).cast_mut();
        match (Table::of(rules), Table::of_compute(rules)) {
            (Some(table), _) => {
                self.table.store(raw(table), Relaxed);
                self.rules.store(rules.to_word(), Relaxed);
                self.by_client.store(Device::NONE.0, Relaxed);
                self.quick.store(device, Relaxed);
            }
            (None, Some(table)) => {
                self.compute_table.store(raw(table), Relaxed);
                self.rules.store(rules.to_word(), Relaxed);
                self.quick.store(Device::NONE.0, Relaxed);
                self.by_client.store(device, Relaxed);
            }
            (None, None) => {
                self.rules.store(rules.to_word(), Relaxed);
                self.quick.store(Device::NONE.0, Relaxed);
                self.by_client.store(Device::NONE.0, Relaxed);
            }
        }
    }

    /// Is no longer known by its device. The lock is held.
    fn forget(&self) {
        self.quick.store(Device::NONE.0, Relaxed);
        self.by_client.store(Device::NONE.0, Relaxed);
        self.device.store(Device::NONE.0, Relaxed);
        self.rules.store(Rules::KEEP.to_word(), Relaxed);
        self.limits.store(Limits::KEEP.to_word(), Relaxed);
    }
}

static SLOTS: [Slot; MOST] = [const { Slot::free() }; MOST];

kernel::sync::global_lock! {
    // SAFETY: `Counters::new` initialises it before any hook is set and before the switches are
    // followed; nothing else locks it.
    unsafe(uninit) static PLAN: SpinLock<Option<Switches>> = None;
}

/// The slot of a device whose policy is in [`Slot::table`] alone, if it is the first one: most machines
/// have one, and its place needs no look-up.
#[inline(always)]
pub(super) fn quick(device: Device) -> Option<&'static Slot> {
    let [first, ..] = &SLOTS;
    (first.quick.load(Relaxed) == device.0).then_some(first)
}

/// The slot of a device, if it is known.
#[inline(always)]
pub(super) fn find(device: Device) -> Option<&'static Slot> {
    SLOTS
        .iter()
        .find(|slot| slot.device.load(Relaxed) == device.0)
}

/// The slot of an RDNA1/2 device, which is made known if it is not yet. `None` when nothing is to be
/// done at the moment, and when there are too many GPUs.
///
/// # Safety
///
/// It is 0 or the address of a live `struct amdgpu_device`, and [`layout::learn`] has succeeded.
#[cold]
pub(super) unsafe fn learn(device: Device) -> Option<&'static Slot> {
    let known = find(device);
    if known.is_some() || device.0 == 0 {
        return known;
    }
    // SAFETY: the caller's promise.
    let address = unsafe { address(device) }?;
    let plan = PLAN.lock();
    let switches = (*plan).as_ref()?;
    let slot = SLOTS
        .iter()
        .find(|slot| slot.address() == Some(address))
        .or_else(|| SLOTS.iter().find(|slot| slot.address().is_none()))?;
    let word = u64::from(address.to_word()) | Slot::TAKEN;
    slot.address.store(word, Relaxed);
    // Nobody finds the slot before its policy is there.
    slot.forget();
    slot.apply(address, switches);
    // The lock orders nothing for hooks on other CPUs; x86-64 keeps stores in order.
    slot.device.store(device.0, Relaxed);
    slot.apply(address, switches);
    Some(slot)
}

/// A device is being set up: forgets what was known by the same pointer.
pub(super) fn arrives(device: Device) {
    let _plan = PLAN.lock();
    if let Some(slot) = find(device) {
        slot.forget();
    }
}

/// Makes every known GPU follow the switches, and those that are met from now on; with `None` all are
/// forgotten and none is met.
pub(super) fn publish(switches: Option<&Switches>) {
    let mut plan = PLAN.lock();
    *plan = switches.copied();
    for slot in &SLOTS {
        match (slot.address(), switches) {
            (Some(address), Some(switches)) if slot.device.load(Relaxed) != Device::NONE.0 => {
                slot.apply(address, switches);
            }
            _ => slot.forget(),
        }
    }
}

/// The version of a device's graphics core.
///
/// # Safety
///
/// As for [`learn`].
pub(super) unsafe fn gc_version(device: Device) -> GcVersion {
    // SAFETY: the caller's promise; the member is a `u32`.
    GcVersion::new(unsafe { layout::DEVICE_GC_VERSION.read::<u32>(device.0) })
}

/// The PCI address of a device.
///
/// # Safety
///
/// As for [`learn`].
unsafe fn address(device: Device) -> Option<PciAddress> {
    // SAFETY: the caller's promise; the member is a pointer.
    let pdev = unsafe { layout::DEVICE_PDEV.read::<u64>(device.0) };
    let pdev = ptr::with_exposed_provenance::<bindings::pci_dev>(pdev as usize);
    if pdev.is_null() {
        return None;
    }
    // SAFETY: a live device holds its PCI device.
    unsafe { address_of(pdev) }
}

/// The address of a PCI device.
///
/// # Safety
///
/// `pdev` is live.
pub(super) unsafe fn address_of(pdev: *const bindings::pci_dev) -> Option<PciAddress> {
    // SAFETY: the caller's promise. A PCI device is named once, by `pci_setup_device`, after its
    // address; the name is terminated.
    let name = unsafe {
        let name = (&raw const (*pdev).dev.kobj.name).read();
        if name.is_null() {
            return None;
        }
        CStr::from_char_ptr(name)
    };
    PciAddress::parse(name.to_bytes())
}

/// Whether there is a slot for this GPU.
pub(super) fn has_room(address: PciAddress) -> bool {
    SLOTS
        .iter()
        .any(|slot| slot.address().is_none_or(|known| known == address))
}

/// The counters of all GPUs. They must outlive every hook.
pub(crate) struct Counters {
    per_cpu: [PerCpu<{ Cell::COUNT }>; MOST],
}

impl Counters {
    /// Makes the counters, and with them everything that the hooks need. Must be called once, from
    /// the module's init function.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: this is the only place, and it runs once.
        unsafe { PLAN.init() };
        // `array::try_from_fn` is not stable.
        let one = PerCpu::new;
        let per_cpu = [
            one()?,
            one()?,
            one()?,
            one()?,
            one()?,
            one()?,
            one()?,
            one()?,
        ];
        for (slot, per_cpu) in SLOTS.iter().zip(&per_cpu) {
            // SAFETY: hooks are gone before the counters are, as the type demands.
            let cells = unsafe { per_cpu.cells() };
            slot.cells.store(cells.into_raw(), Relaxed);
        }
        Ok(Self { per_cpu })
    }

    /// The GPUs that were met, each with the number of its counters.
    pub(crate) fn devices(&self) -> impl Iterator<Item = (usize, PciAddress)> {
        SLOTS
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot.address()?)))
    }

    /// What a counter of a GPU holds. It only ever grows.
    pub(crate) fn total(&self, index: usize, cell: Cell) -> u64 {
        self.per_cpu
            .get(index)
            .map_or(0, |counters| counters.sum(cell.number().into()))
    }
}
