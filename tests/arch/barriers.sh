#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The barriers of docs/memory-model.md stand in the code for arm64 and riscv64, by gcc and by clang: on each way from one
# access of an ordered pair to the other. Then each is taken out of a copy of the source, and the check has to see it.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

objects=(lib/backend lib/wait lib/posix_owner lib/consumer tests/arch/probes/barriers)
options=(-std=gnu11 -O2 -g -fno-jump-tables -Wall -Wextra -Werror -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Ilib)

compile() # COMPILER DIRECTORY OBJECT...
{
	local compiler=$1 to=$2 o
	shift 2
	mkdir -p "$to"
	for o; do
		# shellcheck disable=SC2086 # options
		$compiler "${options[@]}" -c -o "$to/${o##*/}.o" "$o.c" || return 1
	done
}
look() # ARCHITECTURE DIRECTORY OBJECT...
{
	local arch=$1 in=$2
	shift 2
	set -- "${@##*/}"
	set -- "${@/#/$in/}"
	python3 tests/arch/probes/barriers.py "$arch-linux-gnu-objdump" "${@/%/.o}"
}
both() # COMPILER ARCHITECTURE DIRECTORY
{
	compile "$1" "$3" "${objects[@]}" && look "$2" "$3" "${objects[@]}"
}

# sed: a source with one barrier less. The words that barriers.py finds an access by stay, as a comment.
no_fence()  # WORDS OF ITS LINE
{
	echo "/$1/s/smp_r\\?mb()/__asm__ __volatile__(\"\" ::: \"memory\")/"
}
weak_store() # POINTER
{
	printf '%s\n' "s|smp_store_release(\\($1\\), \\([^;]*\\));|WRITE_ONCE(*(\\1), \\2); /* & */|"
}
weak_load() # POINTER
{
	printf '%s\n' "s|smp_load_acquire(\\($1\\))|READ_ONCE(*(\\1)) /* & */|"
}
weak_cas() # POINTER
{
	printf '%s\n' "s|try_cmpxchg(\\($1, .*\\), [A-Z_]*)|MQSHM_CMPXCHG(\\1, __ATOMIC_RELAXED) /* try_cmpxchg(\\1 */|"
}
weak_fetch() # AND-OR-ADD FIELD
{
	printf '%s\n' "s|atomic_$1(\\(&[a-z>-]*info->$2[^,]*, .*\\), [A-Z_]*)|__atomic_fetch_$1(\\1, __ATOMIC_RELAXED) /* atomic_$1(\\1 */|"
}

planted=0
plants=()
plant() # ID FUNCTION FILE SED...: on both architectures, or those of ARCHITECTURES
{
	local id=$1 function=$2 file=$3 object arch edits=() expression copy
	shift 3
	planted=$((planted + 1))
	copy=$OUT/red/$planted
	for expression; do # each has to change something
		edits+=(-e "$expression")
		sed "$expression" "$file" | cmp -s - "$file" && { check "$file has $expression" false; return; }
	done
	mkdir -p "$copy/${file%/*}" # found before the original
	sed "${edits[@]}" "$file" > "$copy/$file"
	if [[ $function == probe_* ]]; then # of the probes only this one: compiling them takes most of the time
		object=$copy/barriers
		awk -v RS= -v ORS='\n\n' -v wanted="PROBE\\([a-z]+, $function," \
			'!/PROBE\(/ || /define PROBE/ || $0 ~ wanted' tests/arch/probes/barriers.c > "$object.c"
	else
		object=$copy/${file%.c}
	fi
	for arch in ${ARCHITECTURES:-aarch64 riscv64}; do
		command -v "$arch-linux-gnu-gcc" > /dev/null || continue
		plants+=("$arch $id $function $copy/$arch")
		{
			compile "$arch-linux-gnu-gcc -Wno-unused -I$copy/include -I$copy/lib" "$copy/$arch" "$object" &&
				FUNCTION=$function look "$arch" "$copy/$arch" "$object"
			echo "status $?"
		} > "$copy/$arch.said" 2>&1 &
		(($(jobs -rp | wc -l) < JOBS)) || wait -n
	done
}
said() # FILE
{
	cat "$1"
	! grep -q '^status [1-9]' "$1"
}
harvest()
{
	local arch id function copy
	wait
	while read -r arch id function copy; do
		goes_red "$arch: $function without its barrier of $id is seen" "^$id $function: .* is not ordered" said "$copy.said"
	done < <(printf '%s\n' "${plants[@]}")
}

rm -rf "$OUT/red"
clang="clang -mllvm -inline-threshold=10000" # its flatten goes one level deep
have python3 python3 "barriers in the code" || conclude
for arch in aarch64 riscv64; do
	package=gcc-${arch}-linux-gnu
	have "$arch-linux-gnu-gcc" "$package" "$arch, gcc: barriers" || continue
	check "$arch, gcc: every ordered pair is kept" both "$arch-linux-gnu-gcc" "$arch" "$OUT/gcc-$arch"
	check "$arch, gcc -O3: too" both "$arch-linux-gnu-gcc -O3" "$arch" "$OUT/gcc3-$arch"
	if [[ $arch == aarch64 ]]; then
		check "$arch, gcc, exclusives in line: too" both "$arch-linux-gnu-gcc -mno-outline-atomics" "$arch" "$OUT/llsc-$arch"
		check "$arch, gcc, atomics of ARMv8.1: too" both "$arch-linux-gnu-gcc -march=armv8.3-a" "$arch" "$OUT/lse-$arch"
	fi
	if have clang clang "$arch, clang: every ordered pair is kept"; then
		check "$arch, clang: every ordered pair is kept" both "$clang --target=$arch-linux-gnu -isystem /usr/$arch-linux-gnu/include" \
			"$arch" "$OUT/clang-$arch"
	fi
done

ring=include/mqshm/ring.h
plant MO-1 probe_publish $ring "$(weak_store '&p->tail')"
plant MO-1 probe_read_tail $ring "$(weak_load '&p->tail')"
plant MO-1 probe_find $ring "$(weak_load '&rd->ring->producer->tail')"
plant MO-2 probe_publish $ring "$(no_fence 'MO-2: tail is out')"
plant MO-2 posix_wake_all lib/posix_owner.c "$(no_fence 'MO-2, MO-5: what was')"
plant MO-2 mqshm_wait lib/wait.c "$(no_fence 'MO-2, MO-5: armed')"
ARCHITECTURES=aarch64 plant MO-3 probe_make_room $ring "$(no_fence 'MO-3: head is stored')"
plant MO-3 probe_take_over $ring "$(no_fence 'MO-3: as in')"
plant MO-3 probe_join $ring "$(no_fence 'MO-3: cursor and bit')"
plant MO-4 probe_take $ring "$(weak_store '&rd->area->position')"
plant MO-4 probe_make_room $ring "$(weak_load '&ring_area(r, slot)->position')"
plant MO-4 probe_take_over $ring "$(weak_load '&ring_area(r, slot)->position')" "$(no_fence 'MO-3: as in')"
plant MO-5 probe_take $ring "$(no_fence 'MO-5: the cursor')"
plant MO-5 posix_wake_all lib/posix_owner.c "$(no_fence 'MO-2, MO-5: what was')"
ARCHITECTURES=aarch64 plant MO-6 probe_make_room $ring "$(no_fence 'MO-3: head is stored')"
# For riscv gcc makes a full fence of each acquire, so the acquires after it have to go, too.
for id in MO-3 MO-6; do
	ARCHITECTURES=riscv64 plant $id probe_make_room $ring "$(no_fence 'MO-3: head is stored')" "$(weak_load '&r->info->hold')" \
		"$(weak_load '&r->info->reliable\[i\]')" "$(weak_load '&ring_area(r, slot)->position')"
done
plant MO-6 probe_look_again $ring "$(no_fence 'MO-6, MO-7: what was')"
plant MO-6 probe_resync $ring "$(no_fence 'MO-6 ')"
plant MO-7 probe_look_again $ring "$(no_fence 'MO-6, MO-7: what was')"
plant MO-7 posix_end_role lib/posix_owner.c "$(weak_cas '&participant->state')" "$(weak_fetch and reliable)"
plant MO-7 posix_demote lib/posix_owner.c "$(weak_cas '&participant->state')" "$(weak_fetch and reliable)" \
	"$(weak_load '&participant->state')" # after the swap it is loaded again
plant MO-8 probe_publish_twice $ring "$(no_fence 'MO-2: tail is out')"
plant MO-8 probe_read_tail $ring "$(no_fence 'MO-8: a record')"
# Ordered several times over: all of it has to go.
plant MO-9 probe_join $ring "$(weak_store '&r->info->hold')" "$(weak_cas state)" "$(no_fence 'MO-3: cursor and bit')" \
	"$(no_fence 'MO-8: a record')" "$(weak_load '&p->tail')" "$(no_fence 'MO-6: a lossy')"
plant MO-9 probe_make_room $ring "$(weak_load '&r->info->hold')"
plant MO-14 probe_join $ring "$(weak_cas state)" "$(no_fence 'MO-8: a record')" "$(weak_load '&p->tail')" "$(no_fence 'MO-6: a lossy')"
plant MO-10 probe_join $ring "$(weak_fetch or reliable)"
plant MO-10 probe_make_room $ring "$(weak_load '&r->info->reliable\[i\]')"
plant MO-10 probe_make_room $ring "$(weak_load '&r->info->epoch')"
plant MO-11 probe_lock_take lib/lock.c "$(weak_cas word)"
plant MO-11 probe_lock_release lib/lock.c "$(weak_cas word)"
# What gcc makes of a compare-and-swap for riscv by itself.
ARCHITECTURES=riscv64 plant MO-11 probe_lock_take include/mqshm/atomic.h 's/^#if defined(__riscv).*/#if 0/'
ARCHITECTURES=riscv64 plant MO-11 probe_lock_release include/mqshm/atomic.h 's/^#if defined(__riscv).*/#if 0/'
plant MO-12 mqshm_settle_producers lib/backend.c "$(weak_cas '&ring->info->producer_epoch')" "$(no_fence 'our own slot')" "$(weak_load '&ring->info->producer_epoch')" \
	"$(weak_load '&ring->participants\[i\].state')"
plant MO-12 stream_end lib/consumer.c "$(weak_load '&c->reader.ring->info->producer_epoch')"
harvest
conclude
