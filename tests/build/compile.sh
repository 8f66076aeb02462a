#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make` with gcc and with clang, warnings as errors; `make help`; git stays clean; what the shared library exports and
# needs; one version everywhere.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

for cc in gcc clang; do
	have $cc $cc "$cc builds library and tool without a warning" || continue
	check "$cc builds library and tool without a warning" \
		make -j"$JOBS" BUILD="$OUT/$cc" CC=$cc all
	# tests/run itself builds these with the default compiler
	[[ $cc == gcc ]] || check "$cc builds tests and examples without a warning" \
		make -k -j"$JOBS" BUILD="$OUT/$cc" CC=$cc CFLAGS=-O0 tests examples
done
lib=$OUT/gcc/libmqshm.so

unused_variable()
{
	cp -r lib include Makefile tools "$OUT/red/" && echo 'static int unused;' >> "$OUT/red/lib/error.c" &&
		make -C "$OUT/red" BUILD=build build/libmqshm.a
}
rm -rf "$OUT/red" && mkdir -p "$OUT/red"
goes_red "a warning fails the build" "unused" unused_variable
rm -rf "$OUT/red"

help_names_all()
{
	local said goal
	said=$(make -s help) || return 1
	for goal in demo check bench examples install uninstall clean; do
		grep -qw -- "$goal" <<< "$said" || { echo "make help does not say $goal"; return 1; }
	done
}
check "make help" help_names_all

# In a repository of its own, since somebody may be at work in this one. Built there as a newcomer does.
clean=$OUT/clean
prepare_clean()
{
	rm -rf "$clean" && mkdir -p "$clean" && cp -r .gitignore Makefile include lib tools packaging "$clean/" &&
		git -C "$clean" init -q && git -C "$clean" add -A &&
		env -u BUILD make -C "$clean" -j"$JOBS"
}
untouched()
{
	! git -C "$clean" status --porcelain | grep -v '^A  ' && [[ -x $clean/build/mqshm ]]
}
if have git git "make leaves git clean"; then
	check "make without arguments builds into build/" prepare_clean
	check "make leaves git clean" untouched
	rm -rf "$clean"
fi

have readelf binutils "soname, symbols, libraries" || conclude

field()
{
	readelf -dW "$1" | sed -n "s/.*($2).*\[\(.*\)\].*/\1/p"
}
version=$(sed -n 's/^#define MQSHM_VERSION "\(.*\)"/\1/p' include/mqshm.h)
check "the soname is that of the major version" same "libmqshm.so.${version%%.*}" "$(field "$lib" SONAME)"
# libm and the dynamic linker (for thread-local variables) are parts of libc.
only_libc()
{
	[[ -e $1 ]] && ! field "$1" NEEDED | grep -vxE 'lib[cm]\.so\.6|ld-linux-.*'
}
check "the library needs libc only" only_libc "$lib"
check "the tool needs libc only" only_libc "$OUT/gcc/mqshm"

mapped=$(sed -n '/global:/,/local:/s/^[[:space:]]*\([a-z0-9_]*\);$/\1/p' lib/libmqshm.map | sort)
exported()
{
	nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort
}
check "exactly the symbols of the map are exported" same "$mapped" "$(exported "$lib")"
[[ -e $OUT/clang/libmqshm.so ]] &&
	check "with clang too" same "$mapped" "$(exported "$OUT/clang/libmqshm.so")"
# After the preprocessor: nothing that a comment names, and static inline functions are no symbols.
public=(include/mqshm.h)
for header in include/mqshm/*.h; do # not the layout, nor what is internal
	[[ $header =~ /(abi|ring|atomic)\.h$ ]] || public+=("$header")
done
declared=$(printf '#include "%s"\n' "${public[@]#include/}" | gcc -E -P -Iinclude -x c - | tr '\n' ' ' | sed 's|[;{}]|\n|g' |
	sed -n 's/.*[ *]\(mqshm_[a-z0-9_]*\)(.*/\1/p' | sort -u)
check "what the header declares and what the map exports is the same" same "$declared" "$mapped"
undefined_outside()
{
	! nm -D --undefined-only "$lib" | grep -E '__atomic_'
}
check "no atomic is a library call" undefined_outside
cat > "$OUT/version.c" << 'END'
#include <stdio.h>
#include "mqshm.h"
int main(void)
{
	printf("%d.%d.%d %s %s\n", MQSHM_VERSION_MAJOR, MQSHM_VERSION_MINOR, MQSHM_VERSION_PATCH, MQSHM_VERSION,
	       mqshm_version());
	return 0;
}
END
gcc -Iinclude -o "$OUT/version" "$OUT/version.c" "$OUT/gcc/libmqshm.a"
check "the version is the same in the header's numbers, its string and the library" \
	same "$version $version $version" "$("$OUT/version")"
check "... in the name of the shared library" test -f "$OUT/gcc/libmqshm.so.$version"
check "... and in mqshm --version" same "mqshm $version" "$("$OUT/gcc/mqshm" --version | head -n 1)"
conclude
