#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make check-kernel: on each kernel, in an emulated machine: the tests of queues and of what stands on them (but those
# of posix alone) on the posix backend, then insmod, the same on the kernel backend, the module's selftests, rmmod. What
# passed on posix must pass on kernel: a skip there is a failure. So is a bad word in the kernel's log (scan.sh). On the
# first of the kernels also the first five minutes of docs/kernel.md, with the source the kernel's own checkers (static.sh).
# The last line is "N passed, N failed, N skipped", as of tests/run; a kernel that can't be had is a skip.
#
#	KERNELS="6.1 6.12 sid"	which; sid's is a short form, FULL=1: not so
#	RETRY=1			a kernel with a failure is tried once more, and then the second try counts
#	BACKENDS="posix kernel"	which, of the tests that both run
#	ONLY=PATTERN		of the programs only those whose name matches (ERE)
#	FUZZ_SECONDS=60		how long the fuzzer runs on each; 10 in the short form
#	INSTALL=1		first install the Debian packages that are wanted
#	BUILD=DIR		where things are built; what was said is kept in DIR/kernel/NAME
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
read -ra kernels <<< "${KERNELS:-6.1 6.12 sid}"
newest_known=7.2
limit=${TEST_LIMIT:-$((900 + ${FUZZ_SECONDS:-60}))} # seconds for one machine
export MQSHM_TEST_SCALE=${MQSHM_TEST_SCALE:-10} # percent of the usual load: all is emulated
# The short form: one test of each kind.
smoke='conformance/(arguments|push_pop|end_of_stream|waiting|zero_copy)|death/(fork|producer)'

passed=0 failed=0 skipped=0
good() { passed=$((passed + 1)); }
bad() { echo "not ok - $*" | sed 's/^/    /'; failed=$((failed + 1)); }

kernel_install "${kernel_packages[@]}" || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
make -j"$(nproc)" BUILD="$BUILD" all tests > "$BUILD.log" 2>&1 || { cat "$BUILD.log"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
mkdir -p "$BUILD/kernel" && mv "$BUILD.log" "$BUILD/kernel/make.log"
tests/kernel/fetch_qemu.sh || say "no newer qemu to be had: taking the machine's"

# The programs for the guest, and the list of what to run.
fill() # ROOT OUT SHORT
{
	local root=$1 out=$2 short=$3 source name backend seconds
	rm -rf "$root" && mkdir -p "$root/tests"
	cp tests/kernel/guest_main.sh "$root/main"
	seconds=${FUZZ_SECONDS:-$([[ -n $short ]] && echo 10 || echo 60)}
	printf '%s\n' "limit=$((${PROGRAM_LIMIT:-180} + seconds)) scale=$MQSHM_TEST_SCALE" \
		"export FUZZ_SECONDS=$seconds ${FUZZ_SEED:+FUZZ_SEED=$FUZZ_SEED}" \
		"${MQSHM_TEST_SECONDS:+export MQSHM_TEST_SECONDS=$MQSHM_TEST_SECONDS}" > "$root/settings"
	for backend in ${BACKENDS:-posix kernel}; do
		for source in tests/{conformance,death,watch,merge,stage,manager}/*.c; do
			name=${source#tests/} name=${name%.c}
			[[ $name == */posix_* || $name == merge/heap ]] && continue # of one backend, of none
			[[ -n $short && ! $name =~ ^($smoke)$ ]] && continue
			install -D "$BUILD/tests/$name" "$root/tests/$name" && echo "$backend $name"
		done
	done > "$root/list"
	install -D "$BUILD/tests/kernel/owners" "$root/tests/kernel/owners" && echo "kernel kernel/owners" >> "$root/list"
	for source in tests/kernel/selftest/*.c ${SELFTESTS:-}; do
		[[ -e $source ]] || continue
		name=selftest/$(basename "$source" .c)
		mkdir -p "$root/tests/selftest"
		if tests/kernel/selftest.sh "$source" "$root/tests/$name" > "$out/$(basename "$name").log" 2>&1; then
			echo "selftest $name" >> "$root/list"
		else
			tail -n 20 "$out/$(basename "$name").log"
			bad "$name can't be built"
		fi
	done
	for source in examples/kernel/*.c; do
		name=examples/$(basename "$source" .c)
		mkdir -p "$root/tests/examples"
		if ${CC:-gcc} -std=gnu11 -O2 -g -Wall -Wextra -Werror -Iinclude -static -o "$root/tests/$name" "$source" \
			"$BUILD/libmqshm.a" -luring -pthread > "$out/$(basename "$name").log" 2>&1; then
			echo "example $name" >> "$root/list"
		else
			tail -n 20 "$out/$(basename "$name").log"
			bad "$name can't be built"
		fi
	done
	[[ -z ${ONLY:-} ]] || { grep -E " .*($ONLY)" "$root/list" > "$out/only"; mv "$out/only" "$root/list"; }
	install -D -t "$root/lib/$(gcc -print-multiarch)" "$(gcc -print-file-name=libgcc_s.so.1)" # pthread_exit() wants it
	[[ ! -e $out/kmod/mqshm.ko ]] || cp "$out/kmod/mqshm.ko" "$root/mqshm.ko"
}

# One file of TAP for each part of what the guest said: OUT/tap/BACKEND-SUITE-NAME, with its status and seconds.
split() # OUT
{
	rm -rf "$1/tap" && mkdir -p "$1/tap"
	awk -v dir="$1/tap" '
		/^## begin / { name = $4; gsub("/", "-", name); file = dir "/" $3 "-" name; print "" > file; next }
		/^## end / { print $3, $4 > (file ".end"); close(file); close(file ".end"); file = ""; next }
		file != "" { print > file }' "$1/said"
}

# The names of the tests that a file of TAP says passed.
passes()
{
	sed -n -e '/# SKIP/d' -e 's/^ok [0-9 ]*-\{0,1\} *//p' "$1"
}

# Count one part. A skip of the kernel backend is a failure.
count() # OUT BACKEND NAME
{
	local file=$1/tap/$2-${3//\//-} p s f status=none seconds=0
	if [[ -e $file ]]; then
		[[ -e $file.end ]] && read -r status seconds < "$file.end"
		p=$(grep -c '^ok .*' "$file") s=$(grep -c '^ok .*# SKIP' "$file") f=$(grep -c '^not ok' "$file")
	else
		p=0 s=0 f=0
	fi
	p=$((p - s))
	if [[ $f == 0 && ($status != 0 || $((p + s)) == 0) ]]; then
		echo "not ok - $2 $3: ended with status $status" >> "$file"
		f=1
	fi
	if [[ $2 != posix ]]; then
		f=$((f + s)) s=0
	fi
	printf '%-8s %-31s %4d passed %3d failed %3d skipped %5d s\n' "$2" "$3" "$p" "$f" "$s" "$seconds"
	[[ $f == 0 ]] || grep -B 4 -E '^not ok|# SKIP' "$file" | tail -n 12 | sed 's/^/    /'
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

one() # NAME SHORT
{
	local name=$1 short=$2 out=$BUILD/kernel/$1 status backend program difference
	mkdir -p "$out"
	tests/kernel/fetch.sh "$name" || { echo "# SKIP kernel $name: not to be had"; skipped=$((skipped + 1)); return; }
	echo "# kernel $name: $(< "$cache/$name/release")"
	rm -rf "$out/kmod"
	if tests/kernel/build.sh "$name" "$out"; then good; else bad "kernel $name: building the module"; fi
	# What DKMS gets must build by itself.
	rm -rf "$out/dkms" && make -s DKMS_TREE="$out/dkms/mqshm" dkms-tree
	if tests/kernel/build.sh "$name" "$out/dkms/out" "$out/dkms/mqshm"; then good; else bad "kernel $name: building DKMS's tree"; fi
	fill "$out/root" "$out" "$short"
	tests/kernel/boot.sh "$name" "$out/root" "$out" "$limit"
	status=$?
	sed -n 's/^## kernel /# uname -r: /p' "$out/said"
	split "$out"
	while read -r backend program; do
		count "$out" "$backend" "$program"
	done < <(grep ^posix "$out/root/list"; echo "module load"; grep -v ^posix "$out/root/list"; echo "module unload")
	while read -r backend program; do
		difference=$(comm -23 <(passes "$out/tap/posix-${program//\//-}" | sort) \
			<(passes "$out/tap/kernel-${program//\//-}" 2> /dev/null | sort))
		if [[ -z $difference ]]; then good; else bad "$program: passed on posix, not on kernel:" "${difference//$'\n'/ }"; fi
	done < <(grep ^posix "$out/root/list")
	[[ $status == 0 ]] || bad "kernel $name: the machine ended with status $status ($out/said, $out/kernel.log)"
	if tests/kernel/scan.sh "$out/kernel.log"; then good; else bad "kernel $name: its log ($out/kernel.log)"; fi
}

# What a scan of the log finds, on texts, and on a machine with a module that warns: the check of the check.
seeded() # KERNEL
{
	local out=$BUILD/kernel/seeded
	mkdir -p "$out/root"
	if tests/kernel/scan_test.sh > "$out.tap" 2>&1; then good; else bad "the scan of logs ($out.tap)"; fi
	echo 'insmod /warn.ko' > "$out/root/main"
	if ! { tests/kernel/build.sh "$1" "$out" tests/kernel/probes/warn && cp "$out/warn/warn.ko" "$out/root/" &&
		tests/kernel/boot.sh "$1" "$out/root" "$out" 120; }; then
		bad "a machine with a module that warns"
	elif tests/kernel/scan.sh "$out/kernel.log" | grep -q 'WARNING: '; then good; else bad "a planted warning is not found"; fi
}

# What needs one kernel only: the source through the kernel's checkers, and docs/kernel.md's first five minutes.
once() # KERNEL
{
	local out=$BUILD/kernel/host start=$SECONDS
	mkdir -p "$out/tap"
	tests/kernel/static.sh > "$out/tap/host-static" 2>&1
	echo "$? $((SECONDS - start))" > "$out/tap/host-static.end"
	count "$out" host static
	if tests/kernel/first_minutes.sh "$1" > "$out/first_minutes" 2>&1; then good; else bad "the first five minutes ($out/first_minutes)"; fi
}

if tests/kernel/fetch.sh "${kernels[0]}"; then
	seeded "${kernels[0]}"
	[[ ${kernels[0]} == *-k?san ]] || once "${kernels[0]}"
fi
for name in "${kernels[@]}"; do
	before=$failed short=''
	[[ $name == sid && -z ${FULL:-} ]] && short=1
	one "$name" "$short"
	if [[ $failed -gt $before && -n ${RETRY:-} ]]; then
		echo "# kernel $name: $((failed - before)) failures, once more"
		failed=$before
		one "$name" "$short"
	fi
	version=$(sed -n 's/^## kernel \([0-9]*\.[0-9]*\).*/\1/p' "$BUILD/kernel/$name/said" 2> /dev/null)
	# What is newer than anything this was written for tells us something, but is no reason to refuse a change.
	if [[ $name == sid && $failed -gt $before && $version != "$newest_known" ]] &&
		printf '%s\n' "$newest_known" "$version" | sort -CV; then
		echo "# kernel $version is newer than $newest_known: its $((failed - before)) failures don't count"
		failed=$before
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 && $passed -gt 0 ]]
