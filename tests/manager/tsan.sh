#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The threads of threads.c and a merge beside them with ThreadSanitizer: no race. And it can fail: with the lock of a shared
# handle left out, or the handle closed before its user has left, it is red.
#
#	MQSHM_TEST_SCALE	percent of the usual load (here 10)
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "ThreadSanitizer" || conclude
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 second_deadlock_stack=1"
export MQSHM_TEST_SCALE=${MQSHM_TEST_SCALE:-10}

build() # DIRECTORY: threads.c with the lib/ and include/ of a directory
{
	make -s -C "$1" -j"$JOBS" BUILD="$1/build" CFLAGS='-O1 -g' EXTRA_CFLAGS=-fsanitize=thread \
		"$1/build/tests/manager/threads"
}
copy() # DIRECTORY
{
	rm -rf "$1" && mkdir -p "$1/tests/manager" && cp -r Makefile include lib "$1/" && cp tests/*.h "$1/tests/" &&
		cp -r tests/conformance "$1/tests/" && cp tests/manager/threads.c "$1/tests/manager/"
}
# Where addresses are spread wider than the sanitizer can stand it does not start: then without spreading.
run() # PROGRAM TEST...
{
	local said status
	said=$(timeout "$seconds" "$@" 2>&1)
	status=$?
	if grep -q 'unexpected memory mapping' <<< "$said"; then
		said=$(timeout "$seconds" setarch -R "$@" 2>&1)
		status=$?
	fi
	echo "$said"
	return "$status"
}

seconds=400 # for one run of the program
copy "$OUT/clean"
check "threads.c builds with the sanitizer" build "$OUT/clean" &&
	check "no race, no deadlock" run "$OUT/clean/build/tests/manager/threads"

# With a bug in it a thread may wait for ever; the report is written all the same.
plant() # SED-EXPRESSION TEST
{
	local red=$OUT/red queue status attempts=10
	copy "$red" && sed -i "$1" "$red/lib/manager.c" || return 0
	cmp -s lib/manager.c "$red/lib/manager.c" && { echo "nothing was planted"; return 0; }
	build "$red" || return 0
	seconds=30
	while ((attempts-- > 0)); do # a race is only seen when the threads do meet
		run "$red/build/tests/manager/threads" "$2" > "$OUT/said.txt"
		status=$?
		while read -r queue; do
			rm -f "/dev/shm/mqshm.$queue"* # what a program that was ended has left
		done < <(sed -n 's/^# queues \(t[0-9]*-\).*/\1/p' "$OUT/said.txt")
		((status == 0)) || break
	done
	cat "$OUT/said.txt"
	return "$status"
}
goes_red "without the lock of a shared handle" 'ThreadSanitizer: data race' \
	plant 's|if (s->busy \&\& !s->closed)|if (0)|' shared_in_turn
goes_red "closed before its user has left" 'ThreadSanitizer|not ok' \
	plant 's|} while (rc);|} while (rc == 1);|; s|mqshm_now_ns() + CANCEL_AGAIN_NS|0|' everything_at_once
goes_red "freed by the first who puts it" 'ThreadSanitizer|not ok' \
	plant 's/|| __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL))/)/' everything_at_once
conclude
