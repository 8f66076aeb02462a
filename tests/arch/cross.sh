#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Library, tool and tests built for arm64 and riscv64, as a user would cross-compile them, and run under qemu-user: that
# they work there, that memory is laid out as everywhere, that pages may be larger. Not the reordering of memory accesses:
# the emulator runs on this processor (barriers.sh is about that). And a 32-bit build with a 64-bit time_t.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash
# shellcheck source=tests/bits32.bash
. tests/bits32.bash

# What the emulator cannot do is left out: RLIMIT_AS (posix_limits), the program's own name in comm (stat_list), ptrace
# (every_instruction and the windows of tests/death).
tests=(unit/ring arch/nap conformance/{push_pop,batch,zero_copy,shared_producers,waiting})
if [[ -n ${MQSHM_LONG:-} ]]; then
	tests+=(conformance/{arguments,capacity,end_of_stream,lossy_overwrite,many_queues,positions_end,posix_object,posix_users}
		conformance/{start_modes,timestamps,load}
		death/{consumer,producer,sleeper,lock_holder,posix_repairing})
fi

cross_build() # ARCHITECTURE
{
	local arch=$1 to=$OUT/$1
	local tools=(CC="$arch-linux-gnu-gcc" AR="$arch-linux-gnu-ar" BUILD="$to")
	make -s "${tools[@]}" -j"$JOBS" all || return 1
	"$arch-linux-gnu-gcc" -O2 -Wall -Wextra -Werror -c -o "$to/emulated.o" tests/arch/probes/emulated.c || return 1
	make -s "${tools[@]}" -j"$JOBS" LDFLAGS="-Wl,--wrap=open64 $to/emulated.o" "${tests[@]/#/$to/tests/}"
}
is_for() # ARCHITECTURE FILE...: of the ELF header, what machine
{
	local arch=$1 f
	shift
	for f; do
		"$arch-linux-gnu-readelf" -h "$f" | grep -E 'Machine: .*(AArch64|RISC-V)' || return 1
	done
}
no_calls()
{
	# __aarch64_cas4_acq and the like are part of libgcc and take no lock.
	! "$1-linux-gnu-nm" "$2" | grep -E ' U __(atomic|sync)_'
}
run() # ARCHITECTURE OPTIONS PROGRAM...
{
	local arch=$1 options=$2
	shift 2
	# shellcheck disable=SC2086 # options
	QEMU_LD_PREFIX=/usr/$arch-linux-gnu timeout -k 5 400 "qemu-$arch" $options "$@" < /dev/null
}
listing() # ARCHITECTURE OPTION...
{
	local arch=$1
	shift
	awk -f tests/abi/probes/fields.awk include/mqshm/abi.h > "$OUT/fields.h"
	"$arch-linux-gnu-gcc" -D_GNU_SOURCE -Wall -Werror "$@" -Iinclude "-I$OUT" -o "$OUT/layout-$arch" tests/abi/probes/layout.c &&
		run "$arch" "" "$OUT/layout-$arch"
}
layout() # ARCHITECTURE OPTION...
{
	same "$(cat tests/abi/layout.txt)" "$(listing "$@")"
}
# A queue between this processor and another.
exchange() # PRODUCER CONSUMER: architectures, "native" for this one
{
	local name=$Q-$1-$2 status=0 pid
	part "$2" pop "$name" > "$OUT/popped" &
	pid=$!
	part "$1" push "$name" 5000 1 > "$OUT/pushed" || status=1
	wait "$pid" || status=1
	cat "$OUT/pushed" "$OUT/popped"
	cmp "$OUT/pushed" "$OUT/popped" && grep -q '^5000 ' "$OUT/pushed" && return "$status"
}
part() # ARCHITECTURE ARGUMENT...
{
	local arch=$1
	shift
	if [[ $arch == native ]]; then
		timeout 300 "$OUT/share-native" "$@"
	else
		run "$arch" "" "$OUT/share-$arch" "$@"
	fi
}
share() # ARCHITECTURE COMPILER BUILD OPTION...
{
	"$2" -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -o "$OUT/share-$1" tests/abi/probes/share.c \
		"${@:4}" "$3/libmqshm.a" -pthread
}
native()
{
	make -s -j"$JOBS" BUILD="$OUT/native" "$OUT/native/libmqshm.a" && share native gcc "$OUT/native"
}

have gcc gcc "other processors" || conclude
check "the native program builds" native
for arch in aarch64 riscv64; do
	have "$arch-linux-gnu-gcc" "gcc-$arch-linux-gnu" "$arch" || continue
	check "$arch: library, tool and tests build without a warning" cross_build "$arch" || continue
	check "$arch: ... for that processor" is_for "$arch" "$OUT/$arch/libmqshm.so" "$OUT/$arch/mqshm" "$OUT/$arch/lib/queue.o"
	check "$arch: no 8-byte atomic is a library call" no_calls "$arch" "$OUT/$arch/libmqshm.a"
	have "qemu-$arch" qemu-user "$arch: tests" || continue
	check "$arch: the layout is tests/abi/layout.txt" layout "$arch"
	for t in "${tests[@]}"; do
		check "$arch: $t" run "$arch" "" "$OUT/$arch/tests/$t"
	done
	# In anonymous memory: with -p qemu maps no files whose mappings the real page size does not fit.
	for page in 16384 65536; do
		check "$arch: unit/ring with pages of $((page >> 10)) KiB" run "$arch" "-p $page" "$OUT/$arch/tests/unit/ring"
	done
	check "$arch: the program that shares a queue builds" share "$arch" "$arch-linux-gnu-gcc" "$OUT/$arch" -Wl,--wrap=open64 "$OUT/$arch/emulated.o"
	check "$arch: from it to this processor" exchange "$arch" native
	check "$arch: from this processor to it" exchange native "$arch"
done

mkdir -p "$OUT/red-line/mqshm"
sed '/^MQSHM_ASSERT/d; s/^\(#define MQSHM_LINE\) 128/\1 64/' include/mqshm/abi.h > "$OUT/red-line/mqshm/abi.h"
for arch in aarch64 riscv64; do
	if command -v "$arch-linux-gnu-gcc" > /dev/null && command -v "qemu-$arch" > /dev/null; then
		goes_red "$arch: lines of 64 bytes are seen" '^< MQSHM_LINE 0x80' layout "$arch" "-I$OUT/red-line"
	fi
done

# ---- 32 bit, time_t of 64 ----

have_32 "naps with a 64-bit time_t in 32 bit" || conclude
time64() # DIRECTORY BUILD
{
	make -s -C "$1" -j"$JOBS" BUILD="$2" CC="${cc_32[*]}" EXTRA_CFLAGS=-D_TIME_BITS=64 "$2/tests/arch/nap" &&
		run_32 "$2/tests/arch/nap"
}
check "32 bit, time_t of 64: naps" time64 . "$OUT/time64"
rm -rf "$OUT/red"
mkdir -p "$OUT/red/tests/arch"
cp -r Makefile include lib "$OUT/red"
cp tests/test.h "$OUT/red/tests"
cp tests/arch/nap.c "$OUT/red/tests/arch"
sed -i 's/__kernel_long_t seconds, ns;/struct timespec time;/; s/{ (__kernel_long_t)(ns/{ { (time_t)(ns/; s/(__kernel_long_t)(ns % 1000000000u) }/(long)(ns % 1000000000u) } }/' \
	"$OUT/red/lib/backend_posix.c"
goes_red "a struct timespec handed to SYS_futex is seen" 'not ok 1 - naps' time64 "$OUT/red" "$OUT/red/build"
conclude
