// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks of PCIe atomics and of the BAR. Limits are those of `kfd_device_info_init()` in Linux 7.3.

use crate::machine::{GPU, Made, config, expect, fine};
use rmcpctl::doctor::check::Level;

const PORT: &str = "sys/devices/pci0000:00/0000:00:03.1/config";
const SWITCH: &str = "sys/devices/pci0000:00/0000:00:03.1/0000:01:00.0/config";

/// Atomics are off at the GPU.
fn off() -> Made {
    Made::new().gpu("config", config(0, 0, 0))
}

fn firmware(made: Made, version: u32) -> Made {
    made.gpu("fw_version/mec_fw_version", format!("{version:#010x}\n"))
}

#[test]
fn missing_atomics_matter_up_to_a_version_of_the_firmware() {
    for (gc, target, device, limit) in [
        ([10, 1, 10], 100_100, "0x731f", 145),
        ([10, 1, 1], 100_102, "0x7340", 145),
        ([10, 3, 0], 100_300, "0x73bf", 92),
        ([10, 3, 5], 100_304, "0x743f", 92),
    ] {
        let check = |version| firmware(off().chip(gc, target, device), version).check("atomics");
        let words = format!("up to {}", limit - 1);
        expect(
            &check(limit - 1),
            Level::Problem,
            &["no PCIe atomics", &words, "leaves the GPU out"],
        );
        fine(&check(limit));
    }
    let on = firmware(Made::new(), 100).check("atomics");
    expect(&on, Level::Ok, &["PCIe atomics are on"]);
    let apu = firmware(off().chip([10, 3, 1], 100_303, "0x163f"), 1);
    expect(&apu.check("atomics"), Level::Ok, &["an APU"]);
}

#[test]
fn the_place_where_atomics_end_is_named() {
    let check = |made: Made| firmware(made, 100).check("atomics");
    expect(
        &check(off().file(PORT, config(4, 0x80, 0))),
        Level::Problem,
        &["root port 0000:00:03.1 does not complete"],
    );
    expect(
        &check(off().file(SWITCH, config(5, 0, 0))),
        Level::Problem,
        &["bridge 0000:01:00.0 does not pass"],
    );
    expect(
        &check(off().file(SWITCH, config(5, 0x40, 0x80))),
        Level::Problem,
        &["bridge 0000:01:00.0 does not let"],
    );
    expect(
        &check(off()),
        Level::Problem,
        &["did not switch them on for 0000:03:00.0"],
    );
}

#[test]
fn what_a_user_does_not_see_of_the_bus_is_unknown_unless_the_firmware_settles_it() {
    let short = || Made::new().gpu("config", &config(0, 0, 0x40)[..64]);
    expect(
        &firmware(short(), 100).check("atomics"),
        Level::Unknown,
        &["only root sees more"],
    );
    expect(
        &firmware(short(), 145).check("atomics"),
        Level::Ok,
        &["145 does without"],
    );
    let neither = short().without(&format!("{GPU}/fw_version"));
    expect(
        &neither.check("atomics"),
        Level::Unknown,
        &["only root", "amdgpu_firmware_info: not there"],
    );
    let debugfs = "MEC feature version: 38, firmware version: 0x00000064\n";
    let debugfs = off().without(&format!("{GPU}/fw_version")).file(
        "sys/kernel/debug/dri/0000:03:00.0/amdgpu_firmware_info",
        debugfs,
    );
    expect(
        &debugfs.check("atomics"),
        Level::Problem,
        &["firmware 100 needs them"],
    );
}

#[test]
fn a_capability_list_that_bites_its_tail_ends() {
    let mut space = config(0, 0, 0x40);
    space[0x51] = 0x50;
    let found = firmware(Made::new().gpu("config", space), 100).check("atomics");
    expect(&found, Level::Unknown, &["no PCI Express capability"]);
}

#[test]
fn the_log_of_a_rejection_is_enough() {
    // The words of kgd2kfd_device_init().
    let made =
        Made::new().logs("kfd kfd: amdgpu: skipped device 1002:731f, PCI rejects atomics 127<145");
    expect(
        &made.check("atomics"),
        Level::Problem,
        &["127<145", "this boot"],
    );
}

#[test]
fn a_small_bar_is_worth_a_note() {
    let small = "0x0000007800000000 0x000000780fffffff 0x000000000014220c\n";
    expect(
        &Made::new().gpu("resource", small).check("bar"),
        Level::Note,
        &["256 of 8176 MiB", "No failure"],
    );
    fine(&Made::new().check("bar"));
    let none = Made::new().without(&format!("{GPU}/mem_info_vram_total"));
    expect(&none.check("bar"), Level::Unknown, &["BAR 0"]);
}
