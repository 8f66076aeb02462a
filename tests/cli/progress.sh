#!/bin/bash
# SPDX-License-Identifier: MIT
# The progress line of push on a real terminal (tmux): bytes, rate, back-pressure and who blocks, in one line.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"
source "$(dirname "$0")/terminal.bash"

terminal_begin "the progress line of push"
q=$Q-p # short: the bar has what the name leaves
head -c 1000000 /dev/zero > "$WORK/input"
mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo" # nobody reads it yet: after the 64 KiB of the pipe, this consumer blocks
start "$MQSHM" pop "$q" > "$WORK/fifo" 2> "$WORK/err"
pop=$!
send "clear; '$MQSHM' push $q '$WORK/input' --block 1000 --nodes 8; echo left=\$?" Enter
check "bar, per cent, bytes, rate, back-pressure and who blocks" \
	wait_until shows "^$q \[=*>? *\] +[0-9]+% [0-9.]+ KiB, [0-9.]+ [KM]?i?B/s, full [0-9]+%, waits for $pop \(mqshm\)\$"
check "it stays one line" equal "$(screen | grep -c "^$q ")" 1
resize 40 24
check "a narrower terminal: cut to its width" wait_until shows "^$q [0-9.]+ KiB, "
resize 80 24
wait_until shows "full [0-9]+%, waits for $pop \(mqshm\)\$"
start cat "$WORK/fifo" > /dev/null
cat=$!
check "the last state stays, and push exits 0" wait_until shows '^left=0$'
check "... with the whole input" shows "^$q \[=+\] 100% 977 KiB, "
status_of "$pop"
kill -TERM "$cat"
status_of "$cat"

send "clear; head -c 5000 /dev/zero | '$MQSHM' push $q --wait 0; echo second=\$?" Enter
wait_until shows '^second=0$'
check "without a known size there is no bar" shows "^$q 4\.9 KiB, "
check "a warning is a line of its own" shows '^mqshm push: warning: 1 of 1 message was read by nobody'

# After a Ctrl-C the shell drops the rest of its line: the status is asked for on another.
send "clear; '$MQSHM' push $q --wait 0 < /dev/zero" Enter
wait_until shows "^$q .*/s, full 0%"
send C-c
wait_until shows '^ready\$ *$'
send 'echo left=$?' Enter
check "Ctrl-C ends it by the signal, below its line" wait_until shows '^left=130$'
check "... the queue is closed and gone" queue_gone "$q"
send "clear; '$MQSHM' push $q" Enter
wait_until shows 'waits for 1 consumer'
send C-c
wait_until shows '^ready\$ *$'
send 'echo left=$?' Enter
check "Ctrl-C while it waits for a consumer" wait_until shows '^left=130$'
conclude
