// SPDX-License-Identifier: MIT OR Apache-2.0
//! The switches as files and as load options: what is taken, what is refused, and what a refusal leaves behind.
//!
//! Two things are the kernel's doing and the same for every module: sysfs drops a write of no bytes and hands on at
//! most 4096 of them, and a parameter's text ends at its first NUL.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{Bytes, Insmod, Stat};
use object::{Object, ObjectSection};
use xtask::vm::Vm;
use xtask::vm::actions::parameter_path;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "modinfo names licence, description, author and every parameter",
        Needs::Nothing,
        modinfo,
    ),
    Scenario::new(
        "parameters have their defaults and permissions",
        Needs::NoDriver,
        defaults,
    ),
    Scenario::new("good values are taken and read back", Needs::NoDriver, good),
    Scenario::new(
        "30 bad values of every switch are refused while loaded",
        Needs::NoDriver,
        bad_values_written,
    ),
    Scenario::new(
        "bad values of every switch at load are refused",
        Needs::NoDriver,
        bad_at_load,
    ),
    Scenario::new(
        "mtype_strict is warned about when it is switched on",
        Needs::NoDriver,
        strict_warns,
    ),
    Scenario::new(
        "state cannot be written or given at load",
        Needs::NoDriver,
        state_is_read_only,
    ),
];

const EINVAL: i32 = 22;
const EACCES: i32 = 13;

/// A parameter, with the words that a refusal must hold.
type Switch = (&'static str, &'static [&'static str]);

/// The parameters that can be written.
const MTYPE: Switch = ("mtype", &["keep", "nc", "uc"]);
const ENABLE: Switch = ("enable", &["Y", "N"]);
const SCOPE: Switch = ("mtype_scope", &["all", "vram", "system"]);
const CLIENTS: Switch = ("clients", &["all", "compute"]);
const STRICT: Switch = ("mtype_strict", &["Y", "N"]);
const FRAGMENT: Switch = ("fragment_size", &["keep", "0", "31"]);
const DEVICES: Switch = ("devices", &["all", "0000:03:00.0"]);
/// Only an option at load time.
const NORETRY: Switch = ("noretry", &["keep", "0", "1"]);

/// Every switch that can be written, with two of its values.
const SWITCHES: [(Switch, [&str; 2]); 7] = [
    (MTYPE, ["keep", "uc"]),
    (ENABLE, ["N", "Y"]),
    (SCOPE, ["vram", "system"]),
    (CLIENTS, ["compute", "all"]),
    (STRICT, ["Y", "N"]),
    (FRAGMENT, ["4", "31"]),
    (DEVICES, ["0000:01:00.0", "0000:03:00.0,0001:04:1f.7"]),
];

fn modinfo(stage: &mut Stage) -> Result<()> {
    let file = fs_read(&stage.rmcp)?;
    let elf = object::File::parse(file.as_slice()).context("rmcp.ko is no ELF file")?;
    let section = elf
        .section_by_name(".modinfo")
        .context("rmcp.ko has no .modinfo")?;
    let text = String::from_utf8(section.data()?.to_vec()).context(".modinfo is no text")?;
    let facts: Vec<(&str, &str)> = text
        .split('\0')
        .filter(|fact| !fact.is_empty())
        .filter_map(|fact| fact.split_once('='))
        .collect();
    let all = |key: &str| {
        facts
            .iter()
            .filter(|(k, _)| *k == key)
            .map(|(_, v)| *v)
            .collect::<Vec<_>>()
    };
    demand!(
        matches!(all("license")[..], ["GPL" | "GPL v2"]),
        "license: {:?}",
        all("license")
    );
    for key in ["description", "author"] {
        demand!(
            all(key).iter().any(|value| !value.trim().is_empty()),
            "no {key}"
        );
    }
    let switches = SWITCHES.map(|(switch, _)| switch);
    for (name, words) in switches.into_iter().chain([NORETRY, ("state", &[])]) {
        let prefix = format!("{name}:");
        let parm = all("parm")
            .into_iter()
            .find_map(|value| value.strip_prefix(&prefix));
        let parm = parm.with_context(|| format!("modinfo does not describe {name}"))?;
        for word in words {
            demand!(
                parm.contains(word),
                "modinfo's text of {name} lacks the value {word}: {parm:?}"
            );
        }
    }
    let vermagic = all("vermagic");
    demand!(
        vermagic
            .iter()
            .any(|value| value.starts_with(&stage.kernel.release)),
        "vermagic: {vermagic:?}"
    );
    Ok(())
}

fn fs_read(path: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn defaults(stage: &mut Stage) -> Result<()> {
    stage.rmcp("")?;
    for (name, value, mode) in [
        ("enable", Some("Y"), 0o644),
        ("mtype", Some("nc"), 0o644),
        ("mtype_scope", Some("all"), 0o644),
        ("clients", Some("all"), 0o644),
        ("mtype_strict", Some("N"), 0o644),
        ("fragment_size", Some("9"), 0o644),
        ("devices", Some("all"), 0o644),
        ("noretry", Some("keep"), 0o444),
        ("state", None, 0o444),
    ] {
        let info = stage.call(Stat {
            path: parameter_path(RMCP, name),
        })?;
        demand!(
            info.mode == mode,
            "{name} has mode {:o}, expected {mode:o}",
            info.mode
        );
        if let Some(value) = value {
            let found = stage.parameter(RMCP, name)?;
            demand!(
                found == value,
                "{name} is {found:?} by default, expected {value:?}"
            );
        }
    }
    Ok(())
}

fn good(stage: &mut Stage) -> Result<()> {
    // What is written, and what is read back.
    let values: [(&str, &[(&str, &str)]); 7] = [
        ("mtype", &[("keep", "keep"), ("uc", "uc"), ("nc", "nc")]),
        (
            "mtype_scope",
            &[("vram", "vram"), ("system", "system"), ("all", "all")],
        ),
        ("clients", &[("compute", "compute"), ("all", "all")]),
        ("mtype_strict", &[("Y", "Y"), ("1", "Y"), ("n", "N")]),
        (
            "fragment_size",
            &[
                ("0", "0"),
                ("4", "4"),
                ("31", "31"),
                ("keep", "keep"),
                ("9", "9"),
            ],
        ),
        (
            "devices",
            &[
                ("0000:01:00.0", "0000:01:00.0"),
                ("01:00.0,0001:AB:1f.7", "0000:01:00.0,0001:ab:1f.7"),
                ("all", "all"),
            ],
        ),
        (
            "enable",
            &[
                ("N", "N"),
                ("Y", "Y"),
                ("n", "N"),
                ("y", "Y"),
                ("0", "N"),
                ("1", "Y"),
            ],
        ),
    ];
    stage.rmcp("")?;
    for (name, pairs) in values {
        for (written, read) in pairs {
            for ending in ["\n", ""] {
                let taken = stage.write(
                    &parameter_path(RMCP, name),
                    format!("{written}{ending}").as_bytes(),
                )?;
                demand!(taken.is_ok(), "{name} did not take {written:?}: {taken:?}");
                let found = stage.parameter(RMCP, name)?;
                demand!(
                    found == *read,
                    "{name} is {found:?} after {written:?}, expected {read:?}"
                );
            }
        }
    }
    for (name, pairs) in values {
        for (written, read) in pairs {
            stage.unload(RMCP)?;
            stage.rmcp(&format!("{name}={written}"))?;
            let found = stage.parameter(RMCP, name)?;
            demand!(
                found == *read,
                "{name} is {found:?} after loading with {written:?}, expected {read:?}"
            );
        }
    }
    Ok(())
}

/// Values that no switch takes.
fn bad_values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = [
        "\n",
        " ",
        "\n\n",
        "\t",
        "KEEP",
        "Nc",
        "UC",
        "uC\n",
        "nc ",
        " nc",
        "nc\n\n",
        "nc\nuc",
        "nc uc",
        "nc,uc",
        "nc\0uc\n",
        "ncx",
        "n\0c",
        "\0nc",
        "keep\r\n",
        "kee",
        "none",
        "wc",
        "cc",
        "rw",
        "-1",
        "2",
        "0x1",
        "999999999999999999999",
        "Yes",
        "NO",
        "true",
        "off",
        "%s%n",
        "mtype=nc",
        "../nc",
        "ñc",
        "nc\u{200b}",
    ]
    .iter()
    .map(|value| value.as_bytes().to_vec())
    .collect();
    values.extend([
        b"\xff\xfe\xfd".to_vec(),
        b"nc\xff".to_vec(),
        b"\xc3(".to_vec(),
        vec![b'u'; 4095],
        vec![b'n'; 4096],
        // sysfs hands on the first page.
        vec![b'a'; 1 << 20],
    ]);
    values
}

/// What the kernel makes of a value before a module sees it.
fn as_seen(value: &[u8]) -> &[u8] {
    let page = &value[..value.len().min(4096)];
    page.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn bad_values_written(stage: &mut Stage) -> Result<()> {
    for (switch, old) in SWITCHES {
        bad(stage, switch, &old)?;
        stage.unload(RMCP)?;
    }
    Ok(())
}

fn strict_warns(stage: &mut Stage) -> Result<()> {
    let warnings = |stage: &mut Stage, mark| -> Result<usize> {
        let lines = stage.rmcp_lines(mark)?;
        let warnings = lines.iter().filter(|line| line.contains("wrong data"));
        Ok(warnings.count())
    };
    let mark = stage.mark()?;
    stage.rmcp("")?;
    demand!(warnings(stage, mark)? == 0, "rmcp warns by default");
    stage.switch("mtype_strict", "Y")?;
    demand!(warnings(stage, mark)? == 1, "no warning when written");
    stage.switch("mtype_strict", "N")?;
    stage.unload(RMCP)?;
    stage.rmcp("mtype_strict=Y")?;
    demand!(warnings(stage, mark)? == 2, "no warning at load");
    Ok(())
}

/// Every bad value under each of two old values.
fn bad(stage: &mut Stage, (name, words): (&str, &[&str]), old: &[&str]) -> Result<()> {
    let path = parameter_path(RMCP, name);
    let values: Vec<_> = bad_values()
        .into_iter()
        .filter(|value| !acceptable(name, as_seen(value)))
        .collect();
    demand!(
        values.len() >= 30,
        "only {} bad values for {name}",
        values.len()
    );
    stage.rmcp("")?;
    for (index, value) in values.iter().enumerate() {
        let old = old[index % old.len()];
        stage.switch(name, old)?;
        let mark = stage.mark()?;
        let shown = Bytes::from(value);
        match stage.write(&path, value)? {
            Err(failure) if failure.errno == Some(EINVAL) => {}
            other => bail!("{name} answered {other:?} to {shown:?}, expected EINVAL"),
        }
        let found = stage.parameter(RMCP, name)?;
        demand!(
            found == old,
            "{name} was {old:?}, but is {found:?} after the bad value {shown:?}"
        );
        one_line(stage, mark, name, words)
            .with_context(|| format!("after the bad value {shown:?}"))?;
    }
    // A write of no bytes never reaches a module.
    let taken = stage.write(&path, b"")?;
    demand!(taken.is_ok(), "sysfs refused to write nothing: {taken:?}");
    Ok(())
}

fn one_line(
    stage: &mut Stage,
    mark: xtask::vm::actions::Mark,
    name: &str,
    words: &[&str],
) -> Result<()> {
    let lines = stage.rmcp_lines(mark)?;
    let [line] = lines.as_slice() else {
        bail!("expected one line in the log, found {lines:?}");
    };
    demand!(
        line.contains(name),
        "the line does not name {name}: {line:?}"
    );
    for word in words {
        demand!(
            line.contains(word),
            "the line does not list {word}: {line:?}"
        );
    }
    Ok(())
}

/// Values of the list above that a parameter takes.
fn acceptable(name: &str, seen: &[u8]) -> bool {
    let bare = seen.strip_suffix(b"\n").unwrap_or(seen);
    let listed: &[&[u8]] = match name {
        "mtype" => &[b"nc", b"uc", b"keep"],
        "fragment_size" => &[b"keep", b"2"],
        "noretry" => &[b"keep"],
        "mtype_scope" | "clients" | "devices" => &[],
        _ => &[b"Y", b"N", b"y", b"n", b"0", b"1"],
    };
    listed.contains(&bare)
}

fn bad_at_load(stage: &mut Stage) -> Result<()> {
    let switches = SWITCHES.map(|(switch, _)| switch);
    for (name, words) in switches.into_iter().chain([NORETRY]) {
        let mut tried = 0;
        for value in bad_values() {
            // A load option is a C string; blanks and quotes part it, so only values without them arrive whole.
            let whole = !value
                .iter()
                .any(|byte| byte.is_ascii_whitespace() || *byte == 0 || *byte == b'"');
            if !whole || value.len() > 4096 || acceptable(name, &value) {
                continue;
            }
            refused_at_load(stage, name, words, &value)?;
            tried += 1;
        }
        refused_at_load(stage, name, words, b"")?;
        refused_at_load(stage, name, words, b"\" \"")?;
        demand!(tried >= 20, "only {tried} bad values for {name} at load");
    }
    Ok(())
}

fn refused_at_load(stage: &mut Stage, name: &str, words: &[&str], value: &[u8]) -> Result<()> {
    let mark = stage.mark()?;
    let params = Bytes([name.as_bytes(), b"=", value].concat());
    let shown = format!("{params:?}");
    match stage.attempt(Insmod {
        path: Vm::module_path(RMCP),
        params,
    })? {
        Err(failure) if failure.errno == Some(EINVAL) => {}
        other => bail!("loading with {shown} answered {other:?}, expected EINVAL"),
    }
    demand!(!stage.loaded(RMCP)?, "rmcp is loaded in spite of {shown}");
    let lines = stage.rmcp_lines(mark)?;
    // The kernel adds a line of its own: "rmcp: `x' invalid for parameter `mtype'".
    let ours: Vec<_> = lines
        .iter()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .collect();
    demand!(
        ours.len() == 1,
        "after {shown}: expected one line that lists the values, found {lines:?}"
    );
    Ok(())
}

fn state_is_read_only(stage: &mut Stage) -> Result<()> {
    stage.rmcp("")?;
    // root may open any file for writing; sysfs itself refuses where there is no way to store.
    let before = stage.parameter(RMCP, "state")?;
    match stage.write(&parameter_path(RMCP, "state"), b"armed\n")? {
        Err(failure) if [Some(EINVAL), Some(EACCES), Some(5)].contains(&failure.errno) => {}
        other => bail!("a write to state answered {other:?}"),
    }
    let after = stage.parameter(RMCP, "state")?;
    demand!(
        before == after,
        "state went from {before:?} to {after:?} by a write"
    );
    stage.unload(RMCP)?;
    match stage.insmod(RMCP, "state=armed")? {
        Err(failure) if failure.errno == Some(EINVAL) => Ok(()),
        other => bail!("loading with state=armed answered {other:?}, expected EINVAL"),
    }
}
