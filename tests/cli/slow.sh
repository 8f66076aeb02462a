#!/bin/bash
# SPDX-License-Identifier: MIT
# Slow consumers and named ones: --slow, evict, pop --as; who blocks whom and since when. A slow consumer here is one that
# is stopped (SIGSTOP).
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

# usage NAME WORDS COMMAND...: exits 2 and says WORDS (an ERE).
usage()
{
	local name=$1 words=$2 code
	shift 2
	"$MQSHM" "$@" > "$WORK/out" 2> "$WORK/err"
	code=$?
	check "$name" equal "$code" 2
	check "... and it says why" matches "$(< "$WORK/err")" "$words"
}

q=$Q-usage
usage "evict without a time" "'evict' needs a time: evict:MS" create "$q" --slow evict
usage "block with one" "'block' has no time" create "$q" --slow block:5
usage "time 0" 'out of range; allowed is 1 to 2147483647' create "$q" --slow demote:0
usage "time too long" 'out of range' push "$q" --slow evict:2147483648
usage "time with a unit" "'5s' is not a number" create "$q" --slow evict:5s
usage "no time after the colon" "'' is not a number" create "$q" --slow evict:
usage "no such policy" "'kill' is not one of block, evict or demote" create "$q" --slow kill:5
usage "a policy that begins well" 'is not one of block, evict or demote' create "$q" --slow blocked
usage "a policy that is long" 'is not one of block, evict or demote' create "$q" --slow blockkkkkkkkkkkkk
usage "not with overwrite" 'exclude each other' create "$q" --slow evict:5 --overflow overwrite
usage "evict without an id" 'ID is missing' evict "$q"
usage "evict of no number" "'x' is not a number" evict "$q" 0 x
usage "evict of an id that no queue has" 'out of range; allowed is 0 to 255' evict "$q" 256
usage "--lease without --as" '[-]-lease needs --as' pop "$q" --lease 5
usage "--leave without --as" '[-]-leave needs --as' pop "$q" --leave
usage "a consumer's name of 32" 'is not a name; allowed are 1 to 31' pop "$q" --as 12345678901234567890123456789012
usage "a consumer's name with a blank" 'is not a name' pop "$q" --as 'a b'
usage "a lease of more than a day" 'out of range' pop "$q" --as x --lease 86400001

"$MQSHM" create "$q" --slow evict:500 > /dev/null
check "a policy is part of the queue" equal "$("$MQSHM" create "$q" --slow evict:500)" "queue '$q' exists already and matches"
"$MQSHM" create "$q" --slow demote:500 > /dev/null 2> "$WORK/err"
check "... another one does not match" equal $? 1
check "... and it says what differs" matches "$(< "$WORK/err")" 'slow_policy'
check "list shows it" matches "$("$MQSHM" list | grep "^$q ")" 'evict after 500 ms$'

"$MQSHM" evict "$q" 3 2> "$WORK/err"
check "evict of no consumer: exits 1" equal $? 1
check "... and says so" equal "$(< "$WORK/err")" "mqshm evict: queue '$q' has no consumer 3"
"$MQSHM" evict "$Q-none" 3 2> "$WORK/err"
check "evict from no queue: exits 1" equal $? 1
check "... and names it" matches "$(< "$WORK/err")" "^mqshm evict: .*'$Q-none'"
if [[ $(id -u) == 0 ]] && setpriv --reuid 65534 --regid 65534 --clear-groups true 2> /dev/null; then
	install -m 755 "$MQSHM" "$WORK/mqshm" && chmod 711 "$WORK"
	setpriv --reuid 65534 --regid 65534 --clear-groups "$WORK/mqshm" evict "$q" 0 2> "$WORK/err"
	check "evict from another user's queue: exits 1" equal $? 1
	check "... and says why" matches "$(< "$WORK/err")" "^mqshm evict: .*'$q'.*[Pp]ermission"
else
	skip "evict from another user's queue" "needs root"
fi
"$MQSHM" rm "$q" > /dev/null

# stop PID: and it has stopped when this returns.
stopped()
{
	local state
	read -r _ _ state _ < "/proc/$1/stat"
	[[ $state == T ]]
}
stop()
{
	kill -STOP "$1"
	wait_until stopped "$1"
}

# flood POLICY...: a queue of 4, a push into it, a pop that reads and one that is stopped: $push, $fast, $slow, $id.
flood()
{
	start "$MQSHM" push "$q" --nodes 4 --block 8 --wait 2 "$@" < /dev/zero 2> "$WORK/push"
	push=$!
	start "$MQSHM" pop "$q" > /dev/null 2> "$WORK/fast"
	fast=$!
	wait_until stat_is "$q" consumers_ever 1
	start "$MQSHM" pop "$q" > /dev/null 2> "$WORK/slow"
	slow=$!
	wait_until stat_is "$q" consumers_ever 2
	id=$("$MQSHM" stat "$q" | awk -v pid="$slow" '$2 == pid { print $1 }')
	stop "$slow"
}
moves()
{
	local before=$1
	[[ $(stat_value "$q" total_pushed) -gt $((before + 1000)) ]]
}
says_blocked()
{
	[[ $("$MQSHM" stat "$q") =~ $'\n'"blocked by"\ +"consumer $id: pid $slow (mqshm), for "[0-9.]+\ m?s$'\n' ]]
}

q=$Q-block
flood
check "stat says who blocks, and since when" wait_until says_blocked
check "... on the consumer's line, too" matches "$("$MQSHM" stat "$q" | grep " $slow ")" 'alive, blocks for [0-9.]+ m?s$'
before=$(stat_value "$q" total_pushed)
check "evict by hand" equal "$("$MQSHM" evict "$q" "$id")" "consumer $id of queue '$q' evicted"
check "... the producer goes on" wait_until moves "$before"
check "... and is counted" stat_is "$q" evicted 1
check "... it is not shown any more" equal "$("$MQSHM" stat "$q" | grep -c " $slow ")" 0
kill -CONT "$slow"
status_of "$slow" && check "who was evicted by hand exits 1" equal "$status" 1
check "... with a sentence" matches "$(< "$WORK/slow")" "^mqshm pop: evicted from queue '$q' by hand \(pid [0-9]+\)$"
check "... the other reads on" test -e "/proc/$fast"
kill -TERM "$push"
status_of "$push"
status_of "$fast"

q=$Q-evict
flood --slow evict:200
before=$(stat_value "$q" total_pushed)
check "--slow evict: the producer goes on" wait_until moves "$before"
check "... it is told who and why" wait_until grep -q "^mqshm push: queue '$q': evicted consumer $id, pid $slow (mqshm): it did not move for " "$WORK/push"
check "... it is counted" stat_is "$q" evicted 1
kill -CONT "$slow"
status_of "$slow" && check "... who was evicted exits 1" equal "$status" 1
check "... with a sentence" matches "$(< "$WORK/slow")" "^mqshm pop: evicted from queue '$q' by pid $push: .*200 ms$"
kill -TERM "$push"
status_of "$push"
status_of "$fast"

q=$Q-demote
flood --slow demote:200
before=$(stat_value "$q" total_pushed)
check "--slow demote: the producer goes on" wait_until moves "$before"
check "... it is told who and why" wait_until grep -q "^mqshm push: queue '$q': demoted consumer $id, pid $slow (mqshm): " "$WORK/push"
check "... it is counted" stat_is "$q" demoted 1
check "... stat shows it" matches "$("$MQSHM" stat "$q" | grep " $slow ")" 'alive, demoted$'
kill -CONT "$slow"
kill -TERM "$push"
status_of "$push"
status_of "$slow" && check "... who was demoted reads on to the end of the stream" equal "$status" 1
check "... and says what happened" matches "$(< "$WORK/slow")" "queue '$q': was too slow, and lossy since then"$'\n'"mqshm pop: queue '$q': [0-9,]+ messages were missed"
status_of "$fast"

# A named consumer: what one has left another reads, and nothing twice.
q=$Q-named
"$MQSHM" create "$q" --persistent --nodes 100 > /dev/null
start "$MQSHM" push "$q" --lines --wait 1 < <(seq 10) 2> /dev/null
push=$!
"$MQSHM" pop "$q" --as rec --count 4 --lines > "$WORK/out" 2> "$WORK/err"
check "the first of a name begins as --from says" equal "$?:$(tr '\n' ' ' < "$WORK/out")" '0:1 2 3 4 '
check "... and says nothing" equal "$(< "$WORK/err")" ''
check "stat says what it left" matches "$("$MQSHM" stat "$q" | grep 'as rec')" 'leased, [0-9.]+ s left, as rec$'
"$MQSHM" pop "$q" --as rec --count 3 --lines --lease 1000000 > "$WORK/out" 2> "$WORK/err"
check "the next one goes on there" equal "$?:$(tr '\n' ' ' < "$WORK/out")" '0:5 6 7 '
check "... and says so" equal "$(< "$WORK/err")" "mqshm pop: queue '$q': goes on where the last 'rec' was, with 6 messages to read"
start "$MQSHM" pop "$q" --as rec --lines > "$WORK/out" 2> /dev/null
pop=$!
status_of "$push"
status_of "$pop" && check "to the end of the stream" equal "$status:$(tr '\n' ' ' < "$WORK/out")" '0:8 9 10 '
check "... its place is kept" equal "$("$MQSHM" stat "$q" | grep -c 'leased')" 1
"$MQSHM" pop "$q" --as rec --leave --timeout 0 > /dev/null 2>&1
check "--leave gives it up" equal "$("$MQSHM" stat "$q" | grep -c 'as rec')" 0

mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo"
start "$MQSHM" push "$q" --lines --wait 0 < "$WORK/fifo" 2> /dev/null
push=$!
seq 11 14 >&3
wait_until stat_is "$q" total_pushed 14
for signal in TERM KILL; do
	start "$MQSHM" pop "$q" --as rec --lines > "$WORK/out" 2> /dev/null
	pop=$!
	wait_until grep -qx 14 "$WORK/out"
	kill -0 "$pop" && "$MQSHM" pop "$q" --as rec > /dev/null 2> "$WORK/err"
	check "a second of the same name: exits 1" equal $? 1
	check "... and names the first" matches "$(< "$WORK/err")" "'rec'.*pid $pop "
	kill "-$signal" "$pop"
	status_of "$pop"
	"$MQSHM" pop "$q" --as rec --timeout 0 --leave > "$WORK/out" 2> "$WORK/err"
	check "after SIG$signal the next one goes on" matches "$(< "$WORK/err")" "goes on where the last 'rec' was, with 0 messages to read"
	check "... and reads nothing again" equal "$(< "$WORK/out")" ''
done
exec 3>&-
status_of "$push"
"$MQSHM" rm "$q" > /dev/null
conclude
