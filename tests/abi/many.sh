#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 10,000 queues: all are listed, in about a second (the limit here is 5 s, for slow machines), and all go.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "10,000 queues" || conclude
build()
{
	make -s -j"$JOBS" BUILD="$OUT/lib" "$OUT/lib/libmqshm.a" "$OUT/lib/mqshm" &&
		gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -o "$OUT/many" tests/abi/probes/many.c \
			"$OUT/lib/libmqshm.a" -pthread
}
check "the probe builds" build || conclude

count=10000
room=$(df --output=avail -B1 /dev/shm | tail -n 1)
files=$(df --output=iavail /dev/shm | tail -n 1)
if ((room < count * 24576)) || { ((files > 0)) && ((files < count + 100)); }; then
	skip "10,000 queues" "/dev/shm has $((room >> 20)) MiB and $files files left"
	conclude
fi
timeout 120 "$OUT/many" "$Q-many" $count > "$OUT/said.txt"
status=$?
sed 's/^/# /' "$OUT/said.txt"
result "10,000 queues are created, listed and removed" "$status"
in_time()
{
	local ms
	ms=$(sed -n 's/.* list \([0-9]*\) .*/\1/p' "$OUT/said.txt")
	[[ -n $ms ]] && ((ms < 5000))
}
check "listing them takes less than 5 s" in_time
conclude
