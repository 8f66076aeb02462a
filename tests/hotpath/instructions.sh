#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a push and a pop really execute, one instruction at a time (x86-64): in exclusive mode no division, and no locked
# instruction but one full fence on the own stack; where the producer has to look how far it may go (once in an eighth
# of the ring), one fence more. A shared queue adds the two compare-and-swaps of its lock.
#
# alone: nobody else shall take the processor from what is counted here.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

if [[ $(uname -m) != x86_64 ]]; then
	skip "instructions of the hot path" "this is not x86-64"
	conclude
fi
have gcc gcc "instructions of the hot path" || conclude

build() # DIRECTORY PROGRAM: with the lib/ and include/ of a directory
{
	make -s -C "$1" -j"$JOBS" BUILD="$2.lib" "$2.lib/libmqshm.a" &&
		gcc -O2 -g -no-pie -Wall -Wextra -Werror -D_GNU_SOURCE -I"$1/include" -o "$2" tests/hotpath/probes/step.c \
			tests/hotpath/probes/hot.c "$2.lib/libmqshm.a" -pthread
}
# Run a stepper; says where it found what should not be.
step() # PROGRAM [MODE]
{
	"$1" "$Q-step" "${@:2}" > "$1.txt" 2> "$1.stderr" < /dev/null
}
value() # FILE MODE KIND KEY
{
	sed -n "s/^$2 $3 .* $4=\([0-9]*\).*/\1/p" "$1"
}
# Is an exclusive mode as it should be? FILE MODE
lean()
{
	local kind bad=0
	for kind in push pushv push_batch reserve+commit pop pop_batch peek+release peek+release_many; do
		grep "^$2 $kind " "$1" || { echo "$2 $kind is missing"; bad=1; continue; }
		[[ $(value "$1" "$2" "$kind" divisions) == 0 ]] || bad=1
		[[ $(value "$1" "$2" "$kind" locked) == 0 ]] || bad=1
		[[ $(value "$1" "$2" "$kind" fences) == 1 ]] || bad=1
		# One more where head rises; a reader never has more than its one.
		[[ $(value "$1" "$2" "$kind" fences_most) -le $([[ $kind == p[eo]* ]] && echo 1 || echo 2) ]] || bad=1
	done
	return "$bad"
}
where() # PROGRAM: names of what was found in exclusive modes, for people
{
	sed -n 's/^# \(.*\) at \(0x[0-9a-f]*\)$/\2 \1/p' "$1.txt" | sort | uniq -c | sort -rn | head -n 8 |
		while read -r times address what; do
			echo "# $what $times times at $(addr2line -sfe "$1" "$address" 2> /dev/null | tr '\n' ' ')"
		done
}

check "the stepper builds" build . "$OUT/step" || conclude
step "$OUT/step"
status=$?
if [[ $status == 77 ]]; then
	skip "instructions of the hot path" "ptrace is not permitted here"
	conclude
fi
[[ $status == 0 ]] || sed 's/^/# /' "$OUT/step.stderr"
result "the stepper runs" "$status"
where "$OUT/step"
for mode in exclusive exclusive,timestamps shared; do
	for kind in push pop; do
		echo "# $mode $kind of 8 bytes: $(value "$OUT/step.txt" "$mode" "$kind" instructions) instructions" \
			"(with all of libc's), at most $(value "$OUT/step.txt" "$mode" "$kind" most)"
	done
done
for mode in exclusive exclusive,timestamps; do
	check "$mode: no division, no locked instruction but the fence" lean "$OUT/step.txt" "$mode"
done
shared()
{
	local kind
	for kind in push pushv push_batch reserve+commit; do
		same "0 0" "$(value "$OUT/step.txt" shared "$kind" divisions) $(value "$OUT/step.txt" shared "$kind" syscalls)" &&
			same 48 "$(value "$OUT/step.txt" shared "$kind" locked)" || return 1 # 24 calls
	done
	for kind in pop pop_batch peek+release peek+release_many; do
		same 0 "$(value "$OUT/step.txt" shared "$kind" locked)" || return 1
	done
}
check "shared: two locked instructions a push, none a pop" shared

# Copies of the library with something bad in the hot path.
plant() # NAME SED-EXPRESSION
{
	rm -rf "${OUT:?}/$1" && mkdir -p "$OUT/$1" && cp -r Makefile include lib "$OUT/$1/" &&
		sed -i "$2" "$OUT/$1/include/mqshm/ring.h" &&
		if cmp -s include/mqshm/ring.h "$OUT/$1/include/mqshm/ring.h"; then echo "nothing was planted"; return 0; fi &&
		build "$OUT/$1" "$OUT/step-$1" && step "$OUT/step-$1" exclusive && where "$OUT/step-$1" &&
		lean "$OUT/step-$1.txt" exclusive
}
goes_red "a planted division is found" 'push .*divisions=[1-9]' \
	plant division '/^static inline void writer_finish/,/^}/s|w->sequence++;|&\n\tw->offset = ring_offset(r, w->position);|'
goes_red "a planted locked store of tail is found" 'push .*locked=[1-9]' \
	plant locked '/^static inline bool writer_publish/,/^}/s|smp_store_release(&p->tail, \([^)]*\))|__atomic_store_n(\&p->tail, \1, __ATOMIC_SEQ_CST)|'
goes_red "a second fence is found" 'push .*fences=2' \
	plant fence '/^static inline bool writer_publish/,/^}/s|smp_mb();|smp_mb(); smp_mb();|'
conclude
