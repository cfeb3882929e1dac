#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes sure that cargo can build xtask (a C compiler, its library's headers, a cargo that is new enough),
# then hands over: sh xtask/bootstrap.sh COMMAND... runs `cargo xtask COMMAND...`.
# POSIX sh, since a fresh machine may have nothing else.
set -eu
cd "$(dirname "$0")/.."

missing=
command -v cc >/dev/null 2>&1 || missing="$missing gcc"
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
command -v make >/dev/null 2>&1 || missing="$missing make"
# xtask looks for these itself; naming them here too lets an ordinary user install everything in one go.
case "${1-}" in
demo | check | bench | map | workloads)
    command -v mmdebstrap >/dev/null 2>&1 || missing="$missing mmdebstrap"
    command -v xz >/dev/null 2>&1 || missing="$missing xz-utils"
    [ "$(id -u)" -eq 0 ] || command -v newuidmap >/dev/null 2>&1 || missing="$missing uidmap"
    ;;
esac
case "${1-}" in
check | fuzz)
    command -v c++ >/dev/null 2>&1 || missing="$missing g++"
    ;;
esac

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "This machine lacks$missing (Debian's package names) and has no apt-get; install them by hand." >&2
        exit 1
    elif [ "$(id -u)" -ne 0 ]; then
        echo "Some Debian packages are missing; run this, then start again:" >&2
        echo "  sudo apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing the Debian packages that are missing:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    # The names stand apart on purpose.
    # shellcheck disable=SC2086
    apt-get install --yes --quiet --no-install-recommends $missing >&2 || {
        apt-get update --quiet >&2
        apt-get install --yes --quiet --no-install-recommends $missing >&2
    }
fi

cure="install cargo 1.85 or newer (Debian 13: apt-get install cargo; elsewhere: rustup) and start again."
if ! command -v cargo >/dev/null 2>&1; then
    echo "There is no cargo: $cure" >&2
    exit 1
fi
version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
major=${version%%.*}
rest=${version#*.}
minor=${rest%%.*}
case "$major$minor" in
'' | *[!0-9]*)
    echo "cargo --version says \"$version\", which is no version: $cure" >&2
    exit 1
    ;;
esac
if [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt 85 ]; }; then
    echo "cargo is of version $version, which is too old: $cure" >&2
    exit 1
fi

# The first build of xtask itself may take a minute; cargo tells how far it is.
cargo build --package xtask >&2
exec cargo xtask "$@"
