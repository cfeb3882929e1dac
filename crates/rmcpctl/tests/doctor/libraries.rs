// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks of PyTorch, rocBLAS and ROCm.

use crate::elf::{aligned, bundle, compressed, plain, with_fatbin, zstd};
use crate::machine::{Made, TORCH, expect};
use rmcpctl::doctor::check::Level;

fn torch(code: &[u8]) -> Made {
    Made::new().file(&format!("{TORCH}/lib/libtorch_hip.so"), code)
}

fn navi22(made: Made) -> Made {
    made.chip([10, 3, 2], 100_301, "0x73df")
}

#[test]
fn a_pytorch_without_code_for_the_chip_is_a_problem() {
    let wheel = with_fatbin(&bundle(&[
        "gfx900",
        "gfx906:xnack-",
        "gfx90a:xnack+",
        "gfx1030",
        "gfx1100",
    ]));
    let found = torch(&wheel).check("pytorch");
    expect(
        &found,
        Level::Problem,
        &[
            "2.9.0+rocm7.0",
            "no code for gfx1010",
            "gfx900, gfx906, gfx90a, gfx1030, gfx1100",
        ],
    );
    assert!(found[0].source.unwrap().contains("pytorch/issues/132570"));
    let found = navi22(torch(&wheel)).check("pytorch");
    expect(
        &found,
        Level::Note,
        &[
            "no code for gfx1031, but for gfx1030",
            "HSA_OVERRIDE_GFX_VERSION=10.3.0",
        ],
    );
}

#[test]
fn bundles_are_counted_plain_and_compressed() {
    let both = bundle(&["gfx1010", "gfx1030"]);
    let other = bundle(&["gfx90a", "gfx942"]);
    let many = aligned(&[
        both.clone(),
        compressed(&both, 2),
        zstd(&both, 3),
        zstd(&other, 2),
        compressed(&both, 1),
        other,
    ]);
    let found = torch(&with_fatbin(&many)).check("pytorch");
    expect(&found, Level::Ok, &["code for gfx1010 in 4 of 6 bundles"]);
}

#[test]
fn what_cannot_be_read_of_pytorch_is_said() {
    expect(
        &torch(&plain()).check("pytorch"),
        Level::Unknown,
        &["no section .hip_fatbin"],
    );
    expect(
        &torch(b"hello").check("pytorch"),
        Level::Unknown,
        &["its header"],
    );
    let cut = aligned(&[
        bundle(&["gfx1010"]),
        b"CCOB\x09\0\0\0zzzzzzzzzzzzzzzzzzzzzzzz".to_vec(),
    ]);
    let found = torch(&with_fatbin(&cut)).check("pytorch");
    expect(&found, Level::Ok, &["1 of 2 bundles"]);
    expect(
        &found,
        Level::Unknown,
        &["1 of 2 bundles", "version that is not known"],
    );
    expect(
        &Made::new().without(TORCH).check("pytorch"),
        Level::Unknown,
        &["no PyTorch was found", "--torch"],
    );
    let denied = Made::new().denied(&format!("{TORCH}/lib/libtorch_hip.so"));
    expect(&denied.check("pytorch"), Level::Unknown, &["not permitted"]);
    let cpu = Made::new().file(
        &format!("{TORCH}/version.py"),
        "__version__ = '2.9.0+cpu'\nhip = None\n",
    );
    expect(&cpu.check("pytorch"), Level::Note, &["built without ROCm"]);
}

#[test]
fn rocblas_is_judged_by_the_names_of_its_libraries() {
    let folder = "opt/rocm/lib/rocblas/library";
    let with = |names: &[&str]| {
        names
            .iter()
            .fold(Made::new().without(folder), |made, name| {
                made.file(&format!("{folder}/{name}"), "x")
            })
    };
    let wheel = [
        "TensileLibrary_lazy_gfx1030.dat",
        "TensileLibrary_Type_4xi8I_HPA_Contraction_l_Ailk_Bjlk_Cijk_Dijk_fallback_gfx1010.hsaco",
        "Kernels.so-000-gfx1010.hsaco",
    ];
    expect(
        &with(&wheel).check("rocblas"),
        Level::Problem,
        &["no kernels for gfx1010; it has gfx1030"],
    );
    expect(
        &navi22(with(&wheel)).check("rocblas"),
        Level::Note,
        &["gfx1031, but for gfx1030"],
    );
    expect(
        &with(&["TensileLibrary_lazy_gfx1010.dat"]).check("rocblas"),
        Level::Ok,
        &["gfx1010"],
    );
    expect(
        &Made::new().without("opt/rocm").check("rocblas"),
        Level::Unknown,
        &["rocblas/library"],
    );
}

#[test]
fn versions_with_known_trouble_are_named_with_their_source() {
    let rocm = |version: &str| {
        Made::new()
            .file("opt/rocm/.info/version", version)
            .check("rocm-version")
    };
    for bad in ["5.3.0-63", "5.7.1", "6.0.2-115"] {
        let found = rocm(bad);
        expect(&found, Level::Note, &[bad, "gfx1010"]);
        assert!(found[0].source.unwrap().contains("issues/2527"));
    }
    for good in ["5.2.3", "6.1.0-82", "7.0.0-38"] {
        expect(&rocm(good), Level::Ok, &[good]);
    }
    expect(&rocm("latest"), Level::Unknown, &["no version"]);
    let navi22 = navi22(Made::new()).file("opt/rocm/.info/version", "5.7.1");
    expect(&navi22.check("rocm-version"), Level::Ok, &["5.7.1"]);
    let debian = "Package: libhsa-runtime64-1\nStatus: install ok installed\nVersion: 5.7.1-2\n";
    let debian = Made::new()
        .without("opt/rocm")
        .file("var/lib/dpkg/status", debian);
    expect(
        &debian.check("rocm-version"),
        Level::Note,
        &["package libhsa-runtime64-1"],
    );
    expect(
        &Made::new().without("opt").check("rocm-version"),
        Level::Unknown,
        &["no ROCm"],
    );
}
