#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The unit and conformance tests, and every public function, with the address and undefined-behaviour sanitizers.
#
#	SANITIZE_TESTS="unit conformance"	the suites, or names of tests, to run
#	SANITIZE_SECONDS=300			time for each test program
#	MQSHM_TEST_SCALE			percent of the usual load, for tests that look at it (here 5)
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "address and undefined-behaviour sanitizers" || conclude
flags='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=66
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export MQSHM_TEST_SCALE=${MQSHM_TEST_SCALE:-5}

# Not with a sanitizer: posix_limits sets RLIMIT_AS, and the address sanitizer needs terabytes of addresses.
without=' tests/conformance/posix_limits.c '

sources=()
for wanted in ${SANITIZE_TESTS:-unit conformance}; do
	for source in tests/"$wanted"/*.c tests/"$wanted".c; do
		[[ -e $source && $without != *" $source "* ]] && sources+=("$source")
	done
done
targets=("$OUT/libmqshm.a")
for source in "${sources[@]}"; do
	targets+=("$OUT/${source%.c}")
done
check "library and tests build" make -s -k -j"$JOBS" BUILD="$OUT" CFLAGS='-O1 -g' EXTRA_CFLAGS="$flags" "${targets[@]}"

compile() # SOURCE PROGRAM
{
	# shellcheck disable=SC2086 # options
	gcc -O1 -g $flags -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -o "$2" "$1" "$OUT/libmqshm.a" -pthread
}
check "the probe of all functions builds" compile tests/sanitize/probes/all_api.c "$OUT/all_api" &&
	check "all functions" "$OUT/all_api" "$Q-api"

# Tests may end without freeing what they have: leaks are for the probe above, and for valgrind.sh. Red also when a test
# passes although a process of it was stopped by a sanitizer.
run() # PROGRAM
{
	local said status
	said=$(ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 timeout -k 5 "${SANITIZE_SECONDS:-300}" "$1" 2>&1 < /dev/null)
	status=$?
	grep -v '^ok ' <<< "$said"
	[[ $status != 77 ]] || status=0
	grep -qE 'ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:' <<< "$said" && status=66
	return "$status"
}
for source in "${sources[@]}"; do
	check "${source#tests/}" run "$OUT/${source%.c}"
done

cat > "$OUT/address.c" << 'END'
#include <string.h>
#include "mqshm.h"
int main(void)
{
	struct mqshm_queue_options queue;

	memset(&queue, 0, sizeof queue);
	queue.size = sizeof queue;
	queue.metadata = "short";
	queue.metadata_size = 200;
	return mqshm_queue_create(".", &queue) == 0 || mqshm_queue_create("t-asan-red", &queue) != 0;
}
END
compile "$OUT/address.c" "$OUT/address"
goes_red "a read beyond metadata is found" 'global-buffer-overflow' "$OUT/address"
cat > "$OUT/undefined.c" << 'END'
int main(int argc, char **argv)
{
	(void)argv;
	return (0x7fffffff + argc) == 5;
}
END
compile "$OUT/undefined.c" "$OUT/undefined"
goes_red "an overflow is found" 'runtime error' "$OUT/undefined"
conclude
