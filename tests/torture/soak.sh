#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A soak: many messages through 8 consumers that come and go, on one queue, then spread over many; all are checked, and the
# memory, descriptors and mappings of those who stay and what lies in /dev/shm do not grow (probes/soak.c). Then leaks are
# planted, and it sees each of them.
#
#	MQSHM_LONG=1	10 million messages, and 1,000 queues, with progress on stderr
#	MQSHM_SEED=N	the seed
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "soak" || conclude
seed=${MQSHM_SEED:-$$}
one=(--messages 1000000) many=(--messages 50000 --queues 100)
if [[ -n ${MQSHM_LONG:-} ]]; then
	one=(--messages 10000000 --progress) many=(--messages 10000000 --queues 1000 --progress)
	ulimit -n "$(ulimit -Hn)"
	[[ $(ulimit -n) == unlimited || $(ulimit -n) -ge 1100 ]] || many=(--messages 10000000 --queues $(($(ulimit -n) - 100)) --progress)
fi

build() # DIRECTORY: the soak with the include/ and lib/ of a directory
{
	gcc -O2 -g -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror "-I$1/include" "-I$1/lib" -Itests \
		-o "$1/soak" tests/torture/probes/soak.c "$1"/lib/*.c -pthread
}
copy() # DIRECTORY
{
	rm -rf "$1" && mkdir -p "$1" && cp -r include lib "$1/"
}
soak() # NAME ARGUMENTS...
{
	"$OUT/clean/soak" --seed "$seed" "${@:2}" > "$OUT/said.txt"
	local status=$?
	cat "$OUT/said.txt"
	result "$1" "$status"
}

copy "$OUT/clean"
check "the soak builds" build "$OUT/clean" || conclude
soak "one queue: all is right, nothing grows" "${one[@]}"
soak "many queues: all is right, nothing grows" "${many[@]}"

plant() # FILE SED-EXPRESSION
{
	local red=$OUT/red
	copy "$red" && sed -i "$2" "$red/$1" || return 0
	cmp -s "$1" "$red/$1" && { echo "nothing was planted"; return 0; }
	build "$red" || return 0
	"$red/soak" --seed 1 --messages 1000000
}
goes_red "a consumer's handle that close does not free is seen" 'opens again.*GROWN' \
	plant lib/consumer.c '/^static int leave/,/^}/s/free(c);/;/'
goes_red "some bytes that each push leaves behind are seen" 'producer .*GROWN' \
	plant lib/producer.c '/^int mqshm_producer_push(/,/^}/s/^{/{ static void *volatile leak; leak = malloc(1); (void)leak;/'
goes_red "a descriptor that close leaves open is seen" 'opens again.*GROWN' \
	plant lib/posix_object.c '/^void posix_close/,/^}/s/close(p->lock_fd);/;/'
conclude
