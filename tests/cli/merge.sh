#!/bin/bash
# SPDX-License-Identifier: MIT
# mqshm merge: several queues as one stream in order of time, how it waits and how it ends.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

a=$Q-a b=$Q-b c=$Q-c

# keep NAME...: queues that stay when nobody uses them
keep()
{
	local name
	for name; do
		"$MQSHM" create "$name" --persistent --block 100 --nodes 64 > /dev/null
	done
}

# say NAME LINE...: a producer that pushes lines and closes. One call after the other: later timestamps.
say()
{
	local name=$1
	shift
	printf '%s\n' "$@" | "$MQSHM" push "$name" --lines --wait 0 2> /dev/null
}

keep "$a" "$b" "$c"
expected=
for i in {1..30}; do
	case $((i * i % 7 % 3)) in
	0) say "$a" "a$i" "a$i+" && expected+="a$i"$'\n'"a$i+"$'\n' ;;
	1) say "$b" "b$i" && expected+="b$i"$'\n' ;;
	2) say "$c" "c$i" && expected+="c$i"$'\n' ;;
	esac
done
"$MQSHM" merge "$a" "$b" "$c" --lines > "$WORK/out" 2> "$WORK/err"
check "all streams have ended: exits 0" equal $? 0
check "... in order of time" equal "$(< "$WORK/out")" "${expected%$'\n'}"
check "... quietly" equal "$(< "$WORK/err")" ''
check "the order of the names does not matter" equal "$("$MQSHM" merge --lines "$c" "$a" "$b")" "${expected%$'\n'}"
check "raw is the bytes alone" equal "$("$MQSHM" merge "$a" "$b" "$c")" "${expected//$'\n'/}"
check "--count ends it early" equal "$("$MQSHM" merge "$a" "$b" "$c" --lines --count 4)" "$(head -n 4 "$WORK/out")"
check "one queue is a pop" equal "$("$MQSHM" merge "$b" --lines)" "$("$MQSHM" pop "$b" --lines)"
"$MQSHM" merge "$a" "$b" "$c" --from latest > "$WORK/latest"
check "--from latest of streams that ended exits 0" equal $? 0
check "... with nothing" equal "$(< "$WORK/latest")" ''
"$MQSHM" merge "$a" "$b" --json > "$WORK/json"
check "--json names the queue" matches "$(head -n 1 "$WORK/json")" \
	"^\{\"queue\":\"$Q-[ab]\",\"sequence\":0,\"timestamp_ns\":[0-9]+,\"size\":[0-9]+,\"data_base64\":\".*\"\}$"
check "... each line its own" equal "$(grep -c "\"queue\":\"$b\"" "$WORK/json")" "$(grep -c ^b "$WORK/out")"
check "... in order of time" equal "$(sed 's/.*timestamp_ns":\([0-9]*\).*/\1/' "$WORK/json")" \
	"$(sed 's/.*timestamp_ns":\([0-9]*\).*/\1/' "$WORK/json" | sort -n)"

# What could not be written is still in its queue.
"$MQSHM" stat "$a" --json > "$WORK/before"
popped=$(stat_value "$a" total_popped)
"$MQSHM" merge "$a" "$b" > /dev/full 2> "$WORK/err"
check "stdout is full: exits 1" equal $? 1
check "... and says so" matches "$(< "$WORK/err")" "^mqshm merge: can't write to stdout: "
check "... nothing was taken" stat_is "$a" total_popped "$popped"

# Live: it starts first, waits for the queues, then for each one's next message.
"$MQSHM" rm "$a" "$b" "$c" > /dev/null
mkfifo "$WORK/fifo-a" "$WORK/fifo-b"
start "$MQSHM" merge "$a" "$b" --lines > "$WORK/out" 2> "$WORK/err"
merge=$!
wait_until grep -q waiting "$WORK/err"
check "it says what it waits for" matches "$(< "$WORK/err")" "queue '$Q-[ab]' does not exist yet, waiting for it"
exec 3<> "$WORK/fifo-b"
start "$MQSHM" push "$b" --lines < "$WORK/fifo-b"
push_b=$!
echo b1 >&3
wait_until stat_is "$b" total_pushed 1
exec 4<> "$WORK/fifo-a"
start "$MQSHM" push "$a" --lines < "$WORK/fifo-a" 4>&-
push_a=$!
wait_until stat_is "$a" consumers_ever 1
check "nothing is written before each has shown its next" equal "$(< "$WORK/out")" ''
echo a1 >&4
first_is_out()
{
	[[ $(lines_of "$WORK/out") == "$1" ]]
}
check "... then the first is" wait_until first_is_out 1
check "... in order of time" equal "$(< "$WORK/out")" b1
echo b2 >&3
check "and the next" wait_until first_is_out 2
check "... in order of time" equal "$(< "$WORK/out")" $'b1\na1'
exec 4>&-
status_of "$push_a"
check "a stream that ended is not waited for" wait_until first_is_out 3
kill_hard "$push_b"
exec 3>&-
status_of "$merge"
check "a producer crashed: exits 1" equal "$status" 1
check "... after all was written" equal "$(< "$WORK/out")" $'b1\na1\nb2'
check "... and says which" matches "$(tail -n 1 "$WORK/err")" "^mqshm merge: .*'$b'.* died"
check "... nothing is left" wait_until queue_gone "$b"

# A silent queue.
keep "$a" "$b"
say "$a" one two
"$MQSHM" merge "$a" "$b" --lines --timeout 100 > "$WORK/out" 2> "$WORK/err"
check "a silent queue holds back the others: --timeout, exits 1" equal $? 1
check "... and says so" equal "$(< "$WORK/err")" "mqshm merge: 2 queues: no message within 100 ms"
check "... nothing was written" equal "$(< "$WORK/out")" ''
for sync in 0 20; do
	"$MQSHM" merge "$a" "$b" --lines --timeout 2000 --sync $sync > "$WORK/out" 2> /dev/null
	check "not for longer than --sync $sync" equal "$(< "$WORK/out")" $'one\ntwo'
done
"$MQSHM" merge "$a" "$b" "$Q-none" --timeout 100 > "$WORK/out" 2> "$WORK/err"
check "a queue that does not appear: exits 1" equal $? 1
check "... and says so" matches "$(tail -n 1 "$WORK/err")" "^mqshm merge: queue '$Q-none' did not appear within 100 ms$"

for signal in INT TERM HUP; do
	# A background job of a script ignores SIGINT from the start: a shell of its own, with job control, does not.
	if [[ $signal == INT ]]; then
		set -m
		start "$MQSHM" merge "$a" "$b" --sync 0 > "$WORK/out" 2> /dev/null
		set +m
	else
		start "$MQSHM" merge "$a" "$b" --sync 0 > "$WORK/out" 2> /dev/null
	fi
	merge=$!
	wait_until test -s "$WORK/out"
	kill "-$signal" "$merge"
	status_of "$merge" && check "SIG$signal ends it by that signal" equal "$status" $((128 + $(kill -l "$signal")))
	check "... with all that it had written" equal "$(< "$WORK/out")" onetwo
	check "... and it has left" stat_is "$a" depth 2
	: > "$WORK/out"
done
{ "$MQSHM" merge "$a" "$b" --sync 0 --lines 2> "$WORK/err"; echo $? > "$WORK/status"; } | head -n 1 > "$WORK/out"
check "the reader of stdout leaves: exits 1, also while nothing comes" equal "$(< "$WORK/status")" 1

# Lapped: an overwrite queue is copied, and what it missed is counted.
q=$Q-lossy
"$MQSHM" create "$q" --block 8 --nodes 4 --overflow overwrite --persistent > /dev/null
seq 1000000 1000999 | "$MQSHM" push "$q" --lines --wait 0 2> /dev/null
"$MQSHM" merge "$q" "$a" --from beginning --lines > "$WORK/out" 2> "$WORK/err"
check "lapped: exits 0" equal $? 0
missed=$(sed -n "s/^mqshm merge: queue '$q': \([0-9]*\) messages were missed$/\1/p" "$WORK/err")
check "lapped: missed and read are all" equal "$((missed + $(grep -c '^1000' "$WORK/out")))" 1000
check "lapped: the other is whole" equal "$(grep -v '^1000' "$WORK/out")" $'one\ntwo'

# Lost while it reads.
start "$MQSHM" merge "$a" "$b" --sync 0 > "$WORK/out" 2> "$WORK/err"
merge=$!
wait_until test -s "$WORK/out"
"$MQSHM" rm --force "$b" > /dev/null
status_of "$merge" && check "a queue is removed by force: exits 1" equal "$status" 1
check "... and says which" matches "$(< "$WORK/err")" "^mqshm merge: .*'$b'"
"$MQSHM" rm "$a" "$q" > /dev/null
conclude
