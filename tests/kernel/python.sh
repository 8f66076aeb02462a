#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The Python package's own tests (python/tests) on the kernel backend, in an emulated machine. By hand: a quarter of an hour.
#
#	tests/kernel/python.sh KERNEL [ARGUMENT OF PYTEST...]
#
# The last line is "N passed, N failed, N skipped". BUILD=DIR: where things are built; what was said is in DIR/kernel/python.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
name=${1:-6.1} out=$BUILD/kernel/python root=$BUILD/kernel/python/root
shift
export MQSHM_KERNEL_MEMORY=${MQSHM_KERNEL_MEMORY:-2048} # all of Python is in the initial file system
kernel_install "${kernel_packages[@]}" python3-dev python3-venv python3-setuptools python3-wheel python3-pytest python3-numpy g++ || exit 1
tests/kernel/fetch.sh "$name" && tests/kernel/build.sh "$name" "$out" || exit 1
tests/kernel/fetch_qemu.sh || say "no newer qemu to be had: taking the machine's"
make -s BUILD="$BUILD" "$BUILD/mqshm" python > "$out/make.log" 2>&1 || { cat "$out/make.log"; exit 1; }

python=$(readlink -f /usr/bin/python3) site=/usr/lib/python3/dist-packages
version=$(basename "$python")
rm -rf "$root" && mkdir -p "$root/usr/bin" "$root/usr/lib" "$root$site" "$root/work" "$root/bin" || exit 1
cp "$python" "$root/usr/bin/" && ln -s "$version" "$root/usr/bin/python3"
cp -r "/usr/lib/$version" "$root/usr/lib/"
rm -rf "$root/usr/lib/$version"/{test,idlelib,ensurepip,lib2to3,config-*}
for package in numpy _pytest pytest pluggy iniconfig packaging attr attrs pygments py; do
	cp -rL "$site/$package" "$root$site/" 2> /dev/null
done
find "$root" -type d \( -name tests -o -name __pycache__ \) -path '*numpy*' -prune -exec rm -rf {} +
cp -r "$BUILD/python/venv/lib/$version/site-packages/"{multiqueue_shm*,processor_decorator.py} "$root$site/"
find "$root" -name "*.so*" -exec chmod -x {} + # boot.sh asks those that can be executed for their libraries
cp "$BUILD/mqshm" "$root/bin/"
g++ -std=c++17 -Iinclude -o "$root/bin/peer" tests/python/probes/peer.cpp "$BUILD/libmqshm.a" -pthread || exit 1
mkdir "$root/work/python" && cp -r python/tests "$root/work/python/" && cp -r docs README.md examples "$root/work/"
cp "$out/kmod/mqshm.ko" "$root/"
find "$root/usr" -name '*.so*' -exec ldd {} + 2> /dev/null | sed -n 's|.*=> \(/[^ ]*\).*|\1|p' | sort -u |
	while read -r library; do
		[[ -e $root$library || $library == "$BUILD"* ]] || install -D "$library" "$root$library"
	done
cat > "$root/main" << END
insmod /mqshm.ko || exit 1
export MQSHM_BACKEND=kernel MQSHM=/bin/mqshm MQSHM_PEER=/bin/peer MQSHM_TAP=/tmp/results PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
export MQSHM_TEST_PREFIX=tpy- MQSHM_TEST_SECONDS=600
cd /work/python/tests
python3 -m pytest -q -p no:cacheprovider $(printf '%q ' "$@")
echo "## results"
cat /tmp/results
rmmod mqshm
END
tests/kernel/boot.sh "$name" "$root" "$out" "${TEST_LIMIT:-3000}" tsc=reliable
status=$?
sed '/^## results/,$d' "$out/said" | tail -n 60
sed '1,/^## results/d' "$out/said" > "$out/results"
tests/kernel/scan.sh "$out/kernel.log" || status=1
passed=$(grep -c '^good ' "$out/results") failed=$(grep -c '^bad ' "$out/results") skipped=$(grep -c '^skip ' "$out/results")
grep '^bad ' "$out/results"
[[ $status == 0 || $failed -gt 0 ]] || failed=1
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 && $passed -gt 0 ]]
