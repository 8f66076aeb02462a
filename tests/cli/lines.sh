#!/bin/bash
# SPDX-License-Identifier: MIT
# push --lines and pop --lines: lines of every kind go through as they are; one that is too long is an error with its
# number.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

# through NAME INPUT EXPECTED PUSH-OPTION...
through()
{
	local name=$1 input=$2 expected=$3 q=$Q-through pop status
	shift 3
	start "$MQSHM" pop "$q" --lines > "$WORK/out" 2> /dev/null
	pop=$!
	"$MQSHM" push "$q" "$input" --lines "$@" 2> "$WORK/err"
	check "$name: push exits 0" equal $? 0
	check "$name: push is quiet" equal "$(< "$WORK/err")" ''
	status_of "$pop" && check "$name: pop exits 0" equal "$status" 0
	check "$name: the same lines" cmp "$expected" "$WORK/out"
}

printf 'one\n\n  three \n\0four\xff\n' > "$WORK/kinds"
through 'empty lines, blanks, any bytes' "$WORK/kinds" "$WORK/kinds"
printf 'one\ntwo' > "$WORK/no-newline"
printf 'one\ntwo\n' > "$WORK/newline"
through 'a last line without newline' "$WORK/no-newline" "$WORK/newline"
seq 300000 > "$WORK/many"
through 'many lines' "$WORK/many" "$WORK/many"
through 'many lines, a small ring' "$WORK/many" "$WORK/many" --nodes 2 --block 6
{
	head -c 150000 /dev/zero | tr '\0' x
	echo
	head -c 200000 /dev/zero | tr '\0' y
	echo
	echo z
} > "$WORK/long"
through 'lines longer than a read' "$WORK/long" "$WORK/long" --block 200000

# too_long NAME NUMBER LINES-BEFORE BLOCK
too_long()
{
	local name=$1 number=$2 before=$3 q=$Q-long pop status
	start "$MQSHM" pop "$q" --lines > "$WORK/out" 2> /dev/null
	pop=$!
	"$MQSHM" push "$q" "$WORK/in" --lines --block "$4" 2> "$WORK/err"
	check "$name: push exits 1" equal $? 1
	check "$name: it names the line" matches "$(< "$WORK/err")" \
		"^mqshm push: line $number of $WORK/in is longer than a message may be \($4 bytes\)$"
	status_of "$pop"
	check "$name: the lines before went through" equal "$(lines_of "$WORK/out")" "$before"
	check "$name: nothing is left" wait_until queue_gone "$q"
}

printf '1\n2\n12345\n4\n' > "$WORK/in"
too_long 'too long in the middle' 3 2 4
printf '12345' > "$WORK/in"
too_long 'too long, without newline' 1 0 4
{
	seq 1000
	head -c 1000000 /dev/zero | tr '\0' x
} > "$WORK/in"
too_long 'much too long' 1001 1000 100
conclude
