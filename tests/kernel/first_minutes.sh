#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The first five minutes of a person with the module, in a guest, as docs/kernel.md shows them: prints what was typed and
# what came. The status is 0 if all went as the document says.
#
#	tests/kernel/first_minutes.sh KERNEL
#
# BUILD=DIR holds the tool, mqshm.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
name=$1 out=$BUILD/first_minutes
tests/kernel/build.sh "$name" "$out" || exit 1
rm -rf "$out/root" && mkdir -p "$out/root/bin"
cp "$BUILD/mqshm" "$out/root/bin/" && cp "$out/kmod/mqshm.ko" tests/kernel/probes/first_minutes_guest.sh "$out/root/" || exit 1
mv "$out/root/first_minutes_guest.sh" "$out/root/main"
tests/kernel/boot.sh "$name" "$out/root" "$out" 120
status=$?
sed -e '/^main ended with/d' -e '/\x1b\[K/d' "$out/said" # nor the line of progress
tests/kernel/scan.sh "$out/kernel.log" || status=1
exit "$status"
