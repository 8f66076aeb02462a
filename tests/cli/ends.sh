#!/bin/bash
# SPDX-License-Identifier: MIT
# How push and pop end: timeouts, a producer that crashed, data that nobody read, signals, a full disk, a closed pipe.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

q=$Q-timeout
"$MQSHM" pop "$q" --timeout 100 > "$WORK/out" 2> "$WORK/err"
check "no queue within --timeout: exits 1" equal $? 1
check "... and says so" matches "$(tail -n 1 "$WORK/err")" "^mqshm pop: queue '$q' did not appear within 100 ms$"
"$MQSHM" create "$q" --persistent > /dev/null
"$MQSHM" pop "$q" --timeout 100 > "$WORK/out" 2> "$WORK/err"
check "no message within --timeout: exits 1" equal $? 1
check "... and says so" equal "$(< "$WORK/err")" "mqshm pop: queue '$q': no message within 100 ms"
"$MQSHM" pop "$q" --timeout 0 > "$WORK/out" 2> "$WORK/err"
check "--timeout 0 does not wait: exits 1" equal $? 1
"$MQSHM" rm "$q" > /dev/null

# A producer that is killed: what it had pushed is read, then exit 1.
q=$Q-crash
mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo"
start "$MQSHM" push "$q" --lines --wait 1 < "$WORK/fifo"
push=$!
start "$MQSHM" pop "$q" --lines > "$WORK/out" 2> "$WORK/err"
pop=$!
seq 500 >&3
wait_until stat_is "$q" total_pushed 500
kill_hard "$push"
exec 3>&-
status_of "$pop"
check "the producer crashed: pop exits 1" equal "$status" 1
check "... after all it had pushed" cmp <(seq 500) "$WORK/out"
check "... and says so" matches "$(< "$WORK/err")" "^mqshm pop: .*'$q'.*"
check "... in one line" equal "$(lines_of "$WORK/err")" 1
check "... and nothing is left" wait_until queue_gone "$q"

q=$Q-unread
seq 5 | "$MQSHM" push "$q" --lines --wait 0 2> "$WORK/err"
check "--wait 0 and no reader: exits 0" equal $? 0
check "... with a warning" matches "$(< "$WORK/err")" '^mqshm push: warning: 5 of 5 messages were read by nobody'
check "... and nothing is left" queue_gone "$q"
: | "$MQSHM" push "$q" --lines --wait 0 2> "$WORK/err"
check "--wait 0 without data: no warning" equal "$(< "$WORK/err")" ''
start "$MQSHM" pop "$q" > "$WORK/out" 2> "$WORK/err2"
pop=$!
wait_until grep -q waiting "$WORK/err2"
"$MQSHM" create "$q" > /dev/null
wait_until stat_is "$q" consumers_ever 1
seq 5 | "$MQSHM" push "$q" --lines --wait 0 2> "$WORK/err"
check "--wait 0 and all is read: no warning" equal "$(< "$WORK/err")" ''
status_of "$pop"

q=$Q-leave
start "$MQSHM" pop "$q" --count 10 --lines > "$WORK/out" 2> /dev/null
pop=$!
seq 100000 | "$MQSHM" push "$q" --lines --nodes 20 2> "$WORK/err"
check "the consumer leaves early: push ends with 0" equal $? 0
check "... and warns" matches "$(< "$WORK/err")" 'warning: .* of 100,000 messages were read by nobody'
status_of "$pop" && check "... pop has its ten" equal "$status:$(lines_of "$WORK/out")" 0:10

q=$Q-busy
start "$MQSHM" push "$q" < /dev/null 2> "$WORK/err"
push=$!
wait_until grep -q waits "$WORK/err"
"$MQSHM" push "$q" < /dev/null 2> "$WORK/err"
check "a second producer: exits 1" equal $? 1
check "... and names the first" matches "$(< "$WORK/err")" "^mqshm push: .*'$q'.*$push"
kill -TERM "$push"
status_of "$push" && check "SIGTERM ends a waiting push by that signal" equal "$status" 143
check "... and its queue" queue_gone "$q"

q=$Q-signal
for signal in TERM HUP; do
	start "$MQSHM" pop "$q" > /dev/null 2> "$WORK/err"
	pop=$!
	wait_until grep -q waiting "$WORK/err"
	kill "-$signal" "$pop"
	status_of "$pop" && check "SIG$signal ends a pop that waits for its queue" equal "$status" $((128 + $(kill -l "$signal")))
done
start "$MQSHM" push "$q" --nodes 4 --block 1000 < /dev/zero
push=$!
start "$MQSHM" pop "$q" > /dev/null
pop=$!
popped_some()
{
	[[ $(stat_value "$q" total_popped) -gt 100 ]]
}
wait_until popped_some
kill -TERM "$push"
status_of "$push" && check "SIGTERM ends a push under load" equal "$status" 143
status_of "$pop" && check "... its consumer learns that this was not the whole" equal "$status" 1
check "... nothing is left" queue_gone "$q"

for lines in '' --lines; do
	# shellcheck disable=SC2086 # an option or none
	start "$MQSHM" push "$q" --wait 0 --nodes 4 $lines < <(exec yes) 2> /dev/null
	push=$!
	wait_until stat_is "$q" producer_state active
	kill -TERM "$push"
	status_of "$push" && check "SIGTERM ends a push ($lines) that never waits" equal "$status" 143
done

# What could not be written is still in the queue.
q=$Q-full
"$MQSHM" create "$q" --persistent > /dev/null
seq 5 | "$MQSHM" push "$q" --lines --wait 0 2> /dev/null
"$MQSHM" pop "$q" > /dev/full 2> "$WORK/err"
check "stdout is full: exits 1" equal $? 1
check "... and says so" matches "$(< "$WORK/err")" "^mqshm pop: can't write to stdout: "
check "... nothing was taken" stat_is "$q" total_popped 0
exec 3<> "$WORK/fifo"
start "$MQSHM" push "$q" --wait 0 < "$WORK/fifo" 2> /dev/null
push=$!
wait_until stat_is "$q" producer_state active
{ "$MQSHM" pop "$q" --lines 2> "$WORK/err"; echo $? > "$WORK/status"; } | head -n 1 > "$WORK/out"
check "the reader of stdout leaves: exits 1, also while nothing comes" equal "$(< "$WORK/status")" 1
exec 3>&-
status_of "$push"
"$MQSHM" pop "$q" >&- 2> "$WORK/err"
check "stdout is closed: exits 1" equal $? 1
"$MQSHM" push "$q" --wait 0 <&- 2> "$WORK/err"
check "stdin is closed: push exits 1" equal $? 1
"$MQSHM" push "$q" "$WORK/none" 2> "$WORK/err"
check "no such file: push exits 1" equal $? 1
check "... and names it" matches "$(< "$WORK/err")" "^mqshm push: can't open $WORK/none: "
"$MQSHM" push "$q" "$WORK" 2> "$WORK/err"
check "a directory: push exits 1" equal $? 1
"$MQSHM" push "$q" --block 77 < /dev/null 2> "$WORK/err"
check "another --block than the queue's: push exits 1" equal $? 1
"$MQSHM" rm "$q" > /dev/null
conclude
