// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a report of a bug has no need of: names of users and of the machine, homes, serial numbers, addresses.
//!
//! Two ways together: what this machine says its own names and numbers are is replaced wherever it stands, and what has
//! the form of such a thing is replaced whether the machine is known to have it or not. Rather too much than too little.

use crate::system::System;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The first number of a person's account, and the one of nobody.
const PERSONS: std::ops::Range<u32> = 1000..65_534;
/// Shorter names would be found in ordinary words.
const SHORTEST: usize = 3;
/// Words that are no secret even if somebody is called so.
const HARMLESS: [&str; 7] = [
    "root", "user", "amdgpu", "render", "video", "linux", "debian",
];

/// Files whose content is a secret.
const SERIALS: [(&str, &str); 7] = [
    ("etc/machine-id", "MACHINE-ID"),
    ("var/lib/dbus/machine-id", "MACHINE-ID"),
    ("sys/class/dmi/id/product_serial", "SERIAL"),
    ("sys/class/dmi/id/product_uuid", "SERIAL"),
    ("sys/class/dmi/id/board_serial", "SERIAL"),
    ("sys/class/dmi/id/chassis_serial", "SERIAL"),
    ("proc/sys/kernel/random/boot_id", "BOOT-ID"),
];
const HOSTS: [&str; 2] = ["proc/sys/kernel/hostname", "etc/hostname"];

/// What is hidden, and how often it was met.
#[derive(Debug, Default)]
pub struct Hider {
    /// Secrets in small letters and what stands for them, the longest first.
    secrets: Vec<(String, String)>,
    /// How often each kind was replaced.
    pub met: BTreeMap<String, usize>,
}

impl Hider {
    /// Learns the secrets of a machine.
    pub fn of(system: &System) -> Self {
        let mut hider = Self::default();
        for path in HOSTS {
            if let Ok(name) = system.text(path) {
                hider.add(&name, "HOST");
                // The short name of a full one.
                hider.add(name.split('.').next().unwrap_or_default(), "HOST");
            }
        }
        for (path, stands) in SERIALS {
            if let Ok(serial) = system.text(path) {
                hider.add(&serial, stands);
            }
        }
        let devices = "sys/bus/pci/devices";
        for device in system.list(devices).unwrap_or_default() {
            for name in ["unique_id", "serial_number"] {
                if let Ok(serial) = system.text(&format!("{devices}/{device}/{name}")) {
                    hider.add(&serial, "SERIAL");
                }
            }
        }
        hider.users(&system.text("etc/passwd").unwrap_or_default());
        for name in system.list("home").unwrap_or_default() {
            hider.add(&name, "USER");
        }
        for name in ["SUDO_USER", "USER", "LOGNAME"] {
            if let Ok(name) = std::env::var(name) {
                hider.add(&name, "USER");
            }
        }
        hider
            .secrets
            .sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        hider.secrets.dedup();
        hider
    }

    fn add(&mut self, secret: &str, stands: &str) {
        let secret = secret.trim().to_lowercase();
        if secret.len() >= SHORTEST && !HARMLESS.contains(&secret.as_str()) {
            self.secrets.push((secret, stands.to_owned()));
        }
    }

    /// Names, full names and homes of persons.
    fn users(&mut self, passwd: &str) {
        for line in passwd.lines() {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, number, _, full, home, ..] = fields.as_slice() else {
                continue;
            };
            if !number.parse().is_ok_and(|number| PERSONS.contains(&number)) {
                continue;
            }
            self.add(home.trim_end_matches('/'), "HOME");
            self.add(name, "USER");
            for part in full.split(',') {
                self.add(part, "NAME");
            }
        }
    }

    /// A text without them.
    pub fn text(&mut self, text: &str) -> String {
        let mut done = text.to_owned();
        for (secret, stands) in &self.secrets {
            done = replace(&done, secret, stands, &mut self.met);
        }
        self.forms(&done)
    }

    /// What has the form of a secret: MAC, IP, UUID, home, long hexadecimal number that is no address.
    fn forms(&mut self, text: &str) -> String {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let of = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-' | '%');
            let length = rest.find(|c| !of(c)).unwrap_or(rest.len());
            if length == 0 {
                done.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(length);
            // Nothing of a path of a home but its end.
            let in_home = done.ends_with("home/") && word != "USER";
            match (in_home, form(word)) {
                (true, _) => {
                    done.push_str("USER");
                    *self.met.entry("USER".into()).or_default() += 1;
                }
                (false, Some((begin, end, stands))) => {
                    done.push_str(&word[..begin]);
                    done.push_str(stands);
                    done.push_str(&word[end..]);
                    *self.met.entry(stands.to_owned()).or_default() += 1;
                }
                (false, None) => done.push_str(word),
            }
            rest = after;
        }
        done
    }

    /// Every text of a document, names of members too.
    pub fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(values) => values.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(members) => {
                let hidden = members
                    .into_iter()
                    .map(|(name, value)| (self.text(&name), self.value(value)));
                Value::Object(hidden.collect())
            }
            other => other,
        }
    }
}

/// Replaces `secret`, which is in small letters, where it stands as a word.
fn replace(text: &str, secret: &str, stands: &str, met: &mut BTreeMap<String, usize>) -> String {
    let small = text.to_ascii_lowercase();
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut done, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in small.match_indices(secret) {
        let end = at + secret.len();
        let alone = !word(small[..at].chars().next_back()) && !word(small[end..].chars().next());
        if at < from || !alone {
            continue;
        }
        done.push_str(&text[from..at]);
        done.push_str(stands);
        from = end;
        *met.entry(stands.to_owned()).or_default() += 1;
    }
    done.push_str(&text[from..]);
    done
}

/// Where in a word a secret is, by its form, and what stands for it.
fn form(word: &str) -> Option<(usize, usize, &'static str)> {
    // A full stop or colon at the end belongs to the sentence.
    let end = word.trim_end_matches(['.', ':', '-']).len();
    let core = &word[..end];
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let parts = |c: char, lengths: &[usize]| {
        let parts: Vec<_> = core.split(c).collect();
        parts.len() == lengths.len()
            && parts
                .iter()
                .zip(lengths)
                .all(|(part, length)| hex(part, *length))
    };
    if parts(':', &[2; 6]) || parts('-', &[2; 6]) {
        return Some((0, end, "MAC"));
    }
    if parts('-', &[8, 4, 4, 4, 12]) {
        return Some((0, end, "UUID"));
    }
    if core.parse::<Ipv4Addr>().is_ok() {
        return Some((0, end, "IP"));
    }
    // With a port.
    if let Some((address, port)) = core.rsplit_once(':') {
        if address.parse::<Ipv4Addr>().is_ok() && port.parse::<u16>().is_ok() {
            return Some((0, address.len(), "IP"));
        }
    }
    let address = core.split('%').next().unwrap_or_default();
    let version6 = address.matches(':').count() >= 2 && address.parse::<Ipv6Addr>().is_ok();
    if version6 && address != "::" {
        return Some((0, end, "IP"));
    }
    if hex(core, 32) {
        return Some((0, end, "ID"));
    }
    None
}
