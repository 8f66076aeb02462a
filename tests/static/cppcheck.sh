#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cppcheck over lib/, tools/ and include/, as 64-bit and as 32-bit code.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have cppcheck cppcheck "cppcheck" || conclude
examine() # PLATFORM MACRO PATH...
{
	cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
		--suppressions-list=.cppcheck-suppressions --std=c11 --platform="$1" "-D$2" -D__GNUC__=12 \
		-D__GCC_HAVE_SYNC_COMPARE_AND_SWAP_8 -Iinclude -Ilib -j "$JOBS" "${@:3}"
}
check "clean for 64 bit" examine unix64 __x86_64__ lib tools include
check "clean for 32 bit" examine unix32 __i386__ lib tools include

each_has_a_reason()
{
	awk '/^#/ { reason = 1; next } NF == 0 { reason = 0; next } !reason { print "no reason: " $0; bad = 1 }
		END { exit bad }' .cppcheck-suppressions
}
check "each suppression has its reason" each_has_a_reason

cat > "$OUT/red.c" << 'END'
int red(int i);
int red(int i)
{
	int a[4] = { 0 };

	return i == 4 ? a[i] : 0;
}
END
goes_red "an index out of bounds is found" arrayIndexOutOfBounds examine unix64 __x86_64__ "$OUT/red.c"
conclude
