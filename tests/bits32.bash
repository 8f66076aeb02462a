# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# 32-bit programs of x86, for the scripts that build some; sourced after tap.bash.

# linux/types.h includes asm/types.h, which gcc -m32 does not look for where it is.
cc_32=(gcc -m32 -idirafter "/usr/include/$(gcc -print-multiarch)")
link_32=() # options for programs that use the library
emulator_32=()

# have_32 NAME: true if they can be built and run; else test NAME is skipped. A kernel may run none (ia32_emulation=off): qemu-user
# does then.
have_32()
{
	if ! echo 'int main(void) { return 0; }' | "${cc_32[@]}" -x c -o "$OUT/32.out" - 2> /dev/null; then
		if [[ $(uname -m) == x86_64 ]]; then
			skip "$1" "missing package: gcc-12-multilib libc6-dev-i386"
		else
			skip "$1" "this machine has no 32-bit mode of gcc"
		fi
		return 1
	fi
	"$OUT/32.out" 2> /dev/null && return
	have qemu-i386 qemu-user "$1" || return
	"${cc_32[@]}" -O2 -Wall -Wextra -Werror -c -o "$OUT/emulated.o" tests/arch/probes/emulated.c || return
	emulator_32=(qemu-i386)
	# shellcheck disable=SC2034,SC2054 # the scripts use it; the comma is the linker's
	link_32=(-Wl,--wrap=open64 "$OUT/emulated.o")
}

# run_32 PROGRAM...
run_32()
{
	"${emulator_32[@]}" "$@"
}
