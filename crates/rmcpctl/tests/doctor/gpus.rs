// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks of GPUs, their KFD nodes and who may use them.

use crate::machine::{GPU, Made, expect, fine};
use rmcpctl::doctor::check::Level;

#[test]
fn other_generations_are_named_and_left_alone() {
    let renoir = Made::new().chip([9, 3, 0], 90_012, "0x1636");
    let found = renoir.check("gpu");
    expect(&found, Level::Note, &["gfx90c", "9.3.0", "leaves it alone"]);
    let none = Made::new().gpu("vendor", "0x8086").check("gpu");
    expect(&none, Level::Problem, &["no AMD GPU"]);
    let denied = Made::new().denied("sys/bus/pci/devices").check("gpu");
    expect(&denied, Level::Unknown, &["not permitted"]);
}

#[test]
fn two_generations_beside_each_other_are_worth_a_note() {
    let other = "sys/bus/pci/devices/0000:0a:00.0";
    let made = Made::new()
        .file(&format!("{other}/class"), "0x030000")
        .file(&format!("{other}/vendor"), "0x1002")
        .file(&format!("{other}/device"), "0x1636")
        .file(&format!("{other}/ip_discovery/die/0/GC/0/major"), "9")
        .file(&format!("{other}/ip_discovery/die/0/GC/0/minor"), "3")
        .file(&format!("{other}/ip_discovery/die/0/GC/0/revision"), "0");
    let found = made.check("gpu");
    expect(&found, Level::Ok, &["gfx1010", "10.1.10"]);
    expect(&found, Level::Note, &["ROCR_VISIBLE_DEVICES"]);
}

#[test]
fn a_gpu_that_kfd_leaves_out_is_a_problem() {
    let nodes = "sys/class/kfd/kfd/topology/nodes/1";
    let found = Made::new().without(nodes).check("rocm-sees-it");
    expect(&found, Level::Problem, &["no node for it"]);
    let made = Made::new()
        .without(nodes)
        .logs("kfd kfd: amdgpu: skipped device 1002:731f, PCI rejects atomics 127<145");
    expect(
        &made.check("rocm-sees-it"),
        Level::Problem,
        &["PCIe atomics are the reason"],
    );
    let made = Made::new().without(nodes).without(&format!("{GPU}/driver"));
    expect(
        &made.check("rocm-sees-it"),
        Level::Problem,
        &["no driver has it"],
    );
    expect(
        &Made::new().without("sys/class/kfd").check("rocm-sees-it"),
        Level::Problem,
        &["CONFIG_HSA_AMD"],
    );
    expect(
        &Made::new()
            .without("sys/module/amdgpu")
            .check("rocm-sees-it"),
        Level::Problem,
        &["not loaded"],
    );
}

#[test]
fn whoever_is_not_in_the_group_is_told_how_to_get_in() {
    let groups = "root:x:0:\nvideo:x:44:ann\nrender:x:105:\nann:x:1000:\n";
    let found = Made::new().file("etc/group", groups).check("access");
    expect(
        &found,
        Level::Problem,
        &["/dev/kfd", "660", "usermod -aG render ann"],
    );
    expect(&found, Level::Problem, &["/dev/dri/renderD128"]);
    let video = Made::new()
        .file("etc/group", groups)
        .says("stat --format=%a %U %G /dev/kfd", "660 root video\n");
    expect(&video.check("access"), Level::Ok, &["/dev/kfd"]);
    let nobody = Made::new().says("stat --format=%a %U %G /dev/kfd", "600 root root\n");
    expect(
        &nobody.check("access"),
        Level::Problem,
        &["/dev/kfd", "udev rule"],
    );
    let open = Made::new()
        .file("etc/group", groups)
        .says("stat", "666 root root\n")
        .lacks("stat --format");
    fine(&open.check("access"));
    let gone = Made::new().fails(
        "stat --format=%a %U %G /dev/kfd",
        "stat: cannot statx '/dev/kfd': No such file or directory",
    );
    expect(&gone.check("access"), Level::Unknown, &["No such file"]);
    expect(
        &Made::new().denied("etc/passwd").check("access"),
        Level::Unknown,
        &["/etc/passwd", "not permitted"],
    );
}
