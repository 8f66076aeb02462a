#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gets a newer emulator than bookworm's into the cache. That one, 7.2, now and then runs a stale instruction when one
# processor patches code that another runs: the guest dies of "Oops: int3" at boot or insmod. It uses the libraries that
# the machine's own qemu-system-x86 brought. Without it, the machine's is used.
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

dir=$cache/qemu apt=$cache/apt/qemu
program=root/usr/bin/qemu-system-x86_64
[[ -x $dir/$program ]] && exit
# From 8.1 on the machine's own will do.
[[ $(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9]*\)\..*/\1/p') -ge 9 ]] && exit
mkdir -p "$apt"
exec 9> "$cache/lock"
flock 9
kernel_suites "$apt" bookworm-backports || exit
say "fetching a newer qemu"
rm -rf "$dir.new" && mkdir -p "$dir.new/debs" || exit
(cd "$dir.new/debs" && kernel_apt "$apt" apt-get download qemu-system-x86 qemu-system-data seabios >&2) || exit
for deb in "$dir.new"/debs/*.deb; do
	dpkg -x "$deb" "$dir.new/root" || exit
done
rm -r "$dir.new/debs"
"$dir.new/$program" --version > /dev/null && rm -rf "$dir" && mv "$dir.new" "$dir"
