// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine on which all is well, and ways to make it unwell.

use rmcpctl::doctor::check::{Finding, Level};
use rmcpctl::doctor::checks::TABLE;
use rmcpctl::doctor::machine::Machine;
use rmcpctl::doctor::{Diagnosis, examine};
use rmcpctl::system::{Found, Host, Ran, Recording, Refusal, System};
use std::collections::BTreeMap;
use std::time::Duration;

/// The GPU's folder behind its link.
pub(crate) const GPU: &str =
    "sys/devices/pci0000:00/0000:00:03.1/0000:01:00.0/0000:02:00.0/0000:03:00.0";
pub(crate) const TORCH: &str = "opt/venv/lib/python3.13/site-packages/torch";
const SWITCH: &str = "sys/devices/pci0000:00/0000:00:03.1/0000:01:00.0";
const PORT: &str = "sys/devices/pci0000:00/0000:00:03.1";

/// Programs that can be run: their words, and what they print. What is not here is not installed.
#[derive(Clone, Default)]
pub(crate) struct Programs(BTreeMap<String, Result<String, String>>);

impl Host for Programs {
    fn is_root(&self) -> bool {
        true
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn pause(&self, _: Duration) -> bool {
        false
    }
    fn run(&self, words: &[&str]) -> Found<Ran> {
        let line = words.join(" ");
        let known = self.0.iter().find(|(words, _)| line.starts_with(*words));
        let (_, said) = known.ok_or(Refusal::Missing)?;
        let (fine, text) = match said {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        Ok(Ran {
            fine,
            end: "exit status: 1".into(),
            out: if fine { text.clone() } else { String::new() },
            err: if fine { String::new() } else { text.clone() },
        })
    }
}

/// A machine under construction.
pub(crate) struct Made {
    pub(crate) files: Recording,
    pub(crate) programs: Programs,
}

/// A configuration space with a PCI Express capability at 0x58, behind one of power management.
pub(crate) fn config(kind: u16, devcap2: u32, devctl2: u16) -> Vec<u8> {
    let mut space = vec![0; 256];
    space[0x06] = 0x10;
    space[0x34] = 0x50;
    space[0x50..0x52].copy_from_slice(&[0x01, 0x58]);
    space[0x58..0x5a].copy_from_slice(&[0x10, 0x00]);
    space[0x5a..0x5c].copy_from_slice(&(kind << 4 | 2).to_le_bytes());
    space[0x58 + 0x24..0x58 + 0x28].copy_from_slice(&devcap2.to_le_bytes());
    space[0x58 + 0x28..0x58 + 0x2a].copy_from_slice(&devctl2.to_le_bytes());
    space
}

impl Made {
    /// The healthy one.
    pub(crate) fn new() -> Self {
        let files = Recording::parse(include_str!("../fixtures/healthy.txt")).unwrap();
        let code = crate::elf::with_fatbin(&crate::elf::bundle(&["gfx1010", "gfx1030"]));
        let files = files
            .with(&format!("{GPU}/config"), config(0, 0, 0x40))
            .with(&format!("{SWITCH}/0000:02:00.0/config"), config(6, 0x40, 0))
            .with(&format!("{SWITCH}/config"), config(5, 0x40, 0))
            .with(&format!("{PORT}/config"), config(4, 0x1c0, 0))
            .with(&format!("{TORCH}/lib/libtorch_hip.so"), code);
        let made = Self {
            files,
            programs: Programs::default(),
        };
        made.says("stat --format=%a %U %G /dev/kfd", "660 root render\n")
            .says(
                "stat --format=%a %U %G /dev/dri/renderD128",
                "660 root render\n",
            )
            .says(
                "journalctl -k -b 0",
                &journal("Linux version 7.3.4+deb13-amd64"),
            )
            .says(
                "journalctl -k -b -1",
                &journal("Linux version 7.3.4+deb13-amd64"),
            )
    }

    pub(crate) fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files = self.files.with(path, content);
        self
    }

    /// A file of the GPU.
    pub(crate) fn gpu(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.file(&format!("{GPU}/{name}"), content)
    }

    pub(crate) fn without(mut self, path: &str) -> Self {
        self.files = self.files.without(path);
        self
    }

    pub(crate) fn denied(mut self, path: &str) -> Self {
        self.files = self.files.denied(path);
        self
    }

    /// What a program prints.
    pub(crate) fn says(mut self, words: &str, text: &str) -> Self {
        self.programs.0.insert(words.into(), Ok(text.into()));
        self
    }

    /// With what words a program fails.
    pub(crate) fn fails(mut self, words: &str, text: &str) -> Self {
        self.programs.0.insert(words.into(), Err(text.into()));
        self
    }

    /// A program that is not installed.
    pub(crate) fn lacks(mut self, words: &str) -> Self {
        self.programs.0.retain(|name, _| !name.starts_with(words));
        self
    }

    /// The kernel's log of this boot.
    pub(crate) fn logs(self, text: &str) -> Self {
        self.says("journalctl -k -b 0", &journal(text))
    }

    /// Another chip in the same place: GC version and KFD's target.
    pub(crate) fn chip(self, gc: [u8; 3], target: u32, device: &str) -> Self {
        let mut made = self.gpu("device", device);
        for (name, value) in ["major", "minor", "revision"].into_iter().zip(gc) {
            made = made.gpu(
                &format!("ip_discovery/die/0/GC/0/{name}"),
                value.to_string(),
            );
        }
        let node = format!("gfx_target_version {target}\nlocation_id 768\ndomain 0\n");
        made.file("sys/class/kfd/kfd/topology/nodes/1/properties", node)
    }

    /// A variable of the process that uses ROCm.
    pub(crate) fn variable(self, text: &str) -> Self {
        self.file("proc/4242/environ", format!("HOME=/srv/ann\0{text}\0"))
    }

    pub(crate) fn system(self) -> System {
        System::new(self.files, self.programs)
    }

    pub(crate) fn examine(self) -> Diagnosis {
        let machine = Machine::read(&self.system(), Some("ann"), &[]);
        examine(machine, TABLE)
    }

    /// The findings of one check.
    pub(crate) fn check(self, id: &str) -> Vec<Finding> {
        let diagnosis = self.examine();
        let check = diagnosis.checks.into_iter().find(|check| check.id == id);
        check.map(|check| check.findings).unwrap_or_default()
    }
}

/// Lines as journalctl writes them.
pub(crate) fn journal(text: &str) -> String {
    let line = |line: &str| {
        let object = serde_json::json!({
            "MESSAGE": line,
            "_SOURCE_MONOTONIC_TIMESTAMP": "12000345",
            "_HOSTNAME": "box",
        });
        format!("{object}\n")
    };
    text.lines().map(line).collect()
}

/// That there is exactly one finding of this level with all these words.
#[track_caller]
pub(crate) fn expect(findings: &[Finding], level: Level, words: &[&str]) {
    let fits = |finding: &&Finding| {
        let text = format!(
            "{} {}",
            finding.what,
            finding.cure.as_deref().unwrap_or_default()
        );
        finding.level == level && words.iter().all(|word| text.contains(word))
    };
    let count = findings.iter().filter(fits).count();
    assert_eq!(count, 1, "{level:?} with {words:?} in {findings:#?}");
}

/// That all is well.
#[track_caller]
pub(crate) fn fine(findings: &[Finding]) {
    assert!(!findings.is_empty());
    assert!(
        findings.iter().all(|finding| finding.level == Level::Ok),
        "{findings:#?}"
    );
}
