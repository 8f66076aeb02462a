#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every public function under valgrind: no error, no leak, no descriptor left open.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "valgrind" || conclude
build() # PROGRAM OPTION...
{
	make -s -j"$JOBS" BUILD="$OUT/lib" "$OUT/lib/libmqshm.a" "$OUT/lib/mqshm" &&
		gcc -O1 -g -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -o "$1" "${@:2}" tests/sanitize/probes/all_api.c \
			"$OUT/lib/libmqshm.a" -pthread
}
check "the probe builds" build "$OUT/all_api" || conclude

exported()
{
	sed -n '/global:/,/local:/s/^[[:space:]]*\([a-z0-9_]*\);$/\1/p' lib/libmqshm.map | sort
}
called()
{
	gcc -Iinclude -D_GNU_SOURCE -c -o "$OUT/all_api.o" tests/sanitize/probes/all_api.c &&
		nm -u "$OUT/all_api.o" | sed -n 's/^ *U \(mqshm_.*\)/\1/p' | sort
}
check "it calls every public function" same "$(exported)" "$(called)"
check "it runs" "$OUT/all_api" "$Q-api"

have valgrind valgrind "valgrind" || conclude
grind()
{
	valgrind --quiet --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=definite,indirect,possible \
		--track-fds=yes --error-exitcode=9 --log-file="$OUT/log.%p" "$@"
	local status=$?
	cat "$OUT"/log.* >&2
	# valgrind only lists descriptors: those it opened, by its own words, are ours
	grep -A 1 'Open file descriptor' "$OUT"/log.* | grep -q '/dev/shm' && return 8
	rm -f "$OUT"/log.*
	return "$status"
}
check "all functions: no error, no leak, no descriptor" grind "$OUT/all_api" "$Q-api"
tool()
{
	local mqshm=$OUT/lib/mqshm
	grind "$mqshm" create "$Q-tool" --persistent && grind "$mqshm" push "$Q-tool" --wait 0 README.md &&
		grind "$mqshm" pop "$Q-tool" --timeout 0 > "$OUT/copy" && cmp README.md "$OUT/copy" &&
		grind "$mqshm" stat "$Q-tool" --json > /dev/null && grind "$mqshm" list > /dev/null &&
		grind "$mqshm" rm "$Q-tool"
}
check "the tool's commands: no error, no leak, no descriptor" tool

cat > "$OUT/red.c" << 'END'
#include "mqshm.h"
int main(int argc, char **argv)
{
	struct mqshm_consumer *c;
	struct mqshm_queue_options queue = { .size = sizeof queue };

	return argc != 2 || mqshm_consumer_open(&c, argv[1], &queue, 0);
}
END
gcc -g -Iinclude -o "$OUT/red" "$OUT/red.c" "$OUT/lib/libmqshm.a" -pthread
goes_red "a handle that is not closed is found" 'lost|reachable|/dev/shm' grind "$OUT/red" "$Q-red"
conclude
