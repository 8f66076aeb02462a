#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make dkms-install` into an empty tree: all that DKMS, udev and systemd want is there, dkms.conf means the tree that DKMS
# makes; uninstalling leaves nothing; `make kmod` without headers says so. (That the tree builds for real kernels:
# tests/kernel/check.sh.)
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

tree=$OUT/tree
rm -rf "$tree"
version=$(sed -n 's/^#define MQSHM_VERSION "\(.*\)"/\1/p' include/mqshm.h)
check "make dkms-install" make DESTDIR="$tree" dkms-install
wanted()
{
	printf '%s\n' lib/modules-load.d/mqshm.conf lib/sysusers.d/mqshm.conf lib/udev/rules.d/60-mqshm.rules
	printf '%s\n' kmod/* | sed "s|^kmod|src/mqshm-$version|"
	printf '%s\n' "src/mqshm-$version/dkms.conf" "src/mqshm-$version/include/mqshm/abi.h"
}
check "it installs the module's sources and the system's files, nothing else" \
	same "$(wanted | sort)" "$(cd "$tree/usr" && find . ! -type d | sed 's|^\./||' | sort)"

# What DKMS does: a copy of the sources below its own directory, and MAKE[0] with these variables.
kernel=$OUT/kernel dkms=$OUT/dkms
rm -rf "$kernel" "$dkms" && mkdir -p "$kernel" "$dkms/mqshm/$version"
printf 'modules:\n\t[ -s $(M)/Kbuild -a -s $(M)/include/mqshm/abi.h ] && touch $(M)/mqshm.ko\n' > "$kernel/Makefile"
cp -r "$tree/usr/src/mqshm-$version" "$dkms/mqshm/$version/build"
as_dkms()
{
	# shellcheck disable=SC2034 # dkms.conf uses them
	local kernel_source_dir=$kernel dkms_tree=$dkms PACKAGE_NAME PACKAGE_VERSION BUILT_MODULE_NAME MAKE AUTOINSTALL \
		DEST_MODULE_LOCATION
	# shellcheck disable=SC1090
	. "$tree/usr/src/mqshm-$version/dkms.conf"
	[[ $PACKAGE_NAME == mqshm && $PACKAGE_VERSION == "$version" && $AUTOINSTALL == yes ]] &&
		[[ ${DEST_MODULE_LOCATION[0]} == /* ]] && eval "${MAKE[0]}" &&
		[[ -e $dkms/mqshm/$version/build/${BUILT_MODULE_NAME[0]}.ko ]]
}
check "dkms.conf builds the module that it names" as_dkms
check "the module has the library's version" grep -qF "MODULE_VERSION(\"$version\")" kmod/main.c

check "make dkms-uninstall" make DESTDIR="$tree" dkms-uninstall
check "it leaves no file" same "" "$(find "$tree" ! -type d)"
goes_red "make kmod without headers says what to install" 'linux-headers-.*KDIR=' make BUILD="$OUT/build" KDIR=/nonexistent kmod
conclude
