#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds one of Debian's kernels with the configuration of tests/kernel/debug/, into the cache (see kernel.bash), where
# build.sh and boot.sh take it as any other:
#
#	tests/kernel/kasan_kernel.sh 6.1-kasan|6.1-kcsan
#
# It is built again when its source, its configuration or the compiler has changed.
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

name=$1 kind=${1##*-}
# shellcheck disable=SC2154 # of kernel.bash
dir=$cache/$name
build=$dir/root/build
fragments=(tests/kernel/debug/common.config "tests/kernel/debug/$kind.config")
[[ -s ${fragments[1]} ]] || { say "no kernel '$name': tests/kernel/debug/ has no $kind.config"; exit 1; }
kernel_install gcc make flex bison bc libelf-dev xz-utils || exit 1
source=$(tests/kernel/fetch_source.sh "${name%-*}") || exit 1
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL CC CFLAGS BUILD
# The machine's gcc, as for the modules: kbuild complains of another.
make=(nice make -s -j"$(nproc)" -C "$source" "O=$build")
release="linux-source $(make -s -C "$source" kernelversion), $kind $(sed '/^# CONFIG/!s/^#.*//' "${fragments[@]}" | sha256sum | cut -c 1-12), $(
	gcc -dumpfullversion)"
exec 9> "$cache/lock-$name"
flock 9
[[ -s $dir/release && $(< "$dir/release") == "$release" ]] && exit

say "building $release: some minutes"
rm -f "$dir/release"
mkdir -p "$build"
log=$dir/build.log
grep -hE '^(# )?CONFIG_' "${fragments[@]}" > "$dir/wanted"
"${make[@]}" KCONFIG_ALLCONFIG="$dir/wanted" allnoconfig > "$log" 2>&1 || { tail "$log" >&2; exit 1; }
# An option that asks for another, or for a better compiler, is dropped without a word.
if dropped=$(grep -vxFf "$build/.config" "$dir/wanted"); then
	say "this kernel can't be had with: ${dropped//$'\n'/ }"
	exit 1
fi
"${make[@]}" bzImage modules >> "$log" 2>&1 || { tail -n 30 "$log" >&2; say "building $name failed: $log"; exit 1; }
cp "$build/arch/x86/boot/bzImage" "$dir/vmlinuz" || exit 1
echo build > "$dir/headers"
echo "$release" > "$dir/release"
