#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random torture: many processes create, open, push, pop, fork, exec, remove, gc on one and on many queues and are killed,
# stopped and interrupted meanwhile; a checker that knows what must be true looks on (probes/torture.c, check.c). All that
# is drawn follows from a printed seed. Then bugs are planted in copies of the library, and the torture finds them.
#
#	MQSHM_SEED=N	the seed		MQSHM_LONG=1	10,000 kills instead of 600, with progress on stderr
#	KILLS=N		so many kills	BUGS="always long missed"	which of probes/bugs.txt to plant
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have gcc gcc "random torture" || conclude
seed=${MQSHM_SEED:-$(date +%N)$$}
kills=${KILLS:-$([[ -n ${MQSHM_LONG:-} ]] && echo 10000 || echo 600)}
program=(tests/torture/probes/{world,check,operations,produce,consume,manage,worker,dump,torture}.c)

build() # DIRECTORY: the torture with the include/ and lib/ of a directory
{
	gcc -O2 -g -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror "-I$1/include" "-I$1/lib" -Itests \
		-Itests/torture/probes -o "$1/torture" "${program[@]}" "$1"/lib/*.c -pthread
}
copy() # DIRECTORY
{
	rm -rf "$1" && mkdir -p "$1" && cp -r include lib "$1/"
}

copy "$OUT/clean"
check "the torture builds" build "$OUT/clean" || conclude
progress=()
[[ -n ${MQSHM_LONG:-} ]] && progress=(--progress)
"$OUT/clean/torture" --seed "$seed" --kills "$kills" --tool "$BUILD/mqshm" "${progress[@]}" > "$OUT/clean.txt"
status=$?
if [[ $status == 0 ]]; then
	cat "$OUT/clean.txt"
else
	head -n 120 "$OUT/clean.txt"
	grep '^# to repeat' "$OUT/clean.txt"
fi
result "$kills kills, and all is as it must be" "$status"

# The bugs of probes/bugs.txt are planted, each in a copy of its own: "always" here, "long" in the long form only. Those
# marked "missed" are there to say so, and are tried with BUGS=missed. Another seed is tried when one does not find it.
plant() # FILE SED-EXPRESSION
{
	local red=$OUT/red said attempt
	copy "$red" && sed -i "$2" "$red/$1" || return 0
	cmp -s "$1" "$red/$1" && { echo "nothing was planted"; return 0; }
	build "$red" || return 0
	for attempt in 1 2 3 4 5 6; do
		said=$("$red/torture" --seed "$attempt" --kills 700) || { echo "$said"; return 1; }
	done
}
bugs=${BUGS:-always${MQSHM_LONG:+ long}}
while IFS='|' read -r what file expression when; do
	[[ $what == "#"* || " $bugs " != *" $when "* ]] || goes_red "found: $what" 'FAILED in round' plant "$file" "$expression"
done < tests/torture/probes/bugs.txt
conclude
