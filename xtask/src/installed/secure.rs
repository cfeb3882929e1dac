// SPDX-License-Identifier: MIT OR Apache-2.0
//! UEFI with Secure Boot: OVMF's firmware with Microsoft's keys, and a boot partition with Debian's shim and GRUB.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use super::boot::{drive, run};
use super::image::Image;

/// Which keys the machine trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys<'a> {
    /// Those it was sold with.
    Stock,
    /// This one as well (DER), enrolled as its owner would have done with `mokutil` and shim's MokManager.
    Enrolled(&'a Path),
}

/// The owner of the enrolled key in the list of keys; shim writes its own there.
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";

/// The firmware of one machine, and its boot partition.
#[derive(Debug)]
pub(super) struct Firmware {
    code: PathBuf,
    variables: PathBuf,
    partition: PathBuf,
}

/// Arguments: the folder to work in, the key or nothing, its owner. All that is used comes from packages.
const MAKE: &str = r#"
set -e
cd "$1"
rm -f esp.img
truncate -s 64M esp.img
mformat -i esp.img -F ::
mmd -i esp.img ::EFI ::EFI/BOOT ::EFI/debian
mcopy -i esp.img /usr/lib/shim/shimx64.efi.signed ::EFI/BOOT/BOOTX64.EFI
mcopy -i esp.img /usr/lib/shim/mmx64.efi.signed ::EFI/BOOT/mmx64.efi
mcopy -i esp.img /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::EFI/BOOT/grubx64.efi
mcopy -i esp.img grub.cfg ::EFI/debian/grub.cfg
cp /usr/share/OVMF/OVMF_CODE_4M.secboot.fd code.fd
cp /usr/share/OVMF/OVMF_VARS_4M.ms.fd variables.fd
if [ -n "$2" ]; then
    openssl x509 -inform DER -in "$2" -out mok.pem
    virt-fw-vars --inplace variables.fd --add-mok "$3" mok.pem
fi
"#;

impl Firmware {
    /// Sets it up in `folder`; GRUB boots the kernel in /boot with these words.
    pub(super) fn new(
        image: &Image,
        keys: Keys<'_>,
        words: &str,
        folder: &Path,
    ) -> Result<Firmware> {
        let release = &image.kernel.release;
        let config = format!(
            "search --no-floppy --label --set=root boot\n\
             linux /vmlinuz-{release} {words}\n\
             initrd /initrd.img-{release}\n\
             boot\n"
        );
        fs::write(folder.join("grub.cfg"), config)?;
        let key = match keys {
            Keys::Stock => String::new(),
            Keys::Enrolled(key) => {
                fs::copy(key, folder.join("mok.der"))?;
                "mok.der".into()
            }
        };
        let root = image.base.clone().showing(folder);
        run(root
            .command("sh")
            .args(["-c", MAKE, "sh"])
            .arg(folder)
            .args([key.as_str(), SHIM]))
        .context("cannot set up UEFI's variables and boot partition")?;
        Ok(Firmware {
            code: folder.join("code.fd"),
            variables: folder.join("variables.fd"),
            partition: folder.join("esp.img"),
        })
    }

    /// QEMU's arguments. Only the firmware itself, in system management mode, may write the variables.
    pub(super) fn arguments(&self, command: &mut Command) {
        command
            .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
            .args(["-global", "ICH9-LPC.disable_s3=1"]);
        for (unit, file, more) in [(0, &self.code, ",readonly=on"), (1, &self.variables, "")] {
            command.args([
                "-drive",
                &format!(
                    "if=pflash,unit={unit},format=raw,file={}{more}",
                    file.display()
                ),
            ]);
        }
        drive(command, &self.partition, "raw,readonly=on");
    }
}
