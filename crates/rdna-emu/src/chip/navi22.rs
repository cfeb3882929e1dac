// SPDX-License-Identifier: MIT OR Apache-2.0
//! Navi22 (RDNA2, Radeon RX 6700 XT; "Navy Flounder" in the driver): GC 10.3.2.
//!
//! Versions: what the driver's own tables in `amdgpu_discovery.c` expect for it; of blocks that they do not tell apart,
//! those of its siblings. Bases: `sienna_cichlid_ip_offset.h`. The shape:
//! 2 shader engines, 2 arrays each, 5 WGPs per array, 40 CUs.

use super::rdna2::{CP, GC, MP, REGISTERS, SHAPE, SMN};
use super::{GcConfig, HUBS_GFX10, Ip, Smu, Spec, block, messages};
use crate::tables::Depth;

pub(super) const SPEC: Spec = Spec {
    device_id: 0x73df,
    revision: 0xc1,
    apu: false,
    subsystem: (0x1002, 0x0e36),
    part_number: "113-EMUNAVI22-001",
    firmware: &["navy_flounder_"],
    // The order decides the driver's block numbers, hence the meaning of ip_block_mask.
    ips: &[
        block(Ip::Gc, 0, (10, 3, 2), GC),
        block(Ip::Hdp, 0, (5, 0, 3), &[0xf20]),
        block(Ip::Sdma, 0, (5, 2, 2), GC),
        block(Ip::Sdma, 1, (5, 2, 2), GC),
        block(Ip::Mmhub, 0, (2, 1, 0), &[0x1a000]),
        block(Ip::Athub, 0, (2, 1, 0), &[0xc00]),
        block(Ip::Nbio, 0, (3, 3, 1), &[0, 0x14, 0xd20, 0x10400]),
        block(Ip::Mp0, 0, (11, 0, 11), MP),
        block(Ip::Mp1, 0, (11, 0, 11), MP),
        block(Ip::Osssys, 0, (5, 0, 3), &[0x10a0]),
        block(Ip::Smuio, 0, (11, 0, 6), &[0x16800, 0x16a00]),
        block(Ip::Thm, 0, (11, 0, 5), &[0x16600]),
        block(Ip::Clk, 0, (11, 0, 3), &[0x16c00]),
        block(Ip::Df, 0, (3, 7, 0), &[0x7000]),
        block(Ip::Umc, 0, (8, 7, 0), &[0x14000]),
        block(Ip::Vcn, 0, (3, 0, 16), &[0x7800, 0x7e00]),
        block(Ip::Dcn, 0, (3, 0, 0), &[0x12, 0xc0, 0x34c0, 0x9000]),
    ],
    registers: REGISTERS,
    aliases: &[],
    smn: SMN,
    gc: GcConfig {
        shader_engines: 2,
        wgp0_per_sa: 5,
        wgp1_per_sa: 0,
        rb_per_se: 4,
        gl2c: 12,
        ..SHAPE
    },
    cp: CP,
    sdma_engines: 2,
    // `SMU11_DRIVER_IF_VERSION_Navy_Flounder`; 65.45.0.
    smu: Smu {
        interface: 0xe,
        firmware: 0x0041_2d00,
        messages: messages::SMU_11_0_7,
        status: &[],
    },
    tables: Depth::FOUR,
    hubs: HUBS_GFX10,
    fb_base: 0x80_0000_0000,
};
