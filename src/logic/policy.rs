// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The policy: which memory type a mapping asks for once rmcp has looked at it.
//!
//! rmcp changes the *request* before the driver's own function reads it. What that function does
//! afterwards stays as it is: a buffer with COHERENT, EXT_COHERENT or UNCACHED becomes uncached
//! whatever was requested, so no policy in here can weaken such a buffer.

use super::mtype::{RequestedMtype, VmFlags};

/// The values of the switch `mtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Leave every request as it is.
    Keep,
    /// Non-coherent, except where uncached was asked for by name: that is how coherent SVM ranges
    /// and the driver's own `seq64` mapping ask for coherence.
    Nc,
    /// Uncached, always.
    Uc,
}

impl Policy {
    /// All policies, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Nc, Self::Uc];

    /// Applies the policy to one request. Partially resident ranges are never touched.
    #[inline]
    #[must_use]
    pub const fn apply(self, request: VmFlags) -> VmFlags {
        if request.is_prt() {
            return request;
        }
        match self {
            Self::Keep => request,
            Self::Uc => request.with_mtype(RequestedMtype::Uc),
            Self::Nc => match request.mtype() {
                RequestedMtype::Uc => request,
                _ => request.with_mtype(RequestedMtype::Nc),
            },
        }
    }

    /// The policy as a number, for the word that the hook reads.
    pub const fn to_bits(self) -> u32 {
        match self {
            Self::Keep => 0,
            Self::Nc => 1,
            Self::Uc => 2,
        }
    }

    /// The reverse of [`Policy::to_bits`]. Numbers that no policy has mean [`Policy::Keep`]: the
    /// harmless one.
    #[inline]
    pub const fn from_bits(raw: u32) -> Self {
        match raw {
            1 => Self::Nc,
            2 => Self::Uc,
            _ => Self::Keep,
        }
    }
}
