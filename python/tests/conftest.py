# SPDX-License-Identifier: MIT
"""
What the tests share. Queues are named by the test run and the test, and none may be left behind. With MQSHM_TAP, a file,
each test writes its line of TAP there (see tests/python/package.sh).
"""

import faulthandler
import glob
import os
import subprocess
import sys
import textwrap

import pytest

PREFIX = os.environ.get("MQSHM_TEST_PREFIX", f"t{os.getpid()}-")
LIMIT = int(os.environ.get("MQSHM_TEST_SECONDS", "120"))  # for a test: one that hangs says where, and ends the run


@pytest.fixture
def name(request):
    queue = f"{PREFIX}py{request.node.nodeid.__hash__() & 0xFFFFFF:x}"
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    yield queue
    faulthandler.cancel_dump_traceback_later()
    left = glob.glob(f"/dev/shm/mqshm.{queue}*")
    for path in left:
        os.unlink(path)
    left += glob.glob(f"/dev/mqshm/{queue}*")
    assert not left, "the test leaves its queue behind"


class Script:
    """A Python program of its own. It says things line by line, on request."""

    def __init__(self, text, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys\n" + textwrap.dedent(text), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        """What else it says; it must have ended well."""
        out, self.errors = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == 0, self.errors
        return out


@pytest.fixture
def script():
    scripts = []

    def start(text, *args):
        scripts.append(Script(text, *args))
        return scripts[-1]

    yield start
    for s in scripts:
        s.process.kill()
        s.process.communicate()


def pytest_runtest_logreport(report):
    tap = os.environ.get("MQSHM_TAP")
    if not tap or (report.when != "call" and report.passed):
        return
    with open(tap, "a", encoding="utf-8") as out:
        state = "skip" if report.skipped else "bad" if report.failed else "good"
        out.write(f"{state} {report.nodeid.split('/')[-1]}{'' if report.when == 'call' else ' ' + report.when}\n")
