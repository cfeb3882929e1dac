// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that use ROCm, what their environment says, and where such variables are set for good.

use crate::system::{Refusal, System, clean};
use serde::Serialize;

/// Files of settings that shells and sessions read.
const PLACES: [&str; 4] = [
    "etc/environment",
    "etc/profile",
    "etc/bash.bashrc",
    "etc/zsh/zshrc",
];
const FOLDERS: [&str; 2] = ["etc/profile.d", "etc/environment.d"];
const OF_HOMES: [&str; 7] = [
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".xsessionrc",
    ".config/environment.d/rocm.conf",
];
/// The most processes, descriptors and homes that are looked at.
const MOST: usize = 100_000;
const HOMES: usize = 50;

/// A variable of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whose it is: a process, or the file that sets it.
    pub place: String,
}

/// A process that holds /dev/kfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Why its environment could not be read, if so.
    pub refused: Option<String>,
    /// The libraries of ROCm and PyTorch that it has loaded.
    pub libraries: Vec<String>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Processes {
    /// Those that hold /dev/kfd.
    pub rocm: Vec<Process>,
    /// How many could not be looked into.
    pub closed: usize,
    /// Variables that matter to ROCm, of these processes, of whoever asks, and in files.
    pub variables: Vec<Variable>,
}

/// Whether a check may want it.
fn matters(name: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "HSA_",
        "HIP_",
        "MIOPEN_",
        "ROCR_",
        "AMD_",
        "GPU_",
        "PYTORCH_HIP_",
        "PYTORCH_ROCM_",
        "ROCBLAS_",
    ];
    BEGINNINGS
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// The variables of an environment block that matter.
pub fn environment(block: &[u8], place: &str) -> Vec<Variable> {
    let variables = block.split(|byte| *byte == 0).filter_map(|entry| {
        let entry = clean(entry);
        let (name, value) = entry.split_once('=')?;
        matters(name).then(|| Variable {
            name: name.to_owned(),
            value: value.to_owned(),
            place: place.to_owned(),
        })
    });
    variables.take(200).collect()
}

/// Assignments of variables that matter in a file for a shell.
pub fn assignments(text: &str, place: &str) -> Vec<Variable> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let found = lines.filter_map(|line| {
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = line.split_once('=')?;
        if !matters(name) || name.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            return None;
        }
        let value = value
            .split([' ', '\t', ';', '#'])
            .next()
            .unwrap_or_default();
        Some(Variable {
            name: name.to_owned(),
            value: value.trim_matches(['"', '\'']).to_owned(),
            place: place.to_owned(),
        })
    });
    found.take(200).collect()
}

/// Looks.
pub fn all(system: &System) -> Processes {
    let mut found = Processes::default();
    if let Ok(block) = system.bytes("proc/self/environ") {
        found
            .variables
            .extend(environment(&block, "the environment of this command"));
    }
    let names = system.list("proc").unwrap_or_default();
    for pid in names
        .iter()
        .filter_map(|name| name.parse::<u32>().ok())
        .take(MOST)
    {
        match holds_kfd(system, pid) {
            Ok(true) => process(system, pid, &mut found),
            Ok(false) | Err(Refusal::Missing) => {}
            Err(_) => found.closed += 1,
        }
    }
    let mut paths: Vec<String> = PLACES.map(str::to_owned).to_vec();
    for folder in FOLDERS {
        let names = system.list(folder).unwrap_or_default();
        paths.extend(
            names
                .iter()
                .take(HOMES)
                .map(|name| format!("{folder}/{name}")),
        );
    }
    let homes = system.list("home").unwrap_or_default();
    let homes = homes.iter().take(HOMES).map(|name| format!("home/{name}"));
    for home in homes.chain(["root".to_owned()]) {
        paths.extend(OF_HOMES.map(|name| format!("{home}/{name}")));
    }
    for path in paths {
        if let Ok(text) = system.text(&path) {
            found
                .variables
                .extend(assignments(&text, &format!("/{path}")));
        }
    }
    found
}

fn holds_kfd(system: &System, pid: u32) -> Result<bool, Refusal> {
    let folder = format!("proc/{pid}/fd");
    let names = system.list(&folder)?;
    let holds = |name: &String| {
        let link = system.files().link(&format!("{folder}/{name}"));
        link.is_ok_and(|link| link == "/dev/kfd")
    };
    Ok(names.iter().take(MOST).any(holds))
}

fn process(system: &System, pid: u32, found: &mut Processes) {
    let name = system.text(&format!("proc/{pid}/comm")).unwrap_or_default();
    let place = format!("{name} (pid {pid})");
    let refused = match system.bytes(&format!("proc/{pid}/environ")) {
        Ok(block) => {
            found.variables.extend(environment(&block, &place));
            None
        }
        Err(refusal) => Some(refusal.to_string()),
    };
    let maps = system.files().read(&format!("proc/{pid}/maps"), 16 << 20);
    let maps = clean(&maps.unwrap_or_default());
    let wanted = [
        "/libtorch_hip.so",
        "/librocblas.so",
        "/libMIOpen.so",
        "/libamdhip64.so",
    ];
    let mut libraries: Vec<String> = maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .filter(|path| wanted.iter().any(|name| path.contains(name)))
        .map(str::to_owned)
        .collect();
    libraries.sort_unstable();
    libraries.dedup();
    found.rocm.push(Process {
        pid,
        name,
        refused,
        libraries,
    });
}
