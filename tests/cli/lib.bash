# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts of tests/cli share; each sources it first. A script runs from the root of the repository, finds the
# tool below $BUILD and prints TAP. Queues are named "t<pid of the script>-...": nothing else is touched, and nothing
# stays, whatever way the script ends. Only processes it started are ended, by their pid.

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
MQSHM=$BUILD/mqshm
Q=t$$
WORK=$(mktemp -d)
STARTED=()
test_number=0
test_failures=0

if [[ ! -x $MQSHM ]]; then
	echo "not ok 1 - there is no $MQSHM"
	rm -rf "$WORK"
	exit 1
fi

# result NAME STATUS: one TAP line.
result()
{
	test_number=$((test_number + 1))
	if [[ $2 == 0 ]]; then
		echo "ok $test_number - $1"
	else
		echo "not ok $test_number - $1"
		test_failures=$((test_failures + 1))
	fi
}

skip()
{
	test_number=$((test_number + 1))
	echo "ok $test_number - $1 # SKIP $2"
}

# check NAME COMMAND...: the command shall succeed.
check()
{
	local name=$1
	shift
	if "$@"; then
		result "$name" 0
	else
		echo "# failed: $*"
		result "$name" 1
	fi
}

equal()
{
	[[ $1 == "$2" ]] || {
		echo "# is '$1', not '$2'"
		return 1
	}
}

# Text ERE
matches()
{
	[[ $1 =~ $2 ]] || {
		echo "# '$1' does not match '$2'"
		return 1
	}
}

lines_of()
{
	wc -l < "$1" | tr -d ' '
}

# wait_until COMMAND...: until it succeeds, at most 60 s.
wait_until()
{
	local deadline=$((SECONDS + 60))
	until "$@"; do
		if ((SECONDS > deadline)); then
			echo "# waited in vain for: $*"
			return 1
		fi
		sleep 0.02
	done
}

# start COMMAND...: in the background; $! as usual. Redirections of the call hold (that of stdin is said again, or bash
# would give a background process /dev/null). Descriptor 3 stays with the script: it is the writing end of its fifo.
start()
{
	"$@" <&0 3>&- &
	STARTED+=($!)
}

# status_of PID: waits for it, at most 60 s; its exit status goes to $status, which the caller declares or not.
# shellcheck disable=SC2034 # the scripts use it
status_of()
{
	if wait_until not_running "$1"; then
		wait "$1" 2> /dev/null
		status=$?
	else
		status=hangs
		kill_hard "$1"
	fi
}

# kill_hard PID: SIGKILL, and gone when it returns.
kill_hard()
{
	{
		kill -9 "$1"
		wait "$1"
	} 2> /dev/null
}

not_running()
{
	local state
	read -r _ _ state _ 2> /dev/null < "/proc/$1/stat" || return 0
	[[ $state == Z ]]
}

queue_exists()
{
	[[ -e /dev/shm/mqshm.$1 ]]
}

queue_gone()
{
	[[ ! -e /dev/shm/mqshm.$1 ]]
}

# stat_value QUEUE KEY: a number or word of stat --json.
stat_value()
{
	"$MQSHM" stat "$1" --json 2> /dev/null | sed -n "s/^  \"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p"
}

stat_is()
{
	[[ $(stat_value "$1" "$2") == "$3" ]]
}

finish()
{
	local pid left
	for pid in "${STARTED[@]}"; do
		not_running "$pid" || kill_hard "$pid"
	done
	wait 2> /dev/null
	left=$(compgen -G "/dev/shm/mqshm.$Q-*")
	[[ -z $left ]] || rm -f "/dev/shm/mqshm.$Q-"*
	rm -rf "$WORK"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# The last line of each script.
conclude()
{
	check "nothing is left in /dev/shm" equal "$(compgen -G "/dev/shm/mqshm.$Q-*")" ''
	exit $((test_failures > 0))
}
