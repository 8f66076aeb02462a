#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# In the test build every store to shared memory, and every system call, stands between two labelled steps: read from
# the preprocessed source. And the normal build has none of that.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

flags=(-std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DMQSHM_STEPS)
labelled() # DIRECTORY FILE...: of the library of a directory
(
	root=$PWD
	cd "$1" && shift && /usr/bin/python3 "$root/tests/steps/probes/labels.py" "${flags[@]}" -Iinclude \
		-include "$root/tests/steps/probes/step.h" -- "$@"
)
unlabelled()
{
	! make -s BUILD="$OUT/normal" "$OUT/normal/libmqshm.a" || ! nm "$OUT/normal/libmqshm.a" | grep -i 'mqshm_step\|label_'
}

have clang clang "labels" || conclude
/usr/bin/python3 -c 'import sys; sys.path.append("/usr/lib/python3/dist-packages"); import clang.cindex' 2> /dev/null || {
	skip "labels" "missing package: python3-clang-14"
	conclude
}
check "every store to shared memory and every system call is between two steps" labelled . lib/*.c
check "the normal build has no step" unlabelled

# plant NAME FILE SED WORDS: a store that somebody forgot to label.
plant()
{
	rm -rf "$OUT/planted"
	mkdir -p "$OUT/planted"
	cp -r lib include "$OUT/planted"
	sed -i "$3" "$OUT/planted/$2"
	if cmp -s "$2" "$OUT/planted/$2"; then
		echo "# nothing was planted"
		result "$1" 1
		return
	fi
	goes_red "$1" "$4" labelled "$OUT/planted" "${2/*.h/lib/producer.c}"
}
plant "an assignment is found" lib/backend_posix.c 's/WRITE_ONCE(r->info->used, 1);/r->info->used = 1;/' \
	'claim: an assignment without a step.*used = 1'
plant "an increment through a pointer to a field is found" lib/lock.c 's/^\(\tuint32_t mine = lock->word;\)$/\1\n\t(*word)++;/' \
	'increment without a step.*\(\*word\)\+\+'
plant "an atomic builtin is found" lib/posix_owner.c 's/atomic_add(&info->epoch, 1, ACQ_REL);/__atomic_fetch_add(\&info->epoch, 1, __ATOMIC_ACQ_REL);/' \
	'__atomic_fetch_add without a step'
plant "an atomic builtin on what a parameter points to is found" lib/lock.c \
	's/return try_cmpxchg(word, &from, to, ACQUIRE);/return __atomic_exchange_n(word, to, __ATOMIC_ACQUIRE) == from;/' \
	'change: __atomic_exchange_n without a step'
plant "a store by what lies above the queues is found" lib/manager.c \
	's/__atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);/&\n\t((struct mqshm_mapping *)s)->ring.info->dead = 1;/' \
	'mqshm_shared_get: an assignment without a step'
plant "a memcpy() to a payload is found" lib/producer.c 's/shared_copy(payload, data, size);/memcpy(payload, data, size);/' \
	'mqshm_producer_push: memcpy\(\) to shared memory without a step'
plant "a store in the ring's header is found" include/mqshm/ring.h 's/WRITE_ONCE(node->sequence, w->sequence);/node->sequence = w->sequence;/' \
	'writer_finish: an assignment without a step'
plant "two stores in one step are found" lib/backend_posix.c 's/WRITE_ONCE(r->info->used, 1);/LABELLED("both", r->info->used = r->info->hold = 1);/' \
	'claim: two stores in one step'
plant "a system call that is new is found" lib/posix_object.c 's/^\tif (!rc && fchmod(fd/\tif (!rc \&\& ftruncate(fd, 4096))\n\t\trc = -EIO;\n&/' \
	'create_new: ftruncate\(\) without a step'
conclude
