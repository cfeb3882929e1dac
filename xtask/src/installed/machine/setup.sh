# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes a root file system the one of a test machine, and installs the packages in /mnt with apt as its owner would.
# shellcheck shell=sh
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# amdgpu in the initramfs, as is common where a disk is decrypted on a nice screen; of its firmware only what the emulated
# card asks for.
printf '%s\n' amdgpu ext4 virtio_blk virtio_pci >>/etc/initramfs-tools/modules
# No other driver: purging renews the initramfs, which takes an emulated CPU minutes otherwise.
printf '%s\n' MODULES=list COMPRESSLEVEL=1 >/etc/initramfs-tools/conf.d/machine
find /usr/lib/firmware/amdgpu ! -type d ! -name 'navi10_*' -delete

# The machine itself: root without a password, an identity, and nothing to do that only costs an emulated CPU time.
passwd --quiet --delete root
systemd-machine-id-setup
cp /mnt/guest.service /mnt/run-guest.mount /etc/systemd/system/
cp /mnt/fstab /etc/fstab
echo debian >/etc/hostname
echo 'blacklist kvm_amd' >/etc/modprobe.d/machine.conf
systemctl --quiet enable guest.service
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dev-hugepages.mount dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty-static.service ldconfig.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service

set -- /mnt/*.deb
if [ -e "$1" ]; then
    apt-get -o APT::Sandbox::User=root install --yes --no-install-recommends "$@"
fi
if [ -s /mnt/policy ]; then
    # The file that the package brings.
    file=$(dpkg --listfiles rmcp-dkms | grep '^/etc/modprobe.d/.')
    cat /mnt/policy >>"$file"
fi
update-initramfs -u -k all
# What the test's own root file system brought along under our name is not to be found after a purge.
mv /etc/apt/preferences.d/rmcp /etc/apt/preferences.d/machine
[ ! -d "$HOME/.cache/rmcp" ] || rmdir --ignore-fail-on-non-empty "$HOME/.cache/rmcp"
