#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each program of examples/ builds, ends by itself with 0 and leaves nothing in /dev/shm; one of them also runs with
# the shared library; and a C++ program that includes the header compiles, links and runs. Speaks TAP. Run from the
# root of the repository; BUILD is the build directory.

set -u -o pipefail

BUILD=${BUILD:-build}
seconds=20 # an example takes under 2 s; this is for a slow machine
number=0 failed=0

# result NAME PROBLEMS: one TAP line; PROBLEMS, when not empty, is why it failed.
result()
{
	number=$((number + 1))
	if [ -z "${2//[[:space:]]/}" ]; then
		echo "ok $number - $1"
		return
	fi
	failed=$((failed + 1))
	while IFS= read -r line; do
		[ -z "$line" ] || echo "# $line"
	done <<<"$2"
	echo "not ok $number - $1"
}

skip()
{
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

problems=
log=$(${MAKE:-make} BUILD="$BUILD" examples 2>&1) || problems=$log
result "make examples" "$problems"

for source in examples/*.c examples/*.cpp; do
	name=$(basename "$source" .c)
	name=${name/%.cpp/-cpp}
	program=$BUILD/examples/$name
	if [[ $source == *.cpp ]] && ! command -v "${CXX:-g++}" >/dev/null; then
		skip "$name" "missing package: g++"
		continue
	fi
	if [ ! -x "$program" ]; then
		result "$name" "$program was not built"
		continue
	fi
	"$(realpath "$program")" >"$program.out" 2>&1 </dev/null &
	pid=$!
	( # the time limit
		trap 'kill "$sleeper" 2>/dev/null; exit' TERM
		sleep "$seconds" &
		sleeper=$!
		wait "$sleeper"
		echo "took longer than $seconds s" >>"$program.out"
		kill -KILL "$pid"
	) &
	watch=$!
	wait "$pid"
	code=$?
	kill "$watch" 2>/dev/null
	wait "$watch" 2>/dev/null
	problems=
	[ "$code" -eq 0 ] || problems="exit $code"$'\n'$(cat "$program.out")
	# The name of the queue of an example is its own, with - for _, and its process id.
	for left in /dev/shm/mqshm.*-"$pid"; do
		[ ! -e "$left" ] || problems+=$'\n'"left behind: $left"
	done
	result "$name" "$problems"
done

# As a user builds one: cc hello.c -lmqshm, which takes the shared library.
cc=${CC:-cc}
problems=
log=$({
	${MAKE:-make} -s BUILD="$BUILD" all &&
		"$cc" -Iinclude -o "$BUILD/examples/hello-shared" examples/hello.c -L"$BUILD" -lmqshm &&
		LD_LIBRARY_PATH=$BUILD "$BUILD/examples/hello-shared"
} 2>&1) || problems=$log
result "hello with the shared library" "$problems"

# A caller in C++. As strict as such a project may be.
mkdir -p "$BUILD/examples"
cat >"$BUILD/examples/caller.cpp" <<'EOT'
#include <mqshm.h>

#include <cstring>

int main()
{
	mqshm_queue_options options{};
	options.size = sizeof(options);
	options.block_size = 64;
	mqshm_producer *producer = nullptr;
	int rc = mqshm_producer_open(&producer, "control", &options, nullptr); // a reserved name

	return rc < 0 && producer == nullptr && std::strcmp(mqshm_version(), MQSHM_VERSION) == 0 ? 0 : 1;
}
EOT
for compiler in g++ clang++; do
	if ! command -v "$compiler" >/dev/null; then
		package=${compiler%++}
		skip "a C++ caller with $compiler" "missing package: ${package/#g/g++}"
		continue
	fi
	problems=
	for standard in c++11 c++20; do
		log=$("$compiler" -std=$standard -pedantic -Wall -Wextra -Werror -Iinclude -o "$BUILD/examples/caller" \
			"$BUILD/examples/caller.cpp" "$BUILD/libmqshm.a" -pthread 2>&1) || problems+="$standard: $log"$'\n'
		[ -n "$problems" ] || "$BUILD/examples/caller" || problems+="$standard: exit $?"$'\n'
	done
	result "a C++ caller with $compiler" "$problems"
done

echo "1..$number"
[ "$failed" -eq 0 ]
