#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds one selftest of the module:
#
#	tests/kernel/selftest.sh SOURCE OUT
#
# SELFTEST_SECONDS=60: how long each of its tests may take. The kernel's own kselftest_harness.h is taken from Debian's package
# of its source, into the cache (see kernel.bash). A source named *_32.c becomes a 32-bit program.
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

source=$1 out=$2
# shellcheck disable=SC2154 # of kernel.bash
harness=$cache/kselftest
version=6.1
if [[ ! -s $harness/kselftest_harness.h ]]; then
	new=$(mktemp -d "$cache/kselftest.XXXXXX") || exit 1
	trap 'rm -rf "$new"' EXIT
	(cd "$new" && apt-get -qq -o APT::Sandbox::User=root download "linux-source-$version") || { say "linux-source-$version can't be had"; exit 1; }
	dpkg --fsys-tarfile "$new"/linux-source-*.deb | tar -xO "./usr/src/linux-source-$version.tar.xz" |
		tar -xJ -C "$new" --strip-components=4 --wildcards '*/tools/testing/selftests/kselftest*.h' || exit 1
	rm "$new"/*.deb
	mkdir -p "$harness" && mv "$new"/*.h "$harness/" || exit 1
fi
flags=(${SELFTEST_SECONDS:+"-DSELFTEST_SECONDS=$SELFTEST_SECONDS"})
# Only gcc-multilib, which refuses cross compilers, would say where <asm/> is.
[[ $source == *_32.c ]] && flags+=(-m32 -idirafter "/usr/include/$(gcc -print-multiarch)")
${CC:-gcc} -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wno-sign-compare -Wno-unused-parameter -Wno-missing-field-initializers \
	-D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -isystem "$harness" "${flags[@]}" -static -pthread -o "$out" "$source"
