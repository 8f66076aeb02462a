#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Offset and size of every shared field, and the constants, against the golden listing layout.txt, as 64-bit and as
# 32-bit code, by gcc and by clang. Where the layout is meant to change: UPDATE=1 tests/abi/layout.sh (and a new ABI
# version once one is released).
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash
# shellcheck source=tests/bits32.bash
. tests/bits32.bash

golden=tests/abi/layout.txt
have gcc gcc "the layout of shared memory" || conclude

awk -f tests/abi/probes/fields.awk include/mqshm/abi.h > "$OUT/fields.h"
all_fields()
{
	# Each struct's line of declaration with a semicolon is a FIELD or more; the parser must not lose one.
	local structs
	structs=$(grep -c '^struct mqshm_[a-z_]* {' include/mqshm/abi.h)
	same "$structs" "$(grep -c '^STRUCT' "$OUT/fields.h")" && [[ $(grep -c '^FIELD' "$OUT/fields.h") -ge 80 ]]
}
check "every struct of abi.h is in the listing" all_fields
complete()
{
	# No hole: what is not named cannot be reserved. Offsets follow each other up to the size of the struct.
	awk '/^struct/ { if (size && at != size) { print name " ends at " at ", not " size; bad = 1 }
			name = $2; size = $4; at = 0; next }
		/^ / { if ($1 != at) { print name " " $3 " is at " $1 ", not " at; bad = 1 } at = $1 + $2; next }
		{ if (size && at != size) { print name " ends at " at ", not " size; bad = 1 } size = 0 }
		END { exit bad }' "$1"
}
build() # COMPILER OPTION...
{
	"$@" -D_GNU_SOURCE -Wall -Werror -Iinclude "-I$OUT" -o "$OUT/layout" tests/abi/probes/layout.c
}
listing()
{
	build "$@" && "$OUT/layout"
}
if [[ -n ${UPDATE:-} ]]; then
	listing gcc > $golden
fi
check "64 bit, gcc: as $golden" same "$(cat $golden)" "$(listing gcc)"
check "no struct has a hole" complete $golden
if command -v clang > /dev/null; then
	check "64 bit, clang: as $golden" same "$(cat $golden)" "$(listing clang)"
else
	skip "64 bit, clang: as $golden" "missing package: clang"
fi
have_32 "32 bit, gcc: as $golden" && check "32 bit, gcc: as $golden" same "$(cat $golden)" "$(build "${cc_32[@]}" && run_32 "$OUT/layout")"

mkdir -p "$OUT/red/mqshm"
sed 's|__aligned_u64 retired_popped;|__u64 unaligned; __u32 planted; __aligned_u64 retired_popped;|' include/mqshm/abi.h |
	grep -v '^MQSHM_ASSERT' > "$OUT/red/mqshm/abi.h"
planted()
{
	same "$(cat "$golden")" "$(listing gcc "-I$OUT/red")"
}
goes_red "a field that moves others is found" 'retired_popped' planted
asserted()
{
	sed 's|__u32 dead;|__u32 planted; __u32 dead;|' include/mqshm/abi.h > "$OUT/red/mqshm/abi.h"
	gcc "-I$OUT/red" -Iinclude -fsyntax-only -x c - <<< '#include "mqshm/abi.h"'
}
goes_red "and by abi.h itself" 'static assertion failed' asserted
conclude
