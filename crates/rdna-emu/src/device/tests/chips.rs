// SPDX-License-Identifier: MIT OR Apache-2.0
//! What chips other than Navi10 do differently.

use super::sdma::{BELL, RING};
use super::*;

/// Where a process's tables and page lie in VRAM.
const TABLES: u64 = 0x40_0000;
const PAGE: u64 = 0x50_0000;
const VA: u64 = 0x1234_5000;

impl Bench {
    fn of(chip: Chip) -> Self {
        let memory = Memory::new(ByteSize::mib(16)).unwrap();
        let journal = Journal::new(None, false);
        Self::over(Device::new(chip.spec(), memory, journal).expect("a wired chip"))
    }

    /// Runs `packets` on an engine's ring.
    fn engine(&mut self, engine: u32, packets: &[u32]) {
        let set =
            |b: &mut Self, what: &str, value| b.set(&format!("SDMA{engine}_GFX_{what}"), value);
        set(self, "RB_CNTL", 0);
        set(self, "RB_RPTR", 0);
        set(self, "RB_RPTR_HI", 0);
        set(self, "RB_BASE", u32::try_from(RING >> 8).unwrap());
        set(self, "DOORBELL_OFFSET", BELL << 2);
        set(self, "DOORBELL", 1 << 28);
        set(self, "RB_CNTL", 10 << 1 | 1);
        self.ram(RING, packets);
        self.doorbell(BELL, packets.len() as u64 * 4);
    }
}

#[test]
fn the_four_engines_of_navi21_interrupt_as_the_driver_expects() {
    // SOC15_IH_CLIENTID_SDMA0, SDMA1, SDMA2 and SDMA3_Sienna_Cichlid; source 224.
    for (engine, client) in (0..).zip([8, 9, 1, 5]) {
        let mut b = Bench::of(Chip::Navi21);
        b.engine(engine, &[6, 0]);
        assert_eq!(b.interrupts(), [client | 224 << 8], "SDMA{engine}");
        assert!(b.unknowns().is_empty() && b.faults().is_empty());
    }
}

#[test]
fn sdma_5_2_invalidates_by_a_packet_that_reaches_the_engines_register() {
    let mut b = Bench::of(Chip::Navi21);
    // POLL_REGMEM with sub-opcode 4; graphics engine 6, no other engine; VMID 3, with its acknowledge bit.
    let request = 1 << 3 | 1 << 19 | 1 << 23;
    b.engine(
        0,
        &[
            8 | 4 << 8 | 6 << 16 | 0x1f << 24,
            request,
            u32::MAX,
            1 << 3 | 0x1f,
        ],
    );
    assert_eq!(b.get("GCVM_INVALIDATE_ENG6_REQ"), request);
    assert_eq!(b.get("GCVM_INVALIDATE_ENG6_ACK"), 1 << 3);
    assert_eq!(b.get("MMVM_INVALIDATE_ENG6_ACK"), 0);
    assert_eq!((b.unknowns(), b.faults()), (vec![], vec![]));
}

/// Writes through VMID 3's tables, which only one hub knows.
fn writes_through(chip: Chip, hub: &str) -> bool {
    let mut b = Bench::of(chip);
    let root = b.map_page(TABLES, VA, PAGE | 0x71);
    let root = u32::try_from(root).unwrap();
    b.set(&format!("{hub}VM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32"), root);
    let at = u32::try_from(VA).unwrap();
    b.vram(PAGE, &[0; 8]);
    // The buffer lies in the page that it writes to: 32 bytes in, FENCE and padding.
    let fence = [5, at, 0, 0xfeed, 0, 0, 0, 0];
    let words: Vec<u64> = fence
        .chunks(2)
        .map(|w| u64::from(w[0]) | u64::from(w[1]) << 32)
        .collect();
    b.vram(PAGE + 32, &words);
    b.engine(0, &[4 | 3 << 16, at + 32, 0, 8, 0, 0]);
    b.at(region::VRAM, PAGE) == 0xfeed
}

#[test]
fn sdma_walks_the_tables_of_the_hub_that_the_chip_puts_it_behind() {
    assert!(writes_through(Chip::Renoir, "MM") && !writes_through(Chip::Renoir, "GC"));
    assert!(writes_through(Chip::Navi21, "GC") && !writes_through(Chip::Navi21, "MM"));
}

#[test]
fn the_graphics_ring_of_renoir_starts_when_its_doorbell_is_enabled() {
    let mut b = Bench::of(Chip::Renoir);
    b.set("CP_RB0_BASE", u32::try_from(RING >> 8).unwrap());
    b.set("CP_RB0_CNTL", 9);
    // SET_UCONFIG_REG of SCRATCH_REG0, as the driver tests the ring.
    let scratch = b.reg("SCRATCH_REG0").0 - 0xc000;
    b.ram(RING, &[3 << 30 | 1 << 16 | 0x79 << 8, scratch, 0xcafe]);
    b.set("CP_RB_DOORBELL_CONTROL", BELL << 2);
    b.doorbell(BELL, 3);
    assert_eq!(b.get("SCRATCH_REG0"), 0, "not enabled yet");
    b.set("CP_RB_DOORBELL_CONTROL", BELL << 2 | 1 << 30);
    b.doorbell(BELL, 3);
    assert_eq!(b.get("SCRATCH_REG0"), 0xcafe);
}

#[test]
fn an_invalidation_on_renoir_has_its_bits_where_gfx9_has_them() {
    let mut b = Bench::of(Chip::Renoir);
    let root = b.map_page(TABLES, VA, PAGE | 0x71);
    b.set(
        "MMVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32",
        u32::try_from(root).unwrap(),
    );
    let at = u32::try_from(VA).unwrap();
    let run = |b: &mut Bench| b.engine(0, &[4 | 3 << 16, at, 0, 8, 0, 0]);
    b.vram(PAGE, &[0; 8]);
    run(&mut b);
    // The page goes; a TLB that was not told still has it, and every use of it is counted.
    b.map_page(TABLES, VA, 0);
    // gc_9_0_sh_mask.h: INVALIDATE_L2_PTES 18, INVALIDATE_L1_PTES 22.
    b.set("MMVM_INVALIDATE_ENG0_REQ", 1 << 3 | 1 << 18 | 1 << 22);
    run(&mut b);
    let report = b.device.bus.gmc.tlb_report();
    assert_eq!(report.stale, 0, "{report:?}");
    // The second run found no page.
    assert!(!b.faults().is_empty());
}
