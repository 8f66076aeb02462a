#!/bin/bash
# SPDX-License-Identifier: MIT
# create, list, stat, rm and gc, as a person sees them.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

a=$Q-a b=$Q-b
check "create says what it did" equal "$("$MQSHM" create "$a" --nodes 10 --block 1K --metadata hello)" "queue '$a' created"
check "create again, the same" equal "$("$MQSHM" create "$a" --nodes 10 --block 1024)" "queue '$a' exists already and matches"
"$MQSHM" create "$a" --nodes 11 2> "$WORK/err"
check "create again, another geometry: exits 1" equal $? 1
check "... and says what differs" matches "$(< "$WORK/err")" "^mqshm create: .*'$a'.*1[01].*1[01]"
"$MQSHM" create "$a" --shared 2> "$WORK/err"
check "create again, other flags: exits 1" equal $? 1
"$MQSHM" create "$b" --mode 0640 --overflow block --hold --shared --persistent --consumers 256 > /dev/null
check "create with all options" equal $? 0
check "the mode is set whatever the umask" equal "$(stat -c %a "/dev/shm/mqshm.$b")" 640
"$MQSHM" create "$Q-huge" --nodes 1073741824 --block 1G 2> "$WORK/err"
check "a queue larger than the machine: exits 1" equal $? 1
check "... with one line" equal "$(lines_of "$WORK/err")" 1
check "... and leaves nothing" queue_gone "$Q-huge"

text=$("$MQSHM" stat "$a")
check "stat shows capacity" matches "$text" '10 messages of up to 1,024 bytes'
check "stat shows metadata" matches "$text" 'metadata +hello'
"$MQSHM" stat "$Q-none" 2> "$WORK/err"
check "stat of no queue: exits 1" equal $? 1
check "... and names it" matches "$(< "$WORK/err")" "^mqshm stat: .*'$Q-none'"
text=$("$MQSHM" list)
check "list shows both" matches "$text" "$a .*"$'\n'"(.*"$'\n'")*$b "
check "list shows options" matches "$text" "$b .* shared, hold, persistent"
"$MQSHM" stat "$a" > /dev/full 2> "$WORK/err"
check "stat to a full disk: exits 1" equal $? 1

start "$MQSHM" pop "$a" > /dev/null
pop=$!
wait_until stat_is "$a" consumers_ever 1
"$MQSHM" rm "$a" 2> "$WORK/err"
check "rm of a queue in use: exits 1" equal $? 1
check "... and names the user" matches "$(< "$WORK/err")" "^mqshm rm: .*'$a'.*$pop"
"$MQSHM" rm "$a" "$b" "$Q-none" > "$WORK/out" 2> "$WORK/err"
check "rm goes on past errors: exits 1" equal $? 1
check "... and removes what it can" equal "$(< "$WORK/out")" "queue '$b' removed"
check "... two errors" equal "$(lines_of "$WORK/err")" 2
check "rm --force" equal "$("$MQSHM" rm "$a" --force)" "queue '$a' removed"
status_of "$pop" && check "... its user fails" equal "$status" 1

echo 'no queue' > "/dev/shm/mqshm.$b"
"$MQSHM" rm "$b" 2> "$WORK/err"
check "rm of what is no queue: exits 1" equal $? 1
"$MQSHM" pop "$b" --timeout 1000 > /dev/null 2> "$WORK/err"
check "pop of what is no queue: exits 1" equal $? 1
"$MQSHM" push "$b" --wait 0 < /dev/null 2> "$WORK/err"
check "push to what is no queue: exits 1" equal $? 1
text=$("$MQSHM" list)
check "list shows it with its error: exits 0" equal $? 0
check "... and names it" matches "$text" "$b +.*"
"$MQSHM" rm --force "$b" > /dev/null
check "rm --force removes it" queue_gone "$b"

# A queue whose only user was killed. gc is only ever run on our own: other tests may want to find their dead.
zombie()
{
	"$MQSHM" create "$a" > /dev/null
	start "$MQSHM" pop "$a" > /dev/null
	wait_until stat_is "$a" consumers_ever 1
	kill_hard "${STARTED[-1]}"
}
zombie
text=$("$MQSHM" gc "$a")
check "gc ends the role of who was killed, and the queue" matches "$text" "queue '$a' .*1 queue removed$"
check "... it is gone" queue_gone "$a"
zombie
check "gc -q is quiet" equal "$("$MQSHM" gc "$a" -q 2>&1)" ''
check "... and does the same" queue_gone "$a"
"$MQSHM" create "$a" > /dev/null
"$MQSHM" gc "$a" > /dev/null
check "gc leaves a queue that was never used" queue_exists "$a"
"$MQSHM" rm "$a" > /dev/null
conclude
