#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that docs/kernel-proof.md names are there, and planted bugs still have a place: what needs no kernel to be seen.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

# How the tests' names stand in the source: TEST(name), TEST_F(fixture, name), and two macros that make them.
defined() # FILE NAME
{
	grep -qE "^TEST(_F)?\(([a-z]+, )?$2\)|^WAY\($2," "tests/kernel/selftest/$1" ||
		{ [[ $2 == write_* ]] && grep -q "^WRITE(${2#write_})" "tests/kernel/selftest/$1"; }
}

missing() # DOCUMENT: the tests that it names and that are not there
{
	local file test named=0 gone=0
	while read -r file test; do
		named=$((named + 1))
		defined "$file" "$test" || { echo "$1: there is no $test in $file"; gone=1; }
	done < <(grep -oE '`[a-z]+\.c: [a-z_0-9]+`' "$1" | tr -d '`:')
	[[ $gone == 0 && $named -gt 30 ]]
}

placed() # LIST
{
	local line bug file expression tests gone=0
	while read -r line; do
		[[ $line == '#'* || -z $line ]] && continue
		IFS='|' read -r bug file expression tests <<< "$line"
		[[ $(sed -E "${expression//¦/|}" "$file" | diff "$file" - | grep -c '^>') == 1 ]] || { echo "$bug: not one line of $file"; gone=1; }
		[[ -n $tests ]] || { echo "$bug: no tests"; gone=1; }
	done < "$1"
	[[ $gone == 0 ]]
}

check "tests that are named exist" missing docs/kernel-proof.md
sed 's/write_by_ptrace/write_by_prayer/' docs/kernel-proof.md > "$OUT/gone.md"
goes_red "one that does not is seen" "write_by_prayer" missing "$OUT/gone.md"
check "each planted bug changes one line" placed tests/kernel/planted.txt
sed 's/queue_death/queue_birth/' tests/kernel/planted.txt > "$OUT/gone.txt"
goes_red "one that has lost its place is seen" "k-death.*not one line" placed "$OUT/gone.txt"
conclude
