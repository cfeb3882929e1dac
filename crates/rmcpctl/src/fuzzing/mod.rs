// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entry points for fuzzers: bytes in, an answer or a refusal out. With the feature `fuzzing` only.
//!
//! Survival means: no panic, and an end after bounded work. `seeds` holds what these parsers usually read. The same
//! functions run in `cargo test`, over seeds and mutations of them from a fixed sequence.

mod seeds;
#[cfg(test)]
mod tests;

use crate::clients::{self, Tables};
use crate::doctor::log::{Log, fault, reading};
use crate::doctor::machine::{access, bus, libraries, options, processes};
use crate::doctor::{code, gfx::Gfx};
use crate::gpu::{Gc, Product};
use crate::pagetable::saved::Walk;
use crate::pagetable::walk;
use crate::rmcp::{Counters, NAMES, PARAMETERS, State, defaults};
use crate::set::persist;
use crate::system::{
    Attended, End, Files, Found, Nobody, Places, Recording, Refusal, System, clean,
};
use crate::r#try::{ladder, record};
use crate::workloads::said::{self, Outcome};
use std::path::PathBuf;
use std::time::Duration;

/// A harness: its name, what it feeds, and seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the fuzz target.
    pub name: &'static str,
    /// Plays one input.
    pub play: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All harnesses.
pub const TARGETS: &[Target] = &[
    Target {
        name: "doctor_log",
        play: doctor_log,
        seeds: seeds::logs,
    },
    Target {
        name: "doctor_code",
        play: doctor_code,
        seeds: seeds::libraries,
    },
    Target {
        name: "doctor_files",
        play: doctor_files,
        seeds: seeds::files,
    },
    Target {
        name: "ctl_files",
        play: ctl_files,
        seeds: seeds::ctl_files,
    },
    Target {
        name: "ctl_walk",
        play: ctl_walk,
        seeds: seeds::walks,
    },
    Target {
        name: "ctl_saved",
        play: ctl_saved,
        seeds: seeds::saved,
    },
    Target {
        name: "try_ladder",
        play: try_ladder,
        seeds: seeds::ladders,
    },
    Target {
        name: "try_record",
        play: try_record,
        seeds: seeds::records,
    },
    Target {
        name: "ctl_workload",
        play: ctl_workload,
        seeds: seeds::workloads,
    },
];

/// Writes the seeds of the target called `name` into the folder that `cargo xtask fuzz` names in the environment's
/// `RDNA_EMU_SEEDS`, if it does.
///
/// # Panics
/// When the folder cannot be written.
pub fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("RDNA_EMU_SEEDS").map(PathBuf::from) else {
        return;
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let seeds = target.map_or_else(Vec::new, |target| (target.seeds)());
    for (number, seed) in seeds.iter().enumerate() {
        let file = folder.join(format!("seed-{name}-{number}"));
        if let Err(error) = std::fs::write(&file, seed) {
            panic!("cannot write {}: {error}", file.display());
        }
    }
}

/// Logs of every kind.
pub fn doctor_log(data: &[u8]) {
    let log = Log::of_text(&clean(data), "input");
    assert!(log.faults.len() <= fault::KEEP);
    for fault in &log.faults {
        for gc in [None, Some(NAVI21)] {
            let sentence = reading::sentence(fault, gc);
            assert!(sentence.ends_with('.'), "{sentence:?}");
        }
    }
    assert!(serde_json::to_vec(&log).is_ok());
}

const NAVI21: Gc = Gc {
    major: 10,
    minor: 3,
    revision: 0,
};

/// A file in memory.
struct Memory<'a>(&'a [u8]);

impl Places for Memory<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Found<()> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(into.len())?));
        let part = range.and_then(|range| self.0.get(range));
        into.copy_from_slice(part.ok_or(Refusal::Other("cut off".into()))?);
        Ok(())
    }
}

/// A library with code for GPUs.
pub fn doctor_code(data: &[u8]) {
    if let Ok(code) = code::read(&Memory(data)) {
        assert!(code.chips.values().all(|count| *count <= code.bundles));
        assert!(code.unread <= code.bundles);
    }
    // What begins with a bundle gets a library around it, so that more inputs come that far.
    if data.starts_with(b"__CLANG") || data.starts_with(b"CCOB") {
        let _ = code::read(&Memory(&seeds::library(data)));
    }
}

/// Options, environments, lists of users, and configuration spaces.
pub fn doctor_files(data: &[u8]) {
    let text = clean(data);
    for (name, _) in options::command_line(&text, "amdgpu") {
        assert!(!name.contains('-'));
    }
    let _ = options::modprobe(&text, "amdgpu");
    let _ = (
        processes::environment(data, ""),
        processes::assignments(&text, ""),
    );
    let _ = (access::groups(&text, &text, "ann"), access::parse(&text));
    let _ = (
        libraries::assigned(&text, "hip"),
        libraries::packages(&text),
    );
    let _ = (
        libraries::major_minor(&text),
        Gfx::find(&text),
        Gfx::from_override(&text),
    );
    let _ = bus::function(data);
}

/// What `status`, `set` and `pagetable` read: the module's files, DRM clients, names of products, modprobe's options, and
/// recordings of whole machines.
pub fn ctl_files(data: &[u8]) {
    let text = clean(data);
    let _ = (State::parse(&text), Counters::parse(&text));
    let _ = (clients::fdinfo(&text), clients::parse_tables(&text));
    let _ = (
        Product::by_libdrm(&text, 0x731f, 0xc1),
        Product::by_pci_ids(&text, 0x731f),
    );
    let _ = persist::options(&text);
    if let Ok(recording) = Recording::parse(&text) {
        let again = recording.to_text();
        let read = Recording::parse(&again).map(|recording| recording.to_text());
        assert_eq!(read.as_ref(), Ok(&again));
    }
}

impl walk::Memory for Memory<'_> {
    fn read(&self, _: bool, address: u64, into: &mut [u8]) -> Found<()> {
        self.read_at(address, into)
    }
}

/// Page tables: the first 8 bytes are the root, the rest is video memory.
pub fn ctl_walk(data: &[u8]) {
    let Some((root, vram)) = data.split_first_chunk() else {
        return;
    };
    let tables = Tables {
        root: u64::from_le_bytes(*root),
        max_pfn: 1 << 36,
        levels: 3,
        block_size: 9,
        fragment_size: 9,
    };
    if let Ok(entries) = walk::walk(&Memory(vram), &tables) {
        let ascending = entries.windows(2).all(|pair| match pair {
            [a, b] => a.va < b.va || a.va == b.va && a.level > b.level,
            _ => true,
        });
        assert!(ascending && entries.iter().all(|entry| entry.kind().is_some()));
    }
}

/// Saved walks.
pub fn ctl_saved(data: &[u8]) {
    if let Ok(walk) = Walk::parse(data) {
        assert_eq!(Walk::parse(walk.to_json().as_bytes()), Ok(walk));
    }
}

/// Ladders: what is taken is whole, and can be told in a table.
pub fn try_ladder(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match ladder::parse(&text) {
        Ok(steps) => {
            assert!(!steps.is_empty());
            for step in steps {
                assert!(!step.name.is_empty() && !step.name.chars().any(char::is_control));
                let known = |name| NAMES.contains(&name) && name != "noretry";
                assert!(step.switches.iter().all(|wanted| known(wanted.name)));
                assert!(step.is_neutral() || !step.is_stock());
            }
        }
        Err(what) => assert!(!what.contains('\n'), "{what}"),
    }
}

/// Records that a killed `try` left: nothing but switches and the record itself is ever written, and only values that the
/// module takes.
pub fn try_record(data: &[u8]) {
    let mut files = Recording::default().with(record::RECORD, data);
    for (name, value) in defaults() {
        files = files.with(&format!("{PARAMETERS}/{name}"), format!("{value}\n"));
    }
    let files = std::rc::Rc::new(files);
    let system = System::new(std::rc::Rc::clone(&files), Nobody);
    let said = record::recover(&system);
    for (path, _) in files.written() {
        assert!(
            path == record::RECORD || path.starts_with(PARAMETERS),
            "{path}"
        );
    }
    let gone = files.read(record::RECORD, 1) == Err(Refusal::Missing);
    assert!(!gone || said.is_some());
}

/// What a workload left behind: its end, its output, and behind a zero its errors.
pub fn ctl_workload(data: &[u8]) {
    let Some((end, words)) = data.split_first() else {
        return;
    };
    let middle = words.iter().position(|&byte| byte == 0);
    let (out, err) = words.split_at(middle.unwrap_or(words.len()));
    let ended = match end % 4 {
        0 => None,
        1 => Some(End::Signal(i32::from(*end / 4))),
        _ => Some(End::Exit(i32::from(*end / 4))),
    };
    let told = said::read(&Attended {
        ended,
        out: out.to_vec(),
        err: err.to_vec(),
        time: Duration::from_secs(3),
    });
    let passed = told.outcome == Outcome::Passed;
    assert_eq!(passed, told.why.is_none());
    if passed {
        assert!(ended == Some(End::Exit(0)) && told.failed == 0 && told.errors.is_empty());
    }
    assert!(told.failed <= told.checks && told.wrong.len() <= 20 && told.errors.len() <= 12);
    assert!(serde_json::to_vec(&told).is_ok());
}
