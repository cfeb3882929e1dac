// SPDX-License-Identifier: MIT OR Apache-2.0
//! PM4 opcodes of GFX10 with their names (`PACKET3_*` of `nvd.h`), and how each is treated.

/// What the command processor does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Executed.
    Execute(Op),
    /// Accepted: state or synchronisation of parts that are not modelled (shaders, caches).
    Accept,
    /// Known by name only.
    Unknown,
}

/// Packets that are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    AtomicMem,
    CondExec,
    CopyData,
    DmaData,
    IndirectBuffer,
    InvalidateTlbs,
    MapProcess,
    MapQueues,
    QueryStatus,
    ReleaseMem,
    RunList,
    SetConfigReg,
    SetContextReg,
    SetResources,
    SetShReg,
    SetUconfigReg,
    UnmapQueues,
    WaitRegMem,
    WriteData,
}

use Treatment::{Accept, Execute, Unknown};

const PACKETS: &[(u8, &str, Treatment)] = &[
    (0x10, "NOP", Accept),
    (0x11, "SET_BASE", Accept),
    (0x12, "CLEAR_STATE", Accept),
    (0x13, "INDEX_BUFFER_SIZE", Accept),
    (0x15, "DISPATCH_DIRECT", Unknown),
    (0x16, "DISPATCH_INDIRECT", Unknown),
    (0x1e, "ATOMIC_MEM", Execute(Op::AtomicMem)),
    (0x22, "COND_EXEC", Execute(Op::CondExec)),
    (0x27, "DRAW_INDEX_2", Unknown),
    (0x28, "CONTEXT_CONTROL", Accept),
    (0x2a, "INDEX_TYPE", Accept),
    (0x2d, "DRAW_INDEX_AUTO", Unknown),
    (0x2f, "NUM_INSTANCES", Accept),
    (0x33, "INDIRECT_BUFFER_CNST", Execute(Op::IndirectBuffer)),
    (0x37, "WRITE_DATA", Execute(Op::WriteData)),
    (0x3c, "WAIT_REG_MEM", Execute(Op::WaitRegMem)),
    (0x3f, "INDIRECT_BUFFER", Execute(Op::IndirectBuffer)),
    (0x40, "COPY_DATA", Execute(Op::CopyData)),
    (0x42, "PFP_SYNC_ME", Accept),
    (0x46, "EVENT_WRITE", Accept),
    (0x49, "RELEASE_MEM", Execute(Op::ReleaseMem)),
    (0x4a, "PREAMBLE_CNTL", Accept),
    (0x50, "DMA_DATA", Execute(Op::DmaData)),
    (0x58, "ACQUIRE_MEM", Accept),
    (0x68, "SET_CONFIG_REG", Execute(Op::SetConfigReg)),
    (0x69, "SET_CONTEXT_REG", Execute(Op::SetContextReg)),
    (0x76, "SET_SH_REG", Execute(Op::SetShReg)),
    (0x79, "SET_UCONFIG_REG", Execute(Op::SetUconfigReg)),
    (0x7a, "SET_UCONFIG_REG_INDEX", Execute(Op::SetUconfigReg)),
    (0x84, "INCREMENT_CE_COUNTER", Accept),
    (0x85, "INCREMENT_DE_COUNTER", Accept),
    (0x86, "WAIT_ON_CE_COUNTER", Accept),
    (0x8b, "SWITCH_BUFFER", Accept),
    (0x90, "FRAME_CONTROL", Accept),
    (0x95, "HDP_FLUSH", Accept),
    (0x98, "INVALIDATE_TLBS", Execute(Op::InvalidateTlbs)),
    (0x9b, "SET_SH_REG_INDEX", Execute(Op::SetShReg)),
    (0xa0, "SET_RESOURCES", Execute(Op::SetResources)),
    (0xa1, "MAP_PROCESS", Execute(Op::MapProcess)),
    (0xa2, "MAP_QUEUES", Execute(Op::MapQueues)),
    (0xa3, "UNMAP_QUEUES", Execute(Op::UnmapQueues)),
    (0xa4, "QUERY_STATUS", Execute(Op::QueryStatus)),
    (0xa5, "RUN_LIST", Execute(Op::RunList)),
];

/// The name of an opcode and what to do with it.
pub(super) fn describe(opcode: u8) -> (String, Treatment) {
    match PACKETS.iter().find(|(n, ..)| *n == opcode) {
        Some((n, name, treatment)) => (format!("PM4 {name} ({n:#04x})"), *treatment),
        None => (format!("PM4 {opcode:#04x}"), Unknown),
    }
}

/// What to do with an opcode, without its name.
pub(super) fn treatment(opcode: u8) -> Treatment {
    PACKETS
        .iter()
        .find(|(n, ..)| *n == opcode)
        .map_or(Unknown, |(_, _, treatment)| *treatment)
}
