#!/bin/bash
# SPDX-License-Identifier: MIT
# A file through push to several pops, whichever starts first: every copy is whole and nothing is left.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

# Not a multiple of the block size, and larger than the ring of most cases.
head -c 20000001 /dev/urandom > "$WORK/input"

# both_copies NAME QUEUE PUSH-PID POP-PID POP-PID
both_copies()
{
	local status
	status_of "$3" && check "$1: push exits 0" equal "$status" 0
	status_of "$4" && check "$1: the first pop exits 0" equal "$status" 0
	status_of "$5" && check "$1: the second pop exits 0" equal "$status" 0
	check "$1: the first copy is whole" cmp "$WORK/input" "$WORK/copy1"
	check "$1: the second copy is whole" cmp "$WORK/input" "$WORK/copy2"
	check "$1: the queue is gone" queue_gone "$2"
	rm -f "$WORK/copy1" "$WORK/copy2"
}

for small in '' '--nodes 3 --block 100K'; do
	q=$Q-push$((${#small} > 0))
	# shellcheck disable=SC2086 # two options or none
	start "$MQSHM" push "$q" "$WORK/input" --wait 2 $small 2> "$WORK/err"
	push=$!
	wait_until grep -q 'waits for 2 consumers' "$WORK/err"
	check "push first ($small): it says that it waits" matches "$(< "$WORK/err")" "^mqshm push: queue '$q' waits for 2"
	start "$MQSHM" pop "$q" > "$WORK/copy1"
	pop1=$!
	wait_until stat_is "$q" consumers_ever 1
	check "push first ($small): it does not begin with one" stat_is "$q" total_pushed 0
	start "$MQSHM" pop "$q" > "$WORK/copy2"
	both_copies "push first ($small)" "$q" "$push" "$pop1" $!
done

q=$Q-pop
start "$MQSHM" pop "$q" > "$WORK/copy1" 2> "$WORK/err1"
pop1=$!
start "$MQSHM" pop "$q" > "$WORK/copy2" 2> "$WORK/err2"
pop2=$!
wait_until grep -q waiting "$WORK/err1"
wait_until grep -q waiting "$WORK/err2"
check "pop first: it says that it waits" equal "$(< "$WORK/err1")" \
	"mqshm pop: queue '$q' does not exist yet, waiting for it"
check "pop first: it makes no queue" queue_gone "$q"
start "$MQSHM" push "$q" --wait 2 < "$WORK/input" 2> "$WORK/err"
both_copies "pop first, from stdin" "$q" $! "$pop1" "$pop2"
check "pop first: push is quiet" equal "$(< "$WORK/err")" ''

q=$Q-pipe
start "$MQSHM" pop "$q" > "$WORK/copy1" 2> /dev/null
pop1=$!
start "$MQSHM" pop "$q" > "$WORK/copy2" 2> /dev/null
pop2=$!
# Reads from a pipe are short: blocks are filled all the same.
dd if="$WORK/input" bs=1000 2> /dev/null | "$MQSHM" push "$q" --wait 2 --block 4K -v 2> "$WORK/err"
check "from a pipe: push exits 0" equal "$?" 0
start true
both_copies "from a pipe" "$q" $! "$pop1" "$pop2"
check "from a pipe: blocks were filled" matches "$(< "$WORK/err")" "$(((20000001 + 4095) / 4096 / 1000)),$(((20000001 + 4095) / 4096 % 1000)) messages"

q=$Q-shared
"$MQSHM" create "$q" --shared --block 1000 --nodes 16 > /dev/null
start "$MQSHM" pop "$q" > "$WORK/copy1"
pop1=$!
start "$MQSHM" pop "$q" > "$WORK/copy2"
pop2=$!
start "$MQSHM" push "$q" "$WORK/input" --wait 2
both_copies "an existing shared queue of another geometry" "$q" $! "$pop1" "$pop2"

# One of two consumers is killed while it blocks the queue: the other gets everything.
q=$Q-killed
mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo"
start "$MQSHM" pop "$q" > "$WORK/fifo" 2> /dev/null
pop1=$!
start "$MQSHM" pop "$q" > "$WORK/copy2" 2> /dev/null
pop2=$!
start "$MQSHM" push "$q" "$WORK/input" --wait 2 --nodes 10
push=$!
blocked()
{
	[[ $(stat_value "$q" blocked_by) =~ ^[0-9]+$ ]]
}
check "a consumer that stands still blocks the queue" wait_until blocked
kill_hard "$pop1"
status_of "$push" && check "killed, it does not: push exits 0" equal "$status" 0
status_of "$pop2" && check "... the other pop exits 0" equal "$status" 0
check "... and has a whole copy" cmp "$WORK/input" "$WORK/copy2"
check "... and the queue is gone" queue_gone "$q"
exec 3>&-

q=$Q-empty
start "$MQSHM" pop "$q" > "$WORK/copy1" 2> /dev/null
pop1=$!
"$MQSHM" push "$q" < /dev/null
check "an empty input: push exits 0" equal $? 0
status_of "$pop1" && check "an empty input: pop exits 0" equal "$status" 0
check "an empty input: an empty copy" equal "$(stat -c %s "$WORK/copy1")" 0

q=$Q-count
"$MQSHM" create "$q" --block 10 --persistent > /dev/null
"$MQSHM" push "$q" --wait 0 2> /dev/null < <(printf 'first line0second line')
check "--count 1 takes one message" equal "$("$MQSHM" pop "$q" --count 1)" 'first line'
check "--from oldest has it again, for another consumer" equal "$("$MQSHM" pop "$q" --count 2)" 'first line0second li'
check "all, up to the end of stream" equal "$("$MQSHM" pop "$q")" 'first line0second line'
"$MQSHM" pop "$q" --from latest > "$WORK/copy1"
check "--from latest of a stream that ended exits 0" equal $? 0
check "--from latest has nothing of before" equal "$(< "$WORK/copy1")" ''
"$MQSHM" rm "$q" > /dev/null

q=$Q-lossy
"$MQSHM" create "$q" --block 8 --nodes 4 --overflow overwrite --persistent > /dev/null
seq 1000000 1000999 | "$MQSHM" push "$q" --wait 0 2> /dev/null
"$MQSHM" pop "$q" --from beginning --lossy > "$WORK/copy1" 2> "$WORK/err"
check "lapped: exits 0" equal $? 0
check "lapped: the last message is there" equal "$(tail -n 1 "$WORK/copy1")" 1000999
check "lapped: what is missed is counted" matches "$(< "$WORK/err")" \
	"^mqshm pop: queue '$q': [0-9]+ messages were missed$"
missed=$(sed -n 's/.*: \([0-9]*\) messages were.*/\1/p' "$WORK/err")
check "lapped: missed and read are all" equal "$((missed * 8 + $(stat -c %s "$WORK/copy1")))" 8000
"$MQSHM" rm "$q" > /dev/null
conclude
