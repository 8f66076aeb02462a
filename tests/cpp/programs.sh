#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mqshm.hpp, with g++ and clang++, C++17 and C++20: each program of probes/ builds without a warning and runs; once with the address
# and undefined-behaviour sanitizers, once with the thread sanitizer; and the code of README.md and docs/migration.md.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor -Werror)
check "the library" make -s -j"$JOBS" BUILD="$OUT/lib" "$OUT/lib/libmqshm.a"

build() # COMPILER SOURCE PROGRAM OPTION...
{
	"$1" -O1 -g "${warnings[@]}" -Iinclude -Itests/cpp/probes -o "$3" "${@:4}" "$2" "${library:-$OUT/lib/libmqshm.a}" -pthread
}
run() # PROGRAM
{
	local said status
	said=$("$1" "$Q-" 2>&1 < /dev/null)
	status=$?
	grep -v '^ok ' <<< "$said"
	! ls "/dev/shm/mqshm.$Q-"* 2> /dev/null || status=1
	! grep -qE 'Sanitizer|runtime error:' <<< "$said" || status=66
	return "$status"
}

for compiler in g++ clang++; do
	have "$compiler" "${compiler/#clang++/clang}" "$compiler" || continue
	for std in c++17 c++20; do
		for name in classes ring_queue; do
			check "$name builds: $compiler -std=$std" \
				build "$compiler" "tests/cpp/probes/$name.cpp" "$OUT/$name" "-std=$std" &&
				check "... and runs" run "$OUT/$name"
		done
		check "no_exceptions builds: $compiler -std=$std" \
			build "$compiler" tests/cpp/probes/no_exceptions.cpp "$OUT/none" "-std=$std" -fno-exceptions -fno-rtti &&
			check "... and runs" run "$OUT/none"
	done
	check "without run-time types: $compiler" \
		build "$compiler" tests/cpp/probes/classes.cpp "$OUT/classes" -std=c++17 -fno-rtti
done
have g++ g++ "mqshm.hpp" || conclude

# Each header by itself, and two parts of one program.
for header in mqshm.hpp mqshm/multiqueue.hpp; do
	printf '#include <%s>\n#include <%s>\nint %s() { return mqshm::forever.ms(); }\n' "$header" "$header" \
		"$(basename "$header" .hpp)" > "$OUT/$(basename "$header" .hpp).cpp"
done
cat > "$OUT/main.cpp" << 'END'
#include <mqshm.hpp>
int mqshm_(), multiqueue_();
int main() { return mqshm_() + multiqueue_() + 2; }
END
sed -i 's/^int mqshm(/int mqshm_(/' "$OUT/mqshm.cpp"
sed -i 's/^int multiqueue(/int multiqueue_(/' "$OUT/multiqueue.cpp"
two_parts()
{
	g++ -std=c++17 "${warnings[@]}" -Iinclude -c -o "$OUT/part17.o" "$OUT/mqshm.cpp" &&
		g++ -std=c++20 "${warnings[@]}" -Iinclude -c -o "$OUT/part20.o" "$OUT/multiqueue.cpp" &&
		build g++ "$OUT/main.cpp" "$OUT/parts" -std=c++17 "$OUT/part17.o" "$OUT/part20.o" && "$OUT/parts"
}
check "headers stand by themselves, and parts of other standards link" two_parts

# Each ```cpp block of a document compiles, in a function.
blocks() # FILE: its blocks, each to $OUT/block-<n>.cpp; how many
{
	rm -f "$OUT"/block-*.cpp
	awk -v out="$OUT" '/^ *```cpp$/ { n++; file = out "/block-" n ".cpp"; next } /^ *```$/ { file = ""; next } file { print > file }
		END { print n + 0 }' "$1"
}
documents() # FILE
{
	local n i
	n=$(blocks "$1")
	[[ $n -gt 0 ]] || { echo "no C++ in $1"; return 1; }
	for ((i = 1; i <= n; i++)); do
		{
			printf '#include <cstdio>\n#include <iostream>\n#include <thread>\n#include <mqshm.hpp>\n'
			printf 'struct Sample { double value; };\n[[maybe_unused]] static void use(std::string_view) {}\n'
			printf 'void block(Sample sample);\nvoid block([[maybe_unused]] Sample sample)\n{\n'
			cat "$OUT/block-$i.cpp"
			printf '}\n'
		} > "$OUT/document.cpp"
		g++ -std=c++17 -Wall -Wextra -Werror -Iinclude -fsyntax-only "$OUT/document.cpp" || return 1
	done
}
for document in README.md docs/migration.md; do
	check "the C++ of $document compiles" documents "$document"
done

sanitized() # FLAGS
{
	make -s -j"$JOBS" BUILD="$OUT/$1" CFLAGS='-O1 -g' EXTRA_CFLAGS="-fsanitize=$1 -fno-sanitize-recover=all" \
		"$OUT/$1/libmqshm.a"
}
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
if check "the library with sanitizers" sanitized address,undefined; then
	library=$OUT/address,undefined/libmqshm.a
	for name in classes ring_queue; do
		check "$name with sanitizers" \
			build g++ "tests/cpp/probes/$name.cpp" "$OUT/$name-san" -std=c++17 -fsanitize=address,undefined &&
			check "... runs" run "$OUT/$name-san"
	done
	cat > "$OUT/red.cpp" << 'END'
#include "check.hpp"
TEST(keeps_a_view_too_long)
{
	mqshm::Bytes bytes;
	{
		std::vector<char> gone(100, 'x');
		bytes = gone;
	}
	mqshm::Producer producer(queue("q"), mqshm::QueueOptions{}.nodes(2).block(128));
	producer.push(bytes);
}
END
	build g++ "$OUT/red.cpp" "$OUT/red" -std=c++17 -fsanitize=address,undefined
	goes_red "a view that outlives what it views is found" 'heap-use-after-free' "$OUT/red" "$Q-"
fi

# RingQueue may be used by several threads at once: one that lets them in together is reported.
export TSAN_OPTIONS='halt_on_error=0 exitcode=66'
threads() # INCLUDE
{
	library=$OUT/thread/libmqshm.a
	g++ -std=c++17 -O1 -g -fsanitize=thread "-I$1" -Itests/cpp/probes -o "$OUT/threads" \
		tests/cpp/probes/ring_queue.cpp "$library" -pthread || return 1
	if "$OUT/threads" "$Q-" 2>&1 | grep -q 'unexpected memory mapping'; then
		run_threads=(setarch -R "$OUT/threads")
	else
		run_threads=("$OUT/threads")
	fi
	! "${run_threads[@]}" "$Q-" 2>&1 | grep -E '^(not ok|# )|SUMMARY'
}
if check "the library with the thread sanitizer" sanitized thread; then
	check "ring_queue with the thread sanitizer" threads include
	rm -rf "$OUT/planted" && cp -r include "$OUT/planted"
	sed -i '0,/auto lock = locked();/s//return true;\n&/' "$OUT/planted/mqshm/multiqueue.hpp"
	goes_red "a side that lets two threads in is found" 'data race' threads "$OUT/planted"
fi
conclude
