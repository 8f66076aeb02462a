#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A peer that scribbles on every byte of live queues, at random and on purpose, while others use them by library and by
# tool, all with the address and undefined-behaviour sanitizers; then damaged images at rest, with the same. And bugs that
# were planted in a copy of the source are found.
#
#	MQSHM_LONG=1	hours instead of seconds
#	MQSHM_SEED=N	the seed
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

seconds=${MQSHM_LONG:+7200}
seconds=${seconds:-8}
have gcc gcc "scribbling with sanitizers" || conclude
flags=("-fsanitize=address,undefined" -fno-sanitize-recover=all -fno-omit-frame-pointer)
# An allocation that is larger than this was asked for by shared memory: the queues have some ten KiB.
export ASAN_OPTIONS=detect_leaks=1:exitcode=66:max_allocation_size_mb=256:allocator_may_return_null=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# build DIRECTORY TARGET...: of the sources of a directory, into its build directory "asan"
build()
{
	make -s -C "$1" -j"$JOBS" BUILD="$2" CFLAGS='-O1 -g' EXTRA_CFLAGS="${flags[*]}" "${@:3}" &&
		make -s -C "$1" -j"$JOBS" BUILD="$2" CFLAGS='-O1 -g' EXTRA_CFLAGS="${flags[*]}" "$2/libmqshm.a" &&
		gcc -O1 -g "${flags[@]}" -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$1/include" -I"$1/lib" -Itests -o "$2/scribble" \
			tests/hostile/probes/scribble.c "$2/libmqshm.a" -pthread
}
check "library, tool and scribbler build" build . "$OUT/asan" "$OUT/asan/mqshm" "$OUT/asan/tests/hostile/image" || conclude

scribble() # PROGRAM SECONDS TOOL [WORDS]
{
	timeout -k 5 $((seconds + 300)) "$1" "$Q-live" "${@:2}" > "$OUT/said.txt" 2>&1
	local status=$?
	grep -E '^#|RED' "$OUT/said.txt"
	[[ $status == 0 ]] || grep -vE '^#' "$OUT/said.txt" | head -n 60
	return "$status"
}
scribble "$OUT/asan/scribble" "$seconds" "$OUT/asan/mqshm" > "$OUT/scribble.txt"
status=$?
sed 's/^#* */# /' "$OUT/scribble.txt"
result "$seconds s of scribbling on live queues" "$status"

# Not truncating_a_live_object and a_huge_sparse_file: the sanitizer has its own view of SIGBUS and of address space.
# Tests end without freeing what they have: leaks are for the scribbler's victims.
quietly()
{
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 BUILD=$OUT/asan "$@"
}
check "damaged images at rest, with sanitizers" quietly "$OUT/asan/tests/hostile/image" every_field_of_an_exclusive_queue \
	every_field_of_a_shared_queue every_field_of_an_overwriting_queue every_field_of_a_queue_with_hold files_of_every_length

# ---- it can fail ----

copy=$OUT/red
planted() # FILE SED-EXPRESSION: a copy with a bug
{
	rm -rf "$copy" && mkdir -p "$copy" && cp -r include lib tests Makefile "$copy/" && sed -i "$2" "$copy/$1"
	! cmp -s "$1" "$copy/$1" || { echo "nothing was planted"; return 1; }
}
scribbled() # FILE SED-EXPRESSION WORDS: scribbling on the places of WORDS only
{
	planted "$1" "$2" && build "$copy" "$copy/asan" "$copy/asan/libmqshm.a" || return 0
	scribble "$copy/asan/scribble" 12 - "$3"
}
toggled() # FILE SED-EXPRESSION TEST: values that change to and fro
{
	planted "$1" "$2" && make -s -C "$copy" -j"$JOBS" BUILD="$copy/b" "$copy/b/tests/hostile/toggle" || return 0
	"$copy/b/tests/hostile/toggle" "$3"
}
goes_red "a length that is not checked" 'RED: a message of|AddressSanitizer' scribbled include/mqshm/ring.h \
	's/if (unlikely(word >> 32 != MQSHM_NODE_MESSAGE || .*/if (unlikely(word == 12345 \&\&/' nodes
goes_red "a role that is thought ours when its word has changed back" 'peek gives 0|pop gives 0' toggled lib/consumer.c \
	's/^\t\trc = c->mapping->backend->check_self/\t\treturn c->mapping->backend->check_self/' the_state_of_a_consumer
rm -rf "$copy"
conclude
