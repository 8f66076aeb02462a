#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# With the ring neither full nor empty and nobody asleep, no push and no pop makes a system call, in any of their forms.
#
# alone: nobody else shall take the processor from what is counted here.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have strace strace "no system calls, by strace" || conclude
have gcc gcc "no system calls, by strace" || conclude
build() # PROGRAM OPTION...
{
	make -s -j"$JOBS" BUILD="$OUT/lib" "$OUT/lib/libmqshm.a" &&
		gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -o "$1" "${@:2}" tests/hotpath/probes/marks.c \
			tests/hotpath/probes/hot.c "$OUT/lib/libmqshm.a" -pthread
}
check "the probe builds" build "$OUT/marks" || conclude
if ! strace -f -s 80 -o "$OUT/trace" "$OUT/marks" "$Q-calls" 2> "$OUT/stderr"; then
	if grep -q 'ptrace.*not permitted' "$OUT/stderr"; then
		skip "no system calls, by strace" "ptrace is not permitted here"
		conclude
	fi
	sed 's/^/# /' "$OUT/stderr"
	result "the probe runs under strace" 1
	conclude
fi

# "mode kind calls": each pair of marks of a trace, and how many system calls stand between; $2 is not counted.
between()
{
	awk -v skip="${2:-^$}" '
		/write\(1000, "begin / { split($0, quoted, "\""); split(quoted[2], word, " "); n = 0; open = 1; next }
		/write\(1000, "end / { print word[2], word[3], n; open = 0; next }
		open && $0 !~ skip { n++; if (n < 4) print "# " $0 > "/dev/stderr" }' "$1"
}
between "$OUT/trace" 2> /dev/null > "$OUT/counts"
ignored=
if ! grep -qx 'clock clock_gettime 0' "$OUT/counts"; then
	echo "# this machine's clock needs a system call: clock_gettime is not counted"
	ignored='clock_gettime\('
	between "$OUT/trace" "$ignored" > "$OUT/counts" 2> "$OUT/shown"
fi
result "the marks of 5 modes of 8 kinds are in the trace" $(($(grep -vc '^clock ' "$OUT/counts") != 40))
for mode in exclusive exclusive,timestamps shared shared,timestamps overwrite; do
	result "$mode: no system call in 3000 of each of $(awk -v m="$mode" '$1 == m { printf "%s%s", s, $2; s = ", " }' \
		"$OUT/counts")" "$(awk -v m="$mode" '$1 == m { n += $3 } END { print n ? 1 : 0 }' "$OUT/counts")"
done

planted()
{
	build "$OUT/planted" -DPLANT_SYSCALL && strace -f -s 80 -o "$OUT/planted.trace" "$OUT/planted" "$Q-planted" &&
		between "$OUT/planted.trace" "$ignored" 2> /dev/null | grep -v '^clock ' | awk '$3 { print; bad = 1 } END { exit bad }'
}
goes_red "a planted system call is found" 'exclusive push 3000' planted
conclude
