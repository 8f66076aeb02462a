#!/bin/bash
# SPDX-License-Identifier: MIT
# top on a real terminal (tmux): what it shows, that it fits, follows a resize and leaves the terminal as it was. It is
# told what to show, so that the queues of others need no lines; and a screen may be seen half drawn, so each is awaited.
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
begin() # NAME...
{
	send "clear; '$MQSHM' top ${*@Q}; echo left=\$?" Enter
	wait_until shows '^QUEUE / PROCESS'
}

line_is() # NUMBER ERE: a line of the screen
{
	screen | sed -n "$1p" | grep -Eq -- "$2"
}

q=$Q-top
"$MQSHM" create "$Q-other" --nodes 1 --block 1 > /dev/null
start "$MQSHM" push "$q" --nodes 8 --block 1000 --wait 2 < /dev/zero 2> /dev/null
push=$!
start "$MQSHM" pop "$q" > /dev/null 2> /dev/null
fast=$!
mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo" # nobody reads it: this consumer blocks all
start "$MQSHM" pop "$q" > "$WORK/fifo" 2> /dev/null
slow=$!

begin "$Q-t?p" "$Q-many*"
check "it shows the queue" wait_until shows "^$q "
check "it shows the producer" wait_until shows "> $push mqshm"
check "it shows the consumers" wait_until shows "< $fast mqshm"
check "it shows who blocks whom" wait_until shows "< $slow mqshm .*blocks $push"
check "... and who waits for whom" wait_until shows "> $push mqshm .*waits for $slow"
check "... and that the queue is full" wait_until shows "^$q .*100%  full: mqshm"
check "the queue's line has the full lag" wait_until shows "^$q .* 8 +100%"
check "... and no queue that was not asked for" wait_until line_is 1 '^mqshm top: 1 queue, 1 producer, 2 consumers,'
check "it fits 24 lines: the last is the foot" wait_until line_is 24 '^q quit'
check "it fits 80 columns: the clock is at the edge" wait_until line_is 1 '^.{72}[0-9:]{8}$'

for i in $(seq 10 39); do
	"$MQSHM" create "$Q-many$i" --nodes 1 --block 1 > /dev/null
done
adds_up()
{
	local text
	text=$(screen)
	[[ $text =~ ^'mqshm top: 31 queues,' && ${text##*$'\n'} =~ 'not shown: 10 queues, 3 processes' &&
		$(sed '1,2d;$d' <<< "$text" | grep -c "^$Q-") == 21 ]]
}
all_shown()
{
	[[ $(screen | grep -c "^$Q-") == 31 ]]
}
check "more queues than lines: 21 are shown, and it says how many are not" wait_until adds_up
resize 120 50
check "a larger terminal: all are shown" wait_until shows "^$Q-many39"
check "... the clock is at the new edge" wait_until shows '^mqshm top.{103}[0-9:]{8}$'
check "... 31 queues" wait_until all_shown
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
# Of whom, nobody knows; but it looks at all of them.
check "without a name: all queues" wait_until line_is 1 '^mqshm top: ([2-9]|[0-9]{2,}) queues, '
send C-c
check "Ctrl-C exits 0" wait_until shows '^left=0$'
check "Ctrl-C leaves the terminal clean" restored
for signal in TERM HUP; do
	begin "$q"
	kill "-$signal" "$(top_pid)"
	check "SIG$signal ends it by that signal" wait_until shows "^left=$((128 + $(kill -l "$signal")))\$"
	check "SIG$signal leaves the terminal clean" restored
done
begin "$q"
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
"$MQSHM" rm "$Q-other" > /dev/null
exec 3>&-
conclude
