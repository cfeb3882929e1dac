// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the initramfs, which has its own copy of modprobe.d, must follow.

use crate::fail::{Failure, Status};
use crate::system::System;
use serde::Serialize;

/// Programs that list an image.
const LISTERS: [&str; 3] = ["lsinitramfs", "lsinitrd", "lsinitcpio"];

/// What is to be done about the image.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Need {
    /// It holds rmcp, so its copy of the options is the one that counts.
    Rebuild,
    /// It holds neither rmcp nor amdgpu.
    Nothing,
    /// It holds amdgpu and not rmcp: amdgpu sets GPUs up before rmcp comes.
    AmdgpuFirst,
    /// Nobody could look into it.
    Unknown,
    /// It was rebuilt.
    Done,
}

/// The initramfs of the running kernel.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Image {
    pub(super) file: String,
    pub(super) need: Need,
    /// The command that rebuilds it.
    pub(super) rebuild: String,
}

/// Looks at the image, and rebuilds it if asked.
pub(super) fn after(system: &System, rebuild: bool) -> Result<Option<Image>, Failure> {
    let Ok(release) = system.text("proc/sys/kernel/osrelease") else {
        return Ok(None);
    };
    let candidates = [
        format!("boot/initrd.img-{release}"),
        format!("boot/initramfs-{release}.img"),
        "boot/initramfs-linux.img".to_owned(),
    ];
    let Some(image) = candidates.into_iter().find(|path| system.exists(path)) else {
        return match rebuild {
            true => Err(Failure::new(
                Status::Missing,
                format!("the setting is kept, but no initramfs of {release} was found in /boot"),
            )
            .cure("rebuild it as this distribution does")),
            false => Ok(None),
        };
    };
    let file = format!("/{image}");
    let builders: [Vec<&str>; 3] = [
        vec!["update-initramfs", "-u", "-k", &release],
        vec!["dracut", "--force", "--kver", &release],
        vec!["mkinitcpio", "-P"],
    ];
    let builder = builders.iter().find(|words| is_there(system, words[0]));
    let words = builder.unwrap_or(&builders[0]);
    let need = match rebuild {
        true => run(system, words)?,
        false => look(system, &file),
    };
    Ok(Some(Image {
        file,
        need,
        rebuild: words.join(" "),
    }))
}

fn is_there(system: &System, program: &str) -> bool {
    ["usr/sbin", "usr/bin", "sbin", "bin"]
        .iter()
        .any(|folder| system.exists(&format!("{folder}/{program}")))
}

fn run(system: &System, words: &[&str]) -> Result<Need, Failure> {
    let failed = |why: &str| {
        let what = format!(
            "the setting is kept, but `{}` failed: {why}",
            words.join(" ")
        );
        Failure::new(Status::Failed, what).cure("rebuild the initramfs by hand")
    };
    match system.host().run(words) {
        Ok(ran) if ran.fine => Ok(Need::Done),
        Ok(ran) => {
            let last = ran.err.lines().last().unwrap_or(&ran.end);
            Err(failed(last.trim()))
        }
        Err(refusal) => Err(failed(&refusal.to_string())),
    }
}

fn look(system: &System, file: &str) -> Need {
    for lister in LISTERS.iter().filter(|lister| is_there(system, lister)) {
        let Ok(ran) = system.host().run(&[lister, file]) else {
            continue;
        };
        if ran.fine {
            return need(&ran.out);
        }
    }
    Need::Unknown
}

/// What a list of an image's files means.
fn need(list: &str) -> Need {
    let holds = |module: &str| {
        list.lines()
            .filter_map(|line| line.trim_end().rsplit('/').next())
            .filter_map(|name| name.strip_prefix(module))
            .any(|rest| rest.starts_with(".ko"))
    };
    match (holds("rmcp"), holds("amdgpu")) {
        (true, _) => Need::Rebuild,
        (false, true) => Need::AmdgpuFirst,
        (false, false) => Need::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_files_says_whether_the_image_counts() {
        let amdgpu = "usr/lib/modules/7.3/kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz\n";
        let rmcp = "usr/lib/modules/7.3/updates/dkms/rmcp.ko.xz\n";
        assert_eq!(need(amdgpu), Need::AmdgpuFirst);
        assert_eq!(need(&format!("{amdgpu}{rmcp}")), Need::Rebuild);
        assert_eq!(need("etc/modprobe.d/rmcp.conf\n"), Need::Nothing);
        // lsinitrd lists as ls -l does.
        assert_eq!(
            need(&format!("-rw-r--r-- 1 root root 9 Nov 1 {rmcp}")),
            Need::Rebuild
        );
    }
}
