#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Coverage-guided fuzzing (libFuzzer) of the library over an image that an attacker writes, and of the tool's arguments,
# input and what it shows. The kept corpus is replayed, then each target runs for some seconds, from a printed seed.
# Bugs that were planted in a copy of the source are found by the corpus alone.
#
#	MQSHM_LONG=1	hours instead of seconds
#	MQSHM_SEED=N	the seed
#	COVERAGE=1	only: how much of the source the corpus covers, as a table
#	MERGE=DIR	only: put what DIR/image and DIR/tool cover besides into the corpus
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

corpus=tests/hostile/corpus
seconds=${MQSHM_LONG:+7200}
seconds=${seconds:-10}
seed=${MQSHM_SEED:-$RANDOM$RANDOM}
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=16:allocator_may_return_null=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
limits=(-timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=64)

have clang clang "fuzzing" || conclude
cat > "$OUT/probe.c" << 'END'
#include <stddef.h>
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	return size ? data[0] * 0 : 0;
}
END
if ! clang -fsanitize=fuzzer,address -o "$OUT/probe" "$OUT/probe.c" 2> "$OUT/probe.txt"; then
	skip "fuzzing" "missing package: libclang-rt-14-dev"
	conclude
fi

# What a target is made of, with what each file needs besides: "SOURCE OPTION...". The library's part of the tool is
# simulated, and of the image the backend and the clock.
image_sources()
{
	printf '%s -Dclock_gettime=fuzz_clock_gettime -Itests/hostile/probes/shim\n' tests/hostile/probes/fuzz_{image,stat}.c \
		lib/{producer,consumer,wait,lock,backend,attach,layout,error,queue,list,log,notify}.c
}
tool_sources()
{
	local source
	echo 'tests/hostile/probes/fuzz_tool.c -Itools -Itests/hostile/probes/shim'
	for source in tools/*.c tools/bench/{cases,targets,summary}.c; do
		case $source in
		tools/signals.c) ;; # a signal would end the fuzzer
		tools/main.c) echo "$source -Dmain=mqshm_main" ;;
		tools/cmd_push.c) echo "$source -Dopen=fuzz_open" ;; # not any file of this machine
		*) echo "$source -Itools" ;;
		esac
	done
}

# build DIRECTORY TARGET PROGRAM OPTION...: the sources of a directory (this one, or a copy with a bug).
build()
{
	local directory=$1 target=$2 program=$3
	shift 3
	export directory program
	export common="-std=gnu11 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror $*"
	rm -rf "$program.o" && mkdir -p "$program.o"
	"${target}_sources" | xargs -P "$JOBS" -I LINE bash -c '
		set -- LINE
		cd "$directory" && clang $common "${@:2}" -Iinclude -Ilib -Itests -c -o "$program.o/${1//\//_}.o" "$1"' &&
		clang "$@" -o "$program" "$program.o"/*.o -lm -pthread
}
sanitized=(-O1 "-fsanitize=fuzzer,address,undefined" -fno-sanitize-recover=all -fno-omit-frame-pointer)

if [[ -n ${COVERAGE:-} ]]; then
	have llvm-cov-14 llvm-14 "coverage" || conclude
	for target in image tool; do
		build . $target "$OUT/cover_$target" -O0 -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping || exit 1
		LLVM_PROFILE_FILE=$OUT/$target.profraw "$OUT/cover_$target" -runs=0 "$corpus/$target" > "$OUT/cover.txt" 2>&1 || exit 1
		llvm-profdata-14 merge -o "$OUT/$target.profdata" "$OUT/$target.profraw"
		llvm-cov-14 export -summary-only "$OUT/cover_$target" -instr-profile="$OUT/$target.profdata" |
			python3 -c '
import json, sys
for f in json.load(sys.stdin)["data"][0]["files"]:
	name, lines, branches = f["filename"], f["summary"]["lines"], f["summary"]["branches"]
	part = [p for p in {"image": ("/include/", "/lib/"), "tool": ("/tools/",)}[sys.argv[1]] if p in name]
	if part and lines["count"]:
		print("| `%s` | %s | %d of %d | %d %% | %d %% |" % (part[0][1:] + name.split(part[0])[-1], sys.argv[1],
			lines["covered"], lines["count"], lines["percent"], branches["percent"]))' $target
	done
	exit
fi

for target in image tool; do
	check "the target '$target' builds" build . $target "$OUT/fuzz_$target" "${sanitized[@]}" || conclude
done

if [[ -n ${MERGE:-} ]]; then
	for target in image tool; do
		"$OUT/fuzz_$target" "${limits[@]}" -merge=1 "$corpus/$target" "$MERGE/$target" 2>&1 | tail -n 1
	done
	exit
fi

replay() # PROGRAM TARGET
{
	"$1" "${limits[@]}" "-artifact_prefix=$OUT/replay-" -runs=0 "$corpus/$2"
}
for target in image tool; do
	check "$target: the corpus of $(find $corpus/$target -type f | wc -l) inputs" replay "$OUT/fuzz_$target" $target
done

# Both at once, for as long. New inputs go below $OUT; what ended a run stays in $OUT/TARGET-...
pids=()
for target in image tool; do
	mkdir -p "$OUT/new_$target"
	dictionary=()
	if [[ $target == tool ]]; then
		grep -ho '{ "[a-z-]*"' tools/*.c | sed 's/{ "\(.*\)"/"--\1"/' | sort -u > "$OUT/tool.dict"
		dictionary=("-dict=$OUT/tool.dict")
	fi
	"$OUT/fuzz_$target" "${limits[@]}" "${dictionary[@]}" "-seed=$seed" "-max_total_time=$seconds" -max_len=600 -print_final_stats=1 \
		"-artifact_prefix=$OUT/$target-" "$OUT/new_$target" "$corpus/$target" > "$OUT/$target.txt" 2>&1 < /dev/null &
	pids+=($!)
done
for target in image tool; do
	wait "${pids[0]}"
	status=$?
	pids=("${pids[@]:1}")
	echo "# $target: MQSHM_SEED=$seed, $(sed -n 's/^Done //p' "$OUT/$target.txt"); $(grep -o 'cov: [0-9]* ft: [0-9]*' "$OUT/$target.txt" | tail -n 1)"
	[[ $status == 0 ]] || grep -vE '^#|NEW_FUNC|^INFO' "$OUT/$target.txt" | head -n 60 | sed 's/^/# /'
	result "$target: $seconds s of fuzzing" "$status"
done

# ---- it can fail: bugs planted in a copy ----

plant() # TARGET FILE SED-EXPRESSION: what the corpus says of it
{
	local copy=$OUT/red-$BASHPID
	rm -rf "$copy" && mkdir -p "$copy" && cp -r include lib tools tests "$copy/" && sed -i "$3" "$copy/$2"
	if cmp -s "$2" "$copy/$2"; then
		echo "nothing was planted"
	elif build "$copy" "$1" "$copy/fuzz" "${sanitized[@]/-O1/-O0}"; then
		replay "$copy/fuzz" "$1"
	fi
	local status=$?
	rm -rf "$copy"
	return "$status"
}
goes_red "a length that is not checked" 'RED: .*a message of|heap-buffer-overflow' \
	plant image include/mqshm/ring.h 's/ || size > r->block_size || bytes > tail - position ||/ ||/'
goes_red "a size that is read twice" 'RED: .*a message of' \
	plant image include/mqshm/ring.h 's/f->size = (uint32_t)size;/f->size = (uint32_t)racy_load(\&node->word);/'
goes_red "a slot index that is not bounded" 'heap-buffer-overflow' \
	plant image include/mqshm/ring.h '/if (slot >= r->max_consumers)/,+1d'
goes_red "a loop without a limit on its tries" 'RED: .*there is no end' \
	plant image include/mqshm/ring.h 's/if (rc || tries > 1000)/if (rc)/'
if [[ -n ${MQSHM_LONG:-} ]]; then
	goes_red "a node that crosses the ring's end" 'heap-buffer-overflow' \
		plant image include/mqshm/ring.h 's/bytes > r->ring_bytes - offset/0/'
	goes_red "a mark that is not checked" 'misaligned address' \
		plant image include/mqshm/ring.h '/a mark, or head, that is no/,+1d'
	goes_red "a region's offset that is not bounded" 'heap-buffer-overflow|RED:' \
		plant image lib/layout.c 's/info->nodes_offset != nodes_offset(info) ||//'
	goes_red "a line that is too long" 'RED: a message of' \
		plant tool tools/push_lines.c 's/if (end - l->begin > push->block)/if (0)/'
	goes_red "a quote in JSON" 'RED: JSON' plant tool tools/json.c "s/bytes\[i\] == '\"' ||/0 ||/"
fi
conclude
