#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ThreadSanitizer: the ring over a plain array, and the library above its backends over the same; and, as a whole, where it
# has threads of its own: descriptors. All are clean. And all can fail: with one release made relaxed, of tail, of a cursor,
# of the lock, or without the mutex of a notifying thread, it reports a race.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "ThreadSanitizer" || conclude
export TSAN_OPTIONS="halt_on_error=0 exitcode=66"

build() # DIRECTORY PROGRAM: a probe with the include/ and lib/ of a directory
{
	local sources=("$1"/lib/{layout,error}.c)
	[[ $2 == tsan_library ]] && sources+=("$1"/lib/{producer,consumer,wait,lock,notify,log,backend,attach}.c)
	gcc -O1 -g -fsanitize=thread -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror "-I$1/include" "-I$1/lib" \
		-o "$1/$2" "tests/sanitize/probes/$2.c" "${sources[@]}" -pthread
}
# Where addresses are spread wider than the sanitizer can stand it does not start: then without spreading.
run()
{
	local said status
	said=$(timeout 400 "$@" 2>&1)
	status=$?
	if grep -q 'unexpected memory mapping' <<< "$said"; then
		said=$(timeout 400 setarch -R "$@" 2>&1)
		status=$?
	fi
	echo "$said"
	return "$status"
}
copy() # DIRECTORY
{
	rm -rf "$1" && mkdir -p "$1" && cp -r include lib "$1/"
}

copy "$OUT/clean"
for probe in tsan_ring tsan_library; do
	check "$probe builds" build "$OUT/clean" $probe || continue
	run "$OUT/clean/$probe" > "$OUT/$probe.txt"
	status=$?
	grep '^#' "$OUT/$probe.txt"
	[[ $status == 0 ]] || grep -v '^#' "$OUT/$probe.txt" | head -n 40 | sed 's/^/# /'
	result "$probe: no race" "$status"
done

# A few attempts: a race is only seen when the threads do meet.
plant() # FILE SED-EXPRESSION PROBE
{
	local red=$OUT/red said attempts=20
	copy "$red" && sed -i "$2" "$red/$1" || return 0
	cmp -s "$1" "$red/$1" && { echo "nothing was planted"; return 0; }
	build "$red" "$3" || return 0
	while ((attempts-- > 0)); do
		if ! said=$(run "$red/$3"); then
			echo "$said"
			return 1
		fi
	done
}
relaxed='s|smp_store_release(\(&[a-z>-]*\), |WRITE_ONCE(*\1, |'
goes_red "a relaxed store of tail is a race (MO-1)" 'ThreadSanitizer: data race' \
	plant include/mqshm/ring.h "/^static inline bool writer_publish/,/^}/$relaxed" tsan_ring
goes_red "... in the library too" 'ThreadSanitizer: data race' \
	plant include/mqshm/ring.h "/^static inline bool writer_publish/,/^}/$relaxed" tsan_library
goes_red "a relaxed store of a cursor is a race (MO-4)" 'ThreadSanitizer: data race' \
	plant include/mqshm/ring.h "/^static inline bool reader_advance/,/^}/$relaxed" tsan_ring
goes_red "a relaxed look at tail is a race (MO-1)" 'ThreadSanitizer: data race' \
	plant include/mqshm/ring.h 's|smp_load_acquire(&\(rd->ring->producer->tail\))|READ_ONCE(\1)|' tsan_ring
goes_red "a relaxed release of the lock is a race (MO-11)" 'ThreadSanitizer: data race' \
	plant lib/lock.c 's|try_cmpxchg(word, &mine, 0, RELEASE)|MQSHM_CMPXCHG(word, \&mine, 0, __ATOMIC_RELAXED)|' tsan_library

whole() # DIRECTORY: the tests of waiting on many, with all of the library
{
	gcc -O1 -g -fsanitize=thread -std=gnu11 -D_GNU_SOURCE "-I$1/include" "-I$1/lib" -Itests -o "$1/waiting_many" \
		tests/conformance/waiting_many.c "$1"/lib/*.c -pthread || return 0
	# Threads of a child are beyond the sanitizer.
	mapfile -t names < <("$1/waiting_many" -l | grep -v -e "^ok" -e fork)
	TSAN_OPTIONS="$TSAN_OPTIONS die_after_fork=0" run "$1/waiting_many" "${names[@]}"
}
whole_without_mutex()
{
	copy "$OUT/red" && sed -i '/^void mqshm_notifier_watch/,/^}/s/pthread_mutex_lock(&t->mutex);/;/' "$OUT/red/lib/notify.c" &&
		whole "$OUT/red"
}
if [[ -x $OUT/clean/tsan_library ]]; then
	check "descriptors: no race" whole "$OUT/clean"
	goes_red "a notifier without its mutex is a race" 'ThreadSanitizer: data race' whole_without_mutex
fi
conclude
