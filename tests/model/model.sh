#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The models of this directory, searched whole by Spin: each as it is must have no error and no line that is never
# reached; each with one barrier or one second look taken away must have a counter-example. MQSHM_LONG=1 searches larger
# ones. What they say and leave out is in docs/verification.md; each model's head says which code it stands for.
#
# To look at one: cd tests/model; spin -search -safety -DNO_MO2_PUBLISH -DRED handshake.pml; spin -t -p ... replays it.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

models=$PWD/tests/model
memory=$([[ -n ${MQSHM_LONG:-} ]] && echo 16000 || echo 3000) # MB

# Build and run the search of model $1 with the definitions $2...; says errors, states, depth, time. 0: no error;
# 1: a counter-example; 2: it was not searched whole, or lines were not reached.
search()
{
	local model=$1 dir level=-O1
	shift
	[[ $* != *-DRED* ]] || level=-O0 # it ends soon: compiling takes longer than searching
	dir=$(mktemp -d "$OUT/$model.XXXXXX")
	(
		cd "$dir" || exit 2
		if ! { spin -a "$@" "$models/$model.pml" &&
			cc $level -w -DSAFETY -DCOLLAPSE -DMEMLIM="$memory" -o pan pan.c; } > spin.log 2>&1; then
			cat spin.log
			exit 2
		fi
		./pan -m100000 > pan.log 2>&1
		grep -E 'errors: [0-9]|states, stored|elapsed|^pan:1:' pan.log | tr -s ' \n\t' ' '
		echo
		grep -q 'errors: 1' pan.log && exit 1
		grep -q 'errors: 0' pan.log || exit 2
		! grep -E 'too small|truncated|not completed|MEMLIM|reached -D' pan.log || exit 2
		# What this search never reached: "process line statement".
		awk '/^unreached in/ { p = $NF } /^\t.*state [0-9]+, / && !/"-end-"|"\(dead\[me\]\)"/ { sub(/.*\//, ""); sub(/, state [0-9]+,/, ""); print p, $0 }' \
			pan.log | sort -u > "$OUT/unreached.$model.$(date +%s%N)"
	)
	local status=$?
	rm -rf "$dir"
	return "$status"
}

# holds NAME MODEL DEFINITIONS...: no error; the figures are shown.
holds()
{
	local name=$1 said status line
	shift
	said=$(search "$@" 2>&1)
	status=$?
	while read -r line; do echo "# $line"; done <<< "$said"
	result "$name ($*)" "$status"
}

# breaks MODEL "DEFINITIONS" WITHOUT...: with each of the last, alone, there is a counter-example.
breaks()
{
	local model=$1 definitions=$2 without
	shift 2
	for without; do
		# shellcheck disable=SC2086 # words
		goes_red "$model${definitions:+ $definitions} -D$without: a counter-example" 'pan:1: (invalid end state|assertion violated)' \
			search "$model" $definitions -DRED "-D$without"
	done
}

# Each statement of a model is reached by one of the searches at least.
reached()
{
	local model=$1 searches
	searches=$(find "$OUT" -name "unreached.$model.*" | wc -l)
	((searches)) && ! cat "$OUT/unreached.$model".* | sort | uniq -c | awk -v n="$searches" '$1 == n' | grep .
}

# Every id in the models has a row in docs/memory-model.md.
ids()
{
	local id bad=0
	while read -r id; do
		grep -qE "^\| $id \|" "$1" || { echo "$id has no row in $1"; bad=1; }
	done < <(grep -hoE '\bMO-[0-9]+\b' "$models"/*.pml | sort -u)
	return "$bad"
}

check "every ordered pair that the models name is in docs/memory-model.md" ids docs/memory-model.md
grep -v '^| MO-9 |' docs/memory-model.md > "$OUT/less.md"
goes_red "one that is not is found" 'MO-9 has no row' ids "$OUT/less.md"

rm -f "$OUT"/unreached.*
have spin spin "the models" || conclude
have cc gcc "the models" || conclude

holds "no wake-up is lost: data, 2 producers, 2 consumers" handshake -DRING=2
holds "no wake-up is lost: room, 2 producers, 1 consumer" handshake -DFIRST=1 -DCONSUMERS=1
holds "no wake-up is lost: room, 1 producer, 2 consumers" handshake -DFIRST=1 -DPRODUCERS=1
holds "who has met a producer's need wakes it, even if it then stops" handshake -DPRODUCERS=1 -DRING=4 -DFIRST=4 -DSTOPPING
holds "no wake-up is lost: data, who sleeps is armed on the way, 2 producers, 2 consumers" handshake -DRING=2 -DFOR_DATA
breaks handshake "-DRING=2 -DFOR_DATA" NO_MO2_PUBLISH NO_MO2_ARM NO_LOOK_TAIL
breaks handshake "-DRING=2" NO_MO2_PUBLISH NO_MO2_ARM NO_LOOK_DATA FLAG NO_COMPARE WAKE_ONE
breaks handshake "-DPRODUCERS=1 -DMESSAGES=2 -DFIRST=1" NO_MO5_ADVANCE NO_MO5_ARM NO_LOOK_ROOM FLAG NO_COMPARE
breaks handshake "-DPRODUCERS=1 -DRING=4 -DFIRST=4 -DSTOPPING" NO_ANEW

holds "joining: 2 producers, one dies, 1 consumer" join -DCONSUMERS=1
holds "joining: 2 producers, two deaths, 1 consumer" join -DCONSUMERS=1 -DDEATHS=2 -DTRIES=3 -DBY_ONE
breaks join "-DCONSUMERS=1" NO_MO3_RAISE NO_MO3_JOIN NO_SECOND_SCAN NO_TAKE_BACK TRUST_JOINING IGNORE_JOINING \
	NO_AGREEMENT NO_MO4
breaks join "-DCONSUMERS=1 -DBY_ONE" BELIEVE_HEAD
breaks join "-DCONSUMERS=1 -DDEATHS=0 -DTRIES=4" NO_MO11

holds "a slot's next owner: 2 producers" slots
holds "adopting the hold: 2 producers" slots -DADOPT
breaks slots "" NO_MO10 NO_MO10_READ NO_EPOCH
breaks slots "-DADOPT" NO_MO9

holds "a lossy reader, 2 producers" lossy -DREADERS=1
holds "a reader that is evicted, 2 producers" lossy -DREADERS=2
breaks lossy "-DREADERS=1" NO_MO1 NO_MO6_RAISE NO_MO6_READ NO_MO6_RESYNC NO_VALIDATE
breaks lossy "-DREADERS=2" NO_MO7 NO_MO7_READ NO_STATE

holds "the lock: 2 producers, one dies anywhere, 1 joiner" lock
holds "the lock: 3 producers, one dies anywhere" lock -DPRODUCERS=3 -DJOINERS=0
holds "the lock: 2 producers, one dies and its slot is used again" lock -DNEXT -DMESSAGES=2 -DJOINERS=0
holds "tail and its record: an exclusive producer, 1 joiner" lock -DEXCLUSIVE -DMESSAGES=3 -DDEATHS=0
breaks lock "-DDEATHS=0 -DMESSAGES=2" NO_MO8_READ TAIL_FIRST NO_MO11_TAKE
breaks lock "-DDEATHS=0 -DMESSAGES=3 -DEXCLUSIVE" NO_MO8
breaks lock "-DPRODUCERS=3 -DJOINERS=0 -DDEATHS=0" NO_WAITERS NO_COMPARE
breaks lock "-DPRODUCERS=3 -DJOINERS=0" NO_EXACT
breaks lock "-DNEXT -DPRODUCERS=3 -DJOINERS=0" NO_GENERATION

if [[ -n ${MQSHM_LONG:-} ]]; then
	holds "no wake-up is lost: room, 2 producers, 2 consumers" handshake -DFIRST=1
	holds "joining: 2 producers, 2 consumers" join -DDEATHS=0 -DBY_ONE
	holds "joining: 2 producers, one dies, 2 consumers" join -DBY_ONE
	holds "lossy and evicted readers together, 2 producers" lossy -DREADERS=3
	holds "a lossy reader, 2 producers, 2 positions" lossy -DREADERS=1 -DRING=2
	holds "a slot's next owner: 2 producers, more tries" slots -DTRIES=4
	holds "the lock: 3 producers, a next owner, 1 joiner" lock -DNEXT -DPRODUCERS=3
fi
for model in handshake join slots lossy lock; do
	check "$model: every statement is reached" reached "$model"
done
conclude
