// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that amdgpu was given: on the kernel command line, in modprobe.d, and what is in force.

use crate::system::System;
use serde::Serialize;

/// The folders that modprobe reads, the stronger first.
const FOLDERS: [&str; 4] = [
    "etc/modprobe.d",
    "run/modprobe.d",
    "usr/local/lib/modprobe.d",
    "usr/lib/modprobe.d",
];
/// Files that are read of each folder.
const FILES: usize = 200;

/// An option and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The option's name, with `_`.
    pub name: String,
    /// Its value; empty when none was given.
    pub value: String,
    /// The file.
    pub place: String,
}

/// The options of module `module` on a kernel command line.
pub fn command_line(text: &str, module: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in text.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    // What comes after is for init.
    let words = words.iter().take_while(|word| *word != "--");
    words
        .filter_map(|word| {
            let (of, rest) = word.split_once('.')?;
            (of.replace('-', "_") == module).then(|| option(rest))
        })
        .collect()
}

/// `name=value`; names of the kernel's take `-` for `_`.
fn option(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.replace('-', "_"), value.trim_matches('"').to_owned())
}

/// The options of module `module` in a file of modprobe.d.
pub fn modprobe(text: &str, module: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("options")
            && words.next().map(|w| w.replace('-', "_")).as_deref() == Some(module)
        {
            found.extend(words.map(option));
        }
    }
    found
}

/// Every option that amdgpu is given anywhere.
pub fn all(system: &System) -> Vec<Setting> {
    let mut found = Vec::new();
    let mut add = |place: String, options: Vec<(String, String)>| {
        found.extend(options.into_iter().map(|(name, value)| Setting {
            name,
            value,
            place: place.clone(),
        }));
    };
    if let Ok(text) = system.text("proc/cmdline") {
        add("/proc/cmdline".into(), command_line(&text, "amdgpu"));
    }
    for folder in FOLDERS {
        let names = system.list(folder).unwrap_or_default();
        for name in names
            .iter()
            .filter(|name| name.ends_with(".conf"))
            .take(FILES)
        {
            let path = format!("{folder}/{name}");
            if let Ok(text) = system.text(&path) {
                add(format!("/{path}"), modprobe(&text, "amdgpu"));
            }
        }
    }
    found
}

/// The value that is in force.
pub fn in_force(system: &System, name: &str) -> Option<String> {
    system
        .text(&format!("sys/module/amdgpu/parameters/{name}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn a_command_line_is_read_as_the_kernel_reads_it() {
        let text = "root=/dev/sda1 amdgpu.vm-fragment-size=9 amdgpu.ppfeaturemask=\"0xffff ffff\" \
                    xamdgpu.noretry=1 amdgpu.dc rmcp.mtype=uc -- amdgpu.noretry=0\n";
        let found = command_line(text, "amdgpu");
        let expected = [
            pair("vm_fragment_size", "9"),
            pair("ppfeaturemask", "0xffff ffff"),
            pair("dc", ""),
        ];
        assert_eq!(found, expected);
        assert_eq!(command_line("amdgpu.x=\"", "amdgpu"), [pair("x", "")]);
    }

    #[test]
    fn options_of_modprobe_may_go_on_in_the_next_line() {
        let text = "# options amdgpu a=1\noptions amdgpu noretry=0 \\\n  mtype_local=1\n\
                    options amdgpu_extra b=2\noptions rmcp mtype=uc\nsoftdep amdgpu pre: rmcp\noptions\n";
        let expected = [pair("noretry", "0"), pair("mtype_local", "1")];
        assert_eq!(modprobe(text, "amdgpu"), expected);
    }
}
