// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tells one chip from another, as data: PCI identity, IP versions, register bases, sizes.
//!
//! A new chip is a new file here with one [`Spec`]; the blocks ask the spec and have no branch per
//! chip. Used by everything that depends on identity: `discovery`, `vbios`, `pci`, `regs`.

mod messages;
mod navi10;
mod navi12;
mod navi14;
mod navi21;
mod navi22;
mod navi23;
mod navi24;
mod rdna1;
mod rdna2;
mod renoir;
#[cfg(test)]
mod tests;

use crate::blocks::gmc::Hub;
use crate::tables::Depth;
use std::fmt;
use std::str::FromStr;

/// A chip that can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chip {
    /// Radeon RX 5700 XT: 1002:731f, GC 10.1.10.
    Navi10,
    /// Radeon Pro V520: 1002:7360, GC 10.1.2.
    Navi12,
    /// Radeon RX 5500: 1002:7340, GC 10.1.1.
    Navi14,
    /// Radeon RX 6900 XT: 1002:73bf, GC 10.3.0.
    Navi21,
    /// Radeon RX 6700 XT: 1002:73df, GC 10.3.2.
    Navi22,
    /// Radeon RX 6600: 1002:73ff, GC 10.3.4.
    Navi23,
    /// Radeon RX 6500 XT: 1002:743f, GC 10.3.5.
    Navi24,
    /// The graphics of a Ryzen 4000 APU: 1002:1636, GC 9.3.0. Not RDNA: its page tables differ.
    Renoir,
}

impl Chip {
    /// Every chip there is.
    pub const ALL: &'static [Self] = &[
        Self::Navi10,
        Self::Navi12,
        Self::Navi14,
        Self::Navi21,
        Self::Navi22,
        Self::Navi23,
        Self::Navi24,
        Self::Renoir,
    ];

    /// The name used on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Navi10 => "navi10",
            Self::Navi12 => "navi12",
            Self::Navi14 => "navi14",
            Self::Navi21 => "navi21",
            Self::Navi22 => "navi22",
            Self::Navi23 => "navi23",
            Self::Navi24 => "navi24",
            Self::Renoir => "renoir",
        }
    }

    /// What the names of its firmware files in `amdgpu/` begin with.
    pub const fn firmware(self) -> &'static [&'static str] {
        self.spec().firmware
    }

    /// Whether it is part of a processor. The driver then gives KFD system memory where VRAM is asked for.
    pub const fn apu(self) -> bool {
        self.spec().apu
    }

    /// What is known about it.
    pub(crate) const fn spec(self) -> &'static Spec {
        match self {
            Self::Navi10 => &navi10::SPEC,
            Self::Navi12 => &navi12::SPEC,
            Self::Navi14 => &navi14::SPEC,
            Self::Navi21 => &navi21::SPEC,
            Self::Navi22 => &navi22::SPEC,
            Self::Navi23 => &navi23::SPEC,
            Self::Navi24 => &navi24::SPEC,
            Self::Renoir => &renoir::SPEC,
        }
    }
}

/// A hardware block that has its own registers or version (AMD's hardware IDs: `soc15_hw_ip.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ip {
    Gc,
    Sdma,
    Mmhub,
    Osssys,
    Hdp,
    Nbio,
    Mp0,
    Mp1,
    Athub,
    Smuio,
    Thm,
    Clk,
    Df,
    Umc,
    Vcn,
    Dcn,
}

impl Ip {
    /// The number in the discovery table; instances of SDMA differ in it.
    pub(crate) const fn hardware_id(self, instance: u16) -> u16 {
        match self {
            Self::Mp1 => 1,
            Self::Thm => 3,
            Self::Smuio => 4,
            Self::Clk => 6,
            Self::Gc => 11,
            Self::Vcn => 12,
            Self::Mmhub => 34,
            Self::Athub => 35,
            Self::Osssys => 40,
            Self::Hdp => 41,
            // SDMA0_HWID to SDMA3_HWID.
            Self::Sdma => match instance {
                0 => 42,
                1 => 43,
                2 => 68,
                _ => 69,
            },
            Self::Df => 46,
            Self::Nbio => 108,
            Self::Umc => 150,
            Self::Mp0 => 255,
            Self::Dcn => 271,
        }
    }
}

/// One block of a chip.
#[derive(Debug)]
pub(crate) struct IpBlock {
    pub(crate) ip: Ip,
    pub(crate) instance: u16,
    /// Major, minor, revision.
    pub(crate) version: (u8, u8, u8),
    /// Dword addresses that register offsets count from.
    pub(crate) bases: &'static [u32],
}

/// The registers of one block, as text: see `regs::table`.
#[derive(Debug)]
pub(crate) struct RegisterTable {
    pub(crate) ip: Ip,
    pub(crate) text: &'static str,
}

/// A register of the SMN fabric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SmnRegister {
    pub(crate) name: &'static str,
    /// In bytes.
    pub(crate) address: u32,
    /// Its value after reset.
    pub(crate) reset: u32,
}

/// Everything that identifies a chip.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) device_id: u16,
    pub(crate) revision: u8,
    /// Part of a processor.
    pub(crate) apu: bool,
    pub(crate) subsystem: (u16, u16),
    /// The text in the VBIOS that the driver prints.
    pub(crate) part_number: &'static str,
    /// What the names of its firmware files begin with.
    pub(crate) firmware: &'static [&'static str],
    pub(crate) ips: &'static [IpBlock],
    pub(crate) registers: &'static [RegisterTable],
    /// Registers that blocks know by another name than the tables: the blocks' name, the tables'.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// What lies behind the window onto the SMN fabric.
    pub(crate) smn: &'static [SmnRegister],
    pub(crate) gc: GcConfig,
    pub(crate) cp: Cp,
    /// How many SDMA engines there are.
    pub(crate) sdma_engines: usize,
    /// What the SMU answers, and to which messages.
    pub(crate) smu: Smu,
    /// The levels and the layout of page tables.
    pub(crate) tables: Depth,
    pub(crate) hubs: Hubs,
    /// Where video memory begins in VMID 0's address space.
    pub(crate) fb_base: u64,
}

impl Spec {
    /// The dword addresses that `ip`'s register offsets count from.
    pub(crate) fn bases(&self, ip: Ip) -> Option<&'static [u32]> {
        self.ips.iter().find(|b| b.ip == ip).map(|b| b.bases)
    }
}

/// What of the VM hubs differs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hubs {
    /// The one whose page tables the SDMA engines walk.
    pub(crate) sdma: Hub,
    /// `VM_INVALIDATE_ENGx_REQ`: INVALIDATE_L2_PTES and INVALIDATE_L1_PTES.
    pub(crate) ptes: u32,
    /// `VM_INVALIDATE_ENGx_REQ`: CLEAR_PROTECTION_FAULT_STATUS_ADDR.
    pub(crate) clear_status: u32,
}

/// GFX10: `gc_10_1_0_sh_mask.h`, `gc_10_3_0_sh_mask.h`.
const HUBS_GFX10: Hubs = Hubs {
    sdma: Hub::Gfx,
    ptes: 1 << 19 | 1 << 23,
    clear_status: 1 << 24,
};

/// What of the command processor differs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cp {
    /// The processors whose instruction cache is loaded by `CP_*_IC_OP_CNTL`.
    pub(crate) caches: &'static [&'static str],
    /// The graphics ring is set up by registers (`CP_RB0_*`) and not by a MAP_QUEUES packet.
    pub(crate) ring_by_registers: bool,
}

/// The system management unit: what it says about itself, and the messages that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smu {
    /// The version of the driver's interface.
    pub(crate) interface: u32,
    /// The version of its firmware.
    pub(crate) firmware: u32,
    pub(crate) messages: &'static [Message],
    /// Registers in which its state can be read: name, value.
    pub(crate) status: &'static [(&'static str, u32)],
}

/// A message to the SMU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) number: u32,
    /// The name behind `PPSMC_MSG_`.
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
}

/// What a message does to the argument register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: accepted.
    Accept,
    /// It holds the firmware's version afterwards.
    FirmwareVersion,
    /// It holds the interface's version afterwards.
    InterfaceVersion,
    /// It is zero afterwards: no feature, no frequency.
    Zero,
}

/// An [`IpBlock`].
const fn block(ip: Ip, instance: u16, version: (u8, u8, u8), bases: &'static [u32]) -> IpBlock {
    IpBlock {
        ip,
        instance,
        version,
        bases,
    }
}

/// An [`SmnRegister`].
const fn smn(name: &'static str, address: u32, reset: u32) -> SmnRegister {
    SmnRegister {
        name,
        address,
        reset,
    }
}

/// A [`RegisterTable`].
const fn table(ip: Ip, text: &'static str) -> RegisterTable {
    RegisterTable { ip, text }
}

/// The shape of the graphics core: the body of `struct gc_info_v1_0` (`discovery.h`), in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GcConfig {
    pub(crate) shader_engines: u32,
    pub(crate) wgp0_per_sa: u32,
    pub(crate) wgp1_per_sa: u32,
    pub(crate) rb_per_se: u32,
    pub(crate) gl2c: u32,
    pub(crate) gprs: u32,
    pub(crate) max_gs_threads: u32,
    pub(crate) gs_table_depth: u32,
    pub(crate) gsprim_buffer_depth: u32,
    pub(crate) parameter_cache_depth: u32,
    pub(crate) double_offchip_lds_buffer: u32,
    pub(crate) wave_size: u32,
    pub(crate) max_waves_per_simd: u32,
    pub(crate) max_scratch_slots_per_cu: u32,
    pub(crate) lds_size: u32,
    pub(crate) sc_per_se: u32,
    pub(crate) sa_per_se: u32,
    pub(crate) packers_per_sc: u32,
    pub(crate) gl2a: u32,
}

impl GcConfig {
    /// The numbers in the order of the discovery table.
    pub(crate) const fn words(&self) -> [u32; 19] {
        [
            self.shader_engines,
            self.wgp0_per_sa,
            self.wgp1_per_sa,
            self.rb_per_se,
            self.gl2c,
            self.gprs,
            self.max_gs_threads,
            self.gs_table_depth,
            self.gsprim_buffer_depth,
            self.parameter_cache_depth,
            self.double_offchip_lds_buffer,
            self.wave_size,
            self.max_waves_per_simd,
            self.max_scratch_slots_per_cu,
            self.lds_size,
            self.sc_per_se,
            self.sa_per_se,
            self.packers_per_sc,
            self.gl2a,
        ]
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Chip {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.name() == s)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|c| c.name()).collect();
                format!("no chip is called {s:?}; known: {}", known.join(", "))
            })
    }
}
