# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts of tests/build, static, sanitize, hotpath and abi share; each sources it first. A script runs from
# the root of the repository, builds below $BUILD in a directory of its own, $OUT, and prints TAP. Queues are named
# "t<pid of the script>-...": nothing else is touched, and nothing stays, whatever way the script ends.

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
OUT=$BUILD/$(basename "$(dirname "$0")")-$(basename "$0" .sh)
Q=t$$
# shellcheck disable=SC2034 # the scripts use it
JOBS=$(nproc)
tap_number=0
tap_failures=0
mkdir -p "$OUT"

# What a make above us was told is not for the makes in here; nor is tests/run's INSTALL.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL INSTALL DESTDIR PREFIX CC CFLAGS EXTRA_CFLAGS

tap_finish()
{
	rm -f "/dev/shm/mqshm.$Q-"*
}
trap tap_finish EXIT
trap 'exit 1' INT TERM HUP

# result NAME STATUS: one TAP line, 0 is good.
result()
{
	tap_number=$((tap_number + 1))
	if [[ $2 == 0 ]]; then
		echo "ok $tap_number - $1"
	else
		echo "not ok $tap_number - $1"
		tap_failures=$((tap_failures + 1))
	fi
}

skip()
{
	tap_number=$((tap_number + 1))
	echo "ok $tap_number - $1 # SKIP $2"
}

# have COMMAND PACKAGE NAME: true if the command is there; else test NAME is skipped.
have()
{
	command -v "$1" > /dev/null && return 0
	skip "$3" "missing package: $2"
	return 1
}

# check NAME COMMAND...: the command shall succeed; what it says is shown when it does not.
check()
{
	local name=$1 said status
	shift
	said=$("$@" 2>&1)
	status=$?
	[[ $status == 0 ]] || tail -n 40 <<< "$said" | sed 's/^/# /'
	result "$name" "$status"
	return "$status"
}

# goes_red NAME WORDS COMMAND...: the command shall fail, and say WORDS (an ERE). A check that cannot fail shows nothing. What
# is shown is that a detector can bite: one that looks at races or at growth has three tries to, and how many it took is said.
goes_red()
{
	local name=$1 words=$2 said status try
	shift 2
	for try in 1 2 3; do
		said=$("$@" 2>&1)
		status=$?
		if [[ $status != 0 ]] && grep -qE -- "$words" <<< "$said"; then
			[[ $try == 1 ]] || echo "# seen at try $try"
			result "$name" 0
			return
		fi
	done
	echo "# it ended three times otherwise, at last with status $status, and said:"
	tail -n 20 <<< "$said" | sed 's/^/# /'
	result "$name" 1
}

# same WANTED GOT: of two texts, shown as a diff.
same()
{
	diff <(printf '%s\n' "$1") <(printf '%s\n' "$2")
}

# The last line of each script.
conclude()
{
	echo "1..$tap_number"
	exit $((tap_failures > 0))
}
