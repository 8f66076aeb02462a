#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-tidy over lib/ and tools/ with the configuration of .clang-tidy.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

tidy()
{
	clang-tidy --quiet "$@" -- -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Ilib
}
export -f tidy

# One process a file: some take seconds.
tidy_all()
{
	local said status
	said=$(printf '%s\0' "$@" | xargs -0 -P "$JOBS" -I{} bash -c 'tidy {} 2> /dev/null')
	status=$?
	printf '%s\n' "${said//"$PWD"\//}" | grep -A 3 'error:'
	return "$status"
}

have clang-tidy clang-tidy "clang-tidy" || conclude
check "lib/ is clean" tidy_all lib/*.c
check "tools/ is clean" tidy_all tools/*.c tools/bench/*.c

cat > "$OUT/red.c" << 'END'
#include <stdlib.h>
int red(const char *s);
int red(const char *s)
{
	char *p = malloc(4);

	p[0] = s[0];
	return 0;
}
END
cp .clang-tidy "$OUT/"
goes_red "a leak is found" "leak of memory" tidy "$OUT/red.c"
conclude
