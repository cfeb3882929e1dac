// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the chips with GC 10.1.x have in common: register tables and the bases that most share
//! (`navi10_ip_offset.h`, `navi12_ip_offset.h`, `navi14_ip_offset.h`; bases that lie outside of the
//! register BAR are left out).

use super::{Cp, GcConfig, Ip, RegisterTable, SmnRegister, smn, table};

pub(super) const GC: &[u32] = &[0x1260, 0xa000];
pub(super) const MP: &[u32] = &[0x16000];

/// What the shapes of the graphics cores have in common; the rest is zero here.
pub(super) const SHAPE: GcConfig = GcConfig {
    shader_engines: 0,
    wgp0_per_sa: 0,
    wgp1_per_sa: 0,
    rb_per_se: 0,
    gl2c: 0,
    gprs: 1024,
    max_gs_threads: 32,
    gs_table_depth: 32,
    gsprim_buffer_depth: 1792,
    parameter_cache_depth: 512,
    double_offchip_lds_buffer: 0,
    wave_size: 32,
    max_waves_per_simd: 20,
    max_scratch_slots_per_cu: 32,
    lds_size: 128,
    sc_per_se: 4,
    sa_per_se: 2,
    packers_per_sc: 4,
    gl2a: 4,
};

pub(super) const CP: Cp = Cp {
    caches: &["PFP", "ME", "CE", "CPC"],
    ring_by_registers: false,
};

pub(super) const REGISTERS: &[RegisterTable] = &[
    table(Ip::Gc, include_str!("../regs/tables/gc_10_1_0.txt")),
    table(Ip::Mmhub, include_str!("../regs/tables/mmhub_2_0_0.txt")),
    table(Ip::Osssys, include_str!("../regs/tables/osssys_5_0_0.txt")),
    table(Ip::Hdp, include_str!("../regs/tables/hdp_5_0_0.txt")),
    table(Ip::Nbio, include_str!("../regs/tables/nbio_2_3.txt")),
    table(Ip::Nbio, include_str!("../regs/tables/driver_local.txt")),
    table(Ip::Mp0, include_str!("../regs/tables/mp_11_0.txt")),
    table(Ip::Smuio, include_str!("../regs/tables/smuio_11_0_0.txt")),
    table(Ip::Thm, include_str!("../regs/tables/thm_11_0_2.txt")),
    table(Ip::Dcn, include_str!("../regs/tables/dcn_2_0_0.txt")),
    table(Ip::Athub, include_str!("../regs/tables/athub_2_0_0.txt")),
];

/// `nbio_v2_3.c`, `smu_v11_0.c`, `navi10_ppt.c`.
pub(super) const SMN: &[SmnRegister] = &[
    smn("MP0_FW_INTF", 0x0381_01c0, 0),
    // Bit 0, interrupts enabled: the SMU runs.
    smn("MP1_FIRMWARE_FLAGS", 0x03b1_0024, 1),
    smn("PCIE_LC_LINK_WIDTH_CNTL", 0x1114_0288, 0),
    smn("PCIE_CONFIG_CNTL", 0x1118_0044, 0),
    smn("PCIE_CNTL2", 0x1118_0070, 0),
    smn("CPM_CONTROL", 0x1118_0460, 0),
];
