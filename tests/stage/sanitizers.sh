#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The tests of stages with ThreadSanitizer, with the address and undefined-behaviour sanitizers (leaks included), and a
# hundred cycles under valgrind. And each can fail: bugs planted in lib/stage*.c are found.
#
#	SANITIZE_TESTS="buffer flow stop errors peers"	which
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "sanitizers" || conclude
read -ra tests <<< "${SANITIZE_TESTS:-buffer flow stop errors peers}"
export TSAN_OPTIONS="halt_on_error=0 exitcode=66"
export ASAN_OPTIONS=detect_leaks=1:exitcode=66
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
thread=-fsanitize=thread
address='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'

build() # TREE DIRECTORY FLAGS TEST...
{
	local wanted=("${@:4}")
	make -s -C "$1" -j"$JOBS" BUILD="$2" CFLAGS='-O1 -g' EXTRA_CFLAGS="$3" "${wanted[@]/#/$2/tests/stage/}"
}

# Red also when a test passes although a process of it was stopped by a sanitizer. Where addresses are spread wider than
# ThreadSanitizer can stand it does not start: then without spreading.
run() # PROGRAM [TEST]
{
	local said status
	said=$(timeout -k 5 400 "$@" 2>&1 < /dev/null)
	status=$?
	if grep -q 'unexpected memory mapping' <<< "$said"; then
		said=$(timeout -k 5 400 setarch -R "$@" 2>&1 < /dev/null)
		status=$?
	fi
	grep -v '^ok ' <<< "$said"
	grep -qE 'WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|runtime error:' <<< "$said" && status=66
	return "$status"
}

check "the tests build with ThreadSanitizer" build . "$OUT/thread" "$thread" "${tests[@]}"
check "... and with the address and undefined-behaviour sanitizers" build . "$OUT/address" "$address" "${tests[@]}"
for test in "${tests[@]}"; do
	check "ThreadSanitizer: $test" run "$OUT/thread/tests/stage/$test"
	check "address sanitizer, leaks: $test" run "$OUT/address/tests/stage/$test"
done

# A bug in a copy of the sources, then one test; a few attempts: a race is only seen when the threads do meet.
plant() # FILE SED-EXPRESSION FLAGS TEST NAME
{
	local red=$OUT/red said attempts=10
	rm -rf "$red" && mkdir -p "$red" && cp -r include lib tests Makefile "$red/" && sed -i "$2" "$red/lib/$1" || return 0
	cmp -s "lib/$1" "$red/lib/$1" && { echo "nothing was planted"; return 0; }
	build "$red" "$red/build" "$3" "$4" || return 0
	while ((attempts-- > 0)); do
		said=$(run "$red/build/tests/stage/$4" "$5") || { echo "$said"; return 1; }
	done
}
goes_red "a commit without the lock is a race" 'ThreadSanitizer: data race' plant stage_buffer.c \
	'/^void stage_buffer_commit/,/^}/s/pthread_mutex_\(un\)\{0,1\}lock(.*);//' "$thread" buffer two_threads
goes_red "a stat without the lock is a race" 'ThreadSanitizer: data race' plant stage.c \
	'/^int mqshm_stage_stat/,/^}/s/pthread_mutex_\(un\)\{0,1\}lock(.*);//' "$thread" flow back_pressure_is_exact
goes_red "a counter that is just added to is a race" 'ThreadSanitizer: data race' plant stage_run.c \
	's/WRITE_ONCE(counter, (counter) + (n))/((counter) += (n))/' "$thread" flow a_source_that_is_done
goes_red "a batch that is not freed is a leak" 'LeakSanitizer' plant stage.c \
	's/free(s->batch);//' "$address" stop a_hundred_cycles
goes_red "a buffer without the block more is overrun" 'AddressSanitizer: heap-buffer-overflow' plant stage_buffer.c \
	's/aligned_alloc(64, (size + 63)/aligned_alloc(64, (b->most_bytes + 63)/' "$address" buffer every_layout
rm -rf "$OUT/red"

if have valgrind valgrind "valgrind"; then
	grind()
	{
		timeout -k 5 400 valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect,possible \
			--errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 "$@"
	}
	check "the program for valgrind builds" build . "$OUT/plain" "" stop
	check "a hundred cycles under valgrind" grind "$OUT/plain/tests/stage/stop" a_hundred_cycles no_threads before_it_starts
fi
conclude
