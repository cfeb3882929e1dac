// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a guest writes: no panic, no endless loop.

use super::kfd::{COMPUTE, Kfd, SDMA};
use super::*;
use crate::tables::Depth;
use proptest::collection::vec;
use proptest::prelude::*;

/// A dword that is often a plausible packet header, address or register.
fn dword() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0_u32..0x30,
        (0_u32..0x40, 0_u32..8).prop_map(|(op, sub)| op | sub << 8),
        (0_u32..0x100, 0_u32..20).prop_map(|(op, n)| 3 << 30 | n << 16 | op << 8),
        (0_u32..0x0080_0000).prop_map(|a| a & !3),
        0_u32..0x2_0000,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sdma_survives_any_ring(words in vec(dword(), 1..200), tail in any::<u64>()) {
        let mut b = Bench::new();
        b.set("SDMA0_GFX_RB_BASE", 0x1000);
        b.set("SDMA0_GFX_DOORBELL_OFFSET", 0x200 << 2);
        b.set("SDMA0_GFX_DOORBELL", 1 << 28);
        b.set("SDMA0_GFX_RB_CNTL", 10 << 1 | 1 << 12 | 1);
        b.ram(0x10_0000, &words);
        b.doorbell(0x200, words.len() as u64 * 4);
        b.doorbell(0x200, tail);
        b.device.run();
    }

    #[test]
    fn the_command_processor_survives_any_ring(words in vec(dword(), 1..200), tail in any::<u64>()) {
        let mut b = Bench::new();
        b.set("CP_HQD_PQ_BASE", 0x1000);
        b.set("CP_HQD_PQ_CONTROL", 11);
        b.set("CP_HQD_ACTIVE", 1);
        b.ram(0x10_0000, &words);
        b.doorbell(0, words.len() as u64);
        b.doorbell(0, tail);
        b.device.run();
    }

    #[test]
    fn registers_survive_any_value(writes in vec((0_u32..0x2_0000, any::<u32>()), 1..200)) {
        let mut b = Bench::new();
        for (reg, value) in writes {
            let offset = u64::from(reg) * 4;
            b.device.region_write(region::REGISTERS, offset, &value.to_le_bytes());
            b.device.run();
            b.at(region::REGISTERS, offset);
        }
        // Both may fail; neither may panic or take for ever.
        let _ = b.device.gart();
        let root = u64::from(b.get("SCRATCH_REG0"));
        let _ = b.device.walk(PageDirectory(root));
    }

    #[test]
    fn a_walk_of_any_memory_ends(words in vec(any::<u64>(), 512), root in 0_u64..0x4000) {
        let mut b = Bench::new();
        let words: Vec<u64> = words.iter().map(|w| w & 0x00ff_0000_0000_7fff).collect();
        for table in 0..4 {
            b.vram(table << 12, &words);
        }
        let limits = Limits { tables: 2000, entries: 1 << 20 };
        let _ = walk(&b.device.bus.memory, PageDirectory(root), Depth::FOUR, limits);
    }

    #[test]
    fn user_queues_survive_any_ring(words in vec(dword(), 16..200), tail in any::<u64>(), aql in any::<bool>()) {
        let mut k = Kfd::new();
        k.make_sdma(0);
        k.make_compute(1, aql);
        k.run_list(&[SDMA, COMPUTE]);
        for queue in [SDMA, COMPUTE] {
            k.submit(queue, 0, &words);
            k.bench.doorbell(queue.bell, tail);
        }
        k.preempt();
        k.run_list(&[COMPUTE, SDMA]);
        k.bench.device.run();
    }

    #[test]
    fn aql_packets_survive_any_contents(packets in vec(vec(dword(), 16), 1..12), kinds in vec(0_u32..7, 12)) {
        let mut k = Kfd::new();
        k.make_compute(1, true);
        k.run_list(&[COMPUTE]);
        for (i, (mut packet, kind)) in (0..).zip(packets.into_iter().zip(kinds)) {
            // AMD's vendor formats too, and addresses that the process has.
            packet[0] = kind | 1 << 8 | (i % 4) << 16;
            packet.iter_mut().skip(3).step_by(2).for_each(|high| *high &= 1);
            k.submit(COMPUTE, u64::from(i) * 16, &packet);
        }
        k.bench.device.run();
        k.preempt();
    }

    #[test]
    fn the_scheduler_survives_any_descriptor_and_list(mqd in vec(dword(), 256), list in vec(dword(), 1..100)) {
        let mut k = Kfd::new();
        k.bench.ram(0x16_0000, &mqd);
        k.bench.ram(0x16_1000, &mqd);
        k.run_list(&[SDMA, COMPUTE]);
        k.bench.doorbell(SDMA.bell, 64);
        k.bench.ram(0x14_0000, &list);
        let size = u32::try_from(list.len()).unwrap();
        k.hiq(&[3 << 30 | 2 << 16 | 0xa5 << 8, 0x14_0000, 0, 1 << 23 | size]);
        k.bench.device.run();
    }
}
