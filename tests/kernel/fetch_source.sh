#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gets the source of one of Debian's kernels into the cache and says where it is: for the checkers and the test harness in
# it, and for kernels with other configurations.
#
#	tests/kernel/fetch_source.sh 6.1
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

name=$1
dir=$cache/source-$name apt=$cache/apt/$name
tests/kernel/fetch.sh "$name" || exit 1 # it reads the lists too
exec 9> "$cache/lock"
flock 9
if [[ ! -e $dir/Makefile ]]; then
	say "fetching linux-source-$name"
	rm -rf "$dir.new" && mkdir -p "$dir.new" || exit 1
	(cd "$dir.new" && kernel_apt "$apt" apt-get download "linux-source-$name" >&2 &&
		dpkg --fsys-tarfile ./*.deb | tar -x --wildcards --no-anchored '*.tar.xz' &&
		tar -x --xz --strip-components=1 -f usr/src/linux-source-"$name".tar.xz && rm -r ./*.deb usr/src) ||
		{ say "fetching failed"; exit 1; }
	mv "$dir.new" "$dir"
fi
echo "$dir"
