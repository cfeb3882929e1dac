// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xtask needs from the machine it runs on: programs, and the right to make namespaces.
//!
//! As root, what is missing is installed and named. As an ordinary user nothing is changed: the one
//! command that helps is printed and xtask stops.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ui::Ui;

/// Where programs are looked for besides PATH: an ordinary user's PATH often lacks these.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Something that has to be on the machine, and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// A program's name, or the absolute path of a file.
    pub what: &'static str,
    /// The package.
    pub package: &'static str,
}

/// What setting up a kernel takes.
pub const KERNEL: &[Need] = &[
    Need {
        what: "mmdebstrap",
        package: "mmdebstrap",
    },
    Need {
        what: "setpriv",
        package: "util-linux",
    },
    Need {
        what: "unshare",
        package: "util-linux",
    },
    Need {
        what: "tar",
        package: "tar",
    },
    Need {
        what: "xz",
        package: "xz-utils",
    },
];

/// What only an ordinary user needs for it.
pub const USER: &[Need] = &[Need {
    what: "newuidmap",
    package: "uidmap",
}];

/// What building the guest takes: the static C library.
pub const GUEST: &[Need] = &[Need {
    what: "/usr/lib/x86_64-linux-gnu/libc.a",
    package: "libc6-dev",
}];

/// Whether we are root.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program's path, looked for in PATH and the system's own folders.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| program.into());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&format!("{path}:{SYSTEM_PATH}"))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The packages that bring what is missing.
pub fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs
        .iter()
        .filter(|need| find(need.what).is_none())
        .map(|need| need.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Makes sure that all of it is there.
pub fn ensure(needs: &[Need], ui: &Ui) -> Result<()> {
    let packages = missing(needs);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!(
            "this machine lacks {list} (Debian's package names) and has no apt-get; install them by hand"
        );
    }
    if !root() {
        bail!(
            "some Debian packages are missing; run this, then start again:\n  sudo apt-get install --no-install-recommends {list}"
        );
    }
    ui.note(format!(
        "installing the Debian packages that are missing: {list}"
    ));
    ui.step("install Debian packages", |step| {
        let install = || {
            let mut command = Command::new("apt-get");
            command
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(&packages);
            command
        };
        if step.run(&mut install()).is_err() {
            // The lists may be missing or old.
            step.run(Command::new("apt-get").args(["update", "--quiet"]))?;
            step.run(&mut install())?;
        }
        Ok(())
    })?;
    let still = missing(needs);
    if !still.is_empty() {
        bail!(
            "apt-get installed {list}, but what {} should bring is still not there",
            still.join(" ")
        );
    }
    Ok(())
}

/// Everything that setting up a kernel takes from the machine.
pub fn ensure_kernel(ui: &Ui) -> Result<()> {
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        bail!(
            "this machine is not Debian: xtask needs apt-get and dpkg-deb to fetch Debian's kernels"
        );
    }
    if root() {
        return ensure(KERNEL, ui);
    }
    ensure(&[KERNEL, USER].concat(), ui)?;
    check_namespaces()
}

fn check_namespaces() -> Result<()> {
    let works = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(Stdio::null())
        .status()
        .context("cannot start unshare")?;
    if !works.success() {
        bail!(
            "this kernel does not let an ordinary user make namespaces; allow it (sysctl \
             kernel.unprivileged_userns_clone=1, or user.max_user_namespaces above 0) or run as root"
        );
    }
    let uid = rustix::process::geteuid().as_raw().to_string();
    let user = user_name().unwrap_or_else(|| uid.clone());
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !grants(&text, &user, &uid) {
            bail!(
                "{file} gives {user} no ids for mmdebstrap; run this, then start again:\n  \
                 sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            );
        }
    }
    Ok(())
}

fn user_name() -> Option<String> {
    let output = Command::new("id").args(["-un"]).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a file such as /etc/subuid gives the user at least 65536 ids.
fn grants(text: &str, user: &str, uid: &str) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let count: u64 = fields
            .nth(1)
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0);
        (name == user || name == uid) && count >= 65536
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package_once() {
        let needs = [
            Need {
                what: "sh",
                package: "dash",
            },
            Need {
                what: "no-such-program-a",
                package: "one",
            },
            Need {
                what: "no-such-program-b",
                package: "one",
            },
        ];
        assert_eq!(missing(&needs), ["one"]);
    }

    #[test]
    fn subordinate_ids_are_read() {
        let text = "anna:100000:65536\n1001:200000:65536\nbert:300000:10\n";
        assert!(grants(text, "anna", "1000"));
        assert!(grants(text, "nobody", "1001"));
        assert!(!grants(text, "bert", "1002"));
        assert!(!grants(text, "ann", "100"));
    }
}
