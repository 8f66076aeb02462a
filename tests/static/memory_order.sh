#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every ordered pair of docs/memory-model.md, MO-n, stands at both its places in include/ and lib/, and every MO-n in
# the code is in the document.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

document=docs/memory-model.md

# What is wrong with a document ($1) and the code below directories ($2...).
compare()
{
	local table=$1 id count bad=0
	shift
	while read -r id; do
		count=$(grep -rhoE "\b$id\b" --include='*.[ch]' "$@" | wc -l)
		if ((count < 2)); then
			echo "$id of $table stands $count times in the code, not at both its places"
			bad=1
		fi
	done < <(sed -n 's/^| *`\{0,1\}\(MO-[0-9]*\)`\{0,1\} *|.*/\1/p' "$table" | sort -u)
	while read -r id; do
		grep -qE "^\| *\`?$id\`? *\|" "$table" || { echo "$id is in the code, but has no row in $table"; bad=1; }
	done < <(grep -rhoE '\bMO-[0-9]+\b' --include='*.[ch]' "$@" | sort -u)
	return "$bad"
}
rows()
{
	[[ $(grep -cE '^\| *`?MO-[0-9]+`? *\|' "$document") -ge 5 ]]
}
twice()
{
	! sed -n 's/^| *`\{0,1\}\(MO-[0-9]*\)`\{0,1\} *|.*/\1/p' "$document" | sort | uniq -d | grep .
}

check "there is a $document" test -s "$document"
if [[ -s $document ]]; then
	check "its table has rows, | MO-n | ..." rows
	check "no id has two rows" twice
	check "document and code name the same ordered pairs, at both sides" compare "$document" include lib
fi

mkdir -p "$OUT/code"
printf '| MO-1 | a | b |\n| MO-2 | c | d |\n' > "$OUT/model.md"
printf '/* MO-1 */ /* MO-1 */ /* MO-2 */ /* MO-22 */\n' > "$OUT/code/a.c"
goes_red "an id at one place only is found" 'MO-2 of .* 1 times' compare "$OUT/model.md" "$OUT/code"
goes_red "an id without a row is found" 'MO-22 is in the code' compare "$OUT/model.md" "$OUT/code"
conclude
