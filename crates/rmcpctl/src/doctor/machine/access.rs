// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may open the device nodes that ROCm needs.

use crate::system::System;
use serde::Serialize;
use std::collections::BTreeSet;

/// A user and the groups that the machine's files give him.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// Groups, or why they are not known.
    pub groups: Result<BTreeSet<String>, String>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its path.
    pub path: String,
    /// Permission bits, owner and group, or why they are not known.
    pub mode: Result<Mode, String>,
}

/// Permissions of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// The nine bits.
    pub bits: u32,
    /// The owner's name.
    pub owner: String,
    /// The group's name.
    pub group: String,
}

/// The groups of `name`, from /etc/passwd and /etc/group.
pub fn user(system: &System, name: &str) -> User {
    let groups = || {
        let passwd = system
            .text("etc/passwd")
            .map_err(|why| format!("/etc/passwd: {why}"))?;
        let group = system
            .text("etc/group")
            .map_err(|why| format!("/etc/group: {why}"))?;
        groups(&passwd, &group, name).ok_or_else(|| format!("{name} is not in /etc/passwd"))
    };
    let (groups, name) = (groups(), name.to_owned());
    User { name, groups }
}

pub(crate) fn groups(passwd: &str, group: &str, name: &str) -> Option<BTreeSet<String>> {
    let own = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(2).map(str::to_owned))?
    })?;
    let groups = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (group, number) = (fields.next()?, fields.nth(1)?);
        let member = fields
            .next()
            .unwrap_or_default()
            .split(',')
            .any(|member| member == name);
        (member || number == own).then(|| group.to_owned())
    });
    Some(groups.collect())
}

/// Permissions of a node, as `stat` tells them.
pub fn node(system: &System, path: &str) -> Node {
    let ran = system
        .host()
        .run(&["stat", "--format=%a %U %G", &format!("/{path}")]);
    let mode = match ran {
        Ok(ran) if ran.fine => parse(&ran.out).ok_or(format!("stat says {:?}", ran.out.trim())),
        Ok(ran) => Err(ran.err.lines().next().unwrap_or("stat failed").to_owned()),
        Err(refusal) => Err(format!("stat: {refusal}")),
    };
    let path = format!("/{path}");
    Node { path, mode }
}

pub(crate) fn parse(text: &str) -> Option<Mode> {
    let mut words = text.split_whitespace();
    Some(Mode {
        bits: u32::from_str_radix(words.next()?, 8).ok()? & 0o777,
        owner: words.next()?.to_owned(),
        group: words.next()?.to_owned(),
    })
}

impl Mode {
    /// Whether a user may read and write.
    pub fn allows(&self, user: &str, groups: &BTreeSet<String>) -> bool {
        let bits = match (self.owner == user, groups.contains(&self.group)) {
            (true, _) => self.bits >> 6,
            (false, true) => self.bits >> 3,
            (false, false) => self.bits,
        };
        user == "root" || bits & 6 == 6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_groups_of_both_files() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/srv/ann:/bin/sh\n";
        let group = "root:x:0:\nvideo:x:44:bob,ann\nrender:x:105:bob\nann:x:1000:\n";
        let found = groups(passwd, group, "ann").unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["ann", "video"]);
        assert_eq!(groups(passwd, group, "eve"), None);
    }

    #[test]
    fn permission_is_the_first_class_that_fits() {
        let mode = parse("660 root render\n").unwrap();
        let none = BTreeSet::new();
        let render = BTreeSet::from(["render".to_owned()]);
        assert!(mode.allows("ann", &render) && !mode.allows("ann", &none));
        assert!(parse("666 root root").unwrap().allows("ann", &none));
        assert!(!parse("606 root render").unwrap().allows("ann", &render));
        assert_eq!(parse("crw root"), None);
    }
}
