// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks of environment variables.

use crate::machine::{Made, expect, fine};
use rmcpctl::doctor::check::Level;

const OVERRIDE: &str = "HSA_OVERRIDE_GFX_VERSION";

fn navi22() -> Made {
    Made::new().chip([10, 3, 2], 100_301, "0x73df")
}

#[test]
fn an_override_is_judged_by_the_real_chip() {
    let with = |made: Made, value: &str| {
        made.variable(&format!("{OVERRIDE}={value}"))
            .check("override")
    };
    let found = with(Made::new(), "10.3.0");
    expect(
        &found,
        Level::Problem,
        &[
            "python3 (pid 4242)",
            "gfx1010",
            "gfx1030",
            "lacks",
            "leave the variable out",
        ],
    );
    assert!(
        found[0]
            .source
            .unwrap()
            .contains("stable-diffusion-webui/issues/9283")
    );
    fine(&with(Made::new(), "10.1.0"));
    let navi14 = || Made::new().chip([10, 1, 1], 100_102, "0x7340");
    expect(
        &with(navi14(), "10.1.0"),
        Level::Note,
        &["gfx1012", "gfx1010"],
    );
    expect(
        &with(navi14(), "10.3.0"),
        Level::Problem,
        &["gfx1012", "gfx1030"],
    );
    expect(
        &with(navi22(), "10.3.0"),
        Level::Note,
        &["gfx1031", "MIOpen", "MIOPEN_DEBUG_CONV_GEMM=0"],
    );
    expect(
        &with(navi22(), "11.0.0"),
        Level::Problem,
        &["gfx1100", "another generation"],
    );
    expect(
        &with(navi22(), "10.1.0"),
        Level::Problem,
        &["gfx1010", "another generation"],
    );
    expect(&with(navi22(), "gfx1030"), Level::Note, &["no version"]);
    let one = navi22()
        .variable(&format!("{OVERRIDE}_0=10.3.0"))
        .check("override");
    expect(&one, Level::Note, &["HSA_OVERRIDE_GFX_VERSION_0=10.3.0"]);
}

#[test]
fn an_override_is_found_in_files_of_settings_too() {
    for (path, text) in [
        ("etc/environment", "HSA_OVERRIDE_GFX_VERSION=\"10.3.0\"\n"),
        (
            "home/ann/.bashrc",
            "# x\n  export HSA_OVERRIDE_GFX_VERSION=10.3.0 # for torch\n",
        ),
        (
            "etc/profile.d/rocm.sh",
            "export HSA_OVERRIDE_GFX_VERSION='10.3.0';\n",
        ),
    ] {
        let found = Made::new().file(path, text).check("override");
        expect(&found, Level::Problem, &[path, "=10.3.0 in"]);
    }
    let comment = Made::new().file(
        "home/ann/.bashrc",
        "#export HSA_OVERRIDE_GFX_VERSION=10.3.0\n",
    );
    fine(&comment.check("override"));
}

#[test]
fn a_process_that_may_not_be_read_is_named() {
    let found = Made::new().denied("proc/4242/environ").check("override");
    expect(
        &found,
        Level::Unknown,
        &["python3 (pid 4242)", "not permitted"],
    );
    let closed = Made::new().without("proc/4242").denied("proc/1/fd");
    expect(
        &closed.check("override"),
        Level::Unknown,
        &["1 processes of other users"],
    );
}

#[test]
fn xnack_is_told_to_be_without_effect() {
    let on = Made::new().variable("HSA_XNACK=1").check("xnack");
    expect(
        &on,
        Level::Note,
        &["HSA_XNACK=1", "without effect", "noretry=0 does not"],
    );
    fine(&Made::new().variable("HSA_XNACK=0").check("xnack"));
    fine(&Made::new().check("xnack"));
    let renoir = Made::new()
        .chip([9, 3, 0], 90_012, "0x1636")
        .variable("HSA_XNACK=1");
    assert_eq!(renoir.check("xnack"), []);
}

#[test]
fn variables_that_change_a_test_are_told_of() {
    for (variable, words) in [
        ("HSA_DISABLE_CACHE=1", "UC already"),
        ("HSA_ENABLE_SDMA=0", "shaders"),
        ("AMD_SERIALIZE_KERNEL=3", "slower"),
        ("MIOPEN_DEBUG_CONV_GEMM=0", "MIOpen's kernels"),
        ("MIOPEN_FIND_MODE=1", "MIOpen chooses"),
        ("PYTORCH_ROCM_ARCH=gfx1010", "when it is built"),
    ] {
        let found = Made::new().variable(variable).check("environment");
        expect(&found, Level::Note, &[variable, words]);
    }
    fine(&Made::new().variable("HSA_TOOLS_LIB=x").check("environment"));
}
