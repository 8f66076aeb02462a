#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 32- and 64-bit processes share a queue, in both directions; the 32-bit library calls no atomic of a library. A queue
# of 8 GiB works for 64 bit, and is a clear error for 32.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash
# shellcheck source=tests/bits32.bash
. tests/bits32.bash

have gcc gcc "32- and 64-bit processes share a queue" || conclude
build() # BITS COMPILER...
{
	local bits=$1
	shift
	make -s -j"$JOBS" BUILD="$OUT/$bits" CC="$*" "$OUT/$bits/libmqshm.a" &&
		"$@" -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -o "$OUT/share$bits" \
			tests/abi/probes/share.c "${link_32[@]}" "$OUT/$bits/libmqshm.a" -pthread
}
share() # BITS...
{
	local bits=$1
	shift
	if [[ $bits == 32 ]]; then set -- "${emulator_32[@]}" "$OUT/share32" "$@"; else set -- "$OUT/share64" "$@"; fi
	timeout 60 "$@"
}
check "the 64-bit program builds" build 64 gcc -m64 || conclude

# ---- 8 GiB ----

nodes=8 block=1073741824 # ring of 9 blocks
room=$(df --output=avail -B1 /dev/shm | tail -n 1)
memory=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) << 10))
needed=$(((nodes + 1) * block + (64 << 20)))
large=
if ((room < needed)); then
	skip "a queue of 8 GiB" "/dev/shm has $((room >> 20)) MiB left"
elif ((memory < needed + (1 << 30))); then
	skip "a queue of 8 GiB" "$((memory >> 20)) MiB of memory are available"
else
	"$OUT/share64" create "$Q-probe" $nodes $block > "$OUT/large.txt"
	status=$?
	if [[ $status != 0 ]] && grep -q 'control group' "$OUT/large.txt"; then
		skip "a queue of 8 GiB" "$(cat "$OUT/large.txt")"
	else
		sed 's/^/# /' "$OUT/large.txt"
		result "a queue of 8 GiB is created" "$status"
		large=1
		check "messages of 1 GiB go through it, two laps" "$OUT/share64" large "$Q-probe" $nodes $block
	fi
fi

# ---- 32 bit ----

have_32 "32- and 64-bit processes share a queue" || conclude
check "the 32-bit program builds without a warning" build 32 "${cc_32[@]}" || conclude
no_calls()
{
	! nm "$1" | grep -E ' U __(atomic|sync)_'
}
check "no 8-byte atomic of it is a library call" no_calls "$OUT/32/libmqshm.a"
printf '#include <stdint.h>\nuint64_t f(uint64_t *p);\nuint64_t f(uint64_t *p)\n{\n\treturn __atomic_fetch_add(p, 1, 5);\n}\n' > "$OUT/red.c"
gcc -m32 -march=i386 -O2 -c -o "$OUT/red.o" "$OUT/red.c"
goes_red "such a call would be found" '__atomic_fetch_add_8' no_calls "$OUT/red.o"
too_old()
{
	"${cc_32[@]}" -march=i386 -Iinclude -fsyntax-only -x c - <<< '#include "mqshm/ring.h"'
}
goes_red "a processor that needs such calls is refused" '8-byte atomics' too_old
refused()
{
	clang -m32 -Iinclude -idirafter "/usr/include/$(gcc -print-multiarch)" -fsyntax-only -x c - <<< '#include "mqshm/ring.h"'
}
if command -v clang > /dev/null; then
	goes_red "clang, which makes such calls, is refused for 32 bit" 'build 32-bit programs with gcc' refused
else
	skip "clang, which makes such calls, is refused for 32 bit" "missing package: clang"
fi

MESSAGES=20000
exchange() # BITS-OF-PRODUCER BITS-OF-CONSUMER...
{
	local producer=$1 name=$Q-$1-$2 pids=() pid bits status=0
	shift
	for bits; do
		share "$bits" pop "$name" > "$OUT/popped.$bits.${#pids[@]}" &
		pids+=($!)
	done
	share "$producer" push "$name" "$MESSAGES" "${#pids[@]}" > "$OUT/pushed" || status=1
	for pid in "${pids[@]}"; do
		wait "$pid" || status=1
	done
	cat "$OUT/pushed" "$OUT"/popped.*
	for bits in "$OUT"/popped.*; do
		cmp "$OUT/pushed" "$bits" || status=1
	done
	rm -f "$OUT"/popped.*
	[[ -e /dev/shm/mqshm.$name ]] && { echo "the queue was left"; status=1; }
	grep -q "^$MESSAGES " "$OUT/pushed" && return "$status"
}
check "64 bit to 32 bit, $MESSAGES messages" exchange 64 32
check "32 bit to 64 bit" exchange 32 64
check "32 bit to 32 and 64 bit at once" exchange 32 32 64

clear_error() # WHAT...
{
	local said
	said=$(share 32 "$@")
	echo "$said"
	# EFBIG 27, ENOMEM 12, and a sentence with the name
	[[ $said =~ ^-(27|12)\ .*"$Q-" ]]
}
check "32 bit: creating a queue of 8 GiB is a clear error" clear_error create "$Q-red" 8 $block
check "32 bit: creating one of 3 GiB too" clear_error create "$Q-red" 2 $block
if [[ $large ]]; then
	# create alone leaves it there for the first who attaches
	"$OUT/share64" create "$Q-large" $nodes $block > /dev/null
	check "32 bit: opening a queue of 8 GiB is a clear error" clear_error open "$Q-large"
	still_there()
	{
		[[ -e /dev/shm/mqshm.$Q-large ]]
	}
	check "... that leaves it alone" still_there
	rm -f "/dev/shm/mqshm.$Q-large"
else
	skip "32 bit: opening a queue of 8 GiB is a clear error" "there is no queue of 8 GiB"
fi
conclude
