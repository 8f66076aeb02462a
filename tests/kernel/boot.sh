#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Boots a kernel of the cache in an emulated machine (no /dev/kvm is used), with ROOT as its files, and runs ROOT/main, a
# script for busybox's sh, there as root:
#
#	tests/kernel/boot.sh KERNEL ROOT OUT SECONDS [ARGUMENT FOR THE KERNEL...]
#
# OUT/said is what main said, while it says it, OUT/kernel.log what the kernel said. The status is main's; 124 after
# SECONDS, 125 when the machine ended otherwise. ROOT gets busybox, the libraries that its programs want, and init.
set -u
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

name=$1 root=$2 out=$3 seconds=$4
shift 4
mkdir -p "$root"/{bin,proc,sys,dev,tmp,root,etc} "$out"
[[ -n $out ]] && rm -f "$out"/{said,kernel.log}
cp "$(command -v busybox)" "$root/bin/busybox"
cp tests/kernel/guest_init.sh "$root/init"
chmod +x "$root/init"
# The shell's own, and two ordinary users.
ln -sf busybox "$root/bin/sh"
printf '%s:x:%d:%d::/root:/bin/sh\n' root 0 0 user 1000 1000 nobody 65534 65534 > "$root/etc/passwd"
printf '%s:x:%d:\n' root 0 user 1000 nogroup 65534 > "$root/etc/group"

find "$root" -type f -perm -u+x ! -path "$root/lib*" -exec ldd {} + 2> /dev/null | grep -oE '/[^ ]+\.so[^ ]*' | sort -u |
	while read -r library; do
		[[ -e $root$library ]] || install -D "$library" "$root$library"
	done
(cd "$root" && find . | cpio --quiet -o -H newc) > "$out/initrd" || exit 125

serial=("file:$out/kernel.log" "file:$out/said")
[[ -e $root/shell ]] && serial=(mon:stdio null)
# An emulated processor may be without a turn for seconds when the machine is busy: that is no stall.
emulator=(qemu-system-x86_64)
[[ -x $cache/qemu/root/usr/bin/qemu-system-x86_64 ]] && emulator=("$cache/qemu/root/usr/bin/qemu-system-x86_64"
	-L "$cache/qemu/root/usr/share/qemu" -L "$cache/qemu/root/usr/share/seabios")
# In the foreground, or the terminal is not the machine's.
timeout --foreground -k 5 "$seconds" "${emulator[@]}" -accel tcg,thread=multi -cpu max -smp 2 -m "${MQSHM_KERNEL_MEMORY:-512}" \
	-display none -no-reboot -nodefaults -serial "${serial[0]}" -serial "${serial[1]}" \
	-kernel "$cache/$name/vmlinuz" -initrd "$out/initrd" \
	-append "console=ttyS0 loglevel=7 panic=-1 rcupdate.rcu_cpu_stall_timeout=300 nosoftlockup mitigations=off $*"
status=$?
rm -f "$out/initrd"
[[ -e $root/shell ]] && exit "$status"
if [[ $status == 124 || $status == 137 ]]; then
	say "kernel $name: stopped after $seconds s; it last said: $(tail -n 1 "$out/said")"
	exit 124
fi
status=$(sed -n 's/^main ended with status \([0-9]*\)$/\1/p' "$out/said" 2> /dev/null | tail -n 1)
if [[ -z $status ]]; then
	say "kernel $name: the machine ended by itself; it last said:"
	tail -n 20 "$out/kernel.log" >&2
	exit 125
fi
exit "$status"
