#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make check-kasan: what check.sh does on the kernel backend, on kernels with the detectors of tests/kernel/debug/: KASAN,
# UBSAN, lockdep, kmemleak and failures on demand, and then KCSAN. First one wrong thing for each detector is done there
# (probes/faulty), which must be seen. Takes hours, and 3 GB for each of the kernels in the cache.
#
#	KERNELS="6.1-kasan 6.1-kcsan"	which
#	SEEDED=only			no more than the wrong things
#	INSTALL=1, BUILD=DIR		as in check.sh
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
export SELFTESTS=tests/kernel/debug/faults.c # needs what only these kernels have
export BUILD KERNELS=${KERNELS:-6.1-kasan 6.1-kcsan} BACKENDS=kernel MQSHM_KERNEL_MEMORY=${MQSHM_KERNEL_MEMORY:-2048}
# Slow as such a kernel is: some tests have limits of their own.
export MQSHM_TEST_SCALE=${MQSHM_TEST_SCALE:-2} PROGRAM_LIMIT=${PROGRAM_LIMIT:-1800} TEST_LIMIT=${TEST_LIMIT:-14400}
export MQSHM_TEST_SECONDS=900 SELFTEST_SECONDS=900

# bug, and what the log says then; in this order, as lockdep ends itself with the first lock that is used wrongly.
declare -A bugs=([kasan]='rcu|suspicious RCU usage
lock_order|WARNING: possible circular locking dependency detected
sleep_in_atomic|BUG: sleeping function called from invalid context
use_after_free|BUG: KASAN: .*use-after-free in use_after_free
out_of_bounds|BUG: KASAN: slab-out-of-bounds in out_of_bounds
shift|UBSAN: shift-out-of-bounds in .*faulty
leak|kmemleak: [0-9]* new suspected memory leaks'
	[kcsan]='race|BUG: KCSAN: data-race in racer')

kernel_install "${kernel_packages[@]}" || exit 1
seen=0 unseen=0
for name in $KERNELS; do
	kind=${name##*-} out=$BUILD/kernel/seeded-$name
	tests/kernel/fetch.sh "$name" || exit 1
	mkdir -p "$out/root"
	tests/kernel/build.sh "$name" "$out" tests/kernel/probes/faulty || exit 1
	cp "$out/faulty/faulty.ko" "$out/root/"
	{
		# shellcheck disable=SC2016 # the guest expands it
		printf 'for bug in %s; do echo "## $bug" > /dev/kmsg; insmod /faulty.ko bug=$bug; rmmod faulty; done\n' \
			"$(cut -d '|' -f 1 <<< "${bugs[$kind]}" | paste -s -d ' ')"
		# kmemleak wants an object to be old, and to be seen twice.
		echo '[ ! -e /sys/kernel/debug/kmemleak ] || { sleep 6; echo scan > /sys/kernel/debug/kmemleak; echo scan > /sys/kernel/debug/kmemleak; }'
	} > "$out/root/main"
	tests/kernel/boot.sh "$name" "$out/root" "$out" 300 kasan_multi_shot
	while IFS='|' read -r bug report; do
		if tests/kernel/scan.sh "$out/kernel.log" | grep -q -e "$report"; then
			echo "seeded $bug on $name: seen"
			seen=$((seen + 1))
		else
			echo "not ok - seeded $bug on $name: nothing says '$report' ($out/kernel.log)"
			unseen=$((unseen + 1))
		fi
	done <<< "${bugs[$kind]}"
done
echo "seeded bugs: $seen seen, $unseen not"
[[ ${SEEDED:-} == only ]] || tests/kernel/check.sh || unseen=$((unseen + 1))
[[ $unseen == 0 ]]
