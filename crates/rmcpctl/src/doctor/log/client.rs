// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of the parts of a GPU that translate addresses, by the number in a fault's status register.
//!
//! From the driver's tables: `gfxhub_client_ids` (the same in `gfxhub_v2_0.c` and `gfxhub_v2_1.c`), and of the
//! multimedia hub `mmhub_client_ids_navi1x`, `_sienna_cichlid`, `_beige_goby` (`mmhub_v2_0.c`) and `_vangogh`
//! (`mmhub_v2_3.c`).

use crate::gpu::Gc;

/// `gfxhub_client_ids`.
const GFXHUB: [&str; 18] = [
    "CB/DB",
    "Reserved",
    "GE1",
    "GE2",
    "CPF",
    "CPC",
    "CPG",
    "RLC",
    "TCP",
    "SQC (inst)",
    "SQC (data)",
    "SQG",
    "Reserved",
    "SDMA0",
    "SDMA1",
    "GCR",
    "SDMA2",
    "SDMA3",
];

/// A part of the multimedia hub: number, name for reads, name for writes.
type Mm = (u16, Option<&'static str>, Option<&'static str>);

const fn both(number: u16, name: &'static str) -> Mm {
    (number, Some(name), Some(name))
}

const fn reads(number: u16, name: &'static str) -> Mm {
    (number, Some(name), None)
}

const fn writes(number: u16, name: &'static str) -> Mm {
    (number, None, Some(name))
}

const fn each(number: u16, read: &'static str, write: &'static str) -> Mm {
    (number, Some(read), Some(write))
}

/// Navi10, 12, 14.
const NAVI1X: &[Mm] = &[
    both(3, "DCEDMC"),
    each(4, "DCEVGA", "DCEXFC"),
    each(5, "MP0", "DCEVGA"),
    each(6, "MP1", "DCEDWB"),
    writes(7, "MP0"),
    writes(8, "MP1"),
    writes(9, "DBGU1"),
    writes(10, "DBGU0"),
    writes(11, "XDP"),
    reads(13, "VMC"),
    both(14, "HDP"),
    both(15, "OSS"),
    both(16, "VCNU"),
    both(17, "JPEG"),
    both(18, "VCN"),
];

/// Navi21, 22, 23.
const NAVI21: &[Mm] = &[
    writes(0, "DBGU0"),
    writes(1, "DBGU1"),
    writes(2, "DCEDWB"),
    both(3, "DCEDMC"),
    both(4, "DCEVGA"),
    both(5, "MP0"),
    both(6, "MP1"),
    writes(7, "XDP"),
    reads(8, "VMC"),
    both(9, "VCNU0"),
    both(10, "JPEG"),
    writes(11, "VCN0"),
    both(12, "VCNU1"),
    both(13, "VCN1"),
    both(14, "HDP"),
    both(15, "OSS"),
    reads(43, "VCN0"),
];

/// Navi24.
const NAVI24: &[Mm] = &[
    writes(0, "DBGU0"),
    writes(1, "DBGU1"),
    writes(2, "DCEDWB"),
    both(3, "DCEDMC"),
    both(4, "DCEVGA"),
    both(5, "MP0"),
    both(6, "MP1"),
    writes(7, "XDP"),
    reads(8, "VMC"),
    both(9, "VCNU0"),
    both(11, "VCN0"),
    both(14, "HDP"),
    both(15, "OSS"),
];

/// The APUs of RDNA2.
const VANGOGH: &[Mm] = &[
    both(0, "MP0"),
    both(1, "MP1"),
    both(2, "DCEDMC"),
    both(3, "DCEVGA"),
    writes(4, "DCEDWB"),
    writes(5, "XDP"),
    reads(13, "UTCL2"),
    both(26, "OSS"),
    both(27, "HDP"),
    both(28, "VCN"),
    both(29, "VCNU"),
    both(30, "JPEG"),
];

/// The table of the multimedia hub that goes with a graphics core. It is chosen by the hub's own version
/// (`mmhub_v2_0_set_funcs`), which goes with the graphics core's on each chip.
fn multimedia(gc: Gc) -> Option<&'static [Mm]> {
    match (gc.major, gc.minor, gc.revision) {
        (10, 1, 3 | 4) => None,
        (10, 1, _) => Some(NAVI1X),
        (10, 3, 0 | 2 | 4) => Some(NAVI21),
        (10, 3, 5) => Some(NAVI24),
        (10, 3, 1 | 3 | 6 | 7) => Some(VANGOGH),
        _ => None,
    }
}

/// The name of a part of the graphics hub.
pub fn gfxhub(number: u16) -> Option<&'static str> {
    GFXHUB.get(usize::from(number)).copied()
}

/// The name of a part of the multimedia hub.
pub fn mmhub(gc: Gc, number: u16, write: bool) -> Option<&'static str> {
    let (_, read_name, write_name) = multimedia(gc)?.iter().find(|(n, ..)| *n == number)?;
    if write { *write_name } else { *read_name }
}

/// What a part of the graphics hub is, in words.
pub fn meaning(name: &str) -> Option<&'static str> {
    Some(match name {
        "TCP" => "a shader's data access",
        "SQC (inst)" => "the fetch of a shader's instructions",
        "SQC (data)" => "a shader's read of constants",
        "SQG" => "the shaders' control (traps, thread trace)",
        "CPF" | "CPC" | "CPG" => "the command processor",
        "RLC" => "the power and run-list controller",
        "CB/DB" => "colour or depth output of the graphics pipe",
        "GE1" | "GE2" => "the geometry engine",
        "GCR" => "the cache controller",
        _ if name.starts_with("SDMA") => "a copy engine",
        _ if name.starts_with("VCN") => "the video engine",
        "JPEG" => "the JPEG engine",
        _ if name.starts_with("DCE") => "the display engine",
        "HDP" => "the CPU's accesses through the bus",
        _ => return None,
    })
}
