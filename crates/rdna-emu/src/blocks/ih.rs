// SPDX-License-Identifier: MIT OR Apache-2.0
//! IH: the interrupt handler. Writes interrupt vectors into a ring in memory and fires the MSI.
//!
//! Registers: `osssys_5_0_0_offset.h`. The ring lies at a bus address or at a GPU address,
//! depending on IH_RB_CNTL.MC_SPACE; mixing them up writes into the wrong guest memory. Vectors:
//! eight dwords as `amdgpu_ih_decode_iv_helper` takes them apart. The PASID of a vector is that of its VMID, which
//! IH_VMID_n_LUT tells: the driver writes it for its own VMIDs (`gmc_v10_0_emit_pasid_mapping`), the hardware scheduler
//! for those of KFD.

use super::Doorbell;
use crate::bus::{Bus, Space};
use crate::mem::Place;
use crate::regs::{Reg, Wiring, WiringError};
use crate::units::{GpuVa, Vmid};

/// Bytes of a vector.
const VECTOR: u64 = 32;

/// IH_RB_CNTL.
mod cntl {
    pub(super) const RB_ENABLE: u32 = 1 << 0;
    pub(super) const RB_SIZE_SHIFT: u32 = 1;
    pub(super) const RB_SIZE_MASK: u32 = 0x1f;
    pub(super) const WPTR_WRITEBACK_ENABLE: u32 = 1 << 8;
    pub(super) const ENABLE_INTR: u32 = 1 << 17;
    pub(super) const MC_SPACE_SHIFT: u32 = 28;
    pub(super) const MC_SPACE_MASK: u32 = 7;
}

/// Who interrupts: `enum soc15_ih_clientid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Engine 0 to 3.
    Sdma(u8),
    /// The command processor.
    GrbmCp,
    /// The graphics hub: page faults.
    Utcl2,
    /// The other hub: page faults.
    Vmc,
}

impl Client {
    fn number(self) -> u32 {
        match self {
            // SDMA0, SDMA1, SDMA2, SDMA3_Sienna_Cichlid: the latter two are other blocks' numbers.
            Self::Sdma(0) => 8,
            Self::Sdma(1) => 9,
            Self::Sdma(2) => 1,
            Self::Sdma(_) => 5,
            Self::GrbmCp => 0x14,
            Self::Utcl2 => 0x1b,
            Self::Vmc => 0x12,
        }
    }

    /// The hub that a VMID belongs to: bit 31 of a vector's first dword, 0 for the graphics hub.
    fn vmid_source(self) -> u32 {
        u32::from(self == Self::Vmc)
    }
}

/// An interrupt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector {
    pub(crate) client: Client,
    pub(crate) source: u8,
    pub(crate) ring: u8,
    pub(crate) vmid: Vmid,
    pub(crate) data: [u32; 4],
}

impl Vector {
    /// Of the kernel's own work, without data.
    pub(crate) fn kernel(client: Client, source: u8, ring: u8) -> Self {
        Self {
            client,
            source,
            ring,
            vmid: Vmid::KERNEL,
            data: [0; 4],
        }
    }

    fn bytes(&self, pasid: u32) -> [u8; VECTOR as usize] {
        let head = self.client.number()
            | u32::from(self.source) << 8
            | u32::from(self.ring) << 16
            | u32::from(self.vmid.0) << 24
            | self.client.vmid_source() << 31;
        let [a, b, c, d] = self.data;
        let words = [head, 0, 0, pasid, a, b, c, d];
        let mut bytes = [0; VECTOR as usize];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// The registers of ring 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ih {
    cntl: Reg,
    base: Reg,
    base_high: Reg,
    rptr: Reg,
    wptr: Reg,
    wptr_addr_low: Reg,
    wptr_addr_high: Reg,
    doorbell: Reg,
    /// Of VMID 0, for the graphics hub and the other one; those of other VMIDs follow.
    lut: [Reg; 2],
}

impl Ih {
    pub(crate) fn new(wiring: &mut Wiring<'_>) -> Result<Self, WiringError> {
        Ok(Self {
            cntl: wiring.reg("IH_RB_CNTL")?,
            base: wiring.reg("IH_RB_BASE")?,
            base_high: wiring.reg("IH_RB_BASE_HI")?,
            rptr: wiring.reg("IH_RB_RPTR")?,
            wptr: wiring.reg("IH_RB_WPTR")?,
            wptr_addr_low: wiring.reg("IH_RB_WPTR_ADDR_LO")?,
            wptr_addr_high: wiring.reg("IH_RB_WPTR_ADDR_HI")?,
            doorbell: wiring.reg("IH_DOORBELL_RPTR")?,
            lut: [
                wiring.reg("IH_VMID_0_LUT")?,
                wiring.reg("IH_VMID_0_LUT_MM")?,
            ],
        })
    }
}

/// The driver tells by doorbell how far it has read; `true` when this is that doorbell.
pub(crate) fn doorbell(bus: &mut Bus, bell: Doorbell) -> bool {
    let ih = bus.ih;
    let setting = bus.regs.get(ih.doorbell);
    let (enabled, index) = (setting >> 28 & 1 == 1, setting & 0x03ff_ffff);
    if !enabled || index != bell.index {
        return false;
    }
    let rptr = u32::try_from(bell.value & 0xffff_ffff).unwrap_or(0);
    bus.regs.set(ih.rptr, rptr);
    true
}

/// Whether the ring lies at bus addresses.
fn on_bus(control: u32) -> bool {
    let space = control >> cntl::MC_SPACE_SHIFT & cntl::MC_SPACE_MASK;
    matches!(space, 1 | 2)
}

fn put(bus: &mut Bus, control: u32, address: u64, data: &[u8]) {
    if !on_bus(control) {
        bus.write(Space::Kernel, GpuVa(address), data);
    } else if !bus.memory.write(Place::System(address), data) {
        bus.journal.fault(
            "interrupt ring out of range",
            format_args!("{} bytes at bus address {address:#x}", data.len()),
        );
    }
}

/// Puts `vector` into the ring; `true` when the CPU wants to be interrupted.
pub(crate) fn post(bus: &mut Bus, vector: Vector) -> bool {
    let ih = bus.ih;
    let control = bus.regs.get(ih.cntl);
    if control & cntl::RB_ENABLE == 0 {
        bus.journal.log(format_args!("IH off: dropped {vector:?}"));
        return false;
    }
    let base = (bus.regs.pair(ih.base, ih.base_high)) << 8;
    let size = 4_u64 << (control >> cntl::RB_SIZE_SHIFT & cntl::RB_SIZE_MASK);
    if size < 2 * VECTOR {
        bus.journal
            .fault("interrupt ring too small", format_args!("{size} bytes"));
        return false;
    }
    let wptr = (u64::from(bus.regs.get(ih.wptr)) % size) & !(VECTOR - 1);
    let next = (wptr + VECTOR) % size;
    if next == u64::from(bus.regs.get(ih.rptr)) % size {
        bus.journal
            .fault("interrupt ring full", format_args!("dropped {vector:?}"));
        return control & cntl::ENABLE_INTR != 0;
    }
    let pasid = match vector.vmid {
        Vmid::KERNEL => 0,
        Vmid(n) => {
            let [gfx, other] = ih.lut;
            let first = if vector.client.vmid_source() == 0 {
                gfx
            } else {
                other
            };
            bus.regs.get(first.plus(u32::from(n))) & 0xffff
        }
    };
    put(bus, control, base.wrapping_add(wptr), &vector.bytes(pasid));
    let next = u32::try_from(next).unwrap_or(0);
    bus.regs.set(ih.wptr, next);
    if control & cntl::WPTR_WRITEBACK_ENABLE != 0 {
        let at = bus.regs.pair(ih.wptr_addr_low, ih.wptr_addr_high);
        put(bus, control, at, &next.to_le_bytes());
    }
    control & cntl::ENABLE_INTR != 0
}
