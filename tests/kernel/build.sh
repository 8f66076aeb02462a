#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds modules for a kernel of the cache, with W=1; a warning is a failure:
#
#	tests/kernel/build.sh KERNEL OUT [DIRECTORY]
#
# DIRECTORY holds a Kbuild (default kmod). It and include/ are copied to OUT, so that the tree stays clean, and the modules
# are found in OUT/<name of the directory>/.
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

name=$1 out=$(realpath -m "$2") source=${3:-kmod}
dir=$cache/$name
[[ -s $dir/headers ]] || { say "kernel $name is not in the cache; tests/kernel/fetch.sh $name gets it"; exit 1; }
[[ -s $source/Kbuild ]] || { say "no $source/Kbuild"; exit 1; }

rm -rf "${out:?}/$(basename "$source")" "$out/include"
mkdir -p "$out"
cp -r "$source" include "$out/"
module=$(basename "$source")
log=$out/$module.log
make=(make -j"$(nproc)" W=1 modules)
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL CC CFLAGS BUILD
if [[ -x $dir/root/usr/bin/make ]]; then
	# Its own tool chain, in a mount namespace that goes away with it.
	unshare --mount sh -ec 'mount --rbind /dev "$0/dev"; mount -t proc proc "$0/proc"; mount --bind "$1" "$0/build"
		root=$0; shift; exec chroot "$root" "$@"' \
		"$dir/root" "$out" "${make[@]}" -C "/$(< "$dir/headers")" "M=/build/$module" > "$log" 2>&1
else
	"${make[@]}" -C "$dir/root/$(< "$dir/headers")" "M=$out/$module" > "$log" 2>&1
fi
status=$?
# That there is no pahole, or another one, is about type information for debuggers, which we leave out; the compilers differ
# in their names at most (gcc, gcc-12).
if [[ $status != 0 ]] || grep -vE 'pahole version|the compiler differs from' "$log" | grep -iE 'warning|error:' >&2; then
	tail -n 40 "$log" >&2
	say "building $source for $name failed (status $status): $log"
	exit 1
fi
