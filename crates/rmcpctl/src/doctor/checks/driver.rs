// SPDX-License-Identifier: MIT OR Apache-2.0
//! amdgpu itself: its options, and whose it is.

use crate::doctor::check::{Finding, Level};
use crate::doctor::machine::Machine;

/// An option that people set, and what it does on RDNA1 and RDNA2.
struct Known {
    name: &'static str,
    /// Values that are what the driver does anyway.
    usual: &'static [&'static str],
    level: Level,
    effect: &'static str,
    cure: Option<&'static str>,
    source: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        name: "vm_fragment_size",
        usual: &["-1"],
        level: Level::Note,
        effect: "without effect on the page tables of these chips: amdgpu looks at it on chips older than Vega10 only. It \
                 changes what user space is told. That it cures crashes is a claim without evidence; the project that made \
                 it later recorded that the crash stayed",
        cure: Some("take it out. A limit that has an effect is rmcp's fragment_size."),
        source: "amdgpu_vm_pte_fragment() in amdgpu_vm_pt.c, \
                 https://github.com/hkevin01/rocm-patch/blob/main/docs/archive/MTYPE_TEST_RESULTS.md",
    },
    Known {
        name: "mtype_local",
        usual: &["-1"],
        level: Level::Note,
        effect: "without effect here: only chips with GC 9.4.3, 9.4.4, 9.5.0 and 12.1 read it. That it cures crashes of \
                 RDNA1/2 is a claim without evidence",
        cure: Some("take it out. The memory type of these chips' mappings is rmcp's mtype."),
        source: "gmc_v9_0.c, gmc_v12_1.c, kfd_svm.c, \
                 https://github.com/hkevin01/rocm-patch/blob/main/docs/archive/MTYPE_TEST_RESULTS.md",
    },
    Known {
        name: "noretry",
        usual: &["-1", "1"],
        level: Level::Note,
        effect: "it has an effect: an access that faults is tried again instead of being given up, so that, as we read the \
                 driver, an abort can become a hang. It does not enable XNACK",
        cure: Some("take it out unless you test it; a fault says more when it is told of."),
        source: "amdgpu_gmc_noretry_set() in amdgpu_gmc.c",
    },
    Known {
        name: "vm_fault_stop",
        usual: &["0"],
        level: Level::Problem,
        effect: "the GPU's memory controller stops at a page fault: one fault of one program halts the whole GPU",
        cure: Some("take it out; it is for those who debug the driver."),
        source: "Documentation/gpu/amdgpu/debugging.rst",
    },
    Known {
        name: "vm_update_mode",
        usual: &["-1"],
        level: Level::Note,
        effect: "it has an effect: the CPU writes page tables (1 graphics, 2 compute, 3 both) instead of SDMA",
        cure: None,
        source: "amdgpu_vm_manager_init() in amdgpu_vm.c",
    },
    Known {
        name: "gpu_recovery",
        usual: &["-1", "1"],
        level: Level::Note,
        effect: "a GPU that hangs is not reset",
        cure: Some("take it out, or reboot after each hang."),
        source: "amdgpu_device_should_recover_gpu() in amdgpu_device.c",
    },
];

pub(super) fn options(machine: &Machine) -> Vec<Finding> {
    if machine.ours().next().is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for known in KNOWN {
        let places: Vec<_> = machine
            .settings
            .iter()
            .filter(|setting| setting.name == known.name)
            .map(|setting| format!("{}={} in {}", setting.name, setting.value, setting.place))
            .collect();
        let force = machine
            .in_force
            .iter()
            .find(|(name, _)| *name == known.name);
        let force = force.map(|(_, value)| value.as_str());
        let unusual = force.filter(|value| !known.usual.contains(value));
        let what = match (places.is_empty(), force, unusual) {
            (true, _, None) => continue,
            (true, _, Some(value)) => format!("{}={value} is in force", known.name),
            (false, Some(value), _) => format!("{} ({value} is in force)", places.join(", ")),
            (false, None, _) => format!("{} (what is in force is not known)", places.join(", ")),
        };
        // Set to what it is anyway, or not in force: nothing to tell of.
        let settings = machine
            .settings
            .iter()
            .filter(|setting| setting.name == known.name);
        let idle = unusual.is_none() && force.is_some();
        if idle
            && settings
                .clone()
                .all(|setting| known.usual.contains(&setting.value.as_str()))
        {
            found.push(Finding::ok(format!("{what}: as it is anyway.")));
            continue;
        }
        let mut finding = match known.level {
            Level::Problem => Finding::problem(format!("{what}: {}.", known.effect)),
            _ => Finding::note(format!("{what}: {}.", known.effect)),
        }
        .source(known.source);
        if let Some(cure) = known.cure {
            finding = finding.cure(cure);
        }
        found.push(finding);
    }
    if found.is_empty() {
        let count = machine.settings.len();
        found.push(Finding::ok(format!(
            "none of those that matter here is set; {count} options in all on the command line and in modprobe.d.",
        )));
    }
    found
}

pub(super) fn origin(machine: &Machine) -> Vec<Finding> {
    let driver = &machine.driver;
    let release = driver.release.as_deref().unwrap_or("of unknown release");
    let other = driver.amdkcl
        || driver
            .taint
            .as_deref()
            .is_some_and(|taint| taint.contains('O'));
    let mut found = Vec::new();
    if !driver.loaded {
        found.push(Finding::unknown("amdgpu is not loaded."));
    } else if other {
        let version = driver.version.as_deref().unwrap_or("of unknown version");
        found.push(
            Finding::note(format!(
                "amdgpu {version} is a module from outside of kernel {release}'s tree (amdgpu-dkms, or a build of somebody's)."
            ))
            .cure("before you report a bug or trust a comparison, try the kernel's own: \
                   remove amdgpu-dkms, rebuild the initramfs, reboot."),
        );
    } else {
        found.push(Finding::ok(format!("amdgpu is that of kernel {release}.")));
    }
    if !driver.dkms.is_empty() && driver.loaded && !other {
        found.push(Finding::note(format!(
            "DKMS has amdgpu {}, but it is not what is loaded: it was not built for this kernel, or the initramfs holds the \
             other one.",
            driver.dkms.join(", ")
        )));
    }
    found
}
