// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inputs to begin with: what a driver would write. Packets as `sdma_v5_0.c`, `gfx_v10_0.c` and `kfd_packet_manager_v9.c`
//! put them together.

use super::player::{HIQ, HIQ_BELL, MEMORY, NAMED, RING, SDMA_BELL, TABLES, VA, dword};
use crate::tables::{AddressSpace, Entry, Level};
use crate::units::{GpuVa, PageDirectory};

/// Writes scripts: one byte says what to do, its operands follow, all little-endian.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn blocks(mut self, operation: u8, at: u64, words: &[u32]) -> Self {
        for (i, part) in (0..).zip(words.chunks(32)) {
            let block = u16::try_from((at + i * 128) / 128).unwrap_or(0);
            self.0.push(operation);
            self.0.extend(block.to_le_bytes());
            self.0.push(u8::try_from(part.len()).unwrap_or(0));
            self.0.extend(part.iter().flat_map(|w| w.to_le_bytes()));
        }
        self
    }

    /// 0: dwords into guest memory, at a multiple of 128 bytes.
    fn ram(self, at: u64, words: &[u32]) -> Self {
        self.blocks(0, at, words)
    }

    /// 1: dwords into VRAM, at a multiple of 128 bytes.
    fn vram(self, at: u64, words: &[u32]) -> Self {
        self.blocks(1, at, words)
    }

    /// 2: a doorbell.
    fn bell(mut self, index: u32, value: u64) -> Self {
        self.0.push(2);
        self.0
            .extend(u16::try_from(index).unwrap_or(0).to_le_bytes());
        self.0.extend(value.to_le_bytes());
        self
    }

    /// 3: a register of [`NAMED`].
    fn set(mut self, name: &str, value: u32) -> Self {
        let number = NAMED.iter().position(|n| *n == name).unwrap_or(0);
        self.0.extend([3, u8::try_from(number).unwrap_or(0)]);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// 5: a register is read; 6: engines work; 7: a reset.
    fn end(mut self) -> Vec<u8> {
        self.0.extend([5, 0x16, 0x61, 0, 0, 6, 7, 6]);
        self.0
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A PM4 header with `n` dwords behind it.
fn header(opcode: u32, n: u32) -> u32 {
    3 << 30 | (n - 1) << 16 | opcode << 8
}

pub(super) fn sdma() -> Vec<Vec<u8>> {
    let (at, va) = (0x30_0000, [0, 1]);
    let [low, high] = va;
    [
        // Fence, trap, NOPs.
        vec![5, at, 0, 0x1234, 6, 0, 1 << 16, 0],
        // Write, copy, fill.
        vec![
            2,
            at,
            0,
            1,
            0xaaaa,
            0xbbbb,
            1,
            7,
            0,
            at,
            0,
            at + 64,
            0,
            11,
            at,
            0,
            0x0101,
            0xfff,
        ],
        // Entries at the frame buffer's address, a time stamp.
        vec![
            12, 0x4000, 0x80, 0x271, 0, 0xfd_0000, 0, 0x10000, 0, 3, 13, at, 0,
        ],
        // A time stamp into the trap behind it: what the clock says becomes visible.
        vec![13, dword(RING) + 24, 0, 0, 0, 6, 0, 0],
        // Root of VMID 3, PASID, flush, a buffer of the process, fence: a job.
        vec![
            14,
            0x16061,
            1,
            16,
            0,
            0,
            0,
            4 | 3 << 16,
            low,
            high,
            8,
            0,
            0,
            5,
            at,
            0,
            9,
        ],
        // Polls of memory and of a register, an atomic, conditional execution, GCR.
        vec![
            8 | 3 << 28 | 1 << 31,
            at,
            0,
            0,
            0xff,
            0,
            10 | 47 << 25,
            at,
            0,
            1,
            0,
            0,
            0,
            0,
        ],
        vec![
            8 | 5 << 28,
            0x58184,
            0,
            0,
            0,
            0,
            9,
            at,
            0,
            0,
            2,
            0,
            0,
            17,
            0,
            0,
            0,
            0,
        ],
    ]
    .map(|words| bytes(&words))
    .to_vec()
}

pub(super) fn pm4() -> Vec<Vec<u8>> {
    let at = 0x30_0000;
    [
        // WRITE_DATA to memory, RELEASE_MEM with an interrupt, NOP.
        vec![
            header(0x37, 4),
            5 << 8,
            at,
            0,
            7,
            header(0x49, 7),
            0,
            1 << 29 | 2 << 24,
            at,
            0,
            9,
            0,
            0,
        ],
        // SET_UCONFIG_REG, WAIT_REG_MEM of memory.
        vec![
            header(0x79, 2),
            0x40,
            5,
            header(0x3c, 6),
            3 | 1 << 4,
            at,
            0,
            0,
            0xff,
            4,
        ],
        // A buffer of a process, COPY_DATA, DMA_DATA, ATOMIC_MEM, COND_EXEC.
        vec![
            header(0x3f, 3),
            0,
            1,
            8 | 3 << 24,
            header(0x40, 5),
            1 | 5 << 8,
            at,
            0,
            at + 8,
            0,
        ],
        vec![
            header(0x50, 6),
            2 << 29,
            7,
            0,
            at,
            0,
            64,
            header(0x1e, 8),
            0x2f,
            at,
            0,
            1,
            0,
            0,
            0,
            0,
        ],
        vec![
            header(0x22, 4),
            at,
            0,
            0,
            2,
            1,
            1,
            header(0xa4, 6),
            0,
            0,
            at,
            0,
            1,
            0,
        ],
        // A compute queue of the kernel.
        vec![
            header(0xa2, 6),
            1 << 29,
            0x10,
            0x12_0000,
            0,
            at,
            0,
            header(0xa3, 5),
            1 << 29,
            0x10,
            0,
            0,
            0,
        ],
    ]
    .map(|words| bytes(&words))
    .to_vec()
}

/// A run list of one process with one queue of `engine` whose descriptor is at 0x160000.
fn run_list(engine: u32) -> Vec<u32> {
    let mut list = vec![header(0xa1, 15), 0x8001, dword(TABLES | 1), 0];
    list.resize(16, 0);
    let wptr = VA + 0x1000;
    list.extend([
        header(0xa2, 6),
        1 << 29 | engine << 26 | 1 << 4,
        0x800 << 2,
        0x16_0000,
        0,
        dword(wptr),
        dword(wptr >> 32),
    ]);
    list
}

/// A queue descriptor with these dwords set.
fn descriptor(values: &[(usize, u32)]) -> Vec<u32> {
    let mut words = vec![0; 192];
    for (at, value) in values {
        words[*at] = *value;
    }
    words
}

fn user_queue(engine: u32, mqd: &[(usize, u32)], ring: &[u32], bell: u64) -> Vec<u8> {
    let list = run_list(engine);
    let size = u32::try_from(list.len()).unwrap_or(0);
    Writer::default()
        .ram(0x16_0000, &descriptor(mqd))
        .ram(MEMORY, ring)
        .ram(MEMORY + 0x1000, &[dword(bell), 0])
        .ram(0x14_0000, &list)
        .ram(HIQ + 0x80, &[header(0xa5, 3), 0x14_0000, 0, 1 << 23 | size])
        .bell(HIQ_BELL, 36)
        .bell(0x800, bell)
        .ram(HIQ + 0x100, &[header(0xa3, 5), 3 << 4, 0, 0, 0, 0])
        .bell(HIQ_BELL, 70)
        .end()
}

pub(super) fn queues() -> Vec<Vec<u8>> {
    let ring = VA >> 8;
    let (low, high) = (dword(ring), dword(ring >> 32));
    let report = VA + 0x1100;
    let sdma = [
        (0, 10 << 1 | 1 << 12 | 6 << 16),
        (1, low),
        (2, high),
        (8, dword(report >> 32)),
        (9, dword(report)),
        (22, 0x800 << 2),
    ];
    let compute = |control: u32, aql: u32| {
        [
            (136, low),
            (137, high),
            (139, dword(report)),
            (140, dword(report >> 32)),
            (145, 5 << 8 | 1 << 28 | 9 | control),
            (181, aql),
        ]
    };
    let copy = [1, 7, 0, 0x2000, 1, 0x3000, 1, 6, 0x77];
    let write = [header(0x37, 4), 5 << 8, 0x3000, 1, 7];
    // AQL: a barrier packet with a signal, and a dispatch.
    let mut packets = vec![3 | 1 << 8];
    packets.resize(14, 0);
    packets.extend([0x4000, 1, 2 | 1 << 8 | 1 << 16, 1, 1, 1]);
    packets.resize(32, 0);
    vec![
        user_queue(2, &sdma, &copy, 36),
        user_queue(0, &compute(0, 0), &write, 5),
        user_queue(0, &compute(1 << 27 | 2 << 18 | 1 << 14, 1), &packets, 1),
    ]
}

pub(super) fn history() -> Vec<Vec<u8>> {
    let rings = Writer::default()
        .set("SDMA0_GFX_RB_BASE", 0x1000)
        .set("SDMA0_GFX_DOORBELL_OFFSET", SDMA_BELL << 2)
        .set("SDMA0_GFX_DOORBELL", 1 << 28)
        .set("SDMA0_GFX_RB_CNTL", 10 << 1 | 1 << 12 | 1)
        .ram(0x10_0000, &[5, 0x30_0000, 0, 1, 6, 0])
        .bell(SDMA_BELL, 24)
        .end();
    let kiq = Writer::default()
        .set("GRBM_GFX_CNTL", 2 << 2 | 1)
        .set("CP_HQD_PQ_BASE", 0x1000)
        .set("CP_HQD_PQ_CONTROL", 11)
        .set("CP_HQD_ACTIVE", 1)
        .ram(0x10_0000, &[header(0x37, 4), 5 << 8, 0x30_0000, 0, 7])
        .bell(0, 5)
        .set("CP_HQD_DEQUEUE_REQUEST", 1)
        .end();
    let spaces = Writer::default()
        .vram(0x20_0000, &[0x20_1001, 0, 0x20_2001, 0])
        .set("GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32", 0x20_0001)
        .set("IH_VMID_3_LUT", 5)
        .set("GCVM_INVALIDATE_ENG0_REQ", 0xffff)
        .end();
    vec![rings, kiq, spaces]
}

/// Raw entries as stock amdgpu writes them, and tables that point at themselves.
const ENTRIES: &[u64] = &[
    0x0000_0000_0000_0001,
    0x0000_0000_0000_1001,
    0x0040_0000_0fc0_04f1,
    0x0003_0000_0ff9_0271,
    0x0088_0000_0000_0206,
    0x0000_0000_0abc_d077,
    0x0040_0000_0000_0000,
    0x10,
];

pub(super) fn tables() -> Vec<Vec<u8>> {
    let image = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let rotated: Vec<u64> = ENTRIES.iter().rev().copied().collect();
    vec![image(ENTRIES), image(&rotated), image(&ENTRIES[..1])]
}

pub(super) fn json() -> Vec<Vec<u8>> {
    let entry = |(i, raw): (u64, &u64)| Entry::decode(GpuVa(i << 12), Level::Ptb, *raw);
    let space = AddressSpace {
        root: PageDirectory(0x20_0001),
        entries: (0..).zip(ENTRIES).filter_map(entry).collect(),
    };
    vec![
        serde_json::to_vec(&space).unwrap_or_default(),
        br#"{"format":"rdna-emu walk 1","root":"0x1","entries":[]}"#.to_vec(),
    ]
}

/// A vfio-user message: number, command, size, flags, no error, body.
fn message(command: u16, body: &[u8]) -> Vec<u8> {
    let mut all = vec![7, 0];
    all.extend(command.to_le_bytes());
    all.extend(u32::try_from(16 + body.len()).unwrap_or(0).to_le_bytes());
    all.extend([0; 8]);
    all.extend(body);
    all
}

pub(super) fn vfio() -> Vec<Vec<u8>> {
    /// An access: offset, region, bytes, data.
    fn access(offset: u64, region: u32, data: &[u8]) -> Vec<u8> {
        let mut body = offset.to_le_bytes().to_vec();
        body.extend(region.to_le_bytes());
        body.extend(u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
        body.extend(data);
        body
    }
    let start = [
        message(1, &[0, 0, 0, 0, b'{', b'}', 0]),
        message(4, &bytes(&[16, 0, 0, 0])),
        message(5, &bytes(&[32, 0, 0, 0, 0, 0, 0, 0])),
        message(7, &bytes(&[16, 0, 1, 0])),
    ];
    let accesses = [
        message(9, &access(0, 7, &[0; 4])[..16]),
        message(10, &access(0x10, 7, &[0xff; 4])),
        message(9, &access(0x16061 * 4, 5, &[0; 4])[..16]),
        message(10, &access(0, 2, &[1, 0, 0, 0, 0, 0, 0, 0])),
        message(13, &[]),
    ];
    let mut multi = 2_u64.to_le_bytes().to_vec();
    multi.extend(access(0x1000, 5, &[1, 0, 0, 0]));
    multi.extend([0; 4]);
    multi.extend(access(0x1004, 5, &[2, 0, 0, 0]));
    multi.extend([0; 4]);
    let rest = [
        message(15, &multi),
        message(2, &bytes(&[32, 3, 0, 0, 0, 0, 0x1000, 0])),
        message(3, &bytes(&[24, 0, 0, 0, 0x1000, 0])),
        message(8, &bytes(&[20, 1 << 5 | 1 << 2, 1, 0, 1])),
    ];
    vec![start.concat(), accesses.concat(), rest.concat()]
}

pub(super) fn config() -> Vec<Vec<u8>> {
    vec![
        // The header, the BARs' sizing, the ROM's.
        vec![
            7, 0x40, 0, 0, 7, 0x41, 0x10, 0xff, 7, 0x40, 0x10, 0, 7, 0x41, 0x30, 0xff,
        ],
        // Registers, doorbells, VRAM, narrow and far accesses.
        vec![
            5, 0x44, 0, 0x58, 5, 0x11, 1, 0, 2, 0x81, 0, 8, 0, 0x8d, 0, 1, 6, 0x4c, 9, 9,
        ],
    ]
}
