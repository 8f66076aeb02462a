#!/bin/bash
# SPDX-License-Identifier: MIT
# make demo: it holds what it promises with inputs of several kinds, notices when something does not hold, and leaves
# nothing behind, whatever way it ends.
# shellcheck source-path=SCRIPTDIR
build=${BUILD:-build} # as make was told, so that it finds the same files
source "$(dirname "$0")/lib.bash"
unset MAKEFLAGS MAKEOVERRIDES MAKELEVEL INPUT
set -m # what is started has a process group of its own and does not ignore Ctrl-C

DEMO=$BUILD/demo
export TMPDIR=$WORK/tmp
mkdir "$TMPDIR"
check "it builds" make -s BUILD="$build" "$build/demo"

queue_of()
{
	sed -n 's/^Queue: .*mqshm\.\(demo-[0-9.]*\),.*/\1/p' "$1"
}

nothing_left()
{
	local name
	name=$(queue_of "$1")
	[[ -n $name ]] && equal "$(compgen -G "/dev/shm/mqshm.$name*")$(ls -A "$TMPDIR")" ''
}

has()
{
	grep -qE -- "$2" "$1" || {
		echo "# no line like: $2"
		sed 's/^/# /' "$1"
		return 1
	}
}

at_most()
{
	(($1 <= $2)) || {
		echo "# $1 is more than $2"
		return 1
	}
}

no_process()
{
	! kill -0 -- "-$1" 2> /dev/null
}

# holds NAME BYTES FILE COMMAND...: it says that everything held, of that many bytes.
holds()
{
	local name=$1 bytes=$2 file=$3
	shift 3
	"$@" > "$WORK/out" 2> "$WORK/err"
	check "$name: exits 0" equal $? 0
	check "$name: nothing on stderr" equal "$(< "$WORK/err")" ''
	check "$name: written file and input are identical" has "$WORK/out" \
		"^  ok +written file and input are identical byte for byte \($bytes bytes?\)$"
	check "$name: the checksum is that of cksum" has "$WORK/out" " $(cksum < "$file" | cut -d ' ' -f 1)$"
	check "$name: nothing failed" equal "$(grep -c '^  ok ' "$WORK/out") $(grep -c FAILED "$WORK/out")" '10 0'
	check "$name: it fits 80 columns" equal "$(awk 'length > 79' "$WORK/out")" ''
	check "$name: nothing is left" nothing_left "$WORK/out"
}

# More messages than the queue has room for, and a last one that is shorter; a name that needs quotes.
file="$WORK/it's \"a\" file"
head -c 20000001 /dev/urandom > "$file"
begun=$SECONDS
holds "make demo" 20,000,001 "$file" make -s BUILD="$build" demo INPUT="$file"
check "make demo: it takes less than 2 minutes, some seconds on a machine that is not busy" at_most $((SECONDS - begun)) 119
check "make demo: it says which input" has "$WORK/out" "^Input: +$WORK/it's \"a\" file$"
for row in meter writer checksum; do
	check "make demo: the table has the $row" has "$WORK/out" "^$row +1,563 +20,000,001 +0 +0 .*/s$"
done
check "make demo: the table has the victim" has "$WORK/out" '^victim +[0-9]{3} +[0-9,]+ +0 +- .*/s  killed$'
check "make demo: the table has the latecomer" has "$WORK/out" '^latecomer +[0-9,]+ +[0-9,]+ +[0-9]+ +0 .*came late$'
check "make demo: throughput" has "$WORK/out" '^  [0-9,]+ messages/s, .*/s in, .*/s out$'

{
	printf 'RIFF\044\100\001\000WAVEfmt \020\0\0\0\001\0\001\0\100\037\0\0\200\076\0\0\002\0\020\0data\0\100\001\0'
	head -c 81920 /dev/urandom
} > "$WORK/wav"
holds "a WAV file" 81,964 "$WORK/wav" "$DEMO" --seconds 0.5 "$WORK/wav"
check "a WAV file: the level is that of its samples" has "$WORK/out" 'shows the level, below'
printf x > "$WORK/one"
holds "one byte" 1 "$WORK/one" "$DEMO" --seconds 0.3 "$WORK/one"

# Nobody says "identical" for nothing.
head -c 5000000 /dev/zero > "$WORK/changed"
start "$DEMO" --seconds 1 "$WORK/changed" > "$WORK/out" 2>&1
wait_until grep -q 'was killed' "$WORK/out"
printf x | dd of="$WORK/changed" bs=1 seek=12345 conv=notrunc 2> /dev/null
status_of $! && check "an input that changes: exits 1" equal "$status" 1
check "an input that changes: it says where" has "$WORK/out" \
	'^  FAILED written file and input are the same for 12,345 of 5,000,000 bytes only$'
check "an input that changes: the checksum too" has "$WORK/out" '^  FAILED the checksum'
start "$DEMO" --seconds 1 "$WORK/changed" > "$WORK/out" 2>&1
wait_until grep -q '^latecomer' "$WORK/out"
: > "$WORK/changed"
status_of $! && check "an input that shrinks: exits 1" equal "$status" 1
check "an input that shrinks: it says so" has "$WORK/out" '^demo: producer: cannot read the input: it became shorter'
check "an input that shrinks: nothing is left" nothing_left "$WORK/out"

# stop NAME SIGNAL WHOM STATUS EVENT: WHOM is "" for the first process, "-" for all as with Ctrl-C.
stop()
{
	local pid status
	start "$DEMO" --seconds 1 "$file" > "$WORK/out" 2>&1
	pid=$!
	wait_until grep -q "$5" "$WORK/out"
	kill "-$2" -- "$3$pid"
	status_of "$pid" && check "$1: the exit status tells" equal "$status" "$4"
	check "$1: no process is left" wait_until no_process "$pid"
	check "$1: nothing is left" nothing_left "$WORK/out"
}
stop "Ctrl-C at the start" INT - 130 '^Queue'
stop "Ctrl-C in the stream" INT - 130 'was killed'
stop "SIGINT" INT '' 130 'latecomer (pid'
stop "SIGTERM" TERM '' 143 'was killed'
stop "SIGHUP" HUP - 129 'was killed'
stop "SIGKILL" KILL '' 137 'was killed'

pid_of()
{
	sed -n "s/^$1 *\([0-9]*\)  .*/\1/p" "$WORK/out"
}
for role in producer writer; do
	start "$DEMO" --seconds 1 "$file" > "$WORK/out" 2>&1
	wait_until grep -q 'was killed' "$WORK/out"
	kill -KILL "$(pid_of $role)"
	status_of $! && check "without the $role: exits 1" equal "$status" 1
	check "without the $role: it says so" has "$WORK/out" "^demo: $role: ended by signal 9"
	check "without the $role: nothing is left" nothing_left "$WORK/out"
done

# refuses NAME STATUS WORDS COMMAND...
refuses()
{
	local name=$1 wanted=$2 words=$3 status
	shift 3
	"$@" > "$WORK/out" 2> "$WORK/err"
	status=$?
	check "$name: exits $wanted" equal "$status" "$wanted"
	check "$name: it says so" has "$WORK/err" "^demo: $words"
	check "$name: it begins nothing" equal "$(< "$WORK/out")" ''
}
: > "$WORK/empty"
mkfifo "$WORK/fifo"
refuses "make demo, no such input" 2 "cannot stream '$WORK/none': No such file" \
	make -s BUILD="$build" demo INPUT="$WORK/none"
refuses "a directory" 1 "cannot stream '$WORK': it is a directory" "$DEMO" "$WORK"
refuses "an empty file" 1 "cannot stream '$WORK/empty': it is empty" "$DEMO" "$WORK/empty"
refuses "a FIFO" 1 "cannot stream '$WORK/fifo': it is not a regular file" "$DEMO" "$WORK/fifo"
refuses "an unknown option" 2 'unknown option' "$DEMO" --fast
refuses "two files" 2 'one file only' "$DEMO" "$WORK/one" "$WORK/one"
refuses "no time" 2 '--seconds takes' "$DEMO" --seconds 0 "$WORK/one"
TMPDIR=$WORK/none refuses "no directory for the copy" 1 "cannot make a temporary file in $WORK/none" "$DEMO" "$WORK/one"
conclude
