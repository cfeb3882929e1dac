// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The policy, judged by what ends up in the page table entry.
//!
//! `stock` is a model of the driver's own function, written from its source
//! (`gmc_v10_0_get_vm_pte` in Linux 7.3.4) with the kernel's numbers and without rmcp's types. The
//! table runs over every requested type, policy and kind of buffer that the function can tell apart.

use proptest::prelude::*;
use rmcp_logic::logic::mtype::{RequestedMtype, VmFlags};
use rmcp_logic::logic::policy::Policy;

// include/uapi/drm/amdgpu_drm.h
const PAGE_EXECUTABLE: u32 = 1 << 3;
const PAGE_PRT: u32 = 1 << 4;
const MTYPE_UC: u32 = 4 << 5;
const PAGE_NOALLOC: u32 = 1 << 9;
const CREATE_UNCACHED: u64 = 1 << 14;
const CREATE_COHERENT: u64 = 1 << 13;
const CREATE_EXT_COHERENT: u64 = 1 << 15;

const NC: u64 = 0;
const WC: u64 = 1;
const CC: u64 = 2;
const UC: u64 = 3;

/// What the driver makes of a request: the entry's flags.
fn stock(buffer: Option<u64>, vm_flags: u32, before: u64) -> u64 {
    let mut flags = before & !(1 << 4 | 7 << 48 | 1 << 58);
    flags |= u64::from(vm_flags & PAGE_EXECUTABLE != 0) << 4;
    flags |= u64::from(vm_flags & PAGE_NOALLOC != 0) << 58;
    flags |= match vm_flags >> 5 & 0xf {
        2 => WC,
        3 => CC,
        4 => UC,
        _ => NC,
    } << 48;
    if vm_flags & PAGE_PRT != 0 {
        flags = (flags | 1 << 51 | 1 << 2 | 1 << 55 | 1 << 1) & !1;
    }
    if buffer.is_some_and(|b| b & (CREATE_COHERENT | CREATE_EXT_COHERENT | CREATE_UNCACHED) != 0) {
        flags = flags & !(7 << 48) | UC << 48;
    }
    flags
}

fn with_rmcp(policy: Policy, buffer: Option<u64>, vm_flags: u32, before: u64) -> u64 {
    stock(buffer, policy.apply(VmFlags::new(vm_flags)).raw(), before)
}

fn mtype(entry: u64) -> u64 {
    entry >> 48 & 7
}

/// No buffer (SVM, the kernel's own), a plain one, and each kind that asks for coherence.
const BUFFERS: [Option<u64>; 7] = [
    None,
    Some(0),
    Some(1 << 1),
    Some(CREATE_COHERENT),
    Some(CREATE_EXT_COHERENT),
    Some(CREATE_UNCACHED),
    Some(CREATE_COHERENT | CREATE_UNCACHED),
];

/// Valid VRAM; valid and snooped system memory; invalid.
const BEFORE: [u64; 3] = [0x61, 0x67, 0x60];

#[test]
fn table_of_requests_policies_and_buffers() {
    let mut rows = 0;
    for requested in 0..16u32 {
        for buffer in BUFFERS {
            for before in BEFORE {
                for extra in [0, PAGE_EXECUTABLE, PAGE_NOALLOC] {
                    let vm_flags = requested << 5 | 0x6 | extra;
                    let coherent = buffer.is_some_and(|b| b >> 13 & 7 != 0);
                    let was = stock(buffer, vm_flags, before);
                    for (policy, expected) in [
                        (Policy::Keep, mtype(was)),
                        (Policy::Nc, if coherent || requested == 4 { UC } else { NC }),
                        (Policy::Uc, UC),
                    ] {
                        let entry = with_rmcp(policy, buffer, vm_flags, before);
                        let row = format!("{policy:?} {requested} {buffer:?} {before:#x} {extra}");
                        assert_eq!(mtype(entry), expected, "{row}");
                        assert_eq!((entry ^ was) & !(7 << 48), 0, "{row}: another bit changed");
                        rows += 1;
                    }
                }
            }
        }
    }
    assert_eq!(rows, 16 * 7 * 3 * 3 * 3);
}

#[test]
fn partially_resident_ranges_are_never_touched() {
    for requested in 0..16u32 {
        for policy in Policy::ALL {
            let request = VmFlags::new(requested << 5 | PAGE_PRT | 0x6);
            assert_eq!(policy.apply(request), request);
        }
    }
}

#[test]
fn requested_types_have_the_numbers_of_the_abi() {
    let abi = [
        (0, RequestedMtype::Default),
        (1, RequestedMtype::Nc),
        (2, RequestedMtype::Wc),
        (3, RequestedMtype::Cc),
        (4, RequestedMtype::Uc),
        (5, RequestedMtype::Rw),
    ];
    for (number, name) in abi {
        assert_eq!(VmFlags::new(number << 5).mtype(), name);
        assert_eq!(VmFlags::new(0).with_mtype(name).raw(), number << 5);
    }
}

#[test]
fn unknown_policy_numbers_mean_keep() {
    for raw in [0, 3, 4, u32::MAX] {
        assert_eq!(Policy::from_bits(raw), Policy::Keep);
    }
}

proptest! {
    #[test]
    fn requests_change_in_the_type_only(raw: u32, policy in 0u32..3) {
        let policy = Policy::from_bits(policy);
        let after = policy.apply(VmFlags::new(raw)).raw();
        prop_assert_eq!((after ^ raw) & !0x1e0, 0);
        if raw & PAGE_PRT != 0 {
            prop_assert_eq!(after, raw);
        }
        if raw & 0x1e0 == MTYPE_UC {
            prop_assert_eq!(after, raw, "an explicit UC request is never weakened");
        }
    }

    #[test]
    fn applying_twice_is_applying_once(raw: u32, policy in 0u32..3) {
        let policy = Policy::from_bits(policy);
        let once = policy.apply(VmFlags::new(raw));
        prop_assert_eq!(policy.apply(once), once);
    }

    #[test]
    fn request_types_round_trip(raw: u32, bits in 0u8..16) {
        let request = VmFlags::new(raw).with_mtype(RequestedMtype::from_bits(bits));
        prop_assert_eq!(request.mtype().to_bits(), bits);
    }
}
