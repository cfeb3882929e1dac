// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The memory type policy: which type a mapping asks for once rmcp has looked at it.
//!
//! rmcp changes the *request* before the driver's own function (`gmc_v10_0_get_vm_pte`) reads it; the
//! entry's bits are still computed by the driver. After its own switch over the requested type that
//! function makes every buffer with COHERENT, EXT_COHERENT or UNCACHED uncached, so a changed request
//! cannot weaken such a buffer. Only [`Rules::strict`] can, by not showing the buffer to the function.
//!
//! [`Rules::decide`] is the policy; `super::table` holds its answers for the hook to look up.

use super::{
    mtype::{Mtype, RequestedMtype, VmFlags},
    pte::bits,
};

/// The values of the switch `mtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Leave every request as it is.
    Keep,
    /// Non-coherent, except where coherence was asked for: by a flag of the buffer, or by asking for
    /// uncached, which is how coherent SVM ranges and the driver's own `seq64` mapping do it.
    Nc,
    /// Uncached, always.
    Uc,
}

impl Policy {
    /// All policies, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Nc, Self::Uc];
}

/// The values of the switch `mtype_scope`: which mappings the memory type policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All.
    All,
    /// Mappings of the GPU's own memory.
    Vram,
    /// Mappings of system memory: GTT, userptr, doorbells.
    System,
}

impl Scope {
    /// All scopes, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::All, Self::Vram, Self::System];
}

/// The flags of an entry as the driver has them when it asks for the memory type (`AMDGPU_PTE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EntryFlags(u64);

impl EntryFlags {
    /// The flags that the policy looks at: VALID and SYSTEM, the two lowest bits.
    pub const LOOKED_AT: u64 = bits::VALID | bits::SYSTEM;

    /// Takes the flags as the driver holds them.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The flags as the driver holds them.
    #[inline(always)]
    pub const fn raw(self) -> u64 {
        self.0
    }

    const fn is_valid(self) -> bool {
        self.0 & bits::VALID != 0
    }

    const fn is_system(self) -> bool {
        self.0 & bits::SYSTEM != 0
    }
}

/// One mapping that is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// What it asks for.
    pub request: VmFlags,
    /// Its entry's flags so far.
    pub entry: EntryFlags,
    /// Whether its buffer has COHERENT, EXT_COHERENT or UNCACHED.
    pub coherent: bool,
    /// Whether its address space is a compute VM.
    pub compute: bool,
}

/// Why a mapping keeps the memory type that it would have without rmcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `mtype=keep`.
    Keep,
    /// It is a partially resident range: nothing is behind it.
    Prt,
    /// It is no mapping: entries are being cleared.
    Clear,
    /// Outside `mtype_scope`.
    Scope,
    /// Not a compute VM, and `clients=compute`.
    Client,
    /// The GPU is not among `devices`.
    Device,
    /// `mtype=nc`, and it asks for coherence.
    Coherent,
    /// It asks for what the policy would ask for.
    Same,
}

impl Reason {
    /// All reasons, in the order in which the counters list them.
    pub const ALL: [Self; 8] = [
        Self::Keep,
        Self::Prt,
        Self::Clear,
        Self::Scope,
        Self::Client,
        Self::Device,
        Self::Coherent,
        Self::Same,
    ];

    /// As the counters name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Prt => "prt",
            Self::Clear => "clear",
            Self::Scope => "scope",
            Self::Client => "client",
            Self::Device => "device",
            Self::Coherent => "coherent",
            Self::Same => "same",
        }
    }
}

/// What happens to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it asks for from now on.
    pub request: VmFlags,
    /// Whether the driver's function is not to see the mapping's buffer.
    pub hide_buffer: bool,
    /// The memory type that the driver then writes.
    pub written: Mtype,
    /// Why nothing changes, if nothing does.
    pub left_alone: Option<Reason>,
}

/// The memory type policy for one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The GPU is among `devices`.
    pub named: bool,
    /// The switch `mtype`.
    pub mtype: Policy,
    /// The switch `mtype_scope`.
    pub scope: Scope,
    /// The switch `mtype_strict`.
    pub strict: bool,
    /// `clients=compute`.
    pub compute_only: bool,
}

impl Rules {
    /// Leaves everything as it is.
    pub const KEEP: Self = Self {
        named: true,
        mtype: Policy::Keep,
        scope: Scope::All,
        strict: false,
        compute_only: false,
    };

    /// The policy.
    #[must_use]
    pub const fn decide(&self, mapping: Mapping) -> Decision {
        let Mapping { request, entry, .. } = mapping;
        let now = written(request, mapping.coherent);
        let reason = if !self.named {
            Reason::Device
        } else if request.is_prt() {
            Reason::Prt
        } else if !entry.is_valid() {
            Reason::Clear
        } else if self.compute_only && !mapping.compute {
            Reason::Client
        } else if matches!(self.mtype, Policy::Keep) {
            Reason::Keep
        } else if !self.in_scope(entry) {
            Reason::Scope
        } else {
            match (self.mtype, now) {
                (Policy::Nc, Mtype::Nc) | (Policy::Uc, Mtype::Uc) => Reason::Same,
                // Uncached is all that a mapping can ask for to be coherent.
                (Policy::Nc, Mtype::Uc) if !self.strict => Reason::Coherent,
                (Policy::Uc, _) => return change(mapping, RequestedMtype::Uc),
                _ => return change(mapping, RequestedMtype::Nc),
            }
        };
        Decision {
            request,
            hide_buffer: false,
            written: now,
            left_alone: Some(reason),
        }
    }

    const fn in_scope(&self, entry: EntryFlags) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::Vram => !entry.is_system(),
            Scope::System => entry.is_system(),
        }
    }

    const NAMED_BIT: u32 = 1 << 0;
    const STRICT_BIT: u32 = 1 << 1;
    const COMPUTE_BIT: u32 = 1 << 2;
    const MTYPE_SHIFT: u32 = 3;
    const SCOPE_SHIFT: u32 = 5;
    const FIELD_MASK: u32 = 0x3;

    /// Packs the rules into one word, so that they are stored and read in one go.
    pub const fn to_word(self) -> u32 {
        const fn flag(set: bool, bit: u32) -> u32 {
            match set {
                true => bit,
                false => 0,
            }
        }
        let mtype = match self.mtype {
            Policy::Keep => 0,
            Policy::Nc => 1,
            Policy::Uc => 2,
        };
        let scope = match self.scope {
            Scope::All => 0,
            Scope::Vram => 1,
            Scope::System => 2,
        };
        flag(self.named, Self::NAMED_BIT)
            | flag(self.strict, Self::STRICT_BIT)
            | flag(self.compute_only, Self::COMPUTE_BIT)
            | mtype << Self::MTYPE_SHIFT
            | scope << Self::SCOPE_SHIFT
    }

    /// The reverse of [`Rules::to_word`]. Numbers that nobody packs mean what is harmless.
    pub const fn from_word(word: u32) -> Self {
        Self {
            named: word & Self::NAMED_BIT != 0,
            strict: word & Self::STRICT_BIT != 0,
            compute_only: word & Self::COMPUTE_BIT != 0,
            mtype: match (word >> Self::MTYPE_SHIFT) & Self::FIELD_MASK {
                1 => Policy::Nc,
                2 => Policy::Uc,
                _ => Policy::Keep,
            },
            scope: match (word >> Self::SCOPE_SHIFT) & Self::FIELD_MASK {
                1 => Scope::Vram,
                2 => Scope::System,
                _ => Scope::All,
            },
        }
    }
}

/// What the driver writes for a request (`gmc_v10_0_get_vm_pte`).
const fn written(request: VmFlags, coherent: bool) -> Mtype {
    match request.mtype() {
        _ if coherent => Mtype::Uc,
        RequestedMtype::Wc => Mtype::Wc,
        RequestedMtype::Cc => Mtype::Cc,
        RequestedMtype::Uc => Mtype::Uc,
        _ => Mtype::Nc,
    }
}

const fn change(mapping: Mapping, to: RequestedMtype) -> Decision {
    let request = mapping.request.with_mtype(to);
    // A function that makes such a buffer uncached may see it when it is to be uncached.
    let hide_buffer = mapping.coherent && !matches!(to, RequestedMtype::Uc);
    Decision {
        request,
        hide_buffer,
        written: written(request, mapping.coherent && !hide_buffer),
        left_alone: None,
    }
}
