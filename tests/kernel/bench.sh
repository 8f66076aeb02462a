#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make bench-kernel: the kernel backend beside posix in one emulated machine, pinned, in turn; prints medians, spread and
# ratios, and keeps each single figure in BUILD/kernel/bench/figures.json. Emulated: ratios say a little about hardware, times nothing.
#
#	KERNELS=6.1	the kernel (one)
#	REPS=5		repetitions, each of all cases on both backends
#	QUEUES=1000	for the lives of queues
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
name=${KERNELS:-6.1} out=$BUILD/kernel/bench
kernel_install "${kernel_packages[@]}" && tests/kernel/fetch.sh "$name" && tests/kernel/build.sh "$name" "$out" || exit 1
tests/kernel/fetch_qemu.sh || say "no newer qemu to be had: taking the machine's"
rm -rf "$out/root" && mkdir -p "$out/root/bin" || exit 1
make -s BUILD="$BUILD" "$BUILD/mqshm" "$BUILD/libmqshm.a" &&
	${CC:-gcc} -std=gnu11 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -o "$out/root/bin/side" tests/kernel/bench/side.c \
		"$BUILD/libmqshm.a" -pthread &&
	cp "$BUILD/mqshm" "$out/root/bin/" && cp "$out/kmod/mqshm.ko" "$out/root/" && cp tests/kernel/bench/guest.sh "$out/root/main" || exit 1
echo "reps=${REPS:-5} queues=${QUEUES:-1000}" > "$out/root/settings"
say "measuring on $(< "$cache/$name/release"), about 5 minutes; load of this machine: $(< /proc/loadavg)"
# Else the clock is an emulated HPET: a system call and microseconds for each look.
tests/kernel/boot.sh "$name" "$out/root" "$out" "${TEST_LIMIT:-1800}" tsc=reliable || exit 1
tests/kernel/scan.sh "$out/kernel.log" || exit 1
say "load of this machine: $(< /proc/loadavg)"
python3 tests/kernel/bench/report.py "$out/said" "$out/figures.json"
