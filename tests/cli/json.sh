#!/bin/bash
# SPDX-License-Identifier: MIT
# stat, list and pop with --json: valid JSON with the promised keys, whatever bytes metadata and messages have.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

if ! python3 -c 'import json' 2> /dev/null; then
	skip "JSON output" "missing package: python3"
	conclude
fi

# holds JSON-FILE EXPRESSION: of d, in Python.
holds()
{
	python3 -c 'import json, sys, base64
d = json.load(open(sys.argv[1], encoding="utf-8"))
if not eval(sys.argv[2]): sys.exit("# is " + json.dumps(d)[:400])' "$1" "$2" 2>&1 || return 1
}

valid()
{
	python3 -m json.tool < "$1" > /dev/null
}

q=$Q-stat
"$MQSHM" create "$q" --nodes 20 --block 100 --consumers 7 --metadata 'tea "ü" \ /' --persistent > /dev/null
"$MQSHM" stat "$q" --json > "$WORK/stat"
check "stat exits 0" equal $? 0
check "stat is valid" valid "$WORK/stat"
check "stat has all keys" holds "$WORK/stat" 'set(d) >= set("name backend node_count block_size ring_bytes max_consumers metadata overflow producer consumers total_pushed total_popped overwrite_count depth blocked_by slow_policy slow_ms evicted demoted".split())'
check "geometry" holds "$WORK/stat" '(d["node_count"], d["block_size"], d["max_consumers"]) == (20, 100, 7)'
check "ring_bytes have room for all" holds "$WORK/stat" 'd["ring_bytes"] >= 21 * 104'
check "metadata" holds "$WORK/stat" 'd["metadata"] == "tea \"ü\" \\ /"'
check "name, backend, overflow" holds "$WORK/stat" "(d['name'], d['backend'], d['overflow']) == ('$q', 'posix', 'block')"
check "no producer yet" holds "$WORK/stat" 'd["producer"] is None and d["consumers"] == [] and d["blocked_by"] is None'

mkfifo "$WORK/fifo"
exec 3<> "$WORK/fifo"
start "$MQSHM" push "$q" --wait 0 --lines < "$WORK/fifo" 2> /dev/null
push=$!
start "$MQSHM" pop "$q" --lossy > /dev/null
pop=$!
wait_until stat_is "$q" consumers_ever 1
seq 3 >&3
wait_until stat_is "$q" total_popped 3
"$MQSHM" stat "$q" --json > "$WORK/stat"
check "the producer" holds "$WORK/stat" "d['producer']['pid'] == $push and d['producer']['alive'] is True and d['producer']['comm'] == 'mqshm'"
check "the consumer's keys" holds "$WORK/stat" 'set(d["consumers"][0]) >= set("id pid alive comm lag missed lossy last_access_ns demoted blocks_ns leased lease_ms name".split())'
check "the consumer" holds "$WORK/stat" "[(c['pid'], c['alive'], c['comm'], c['lag'], c['missed'], c['lossy']) for c in d['consumers']] == [($pop, True, 'mqshm', 0, 0, True)]"
check "counters" holds "$WORK/stat" '(d["total_pushed"], d["total_popped"], d["depth"]) == (3, 3, 3)'
exec 3>&-
status_of "$push"
status_of "$pop"
"$MQSHM" stat "$q" --json > "$WORK/stat"
check "who has left counts in total_popped" holds "$WORK/stat" 'd["total_popped"] == 3 and d["consumers"] == [] and d["producer"] is None'

"$MQSHM" create "$Q-shared" --shared --overflow overwrite --metadata $'\xff\xc3\x28\xed\xa0\x80\x01\x7f' > /dev/null
"$MQSHM" stat "$Q-shared" --json > "$WORK/stat"
check "metadata of any bytes is valid" valid "$WORK/stat"
check "... a byte that is not UTF-8 as its number" holds "$WORK/stat" 'd["metadata"] == "\xff\xc3(\xed\xa0\x80\x01\x7f"'
check "... and exact in base64" holds "$WORK/stat" 'base64.b64decode(d["metadata_base64"]) == b"\xff\xc3\x28\xed\xa0\x80\x01\x7f"'
check "a shared queue has producers" holds "$WORK/stat" 'd["producers"] == [] and d["shared"] is True and d["overflow"] == "overwrite"'

"$MQSHM" create "$Q-slow" --slow demote:1234 > /dev/null
"$MQSHM" pop "$Q-slow" --as 'the.one' --lease 3600000 --timeout 0 > /dev/null 2>&1
"$MQSHM" stat "$Q-slow" --json > "$WORK/slow"
check "the policy and its time" holds "$WORK/slow" '(d["slow_policy"], d["slow_ms"], d["evicted"], d["demoted"]) == ("demote", 1234, 0, 0)'
check "none is 'block'" holds "$WORK/stat" '(d["slow_policy"], d["slow_ms"]) == ("block", 0)'
check "a leased consumer" holds "$WORK/slow" '[(c["name"], c["leased"], c["demoted"], c["lossy"], c["blocks_ns"]) for c in d["consumers"]] == [("the.one", True, False, False, 0)]'
check "... what is left of its lease" holds "$WORK/slow" '3000000 < d["consumers"][0]["lease_ms"] <= 3600000'
"$MQSHM" evict "$Q-slow" 0 > /dev/null
"$MQSHM" stat "$Q-slow" --json > "$WORK/slow"
check "evicted ones are counted" holds "$WORK/slow" 'd["evicted"] == 1 and d["consumers"] == []'
"$MQSHM" rm "$Q-slow" > /dev/null

echo 'no queue' > "/dev/shm/mqshm.$Q-foreign"
"$MQSHM" list --json > "$WORK/list"
check "list exits 0 beside a foreign file" equal $? 0
check "list is valid" valid "$WORK/list"
check "list has them all, by name" holds "$WORK/list" "[q['name'] for q in d if q['name'].startswith('$Q-')] == ['$Q-foreign', '$Q-shared', '$q']"
check "list gives what stat gives" holds "$WORK/list" "[q for q in d if q['name'] == '$Q-shared'][0] == json.load(open('$WORK/stat'))"
check "a foreign file has an error" holds "$WORK/list" "[q['error_code'] < 0 and q['error'] for q in d if q['name'] == '$Q-foreign'][0]"
"$MQSHM" stat "$Q-foreign" --json > "$WORK/out" 2> "$WORK/err"
check "stat of a foreign file exits 1" equal $? 1
check "... with one line" equal "$(lines_of "$WORK/err")" 1
rm -f "/dev/shm/mqshm.$Q-foreign"
"$MQSHM" rm "$Q-shared" > /dev/null

printf '\0\xff"\\\nab\nabc\n\n' | "$MQSHM" push "$q" --lines --wait 0 2> /dev/null
"$MQSHM" pop "$q" --json > "$WORK/out"
check "pop exits 0" equal $? 0
sed '1s/^/[/; $!s/$/,/; $s/$/]/' "$WORK/out" > "$WORK/array"
check "pop gives an object a line" holds "$WORK/array" '[sorted(m) for m in d] == [["data_base64", "sequence", "size", "timestamp_ns"]] * 7'
check "sequences go on over producers" holds "$WORK/array" '[m["sequence"] for m in d] == list(range(7))'
check "data is exact" holds "$WORK/array" '[base64.b64decode(m["data_base64"], validate=True) for m in d][3:] == [b"\0\xff\"\\", b"ab", b"abc", b""]'
check "size is that of the data" holds "$WORK/array" '[m["size"] for m in d] == [len(base64.b64decode(m["data_base64"])) for m in d]'
check "timestamps are of now" holds "$WORK/array" 'all(abs(m["timestamp_ns"] / 1e9 - __import__("time").time()) < 600 for m in d)'
"$MQSHM" rm "$q" > /dev/null
conclude
