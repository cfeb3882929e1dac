// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The memory type policy, judged by what ends up in the page table entry.
//!
//! `stock` is a model of the driver's own function, written from its source
//! (`gmc_v10_0_get_vm_pte` in Linux 7.3.4) with the kernel's numbers and without rmcp's types. The
//! tests run over every requested type, policy and kind of buffer that the function can tell apart.

use proptest::prelude::*;
use rmcp_logic::logic::counters::{Cell, write_report};
use rmcp_logic::logic::device::PciAddress;
use rmcp_logic::logic::mtype::{Mtype, RequestedMtype, VmFlags};
use rmcp_logic::logic::policy::{EntryFlags, Mapping, Policy, Reason, Rules, Scope};
use rmcp_logic::logic::table::Table;

// include/uapi/drm/amdgpu_drm.h
const PAGE_EXECUTABLE: u32 = 1 << 3;
const PAGE_PRT: u32 = 1 << 4;
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

fn is_coherent(buffer: Option<u64>) -> bool {
    buffer.is_some_and(|b| b >> 13 & 7 != 0)
}

fn mapping(buffer: Option<u64>, vm_flags: u32, before: u64, compute: bool) -> Mapping {
    Mapping {
        request: VmFlags::new(vm_flags),
        entry: EntryFlags::new(before),
        coherent: is_coherent(buffer),
        compute,
    }
}

/// The driver's function behind rmcp's hook.
fn with_rmcp(rules: Rules, buffer: Option<u64>, vm_flags: u32, before: u64, compute: bool) -> u64 {
    let decision = rules.decide(mapping(buffer, vm_flags, before, compute));
    let buffer = buffer.filter(|_| !decision.hide_buffer);
    stock(buffer, decision.request.raw(), before)
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

/// Valid VRAM; valid and snooped system memory; cleared.
const BEFORE: [u64; 3] = [0x61, 0x67, 0x60];

fn all_rules() -> impl Iterator<Item = Rules> {
    let flags = [false, true];
    flags.into_iter().flat_map(move |named| {
        Policy::ALL.into_iter().flat_map(move |mtype| {
            Scope::ALL.into_iter().flat_map(move |scope| {
                flags.into_iter().flat_map(move |strict| {
                    flags.into_iter().map(move |compute_only| Rules {
                        named,
                        mtype,
                        scope,
                        strict,
                        compute_only,
                    })
                })
            })
        })
    })
}

/// Every rule, request, buffer and entry that the policy can tell apart.
fn everything(mut each: impl FnMut(Rules, Option<u64>, u32, u64, bool)) -> u32 {
    let mut rows = 0;
    for rules in all_rules() {
        for requested in 0..16u32 {
            for buffer in BUFFERS {
                for before in BEFORE {
                    for extra in [0, PAGE_EXECUTABLE, PAGE_NOALLOC, PAGE_PRT] {
                        for compute in [false, true] {
                            each(rules, buffer, requested << 5 | 0x6 | extra, before, compute);
                            rows += 1;
                        }
                    }
                }
            }
        }
    }
    rows
}

/// What the switches promise, in the words of the documentation.
fn expected(rules: Rules, buffer: Option<u64>, vm_flags: u32, before: u64, compute: bool) -> u64 {
    let was = stock(buffer, vm_flags, before);
    let system = before & 2 != 0;
    let touched = rules.named
        && vm_flags & PAGE_PRT == 0
        && before & 1 != 0
        && (compute || !rules.compute_only)
        && match rules.scope {
            Scope::All => true,
            Scope::Vram => !system,
            Scope::System => system,
        };
    let mtype = match rules.mtype {
        Policy::Uc if touched => UC,
        Policy::Nc if touched && (rules.strict || mtype(was) != UC) => NC,
        _ => mtype(was),
    };
    was & !(7 << 48) | mtype << 48
}

#[test]
fn entries_are_what_the_switches_promise() {
    let rows = everything(|rules, buffer, vm_flags, before, compute| {
        assert_eq!(
            with_rmcp(rules, buffer, vm_flags, before, compute),
            expected(rules, buffer, vm_flags, before, compute),
            "{rules:?} {buffer:?} {vm_flags:#x} {before:#x} {compute}"
        );
    });
    assert_eq!(rows, 72 * 16 * 7 * 3 * 4 * 2);
}

#[test]
fn decisions_say_what_is_written_and_why() {
    everything(|rules, buffer, vm_flags, before, compute| {
        let row = format!("{rules:?} {buffer:?} {vm_flags:#x} {before:#x} {compute}");
        let decision = rules.decide(mapping(buffer, vm_flags, before, compute));
        let was = stock(buffer, vm_flags, before);
        let now = with_rmcp(rules, buffer, vm_flags, before, compute);
        assert_eq!(u64::from(decision.written.to_bits()), mtype(now), "{row}");
        assert_eq!(decision.left_alone.is_some(), was == now, "{row}");
        if decision.left_alone.is_some() {
            assert_eq!(decision.request.raw(), vm_flags, "{row}");
            assert!(!decision.hide_buffer, "{row}");
        }
        let reason = if !rules.named {
            Some(Reason::Device)
        } else if vm_flags & PAGE_PRT != 0 {
            Some(Reason::Prt)
        } else if before & 1 == 0 {
            Some(Reason::Clear)
        } else if rules.compute_only && !compute {
            Some(Reason::Client)
        } else if rules.mtype == Policy::Keep {
            Some(Reason::Keep)
        } else {
            // Left to the last three: they depend on the types.
            None
        };
        match reason {
            Some(reason) => assert_eq!(decision.left_alone, Some(reason), "{row}"),
            None => assert!(
                matches!(
                    decision.left_alone,
                    None | Some(Reason::Scope | Reason::Coherent | Reason::Same)
                ),
                "{row}"
            ),
        }
    });
}

#[test]
fn tables_say_what_the_policy_says() {
    let mut looked_up = 0;
    everything(|rules, buffer, vm_flags, before, compute| {
        let asks = rules.compute_only && rules.named;
        assert_eq!(Table::of(rules).is_none(), asks, "{rules:?}");
        let table = match (asks, compute) {
            (false, _) => Table::of(rules),
            (true, true) => Table::of_compute(rules),
            (true, false) => Some(Table::other_clients()),
        };
        let table = table.unwrap();
        if is_coherent(buffer) {
            return;
        }
        let (request, entry) = (VmFlags::new(vm_flags), EntryFlags::new(before));
        let answer = table.answer(request, entry);
        let decision = rules.decide(mapping(buffer, vm_flags, before, compute));
        assert!(!decision.hide_buffer);
        assert_eq!(
            vm_flags ^ answer.flipped(),
            decision.request.raw(),
            "{rules:?} {vm_flags:#x} {before:#x}"
        );
        assert_eq!(
            answer.cell(),
            Cell::mapping(request.mtype(), &decision).number()
        );
        looked_up += 1;
    });
    assert!(looked_up > 10_000);
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
fn rules_survive_being_packed() {
    for rules in all_rules() {
        assert_eq!(Rules::from_word(rules.to_word()), rules);
    }
}

/// Counts every mapping as the hooks would, and compares the report with sums made by hand.
#[test]
fn the_report_adds_up() {
    let rules = Rules {
        mtype: Policy::Nc,
        ..Rules::KEEP
    };
    let mut cells = vec![0u64; Cell::COUNT];
    let (mut seen, mut changed, mut coherent, mut default_nc) = (0, 0, 0, 0);
    for requested in 0..16u32 {
        for buffer in BUFFERS {
            let vm_flags = requested << 5;
            let decision = rules.decide(mapping(buffer, vm_flags, 0x61, false));
            let cell = Cell::mapping(VmFlags::new(vm_flags).mtype(), &decision);
            cells[usize::from(cell.number())] += 1;
            let (was, now) = (
                mtype(stock(buffer, vm_flags, 0x61)),
                mtype(with_rmcp(rules, buffer, vm_flags, 0x61, false)),
            );
            seen += 1;
            changed += u32::from(was != now);
            coherent += u32::from(now == UC);
            default_nc += u32::from(requested == 0 && now == NC);
        }
    }
    for log2 in [0, 9, 9, 14] {
        let fragment = rmcp_logic::logic::fragment::Fragment::new(log2).unwrap();
        cells[usize::from(Cell::asked(fragment).number())] += 1;
    }
    cells[usize::from(Cell::UPDATES_CUT.number())] = 5;
    cells[usize::from(Cell::PIECES.number())] = 77;
    let mut text = String::new();
    let device = PciAddress::parse(b"0000:03:00.0").unwrap();
    write_report(&mut text, device, &|cell| cells[usize::from(cell.number())]).unwrap();
    for line in [
        format!("mappings {seen}"),
        format!("changed {changed}"),
        format!("left-alone coherent {coherent}"),
        format!("requested default written nc {default_nc}"),
        "left-alone prt 0".into(),
        "updates-cut 5".into(),
        "pieces 77".into(),
        "fragment asked 9 count 2".into(),
        "fragment asked largest 14".into(),
        "fragment written largest none".into(),
    ] {
        let line = format!("0000:03:00.0 {line}\n");
        assert!(text.contains(&line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("count 0"), "{text}");
}

#[test]
fn every_cell_has_a_place_of_its_own() {
    let numbers: Vec<_> = Cell::all().map(Cell::number).collect();
    assert_eq!(numbers.len(), Cell::COUNT);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(usize::from(*numbers.last().unwrap()) + 1, Cell::COUNT);
}

proptest! {
    #[test]
    fn requests_change_in_the_type_only(raw: u32, entry: u64, word: u32, coherent: bool, compute: bool) {
        let rules = Rules::from_word(word);
        let decision = rules.decide(Mapping {
            request: VmFlags::new(raw),
            entry: EntryFlags::new(entry),
            coherent,
            compute,
        });
        prop_assert_eq!((decision.request.raw() ^ raw) & !0x1e0, 0);
        prop_assert!(!matches!(decision.written, Mtype::Other(_)));
        prop_assert!(!decision.hide_buffer || (coherent && rules.strict));
    }

    #[test]
    fn any_word_reads_as_rules(word: u32) {
        let rules = Rules::from_word(word);
        prop_assert_eq!(Rules::from_word(rules.to_word()), rules);
    }

    #[test]
    fn request_types_round_trip(raw: u32, bits in 0u8..16) {
        let request = VmFlags::new(raw).with_mtype(RequestedMtype::from_bits(bits));
        prop_assert_eq!(request.mtype().to_bits(), bits);
    }
}
