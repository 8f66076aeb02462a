#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The tests of the Python package with the address and undefined-behaviour sanitizers in the extension and the library.
# Leaks are not looked for (Python itself frees not all): test_memory_stays_flat does that, but not here, as the sanitizer
# keeps what is freed.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

for package in python3-dev python3-venv python3-setuptools python3-wheel python3-pytest python3-numpy; do
	dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' && continue
	skip "the Python package with sanitizers" "missing package: $package"
	conclude
done
export PYTHONDONTWRITEBYTECODE=1
rm -rf "$OUT/python"
build()
{
	MQSHM_PYTHON_CFLAGS='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1' \
		LDFLAGS='-fsanitize=address,undefined' make BUILD="$OUT" python
}
check "make python with sanitizers" build || conclude
venv=$OUT/python/venv

run()
{
	LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:exitcode=66 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		MQSHM=$BUILD/mqshm MQSHM_TEST_PREFIX=$Q- "$venv/bin/python" "$@"
}
instrumented()
{
	nm -D "$(find "$venv" -name '_native*.so')" | grep -q __asan_report
}
check "the extension is instrumented" instrumented
sources=$PWD/python/tests
cd "$OUT" || exit 1
# Not those that fork: a child made while another thread is in the sanitizer's allocator waits there for ever.
check "all tests of the package" run -m pytest -q -p no:cacheprovider "$sources" -k "not memory_stays_flat and not fork"
goes_red "a read of memory that is freed is found" heap-use-after-free \
	run -c 'import ctypes; free = ctypes.CDLL(None).free; m = ctypes.CDLL(None).malloc; m.restype = ctypes.c_void_p
p = m(8); free(ctypes.c_void_p(p)); ctypes.string_at(p, 8)'
conclude
