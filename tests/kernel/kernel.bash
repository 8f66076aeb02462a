# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts of tests/kernel share: the kernels to test on, and where they are kept. Each sources it first, from the
# root of the repository.
#
# $cache/NAME holds one kernel: vmlinuz, release (its package and version), root/ (the files of its headers' packages) and
# headers (where in root/ kbuild begins). A kernel that wants a newer compiler than the machine's has its whole tool chain
# in root/ and is built for with that as its root directory.

# shellcheck disable=SC2034 # the scripts use it
cache=${MQSHM_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mqshm-kernels}
# shellcheck disable=SC2034 # the scripts use it
kernel_packages=(qemu-system-x86 busybox-static cpio bc kmod libelf-dev gcc-12 make gcc-12-multilib libc6-dev-i386 liburing-dev)

say()
{
	echo "kernel: $*" >&2
}

# kernel_install PACKAGE...: with INSTALL=1 those that are missing; else say which.
kernel_install()
{
	local p missing=() sudo
	for p; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
	done
	[[ ${#missing[@]} == 0 ]] && return
	if [[ -z ${INSTALL:-} ]]; then
		say "these packages are missing (INSTALL=1 installs them): ${missing[*]}"
		return 1
	fi
	say "installing ${missing[*]}"
	sudo=$([[ $(id -u) == 0 ]] || echo sudo)
	{ $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends "${missing[@]}"; } > /dev/null
}

# The mirror that this machine gets a suite from.
kernel_mirror() # SUITE
{
	apt-get --print-uris update | sed -n "s|^'\(.*/\)dists/$1/InRelease'.*|\1|p" | head -n 1
}

# apt for suites of that mirror, with nothing of the machine's own state: kernel_apt DIR apt-get|apt-cache ...
kernel_apt()
{
	local dir=$1 program=$2
	shift 2
	"$program" -qq -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferencesparts=/dev/null -o Dir::State="$dir" -o Dir::State::status="$dir/status" \
		-o Dir::Cache="$dir" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# kernel_suites DIR SUITE...: make DIR ready for kernel_apt, and read the lists unless that was done this hour.
kernel_suites()
{
	local dir=$1 suite codename mirror
	local keys=/usr/share/keyrings/debian-archive-keyring.gpg
	shift
	[[ -n $(find "$dir/read" -mmin -60 2> /dev/null) ]] && return
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	: > "$dir/status"
	for suite; do
		mirror=$codename
		[[ $suite == *-security ]] && mirror=$codename-security
		mirror=$(kernel_mirror "$mirror")
		[[ -n $mirror ]] && echo "deb [signed-by=$keys] $mirror $suite main"
	done > "$dir/sources.list"
	kernel_apt "$dir" apt-get update >&2 && touch "$dir/read"
}

# The packages of a pattern (ERE) that a package depends on.
kernel_depends() # DIR PACKAGE PATTERN
{
	kernel_apt "$1" apt-cache depends "$2" 2> /dev/null | sed -n 's/^ *|\{0,1\}Depends: //p' | grep -E "$3"
}
