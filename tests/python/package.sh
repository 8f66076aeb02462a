#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The Python package: `make python` builds and installs it without a network; then its own tests, python/tests, run with
# it, one line each.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

python=/usr/bin/python3
for package in python3-dev python3-venv python3-setuptools python3-wheel python3-pytest python3-numpy; do
	dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' && continue
	skip "the Python package" "missing package: $package"
	conclude
done
if ! $python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	skip "the Python package" "it needs Python 3.11 or later"
	conclude
fi
export PYTHONDONTWRITEBYTECODE=1
rm -rf "$OUT/python"
before=$(git status --short --ignored python 2> /dev/null)
quiet_build()
{
	local said
	said=$(MQSHM_PYTHON_CFLAGS=-Werror make BUILD="$OUT" python 2>&1) && return
	grep -vE '^ *(copying|creating|x86_64|adding|writing|running)' <<< "$said"
	return 1
}
check "make python, without a warning of the compiler" quiet_build || conclude
check "it leaves nothing in the source tree" same "$before" "$(git status --short --ignored python 2> /dev/null)"

venv=$OUT/python/venv
native=$(find "$venv" -name '_native*.so')
check "one extension, for the limited API" same _native.abi3.so "${native##*/}"
check "it exports its init function only" same PyInit__native \
	"$(nm -D --defined-only "$native" | sed 's/.* //')"
there()
{
	local f
	for f in py.typed _native.pyi _queue.pyi __init__.py; do
		find "$venv" -path "*/multiqueue_shm/$f" | grep -q . || { echo "$f is missing"; return 1; }
	done
}
check "type information is installed" there

if have stubtest mypy "the stubs are what is there"; then
	site=$(dirname "$(dirname "$native")")
	stubs()
	{
		(cd "$OUT" && MYPYPATH=$site PYTHONPATH=$site stubtest multiqueue_shm)
	}
	check "the stubs are what is there" stubs
fi

# RingQueue in C++ and in Python are the same queues.
peer=
if have g++ g++ "a RingQueue of C++ for the tests"; then
	peer=$OUT/peer
	check "a RingQueue of C++ for the tests" \
		g++ -std=c++17 -Wall -Wextra -Werror -Iinclude -o "$peer" tests/python/probes/peer.cpp "$BUILD/libmqshm.a" -pthread
fi

# Away from the sources: python/multiqueue_shm has no extension in it.
sources=$PWD/python/tests
tests() # RESULTS OPTION...
{
	local results=$1
	shift
	: > "$results"
	(cd "$OUT" && MQSHM=$BUILD/mqshm MQSHM_TAP=$results MQSHM_PEER=$peer MQSHM_TEST_PREFIX=$Q- "$venv/bin/python" -m pytest -q \
		-p no:cacheprovider "$@")
}
said=$(tests "$OUT/results" "$sources" 2>&1)
status=$?
[[ $status == 0 ]] || printf '# %s\n' "${said//$'\n'/$'\n'# }"
while read -r state name; do
	case $state in
	good) result "$name" 0 ;;
	skip) skip "$name" "pytest says so" ;;
	*) result "$name" 1 ;;
	esac
done < "$OUT/results"
result "pytest ends well" "$status"

cat > "$OUT/test_red.py" << 'END'
import ctypes
from multiqueue_shm import Consumer, Producer
def test_wrong(name):
    with Producer(name, 8, 64) as p, Consumer(name, 8, 64) as c:
        p.push(b"a")
        assert c.pop() == b"b"
END
cp python/tests/conftest.py "$OUT/conftest.py"
goes_red "a wrong message is found" "assert b'a' == b'b'" tests "$OUT/red" "$OUT/test_red.py"
check "and has its line" grep -q '^bad test_red.py::test_wrong' "$OUT/red"
conclude
