#!/bin/bash
# SPDX-License-Identifier: MIT
# watch: what it prints while processes come, leave and are killed and queues appear and vanish; JSON; how it ends.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

a=$Q-a b=$Q-b

# has FILE ERE: a line of it matches.
has()
{
	grep -qE -- "$2" "$1"
}

# seen ERE [TIMES]: one of the lines matches, and the other watch has said as much.
seen()
{
	[[ $(grep -cE -- "$1" "$WORK/lines") -ge ${2:-1} && $(lines_of "$WORK/json") == "$(lines_of "$WORK/lines")" ]]
}

set -m # else bash has background processes ignore Ctrl-C
start "$MQSHM" watch "$a" "$b" > "$WORK/lines"
lines=$!
set +m
start "$MQSHM" watch "$a" "$b" --json > "$WORK/json"
json=$!
watching()
{
	local state
	compgen -G "/proc/$1/fd/*" > /dev/null && readlink "/proc/$1"/fd/* | grep -q inotify &&
		read -r _ _ state _ < "/proc/$1/stat" && [[ $state == S ]] # asleep: it has looked at what is there
}
wait_until watching "$lines"
wait_until watching "$json"

"$MQSHM" create "$a" > /dev/null
check "created" wait_until seen "created +$a$"
mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo"
start "$MQSHM" push "$a" --lines --wait 0 < "$WORK/fifo" 2> /dev/null
push=$!
check "a producer attached" wait_until seen "attached +$a +producer 0  pid $push \(mqshm\)$"
start "$MQSHM" pop "$a" > /dev/null 2>&1
pop=$!
check "a consumer attached" wait_until seen "attached +$a +consumer 0  pid $pop \(mqshm\)$"
kill_hard "$pop"
check "kill -9: died" wait_until seen "died +$a +consumer 0  pid $pop \(mqshm\)$"
check "... though nobody has repaired it" stat_is "$a" consumers_ever 1
start "$MQSHM" pop "$a" > /dev/null 2>&1
pop=$!
wait_until seen "attached +$a +consumer 0  pid $pop "
check "died is said once" equal "$(grep -c ' died ' "$WORK/lines")" 1
kill -TERM "$pop"
check "ended in order: left" wait_until seen "left +$a +consumer 0  pid $pop "
kill_hard "$push"
check "a killed producer died" wait_until seen "died +$a +producer 0  pid $push "
start "$MQSHM" push "$a" --lines --wait 0 < "$WORK/fifo" 2> /dev/null
push=$!
check "its name is free for the next queue: removed, created" wait_until seen "attached +$a +producer 0  pid $push "
exec 3>&-
status_of "$push"
check "its end: left" wait_until seen "left +$a +producer 0  pid $push "
check "... the stream closed" wait_until seen "closed +$a "
check "... removed" wait_until seen "removed +$a$"
start "$MQSHM" pop "$b" > /dev/null 2>&1
pop=$!
"$MQSHM" create "$b" > /dev/null
check "another queue" wait_until seen "attached +$b +consumer 0  pid $pop "
"$MQSHM" rm --force "$b" > /dev/null
check "removed by force" wait_until seen "evicted +$b +consumer 0  pid $pop \(mqshm\)  the queue was removed, by pid [0-9]+$"
status_of "$pop"
echo 'no queue' > "/dev/shm/mqshm.$b"
check "what is no queue" wait_until seen "unreadable +$b  .*not a queue"
rm -f "/dev/shm/mqshm.$b"
check "... goes" wait_until seen "removed +$b$" 2
check "times are aligned, and in order" equal "$(grep -vcE '^[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}  [a-z]+ +[a-z0-9-]+( |$)' "$WORK/lines")" 0
check "queues stand in one column" equal "$(grep -oE "^.* $Q" "$WORK/lines" | awk '{ print length }' | sort -u | wc -l)" 1

kill -INT "$lines"
status_of "$lines" # sets status
# shellcheck disable=SC2154
check "Ctrl-C exits 0" equal "$status" 0
kill -TERM "$json"
status_of "$json"
check "SIGTERM ends it by that signal" equal "$status" 143

if command -v python3 > /dev/null; then
	cat > "$WORK/judge.py" << 'EOT'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
lines = open(sys.argv[2]).read().splitlines()
times = [e["time_ns"] for e in events]
assert times == sorted(times) and min(times) > 10**18, "times"
who = {"role", "id", "pid", "comm"}
of_queue = {"created", "removed", "closed", "crashed", "unreadable", "there"}
for e in events:
    assert {"time_ns", "event", "queue"} <= set(e), e
    assert (e["event"] in of_queue) != (who <= set(e)), e
    assert e["event"] not in of_queue or not who & set(e), e
    assert e["event"] != "evicted" or (e["reason"] == "the queue was removed" and e["by_pid"] > 1), e
    assert e["event"] != "unreadable" or (e["error_code"] == -74 and "not a queue" in e["error"]), e
# The same things as the lines, in the same order, for each queue and slot.
def key(e):
    return [e["event"], e["queue"]] + ([e["role"], str(e["id"])] if "role" in e else [])
def line_key(line):
    words = line.split()[1:]
    return words[:4] if len(words) > 2 and words[2] in ("producer", "consumer") else words[:2]
assert sorted(map(key, events)) == sorted(map(line_key, lines)), (list(map(key, events)), lines)
EOT
	check "the JSON is valid, complete, and says the same" python3 "$WORK/judge.py" "$WORK/json" "$WORK/lines"
else
	skip "the JSON is valid, complete, and says the same" "missing package: python3"
fi

"$MQSHM" create "$a" > /dev/null
check "what is there is said first" has <("$MQSHM" watch "$a" --count 1) "there +$a$"
"$MQSHM" watch "$a" --new --timeout 300 > "$WORK/out" 2> "$WORK/err"
check "--timeout: nothing happened, exits 1" equal $? 1
check "... and says so" equal "$(< "$WORK/err")" "mqshm watch: nothing happened within 300 ms"
check "--new says nothing of what is there" equal "$(< "$WORK/out")" ''
start "$MQSHM" watch "$a" --new --count 2 --json > "$WORK/out"
wait_until watching $!
"$MQSHM" rm "$a" > /dev/null
"$MQSHM" create "$a" > /dev/null
status_of $!
check "--count ends it with 0" equal "$status" 0
check "... after that many" equal "$(lines_of "$WORK/out")" 2
"$MQSHM" watch "$a" --count 1 > /dev/full 2> "$WORK/err"
check "a full disk: exits 1" equal $? 1
mkfifo "$WORK/pipe"
exec 4<> "$WORK/pipe" # a reader, or opening it for writing waits for one
start "$MQSHM" watch "$a" --new > "$WORK/pipe" 2> "$WORK/err" 4>&-
watch=$!
wait_until watching "$watch"
exec 4<&-
status_of "$watch"
check "nobody reads it any more: it ends, though nothing happens" equal "$status" 1
check "... with one line" matches "$(< "$WORK/err")" "^mqshm watch: can't write to stdout: [^"$'\n'"]*$"
"$MQSHM" rm "$a" > /dev/null

# Many at a time: each is told, whatever the others do.
start "$MQSHM" watch --new --json > "$WORK/all"
watch=$!
wait_until watching "$watch"
for i in $(seq 40); do
	"$MQSHM" create "$Q-many$i" --nodes 1 --block 8 > /dev/null
	((i % 2)) && "$MQSHM" rm "$Q-many$i" > /dev/null
done
for i in $(seq 2 2 40); do
	"$MQSHM" rm "$Q-many$i" > /dev/null
done
all_gone()
{
	[[ $(grep -c "\"removed\", \"queue\": \"$Q-many" "$WORK/all") == 40 ]]
}
check "40 queues that come and go: all removals" wait_until all_gone
check "... and creations" equal "$(grep -c "\"created\", \"queue\": \"$Q-many" "$WORK/all")" 40
kill -TERM "$watch"
status_of "$watch"
conclude
