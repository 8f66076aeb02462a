#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The deaths of owners.c alone, in a guest; its table is in docs/kernel-proof.md:
#
#	tests/kernel/owners.sh KERNEL [NAME OF A TEST...]
#
# MQSHM_SEED and MQSHM_TEST_KILLS are handed on. BUILD=DIR as in check.sh.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
name=$1 out=$BUILD/owners
shift
make -s BUILD="$BUILD" "$BUILD/tests/kernel/owners" && tests/kernel/build.sh "$name" "$out" || exit 1
rm -rf "$out/root" && mkdir -p "$out/root/tests"
cp "$BUILD/tests/kernel/owners" "$out/root/tests/" && cp "$out/kmod/mqshm.ko" "$out/root/" || exit 1
cat > "$out/root/main" << EOF
uname -r
insmod /mqshm.ko || exit 1
export MQSHM_BACKEND=kernel MQSHM_TEST_KILLS=${MQSHM_TEST_KILLS:-200} ${MQSHM_SEED:+MQSHM_SEED=$MQSHM_SEED}
/tests/owners $*
status=\$?
rmmod mqshm && exit \$status
EOF
tests/kernel/boot.sh "$name" "$out/root" "$out" "${TEST_LIMIT:-900}"
status=$?
sed '/^main ended with/d' "$out/said"
tests/kernel/scan.sh "$out/kernel.log" || status=1
exit "$status"
