// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which address spaces the hardware has seen, and whose they are.

use super::kfd::{COMPUTE, Kfd, PASID, SDMA, UserQueue, root};
use super::*;
use crate::spaces::{SeenSpace, SpaceState};
use crate::units::{GpuVa, Pasid, Vmid};

const RING: u64 = 0x10_0000;
const BELL: u32 = 0x200;
/// Where every process has its buffer, and where that lies on the bus.
const VA: u64 = 0x1_0000_0000;
const IB: u64 = 0x40_0000;
const RWX_SYSTEM: u64 = 0x73;

/// A driver's side of SDMA ring 0: it grows.
struct Ring {
    end: u64,
}

impl Ring {
    fn new(b: &mut Bench) -> Self {
        b.set("SDMA0_GFX_RB_BASE", u32::try_from(RING >> 8).unwrap());
        b.set("SDMA0_GFX_DOORBELL_OFFSET", BELL << 2);
        b.set("SDMA0_GFX_DOORBELL", 1 << 28);
        b.set("SDMA0_GFX_RB_CNTL", 10 << 1 | 1);
        b.ram(IB, &[0; 8]);
        Self { end: 0 }
    }

    fn run(&mut self, b: &mut Bench, packet: &[u32]) {
        b.ram(RING + self.end, packet);
        self.end += packet.len() as u64 * 4;
        b.doorbell(BELL, self.end);
    }

    /// A job as amdgpu_vm_flush() and the ring's emit_ib write it: root, PASID if it is not the VMID's already, buffer.
    fn job(&mut self, b: &mut Bench, vmid: u32, root: u64, pasid: Option<u32>) {
        let low = b.reg(&format!("GCVM_CONTEXT{vmid}_PAGE_TABLE_BASE_ADDR_LO32"));
        let lut = b.reg(&format!("IH_VMID_{vmid}_LUT"));
        let dword = |v: u64| u32::try_from(v & 0xffff_ffff).unwrap();
        self.run(
            b,
            &[14, low.0, dword(root), 14, low.0 + 1, dword(root >> 32)],
        );
        if let Some(pasid) = pasid {
            self.run(b, &[14, lut.0, pasid]);
        }
        self.run(b, &[4 | vmid << 16, 0, 1, 8, 0, 0]);
    }
}

fn spaces(b: &mut Bench) -> Vec<SeenSpace> {
    b.device.bus.spaces.list(&b.device.bus.regs)
}

/// Root, VMID, PASID, state.
type Line = (u64, u8, u16, SpaceState);

fn lines(b: &mut Bench) -> Vec<Line> {
    let line = |s: SeenSpace| {
        let vmid = s.vmid.map_or(0, |v| v.0);
        (s.root.0, vmid, s.pasid.map_or(0, |p| p.0), s.state)
    };
    spaces(b).into_iter().map(line).collect()
}

use SpaceState::{Current, Idle, Replaced};

#[test]
fn two_processes_that_share_a_vmid_are_told_apart() {
    let mut b = Bench::new();
    let mut ring = Ring::new(&mut b);
    let first = b.map_page(0x20_0000, VA, IB | RWX_SYSTEM);
    let second = b.map_page(0x21_0000, VA, IB | RWX_SYSTEM);
    ring.job(&mut b, 3, first, Some(11));
    ring.job(&mut b, 3, second, Some(12));
    let expected = [(first, 3, 11, Idle), (second, 3, 12, Current)];
    assert_eq!(lines(&mut b), expected);
    // The idle one's tables are read as well as the other's, and as they are now.
    b.vram(0x20_0000 + 0x3000 + 8, &[IB | RWX_SYSTEM]);
    let idle = spaces(&mut b)[0].root;
    let space = b.device.walk(idle).unwrap();
    assert_eq!(space.leaves(GpuVa(VA)..GpuVa(VA + 0x2000)).count(), 2);
    // Back again, in another VMID.
    ring.job(&mut b, 5, first, Some(11));
    let expected = [(first, 5, 11, Current), (second, 3, 12, Current)];
    assert_eq!(lines(&mut b), expected);
    let all = spaces(&mut b);
    assert_eq!((all[0].first.by.as_str(), all[0].first.order), ("sdma0", 0));
    assert_eq!(all[0].last.order, 2);
    assert!(b.faults().is_empty(), "{:?}", b.faults());
}

#[test]
fn a_root_that_moved_and_one_that_was_inherited_are_told_as_replaced() {
    let mut b = Bench::new();
    let mut ring = Ring::new(&mut b);
    let first = b.map_page(0x20_0000, VA, IB | RWX_SYSTEM);
    let second = b.map_page(0x21_0000, VA, IB | RWX_SYSTEM);
    ring.job(&mut b, 3, first, Some(11));
    // Evicted and back elsewhere: the PASID is the VMID's already and is not written again.
    ring.job(&mut b, 3, second, None);
    let moved = [(first, 3, 11, Replaced), (second, 3, 11, Current)];
    assert_eq!(lines(&mut b), moved);
    // A new process gets the memory that the first one's root was in.
    ring.job(&mut b, 4, first, Some(13));
    let expected = [moved[0], moved[1], (first, 4, 13, Current)];
    assert_eq!(lines(&mut b), expected);
    // And its end, another process in the same place and VMID.
    ring.job(&mut b, 4, first, Some(14));
    assert_eq!(lines(&mut b)[2], (first, 4, 13, Replaced));
    assert_eq!(lines(&mut b)[3], (first, 4, 14, Current));
    assert_eq!(spaces(&mut b)[3].first.by, "sdma0", "by its work");
    // The second one's PASID is seen with another root elsewhere, then with its own again.
    let third = b.map_page(0x22_0000, VA, IB | RWX_SYSTEM);
    ring.job(&mut b, 5, third, Some(11));
    assert_eq!(lines(&mut b)[1], (second, 3, 11, Replaced));
    ring.job(&mut b, 3, second, None);
    let all = lines(&mut b);
    assert_eq!(all[1], (second, 3, 11, Replaced));
    assert_eq!(
        all[4..],
        [(third, 5, 11, Replaced), (second, 3, 11, Current)]
    );
}

#[test]
fn a_context_register_is_enough_once_the_pasid_is_there() {
    let mut b = Bench::new();
    b.set("MMVM_CONTEXT7_PAGE_TABLE_BASE_ADDR_LO32", 0x20_0001);
    assert_eq!(lines(&mut b), []);
    b.set("IH_VMID_7_LUT", 5);
    assert_eq!(lines(&mut b), [], "the other hub's PASID");
    b.set("IH_VMID_7_LUT_MM", 6);
    assert_eq!(lines(&mut b), [(0x20_0001, 7, 6, Current)]);
    assert_eq!(spaces(&mut b)[0].last.by, "context registers");
}

#[test]
fn a_run_list_names_processes() {
    let mut b = Bench::new();
    b.set("CP_HQD_PQ_BASE", 0x1000);
    b.set("CP_HQD_PQ_CONTROL", 11);
    b.set("CP_HQD_ACTIVE", 1);
    // MAP_PROCESS: PASID in dword 1, root in dwords 2 and 3.
    let mut list = vec![3 << 30 | 15 << 16 | 0xa1 << 8, 21, 0x20_0001, 0];
    list.resize(17, 0);
    b.ram(0x30_0000, &list);
    b.ram(RING, &[3 << 30 | 2 << 16 | 0xa5 << 8, 0x30_0000, 0, 17]);
    b.doorbell(0, 4);
    // The scheduler gives it a VMID and says so in the registers; flags of the root may differ.
    assert_eq!(lines(&mut b), [(0x20_0001, 0, 21, Current)]);
    assert_eq!(spaces(&mut b)[0].first.by, "run list");
    b.set("GCVM_CONTEXT8_PAGE_TABLE_BASE_ADDR_LO32", 0x20_0005);
    assert_eq!(lines(&mut b), [(0x20_0001, 0, 21, Current)]);
    b.device.bus.spaces.used(
        &b.device.bus.regs,
        "queue",
        Vmid(8),
        PageDirectory(0x20_0001),
    );
    assert_eq!(lines(&mut b), [(0x20_0001, 8, 21, Current)]);
    assert_eq!(spaces(&mut b)[0].pasid, Some(Pasid(21)));
}

#[test]
fn a_process_whose_queues_are_taken_back_is_idle() {
    let other = UserQueue {
        process: 1,
        slot: 1,
        bell: COMPUTE.bell,
        ..SDMA
    };
    let mut k = Kfd::new();
    k.make_process(1);
    k.make_sdma(0);
    k.make_sdma(1);
    k.run_list(&[SDMA, other]);
    let space = |n: u16, vmid, state| (root(u64::from(n)) | 1, vmid, PASID + n, state);
    let mapped = [space(0, 0, Current), space(1, 0, Current)];
    assert_eq!(lines(&mut k.bench), mapped);
    // A queue that has run tells the VMID.
    k.submit(SDMA, 0, &[0; 4]);
    assert_eq!(lines(&mut k.bench)[0], space(0, 8, Current));
    k.preempt();
    let idle = [space(0, 8, Idle), space(1, 0, Idle)];
    assert_eq!(lines(&mut k.bench), idle);
    // The second one comes back alone, in the VMID that the first one had.
    k.run_list(&[other]);
    let expected = [space(0, 8, Idle), space(1, 0, Current)];
    assert_eq!(lines(&mut k.bench), expected);
    k.quiet();
}

#[test]
fn no_number_of_processes_fills_the_memory() {
    let mut b = Bench::new();
    for n in 0..10_000_u64 {
        let pasid = Pasid(u16::try_from(n + 1).unwrap());
        b.device.bus.spaces.process(pasid, PageDirectory(n << 12));
    }
    let all = spaces(&mut b);
    assert_eq!(all.len(), 4096);
    assert_eq!(all.last().and_then(|s| s.pasid), Some(Pasid(10_000)));
}
