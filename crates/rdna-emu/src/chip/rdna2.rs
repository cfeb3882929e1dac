// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the chips with GC 10.3.x have in common: register tables and bases
//! (`sienna_cichlid_ip_offset.h`, `dimgrey_cavefish_ip_offset.h`, `beige_goby_ip_offset.h`; bases
//! that lie outside of the register BAR are left out). SDMA2 and SDMA3 count from the third base.

use super::{Cp, GcConfig, Ip, RegisterTable, SmnRegister, smn, table};

pub(super) const GC: &[u32] = &[0x1260, 0xa000, 0x1c000];
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
    parameter_cache_depth: 1024,
    double_offchip_lds_buffer: 1,
    wave_size: 32,
    max_waves_per_simd: 16,
    max_scratch_slots_per_cu: 32,
    lds_size: 64,
    sc_per_se: 2,
    sa_per_se: 2,
    packers_per_sc: 4,
    gl2a: 4,
};

pub(super) const CP: Cp = Cp {
    caches: &["PFP", "ME", "CE", "CPC"],
    ring_by_registers: false,
};

pub(super) const REGISTERS: &[RegisterTable] = &[
    table(Ip::Gc, include_str!("../regs/tables/gc_10_3_0.txt")),
    table(Ip::Gc, GC_DRIVER),
    table(Ip::Mmhub, include_str!("../regs/tables/mmhub_2_0_0.txt")),
    table(Ip::Mmhub, MMHUB_DRIVER),
    table(Ip::Osssys, include_str!("../regs/tables/osssys_5_0_0.txt")),
    table(Ip::Osssys, OSSSYS_DRIVER),
    table(Ip::Hdp, include_str!("../regs/tables/hdp_5_0_0.txt")),
    table(Ip::Nbio, include_str!("../regs/tables/nbio_2_3.txt")),
    table(Ip::Nbio, NBIO_DRIVER),
    table(Ip::Nbio, include_str!("../regs/tables/driver_local.txt")),
    table(Ip::Mp0, include_str!("../regs/tables/mp_11_0.txt")),
    table(Ip::Smuio, include_str!("../regs/tables/smuio_11_0_0.txt")),
    table(Ip::Smuio, include_str!("../regs/tables/smuio_11_0_6.txt")),
    table(Ip::Thm, include_str!("../regs/tables/thm_11_0_2.txt")),
    table(Ip::Dcn, include_str!("../regs/tables/dcn_2_0_0.txt")),
    table(Ip::Athub, include_str!("../regs/tables/athub_2_1_0.txt")),
];

// Registers that the offset headers of these chips lack. `gfx_v10_0.c` declares some itself, and takes others from
// gc_10_1_0_offset.h; what it dumps after a hang (`gfx_v10_ip_dump`) it reads at that header's offsets, and
// `sdma_v5_2_dump_ip_state` adds each engine's distance to GRBM_STATUS2.
const GC_DRIVER: &str = "\
GCEA_SDP_TAG_RESERVE0 0x189b 0
GCEA_SDP_TAG_RESERVE1 0x189c 0
TA_CNTL_AUX 0x12e2 0
GL2C_CTRL3 0x2e0c 1
CGTT_SPI_RA0_CLK_CTRL 0x507a 1
CGTT_SPI_RA1_CLK_CTRL 0x507b 1
CGTT_SPI_CS_CLK_CTRL 0x507c 1
GCVM_L2_CGTT_CLK_CTRL_Sienna_Cichlid 0x15db 0
GCUTCL2_CGTT_CLK_CTRL_Sienna_Cichlid 0x16f3 0
CP_MEC_CNTL_AT_10_1 0x0e2d 0
GCVM_L2_PROTECTION_FAULT_CNTL_AT_10_1 0x15e8 0
GCVM_L2_PROTECTION_FAULT_STATUS_AT_10_1 0x15ec 0
RLC_SAFE_MODE_AT_10_1 0x4c05 1
GRBM_STATUS2_OF_SDMA2 0x0da2 2
GRBM_STATUS2_OF_SDMA3 0x11a2 2
";
// `mmhub_v2_0.c`, which declares it itself, as the next ones do theirs.
const MMHUB_DRIVER: &str = "DAGB0_CNTL_MISC2_Sienna_Cichlid 0x0070 0";
// `navi10_ih.c`.
const OSSSYS_DRIVER: &str = "IH_CHICKEN_Sienna_Cichlid 0x018d 0";
// `nbio_v2_3.c`.
const NBIO_DRIVER: &str = "\
BIF_SDMA2_DOORBELL_RANGE 0x01d6 2
BIF_SDMA3_DOORBELL_RANGE 0x01d7 2
";

/// `nbio_v2_3.c`, `smu_v11_0.c`, `sienna_cichlid_ppt.c`.
pub(super) const SMN: &[SmnRegister] = &[
    smn("MP0_FW_INTF", 0x0381_01c0, 0),
    // Bit 0, interrupts enabled: the SMU runs.
    smn("MP1_FIRMWARE_FLAGS", 0x03b1_0024, 1),
    smn("PCIE_LC_LINK_WIDTH_CNTL", 0x1114_0288, 0),
    smn("PCIE_CONFIG_CNTL", 0x1118_0044, 0),
    smn("PCIE_CNTL2", 0x1118_0070, 0),
    smn("CPM_CONTROL", 0x1118_0460, 0),
    smn("MP1_PMI_3_START", 0x03b3_0204, 0),
];
