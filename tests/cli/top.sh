#!/bin/bash
# SPDX-License-Identifier: MIT
# top on a real terminal (tmux): what it shows, that it fits, follows a resize and leaves the terminal as it was.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"
source "$(dirname "$0")/terminal.bash"

"$MQSHM" top > "$WORK/out" 2> "$WORK/err"
check "no terminal: exits 1" equal $? 1
check "... and says so" matches "$(< "$WORK/err")" '^mqshm top: stdout is no terminal'
check "... and writes nothing to it" equal "$(< "$WORK/out")" ''

terminal_begin "top on a terminal"
# The only child of the pane's shell; pgrep need not be there.
top_pid()
{
	local pane
	pane=$(tm display-message -p -t pane '#{pane_pid}')
	tr -d ' ' < "/proc/$pane/task/$pane/children"
}
begin()
{
	send "clear; '$MQSHM' top; echo left=\$?" Enter
	wait_until shows '^QUEUE / PROCESS'
}

q=$Q-top
start "$MQSHM" push "$q" --nodes 8 --block 1000 --wait 2 < /dev/zero 2> /dev/null
push=$!
start "$MQSHM" pop "$q" > /dev/null 2> /dev/null
fast=$!
mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo" # nobody reads it: this consumer blocks all
start "$MQSHM" pop "$q" > "$WORK/fifo" 2> /dev/null
slow=$!

begin
check "it shows the queue" wait_until shows "^$q "
check "it shows the producer" wait_until shows "> $push mqshm"
check "it shows the consumers" wait_until shows "< $fast mqshm"
check "it shows who blocks whom" wait_until shows "< $slow mqshm .*blocks $push"
check "... and who waits for whom" wait_until shows "> $push mqshm .*waits for $slow"
check "... and that the queue is full" wait_until shows "^$q .*100%  full: mqshm"
check "the queue's line has the full lag" wait_until shows "^$q .* 8 +100%"
check "it fits 24 lines: the last is the foot" matches "$(screen | tail -n 1)" '^q quit'
check "it fits 80 columns: the clock is at the edge" matches "$(screen | head -n 1)" '^.{72}[0-9:]{8}$'

for i in $(seq 10 39); do
	"$MQSHM" create "$Q-many$i" --nodes 1 --block 1 > /dev/null
done
# Other programs' queues may come and go meanwhile: so the figures of one screen are compared with each other.
adds_up()
{
	local text all hidden
	text=$(screen)
	all=$(sed -n '1s/^mqshm top: \([0-9]*\) queues.*/\1/p' <<< "$text")
	hidden=$(sed -n '$s/.*not shown: \([0-9]*\) queue.*, [0-9]* process.*/\1/p' <<< "$text")
	[[ $all -ge 31 && $hidden == $((all - 21)) && $(sed '1,2d;$d' <<< "$text" | grep -c '^[^ ]') == 21 ]]
}
check "more queues than lines: 21 are shown, and it says how many are not" wait_until adds_up
resize 120 50
check "a larger terminal: all are shown" wait_until shows "^$Q-many39"
check "... the clock is at the new edge" wait_until shows '^mqshm top.{103}[0-9:]{8}$'
check "... 31 queues" test "$(screen | grep -c "^$Q-")" -ge 31
resize 40 10
check "a small one: it still fits" wait_until shows '^q quit'
resize 5 2
resize 80 24
check "from tiny to 80x24" wait_until shows '^QUEUE / PROCESS.* STATE'
send s
check "s sorts by name" wait_until shows 'now by name'
send q
check "q exits 0" wait_until shows '^left=0$'
check "q leaves the terminal clean" restored
for i in $(seq 10 39); do
	"$MQSHM" rm "$Q-many$i" > /dev/null
done

begin
send C-c
check "Ctrl-C exits 0" wait_until shows '^left=0$'
check "Ctrl-C leaves the terminal clean" restored
for signal in TERM HUP; do
	begin
	kill "-$signal" "$(top_pid)"
	check "SIG$signal ends it by that signal" wait_until shows "^left=$((128 + $(kill -l "$signal")))\$"
	check "SIG$signal leaves the terminal clean" restored
done
begin
send C-z
wait_until shows 'Stopped'
send 'clear; stty -a | grep -c -e -icanon; fg' Enter
check "Ctrl-Z stops it, fg brings it back" wait_until shows '^QUEUE / PROCESS'
send q
check "... and q still leaves the terminal clean" restored

kill -TERM "$push" "$fast" "$slow" 2> /dev/null # the first to go may end another
status_of "$push"
status_of "$fast"
status_of "$slow"
exec 3>&-
conclude
