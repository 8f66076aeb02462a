#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Do the tests of the module see a bug? Plants one after the other (planted.txt), in a copy of the source, each of one line, and boots
# a kernel with it and the tests that should go red. Prints a table: the bug, and the test that saw it. By hand: half an hour.
#
#	tests/kernel/planted.sh KERNEL [PATTERN OF NAMES]
#
# The status is 0 if each was seen. BUILD=DIR: where it is done, and what was said is kept.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
name=$1 pattern=${2:-.} out=$BUILD/planted
tree=$out/tree
survived=0

rm -rf "$out" && mkdir -p "$tree"
cp -r Makefile include kmod lib tests tools "$tree/"
tests/kernel/fetch.sh "$name" || exit 1

program() # NAME: built, and in the guest's root
{
	mkdir -p "$out/root/tests/$(dirname "$1")"
	if [[ $1 == selftest/* ]]; then
		[[ -e $out/$1 ]] || { mkdir -p "$out/selftest" && tests/kernel/selftest.sh "tests/kernel/$1.c" "$out/$1"; } || return 1
		cp "$out/$1" "$out/root/tests/$1"
	else
		make -s -C "$tree" BUILD="$out/build" "$out/build/tests/$1" > "$out/make.log" 2>&1 &&
			cp "$out/build/tests/$1" "$out/root/tests/$1"
	fi
}

# The names of what was not well, or of what did not end.
seen_by() # SAID
{
	awk '/^## status/ { if ($3 != 0) { print $4 ($5 == "" ? "" : ":" $5) ": it does not end well (" $3 ")"; exit } next }
		/^## / { from = $2 }
		/^not ok / { sub(/^not ok [0-9]* -? ?/, ""); print from ": " $0; exit }' "$1"
}

one() # NAME FILE EXPRESSION TESTS
{
	local spec status
	sed -i -E "$3" "$tree/$2"
	if cmp -s "$2" "$tree/$2"; then
		printf '%-44s can not be planted any more\n' "$1"
		survived=$((survived + 1))
		return
	fi
	rm -rf "$out/root" && mkdir -p "$out/root/tests"
	printf 'insmod /mqshm.ko || exit 1\nexport MQSHM_BACKEND=kernel MQSHM_TEST_KILLS=8 MQSHM_TEST_SCALE=5\n' > "$out/root/main"
	for spec in $4; do
		program "${spec%%:*}" || { printf '%-44s %s: not to be built\n' "$1" "${spec%%:*}"; cat "$out/make.log"; survived=$((survived + 1)); cp "$2" "$tree/$2"; return; }
		printf 'echo "## %s"\ntimeout -k 5 %s /tests/%s %s\ns=$?\necho "## status $s %s"\n[ $s = 0 ] || exit 1\n' \
			"$spec" "${PLANTED_LIMIT:-90}" "${spec%%:*}" "$([[ $spec == *:* ]] && echo "${spec#*:}")" "${spec/:/ }" >> "$out/root/main"
	done
	(cd "$tree" && tests/kernel/build.sh "$name" "$out") > "$out/kmod.log" 2>&1 || { printf '%-44s the module does not build\n' "$1"; survived=$((survived + 1)); cp "$2" "$tree/$2"; return; }
	cp "$out/kmod/mqshm.ko" "$out/root/"
	tests/kernel/boot.sh "$name" "$out/root" "$out/$1" 400 2> /dev/null
	status=$?
	cp "$2" "$tree/$2"
	if [[ $status == 0 ]]; then
		printf '%-44s SURVIVED\n' "$1"
		survived=$((survived + 1))
	else
		printf '%-44s %s\n' "$1" "$(seen_by "$out/$1/said")"
	fi
}

mapfile -t bugs < tests/kernel/planted.txt
for line in "${bugs[@]}"; do
	IFS='|' read -r bug file expression tests <<< "$line"
	[[ -z $bug || $bug == '#'* || ! $bug =~ $pattern ]] && continue
	one "$bug" "$file" "${expression//¦/|}" "$tests"
done
echo "$survived survived"
[[ $survived == 0 ]]
