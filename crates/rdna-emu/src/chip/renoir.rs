// SPDX-License-Identifier: MIT OR Apache-2.0
//! Renoir (the graphics of an APU, Vega): GC 9.3.0, served by gmc_v9_0. The chip that is not RDNA: its entries have the
//! memory type in another place, and SDMA walks the page tables of the multimedia hub.
//!
//! Versions: what the driver's own tables in `amdgpu_discovery.c` expect for it. Bases: `renoir_ip_offset.h` (those
//! that lie outside of the register BAR are left out). Register tables: the headers that the driver's files for
//! GFX9 include, which are those of the first chip of a series. The shape: 8 CUs.

use super::{
    Cp, GcConfig, Hubs, Ip, RegisterTable, SmnRegister, Smu, Spec, block, messages, smn, table,
};
use crate::blocks::gmc::Hub;
use crate::tables::{Depth, Format};

pub(super) const SPEC: Spec = Spec {
    device_id: 0x1636,
    revision: 0xc6,
    apu: true,
    subsystem: (0x1002, 0x1636),
    part_number: "113-EMURENOIR-001",
    firmware: &["renoir_"],
    // The order decides the driver's block numbers, hence the meaning of ip_block_mask.
    ips: &[
        block(Ip::Gc, 0, (9, 3, 0), &[0x2000, 0xa000]),
        block(Ip::Hdp, 0, (4, 1, 2), &[0xf20]),
        block(Ip::Sdma, 0, (4, 1, 2), &[0x1260]),
        block(Ip::Mmhub, 0, (9, 3, 0), &[0x1a000]),
        block(Ip::Athub, 0, (9, 3, 0), &[0xc20]),
        block(Ip::Nbio, 0, (7, 0, 0), &[0, 0x14, 0xd20, 0x10400]),
        block(Ip::Mp0, 0, (12, 0, 1), &[0x16000]),
        block(Ip::Mp1, 0, (12, 0, 1), &[0x16000]),
        block(Ip::Osssys, 0, (4, 1, 0), &[0x10a0]),
        block(Ip::Smuio, 0, (12, 0, 1), &[0x16800, 0x16a00]),
        block(Ip::Thm, 0, (12, 0, 1), &[0x16600]),
        block(
            Ip::Clk,
            0,
            (12, 0, 1),
            &[0x16c00, 0x16e00, 0x17000, 0x17e00],
        ),
        block(Ip::Df, 0, (2, 1, 0), &[0x7000]),
        block(Ip::Umc, 0, (7, 5, 0), &[0x14000]),
        block(Ip::Vcn, 0, (2, 2, 0), &[0x7800, 0x7e00]),
        block(Ip::Dcn, 0, (2, 1, 0), &[0x12, 0xc0, 0x34c0, 0x9000]),
    ],
    registers: REGISTERS,
    aliases: ALIASES,
    smn: SMN,
    gc: GcConfig {
        shader_engines: 1,
        wgp0_per_sa: 4,
        wgp1_per_sa: 0,
        rb_per_se: 2,
        gl2c: 4,
        gprs: 256,
        max_gs_threads: 32,
        gs_table_depth: 32,
        gsprim_buffer_depth: 1792,
        parameter_cache_depth: 0,
        double_offchip_lds_buffer: 1,
        wave_size: 64,
        max_waves_per_simd: 10,
        max_scratch_slots_per_cu: 32,
        lds_size: 64,
        sc_per_se: 1,
        sa_per_se: 1,
        packers_per_sc: 2,
        gl2a: 0,
    },
    cp: Cp {
        caches: &["CPC"],
        ring_by_registers: true,
    },
    sdma_engines: 1,
    // `SMU12_DRIVER_IF_VERSION`; 55.90.0.
    smu: Smu {
        interface: 14,
        firmware: 0x0037_5a00,
        messages: messages::SMU_12_0,
        // PWR_GFXOFF_STATUS 2: GFXOFF is off.
        status: &[("SMUIO_GFX_MISC_CNTL", 2 << 1)],
    },
    tables: Depth::four(Format::Gfx9),
    // `mmhub_1_0_sh_mask.h`, `gc_9_0_sh_mask.h`.
    hubs: Hubs {
        sdma: Hub::Mm,
        ptes: 1 << 18 | 1 << 22,
        clear_status: 1 << 23,
    },
    fb_base: 0x80_0000_0000,
};

const REGISTERS: &[RegisterTable] = &[
    table(Ip::Gc, include_str!("../regs/tables/gc_9_0.txt")),
    table(Ip::Gc, GC_DRIVER),
    table(Ip::Mmhub, include_str!("../regs/tables/mmhub_1_0.txt")),
    table(Ip::Sdma, include_str!("../regs/tables/sdma0_4_2.txt")),
    table(Ip::Osssys, include_str!("../regs/tables/osssys_4_0.txt")),
    table(Ip::Hdp, include_str!("../regs/tables/hdp_4_0.txt")),
    table(Ip::Nbio, include_str!("../regs/tables/nbio_7_0.txt")),
    table(Ip::Nbio, include_str!("../regs/tables/driver_local.txt")),
    table(Ip::Mp0, include_str!("../regs/tables/mp_12_0_0.txt")),
    table(Ip::Mp0, MP0_DRIVER),
    table(Ip::Df, include_str!("../regs/tables/df_1_7.txt")),
    table(Ip::Smuio, include_str!("../regs/tables/smuio_12_0_0.txt")),
    table(Ip::Athub, include_str!("../regs/tables/athub_1_0.txt")),
    table(Ip::Dcn, include_str!("../regs/tables/dcn_2_0_0.txt")),
];

// Registers that the driver's files declare themselves: `gfx_v9_0.c`, `soc15.c`.
const GC_DRIVER: &str = "GCEA_PROBE_MAP 0x070c 0";
const MP0_DRIVER: &str = "\
MP0_MISC_CGTT_CTRL0 0x01b9 0
MP0_MISC_LIGHT_SLEEP_CTRL 0x01ba 0
";

/// `nbio_7_0_offset.h` has no prefixes.
const ALIASES: &[(&str, &str)] = &[
    ("BIF_BX_PF_MM_INDEX", "MM_INDEX"),
    ("BIF_BX_PF_MM_DATA", "MM_DATA"),
    ("BIF_BX_PF_MM_INDEX_HI", "MM_INDEX_HI"),
    ("BIF_BX_PF_GPU_HDP_FLUSH_DONE", "GPU_HDP_FLUSH_DONE"),
    ("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE", "RCC_CONFIG_MEMSIZE"),
];

/// `nbio_v7_0.c`, `smu_v12_0.c`.
const SMN: &[SmnRegister] = &[
    // Bit 0, interrupts enabled: the SMU runs.
    smn("MP1_FIRMWARE_FLAGS", 0x03b1_0024, 1),
    smn("NBIF_MGCG_CTRL_LCLK", 0x1013_a05c, 0),
    smn("PCIE_CNTL2", 0x1118_0070, 0),
    smn("CPM_CONTROL", 0x1118_0460, 0),
];
