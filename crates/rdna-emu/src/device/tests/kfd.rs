// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bench with KFD on it: a scheduler queue, processes with page tables and memory, descriptors and run lists as the
//! driver writes them. For the tests of user queues and for `fuzz`.

use super::*;

/// Kernel side, at the same address in VMID 0 and in guest memory.
pub(super) const KIQ: u64 = 0x10_0000;
pub(super) const HIQ: u64 = 0x11_0000;
pub(super) const HIQ_MQD: u64 = 0x12_0000;
pub(super) const RUN_LIST: u64 = 0x14_0000;
pub(super) const FENCE: u64 = 0x15_0000;
pub(super) const MQDS: u64 = 0x16_0000;
pub(super) const KIQ_BELL: u32 = 0;
pub(super) const HIQ_BELL: u32 = 2;

/// Where each process sees its pages, and where they are in guest memory.
pub(super) const VA: u64 = 0x1_0000_0000;
pub(super) const MEMORY: u64 = 0x40_0000;
pub(super) const PAGES: u64 = 8;
/// Offsets of its pages.
pub(super) const RING: u64 = 0;
pub(super) const POINTERS: u64 = 0x1000;
pub(super) const WPTR: u64 = POINTERS;
pub(super) const RPTR: u64 = POINTERS + 0x100;
pub(super) const FROM: u64 = 0x2000;
pub(super) const TO: u64 = 0x3000;
pub(super) const SIGNALS: u64 = 0x4000;
pub(super) const MAILBOX: u64 = 0x5000;
pub(super) const BUFFER: u64 = 0x6000;

/// Where a process's page tables begin in VRAM.
pub(super) const TABLES: u64 = 0x20_0000;
pub(super) const PASID: u16 = 0x8001;
pub(super) const BELL: u32 = 0x800;

pub(super) fn low(v: u64) -> u32 {
    u32::try_from(v & 0xffff_ffff).unwrap()
}

pub(super) fn high(v: u64) -> u32 {
    low(v >> 32)
}

/// The header of a PM4 packet with `n` dwords behind it.
pub(super) fn header(opcode: u32, n: u32) -> u32 {
    3 << 30 | (n - 1) << 16 | opcode << 8
}

/// A chip with a scheduler queue, and processes.
pub(super) struct Kfd {
    pub(super) bench: Bench,
    hiq_end: u64,
}

/// A queue in a run list.
#[derive(Clone, Copy)]
pub(super) struct UserQueue {
    pub(super) process: u64,
    /// Number of its descriptor.
    pub(super) slot: u64,
    /// `engine_sel` of MAP_QUEUES.
    pub(super) engine: u32,
    pub(super) bell: u32,
}

pub(super) const SDMA: UserQueue = UserQueue {
    process: 0,
    slot: 0,
    engine: 2,
    bell: BELL,
};
pub(super) const COMPUTE: UserQueue = UserQueue {
    process: 0,
    slot: 1,
    engine: 0,
    bell: BELL + 2,
};

impl Kfd {
    pub(super) fn new() -> Self {
        let mut bench = Bench::new();
        bench.set("GRBM_GFX_CNTL", 2 << 2 | 1);
        bench.set("CP_HQD_PQ_BASE", low(KIQ >> 8));
        bench.set("CP_HQD_PQ_CONTROL", 11);
        bench.set("CP_HQD_PQ_DOORBELL_CONTROL", KIQ_BELL << 2 | 1 << 30);
        bench.set("CP_HQD_ACTIVE", 1);
        // `kgd_hiq_mqd_load`: engine 1, ME 1 pipe 1; 4096 dwords.
        bench.ram(HIQ_MQD + 136 * 4, &[low(HIQ >> 8), 0]);
        bench.ram(HIQ_MQD + 145 * 4, &[11]);
        let map = [
            header(0xa2, 6),
            1 << 29 | 1 << 26 | 1 << 16,
            HIQ_BELL << 2,
            low(HIQ_MQD),
            0,
            low(FENCE + 8),
            0,
        ];
        bench.ram(KIQ, &map);
        bench.doorbell(KIQ_BELL, 7);
        let mut kfd = Self { bench, hiq_end: 0 };
        // `pm_set_resources_v9`: VMIDs 8 to 15.
        kfd.hiq(&[header(0xa0, 7), 1 << 29 | 0xff00, 0, 0, 0, 0, 0, 0]);
        kfd.make_process(0);
        kfd
    }

    /// Puts packets into the scheduler's queue.
    pub(super) fn hiq(&mut self, packet: &[u32]) {
        self.bench.ram(HIQ + self.hiq_end * 4, packet);
        self.hiq_end += packet.len() as u64;
        self.bench.doorbell(HIQ_BELL, self.hiq_end);
    }

    /// Page tables for process `n`.
    pub(super) fn make_process(&mut self, n: u64) {
        for page in 0..PAGES {
            let at = MEMORY + (n * PAGES + page) * 0x1000;
            // Executable, readable, writeable, snooped, system, valid.
            self.bench.map_page(root(n), VA + page * 0x1000, at | 0x77);
        }
    }

    /// `pm_runlist_v9` with the processes' queues.
    pub(super) fn run_list(&mut self, queues: &[UserQueue]) {
        let mut list = Vec::new();
        let mut process = None;
        for queue in queues {
            if process != Some(queue.process) {
                process = Some(queue.process);
                let pasid = u32::from(PASID) + low(queue.process);
                list.extend([
                    header(0xa1, 15),
                    pasid | 10 << 25,
                    low(root(queue.process) | 1),
                    0,
                ]);
                list.extend([0; 12]);
            }
            let (mqd, wptr) = (MQDS + queue.slot * 0x1000, VA + WPTR + queue.slot * 8);
            list.extend([
                header(0xa2, 6),
                1 << 29 | queue.engine << 26 | 1 << 4,
                queue.bell << 2,
                low(mqd),
                0,
                low(wptr),
                high(wptr),
            ]);
        }
        self.bench.ram(RUN_LIST, &list);
        self.hiq(&[
            header(0xa5, 3),
            low(RUN_LIST),
            0,
            1 << 23 | low(list.len() as u64),
        ]);
    }

    /// `unmap_queues_cpsch`: preempts all and demands that the fence says so.
    pub(super) fn preempt(&mut self) {
        self.bench.ram(FENCE, &[10, 0]);
        self.hiq(&[header(0xa3, 5), 3 << 4, 0, 0, 0, 0]);
        self.hiq(&[header(0xa4, 6), 2 << 30, 0, low(FENCE), 0, 100, 0]);
        assert_eq!(self.bench.ram_u32(FENCE), 100);
    }

    pub(super) fn mqd(&self, slot: u64, dword: u64) -> u32 {
        self.bench.ram_u32(MQDS + slot * 0x1000 + dword * 4)
    }

    pub(super) fn set_mqd(&self, slot: u64, values: &[(u64, u32)]) {
        for (dword, value) in values {
            self.bench.ram(MQDS + slot * 0x1000 + dword * 4, &[*value]);
        }
    }

    /// `update_mqd_sdma`: 1024 dwords.
    pub(super) fn make_sdma(&self, slot: u64) {
        let (ring, rptr) = ((VA + RING) >> 8, VA + RPTR + slot * 8);
        self.set_mqd(
            slot,
            &[
                (0, 10 << 1 | 1 << 12 | 6 << 16),
                (1, low(ring)),
                (2, high(ring)),
                (9, low(rptr)),
                (8, high(rptr)),
                (22, BELL << 2),
            ],
        );
    }

    /// `update_mqd`: 1024 dwords, AQL or PM4.
    pub(super) fn make_compute(&self, slot: u64, aql: bool) {
        let (ring, rptr) = ((VA + RING) >> 8, VA + RPTR + slot * 8);
        let control = if aql { 1 << 27 | 2 << 18 | 1 << 14 } else { 0 };
        self.set_mqd(
            slot,
            &[
                (136, low(ring)),
                (137, high(ring)),
                (139, low(rptr)),
                (140, high(rptr)),
                (145, 5 << 8 | 1 << 28 | 9 | control),
                (181, u32::from(aql)),
            ],
        );
    }

    /// Writes into a process's page.
    pub(super) fn put(&self, offset: u64, words: &[u32]) {
        self.bench.ram(MEMORY + offset, words);
    }

    pub(super) fn put_u64(&self, offset: u64, values: &[u64]) {
        let words: Vec<u32> = values.iter().flat_map(|v| [low(*v), high(*v)]).collect();
        self.put(offset, &words);
    }

    pub(super) fn get(&self, offset: u64) -> u32 {
        self.bench.ram_u32(MEMORY + offset)
    }

    /// Puts packets at dword `at` of the first process's ring, moves the write pointer behind them and rings.
    pub(super) fn submit(&mut self, queue: UserQueue, at: u64, words: &[u32]) {
        self.put(RING + at * 4, words);
        let dwords = at + words.len() as u64;
        let end = match queue.engine {
            2.. => dwords * 4,
            _ => dwords,
        };
        self.put_u64(WPTR + queue.slot * 8, &[end]);
        self.bench.doorbell(queue.bell, end);
    }

    /// Puts AQL packets at packet index `at`, and rings with the index of the last.
    pub(super) fn submit_aql(&mut self, at: u64, packets: &[[u32; 16]]) {
        self.put(RING + at * 64, &packets.concat());
        let end = at + packets.len() as u64;
        self.put_u64(WPTR + COMPUTE.slot * 8, &[end]);
        self.bench.doorbell(COMPUTE.bell, end - 1);
    }

    /// A signal: value, mailbox and event.
    pub(super) fn signal(&self, n: u64, value: u64, event: u32) -> u64 {
        let at = SIGNALS + n * 64;
        let mailbox = if event == 0 {
            0
        } else {
            VA + MAILBOX + u64::from(event) * 8
        };
        self.put_u64(at, &[1, value, mailbox, u64::from(event)]);
        VA + at
    }

    pub(super) fn signal_value(&self, n: u64) -> u32 {
        self.get(SIGNALS + n * 64 + 8)
    }

    pub(super) fn quiet(&self) {
        assert_eq!(self.bench.unknowns(), [] as [String; 0]);
        assert_eq!(self.bench.faults(), [] as [String; 0]);
    }

    /// Dword `i` of interrupt `n`.
    pub(super) fn interrupt(&self, n: u64, i: u64) -> u32 {
        self.bench.ram_u32(IH_RING + n * 32 + i * 4)
    }
}

pub(super) fn root(process: u64) -> u64 {
    TABLES + process * 0x4000
}
