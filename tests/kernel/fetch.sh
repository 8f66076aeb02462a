#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gets one of Debian's kernels, with what modules for it are built with, into the cache (see kernel.bash):
#
#	tests/kernel/fetch.sh 6.1|6.12|sid
#
# Nothing is installed and the machine's apt is only asked for its mirror. What is cached already is used as long as the
# archive has no newer one, or can't be reached.
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

name=${1:-}
dir=$cache/$name
apt=$cache/apt/$name
tools=()
case $name in
6.1) metas=(linux-image-amd64) suites=(bookworm bookworm-security) ;;
6.12) metas=(linux-image-6.12-amd64 linux-image-amd64) suites=(bookworm-backports bookworm-security) ;;
# Its kernel asks for its own compiler, and the programs of its kbuild for its own libc.
sid) metas=(linux-image-amd64) suites=(sid)
	tools=(base-files bash dash coreutils findutils grep sed gawk make gcc diffutils) ;;
*-k?san) exec tests/kernel/kasan_kernel.sh "$name" ;; # one of ours
*) say "no kernel '$name', but 6.1, 6.12 and sid"; exit 1 ;;
esac

mkdir -p "$apt"
exec 9> "$cache/lock"
flock 9
image=''
if kernel_suites "$apt" "${suites[@]}"; then
	for meta in "${metas[@]}"; do
		# A name of metas may be there in one suite only, or stand for another version in some.
		image=$(kernel_depends "$apt" "$meta" '^linux-image-[0-9]' | head -n 1)
		[[ -n $image ]] && break
	done
fi
if [[ -z $image ]]; then
	[[ -s $dir/release ]] || { say "no kernel $name: the archive has none or can't be reached"; exit 1; }
	say "the archive has no $name or can't be reached; taking the cached $(< "$dir/release")"
	exit 0
fi
release="$image $(kernel_apt "$apt" apt-cache show "$image" | sed -n 's/^Version: //p' | head -n 1)"
[[ -s $dir/release && $(< "$dir/release") == "$release" ]] && exit

say "fetching $release"
new=$dir.new
rm -rf "$new"
mkdir -p "$new/debs" "$new/root"
version=${image#linux-image-}
binary=$image
kernel_depends "$apt" "$image" "^linux-binary-" > /dev/null && binary=linux-binary-$version # 7.2: in parts
headers=linux-headers-$version
mapfile -t parts < <(kernel_depends "$apt" "$headers" '^linux-(headers|kbuild|base)-[0-9]')
(
	# The image alone, without the initramfs and boot loader that it depends on; the tools with all that they need.
	cd "$new/debs" && kernel_apt "$apt" apt-get download "$binary" "$headers" "${parts[@]}" >&2 || exit 1
	[[ ${#tools[@]} == 0 ]] && exit
	mapfile -t compiler < <(kernel_depends "$apt" "$headers" '^gcc-')
	kernel_apt "$apt" apt-get install --download-only -y --no-install-recommends \
		"${tools[@]}" "${compiler[@]}" libelf1t64 libssl3t64 zlib1g >&2 && mv "$apt"/archives/*.deb .
) || { say "fetching failed"; exit 1; }

# /boot/vmlinuz-VERSION, or in its directory of modules.
dpkg --fsys-tarfile "$new/debs/$binary"_*.deb | tar -x -C "$new/debs" --wildcards --no-anchored 'vmlinuz*' &&
	find "$new/debs" -type f -name 'vmlinuz*' -exec mv {} "$new/vmlinuz" \; && [[ -s $new/vmlinuz ]] || exit 1
rm "$new/debs/$binary"_*.deb
# base-files first: it makes /bin, /lib and the like what they are.
for deb in "$new"/debs/base-files_*.deb "$new"/debs/*.deb; do
	[[ ! -e $deb ]] || dpkg -x "$deb" "$new/root" || exit 1
done
rm -r "$new/debs"
build=usr/src/linux-headers-$version
rm -f "$new/root/$build/vmlinux" # else each module gets BTF, with a program that is not here
if [[ ${#tools[@]} == 0 ]]; then
	# It names its other half by an absolute path.
	sed -i "s|/usr/src/|$dir/root/usr/src/|" "$new/root/$build/Makefile"
else
	ln -sf gawk "$new/root/usr/bin/awk" # what the package's scripts do
	[[ -e $new/root/usr/bin/sh ]] || ln -s dash "$new/root/usr/bin/sh"
	mkdir -p "$new/root/dev" "$new/root/proc" "$new/root/tmp" "$new/root/build"
fi
echo "$build" > "$new/headers"
echo "$release" > "$new/release"
rm -rf "$dir"
mv "$new" "$dir"
