#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A root shell on this terminal, in an emulated machine with the module loaded and the tool, mqshm, in its path, to try things:
#
#	tests/kernel/shell.sh [KERNEL]
#
# Ctrl-A X ends the machine, as does leaving the shell. BUILD=DIR holds the tool.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
name=${1:-6.1} out=$BUILD/kernel/shell
kernel_install "${kernel_packages[@]}" && tests/kernel/fetch.sh "$name" && tests/kernel/build.sh "$name" "$out" || exit 1
tests/kernel/fetch_qemu.sh || say "no newer qemu to be had: taking the machine's"
rm -rf "$out/root" && mkdir -p "$out/root/bin"
cp "$BUILD/mqshm" "$out/root/bin/" && cp "$out/kmod/mqshm.ko" "$out/root/" && touch "$out/root/shell" || exit 1
tests/kernel/boot.sh "$name" "$out/root" "$out" "${TEST_LIMIT:-86400}"
