// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks of amdgpu's options and origin.

use crate::machine::{Made, expect, fine};
use rmcpctl::doctor::check::Level;

const PARAMETERS: &str = "sys/module/amdgpu/parameters";

#[test]
fn options_without_effect_on_these_chips_are_named_as_such() {
    let line =
        "root=/dev/sda1 amdgpu.vm_fragment_size=9 amdgpu.noretry=0 amdgpu.mtype_local=1 quiet\n";
    let made = || {
        Made::new()
            .file("proc/cmdline", line)
            .file(&format!("{PARAMETERS}/vm_fragment_size"), "9")
            .file(&format!("{PARAMETERS}/noretry"), "0")
            .file(&format!("{PARAMETERS}/mtype_local"), "1")
    };
    let found = made().check("options");
    expect(
        &found,
        Level::Note,
        &[
            "vm_fragment_size=9 in /proc/cmdline",
            "without effect",
            "claim without evidence",
        ],
    );
    expect(
        &found,
        Level::Note,
        &[
            "mtype_local=1 in /proc/cmdline",
            "without effect",
            "claim without evidence",
        ],
    );
    expect(
        &found,
        Level::Note,
        &["noretry=0 in /proc/cmdline", "has an effect", "hang"],
    );
    assert_eq!(found.len(), 3);
    assert_eq!(
        made().chip([9, 3, 0], 90_012, "0x1636").check("options"),
        []
    );
}

#[test]
fn an_option_is_found_wherever_modprobe_looks() {
    for folder in ["etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d"] {
        let path = format!("{folder}/gpu.conf");
        let made = Made::new().file(&path, "options amdgpu vm_fragment_size=9\n");
        expect(
            &made.check("options"),
            Level::Note,
            &[&path, "(-1 is in force)"],
        );
    }
    let ignored = Made::new().file(
        "etc/modprobe.d/gpu.conf.bak",
        "options amdgpu vm_fragment_size=9\n",
    );
    fine(&ignored.check("options"));
}

#[test]
fn an_option_may_be_in_force_though_no_file_has_it() {
    let made = Made::new().file(&format!("{PARAMETERS}/vm_fault_stop"), "2");
    expect(
        &made.check("options"),
        Level::Problem,
        &["vm_fault_stop=2 is in force", "halts the whole GPU"],
    );
    let same = Made::new()
        .file("proc/cmdline", "amdgpu.noretry=1\n")
        .file(&format!("{PARAMETERS}/noretry"), "1");
    expect(
        &same.check("options"),
        Level::Ok,
        &["noretry=1", "as it is anyway"],
    );
}

#[test]
fn a_driver_from_outside_of_the_tree_is_told_of() {
    let dkms = Made::new()
        .file("sys/module/amdgpu/taint", "OE\n")
        .file("sys/module/amdgpu/version", "6.12.12\n")
        .file("sys/module/amdkcl/taint", "OE\n");
    expect(
        &dkms.check("driver"),
        Level::Note,
        &["amdgpu 6.12.12", "outside", "remove amdgpu-dkms"],
    );
    let unused = Made::new().file("var/lib/dkms/amdgpu/6.12.12-2202139.24.04/source", "");
    let found = unused.check("driver");
    expect(&found, Level::Ok, &["that of kernel 7.3.4+deb13-amd64"]);
    expect(
        &found,
        Level::Note,
        &["6.12.12-2202139.24.04", "not what is loaded"],
    );
    expect(
        &Made::new().without("sys/module/amdgpu").check("driver"),
        Level::Unknown,
        &["not loaded"],
    );
}
