# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs as pid 1 of new namespaces: puts a writable layer over a root file system, lets setup.sh change it inside, and
# makes one ext4 image of the result and one of its /boot. Nothing is mounted for that outside of the namespaces.
# Arguments: the root file system, the layer's folder, the folder with setup.sh and the packages, where the images go.
# shellcheck shell=sh
set -e
base=$1 layer=$2 given=$3 out=$4
mkdir -p "$layer/upper" "$layer/work" "$layer/merged"
cd "$layer"
options=lowerdir=$base,upperdir=$layer/upper,workdir=$layer/work
mount -t overlay overlay -o "$options" merged 2>/dev/null ||
    mount -t overlay overlay -o "$options,userxattr" merged 2>/dev/null ||
    # No layers here: a copy does as well.
    cp -a "$base/." merged/
# What is mounted for the programs inside goes with a namespace of its own.
# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount --pid --fork --kill-child sh -ec '
    given=$1
    mount --rbind /dev merged/dev
    mount -t proc proc merged/proc 2>/dev/null || mount --rbind /proc merged/proc
    mount -t tmpfs tmpfs merged/run
    mount -t tmpfs tmpfs merged/tmp
    mount --bind "$given" merged/mnt
    exec chroot merged /usr/bin/env --chdir=/ sh -e /mnt/setup.sh
' sh "$given"
rm -f merged/.rmcp-stamp.json
mkdir boot
cp -a merged/boot/. boot/
rm -rf merged/boot/*
mke2fs -q -t ext4 -L root -E root_owner=0:0 -d merged "$out/root.img" 4G
mke2fs -q -t ext4 -L boot -E root_owner=0:0 -d boot "$out/boot.img" 512M
