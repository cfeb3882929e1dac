// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every kind of memory that KFD maps, with every flag, and every kind of shared range: what to ask for, and which
//! bits stock amdgpu writes.
//!
//! Bits: `get_pte_flags` of `amdgpu_amdkfd_gpuvm.c` (write and execute as asked, memory type DEFAULT),
//! `amdgpu_ttm_tt_pde_flags` (system memory is snooped), `svm_range_get_pte_flags` of `kfd_svm.c` for GC 10, and
//! `gmc_v10_0_get_vm_pte` (what asks for coherence becomes UC, the rest NC); raw entries as seen with the unmodified
//! driver agree.

use guest::kfd_uapi::{KfdFlags, SvmFlags};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// `AMDGPU_PTE_*`.
const VALID: u64 = 1 << 0;
const SYSTEM: u64 = 1 << 1;
const SNOOPED: u64 = 1 << 2;
const EXECUTABLE: u64 = 1 << 4;
const READABLE: u64 = 1 << 5;
const WRITEABLE: u64 = 1 << 6;

/// A buffer to make.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) flags: KfdFlags,
    pub(super) size: u64,
}

impl Kind {
    pub(super) fn vram(&self) -> bool {
        self.flags.has(KfdFlags::VRAM)
    }

    /// Whether a flag asks for coherence.
    pub(super) fn coherent(&self) -> bool {
        let flags = [
            KfdFlags::COHERENT,
            KfdFlags::EXT_COHERENT,
            KfdFlags::UNCACHED,
        ];
        flags.into_iter().any(|flag| self.flags.has(flag))
    }

    /// Which of execute and write its entries allow.
    pub(super) fn rights(&self) -> u64 {
        on(self.flags.has(KfdFlags::WRITABLE), WRITEABLE)
            | on(self.flags.has(KfdFlags::EXECUTABLE), EXECUTABLE)
    }
}

/// A shared range to make.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) name: String,
    pub(super) flags: SvmFlags,
    pub(super) size: u64,
    /// In the card's memory, else in the system's.
    pub(super) vram: bool,
}

impl Range {
    pub(super) fn coherent(&self) -> bool {
        self.flags.has(SvmFlags::COHERENT) || self.flags.has(SvmFlags::EXT_COHERENT)
    }

    /// As [`Kind::rights`].
    pub(super) fn rights(&self) -> u64 {
        on(!self.flags.has(SvmFlags::GPU_RO), WRITEABLE)
            | on(self.flags.has(SvmFlags::GPU_EXEC), EXECUTABLE)
    }
}

fn on(condition: bool, bit: u64) -> u64 {
    if condition { bit } else { 0 }
}

/// What an entry holds beside address, fragment and memory type.
pub(super) fn bits(vram: bool, rights: u64) -> u64 {
    VALID | READABLE | rights | on(!vram, SYSTEM | SNOOPED)
}

/// Flags with their names.
type Named<T> = (&'static str, T);

const ALL: KfdFlags = KfdFlags(KfdFlags::WRITABLE.0 | KfdFlags::EXECUTABLE.0);

/// What may be done with a buffer.
const ACCESS: &[Named<KfdFlags>] = &[
    (", read only", KfdFlags::NONE),
    (", no execute", KfdFlags::WRITABLE),
    (", no write", KfdFlags::EXECUTABLE),
];

/// Flags of memory that hold data.
const ATTRIBUTES: &[Named<KfdFlags>] = &[
    ("", KfdFlags::NONE),
    (" COHERENT", KfdFlags::COHERENT),
    (" UNCACHED", KfdFlags::UNCACHED),
    (" EXT_COHERENT", KfdFlags::EXT_COHERENT),
    (" PUBLIC", KfdFlags::PUBLIC),
    (" CONTIGUOUS", KfdFlags::CONTIGUOUS),
    (" NO_SUBSTITUTE", KfdFlags::NO_SUBSTITUTE),
    (" AQL_QUEUE_MEM", KfdFlags::AQL_QUEUE_MEM),
];

/// Flags that matter for registers and doorbells.
const COHERENCE: &[Named<KfdFlags>] = ATTRIBUTES.split_at(4).0;

/// Memory with the sizes of its buffers, all its attributes, and the size for those.
type Memory = (
    &'static str,
    KfdFlags,
    &'static [(&'static str, u64)],
    &'static [Named<KfdFlags>],
    Named<u64>,
);

const MEMORIES: &[Memory] = &[
    (
        "KFD VRAM",
        KfdFlags::VRAM,
        &[(" 64K", 64 * KIB), (" 64M", 64 * MIB)],
        ATTRIBUTES,
        (" 2M", 2 * MIB),
    ),
    (
        "KFD GTT",
        KfdFlags::GTT,
        &[(" 2M", 2 * MIB)],
        ATTRIBUTES,
        (" 64K", 64 * KIB),
    ),
    (
        "KFD userptr",
        KfdFlags::USERPTR,
        &[(" 2M", 2 * MIB)],
        ATTRIBUTES,
        (" 64K", 64 * KIB),
    ),
    // As large as the process's doorbells on one GPU, and as the page of registers.
    (
        "KFD doorbells",
        KfdFlags::DOORBELL,
        &[],
        COHERENCE,
        ("", 8 * KIB),
    ),
    (
        "KFD registers",
        KfdFlags::MMIO_REMAP,
        &[],
        COHERENCE,
        ("", 4 * KIB),
    ),
];

/// Every kind of buffer.
pub(super) fn buffers() -> Vec<Kind> {
    let mut all = Vec::new();
    let mut add = |name: [&str; 4], flags, size| {
        all.push(Kind {
            name: name.concat(),
            flags,
            size,
        });
    };
    for (memory, flag, sizes, attributes, (usual, size)) in MEMORIES {
        for (text, size) in *sizes {
            add([memory, text, "", ""], *flag | ALL, *size);
        }
        for (text, attribute) in *attributes {
            add([memory, usual, text, ""], *flag | *attribute | ALL, *size);
        }
        for (text, access) in ACCESS {
            add([memory, usual, "", text], *flag | *access, *size);
        }
    }
    all
}

const RANGES: &[Named<SvmFlags>] = &[
    ("", SvmFlags::NONE),
    (" GPU_EXEC", SvmFlags::GPU_EXEC),
    (" COHERENT", SvmFlags::COHERENT),
    (" EXT_COHERENT", SvmFlags::EXT_COHERENT),
    (" GPU_RO", SvmFlags::GPU_RO),
    (" GPU_READ_MOSTLY", SvmFlags::GPU_READ_MOSTLY),
    (" HIVE_LOCAL", SvmFlags::HIVE_LOCAL),
    (" HOST_ACCESS", SvmFlags::HOST_ACCESS),
    (" GPU_ALWAYS_MAPPED", SvmFlags::GPU_ALWAYS_MAPPED),
    (
        " COHERENT GPU_RO GPU_EXEC",
        SvmFlags(SvmFlags::COHERENT.0 | SvmFlags::GPU_RO.0 | SvmFlags::GPU_EXEC.0),
    ),
];

/// Every kind of shared range.
pub(super) fn ranges() -> Vec<Range> {
    let places = [
        ("SVM 64K", 64 * KIB, false),
        ("SVM 2M in VRAM", 2 * MIB, true),
    ];
    let mut all = Vec::new();
    for (place, size, vram) in places {
        for (text, flags) in RANGES {
            all.push(Range {
                name: [place, text].concat(),
                flags: *flags,
                size,
                vram,
            });
        }
    }
    all
}
