# SPDX-License-Identifier: MIT
"""What docstrings and documents show is run, on queues with names of the test."""

import doctest
import importlib
import os
import pkgutil
import re
import threading
import time

import pytest

import multiqueue_shm
from conftest import PREFIX

DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs")


class Parser(doctest.DocTestParser):
    def get_examples(self, string, name="<string>"):
        examples = super().get_examples(string, name)
        for example in examples:
            example.source = example.source.replace('"doc-', f'"{PREFIX}doc-')
        return examples


@pytest.mark.parametrize("module", sorted(m.name for m in pkgutil.iter_modules(multiqueue_shm.__path__) if m.name != "_native"))
def test_docstrings(name, module):
    module = importlib.import_module(f"multiqueue_shm.{module}")
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(parser=Parser()).find(module):
        runner.run(test)
    assert runner.failures == 0


def test_there_are_docstrings_that_run():
    found = doctest.DocTestFinder(parser=Parser()).find(multiqueue_shm.ring_queue)
    assert sum(len(test.examples) for test in found) >= 5


def test_everything_has_a_docstring():
    for name in multiqueue_shm.__all__:
        thing = getattr(multiqueue_shm, name)
        if not isinstance(thing, (str, int)):
            assert thing.__doc__, name
            for member in vars(thing).values() if isinstance(thing, type) else []:
                if callable(member) and not getattr(member, "__name__", "_").startswith("_"):
                    assert member.__doc__, f"{name}.{member.__name__}"


def blocks(document):
    with open(os.path.join(DOCS, document), encoding="utf-8") as text:
        for match in re.finditer(r"^( *)```python\n(.*?)^ *```$", text.read(), re.M | re.S):
            yield re.sub(f"^{match[1]}", "", match[2], flags=re.M)


def test_sharing_work(name):
    """The recipes of migration.md: everything is done, once."""
    numbered, to_the_free = blocks("migration.md")
    used, lock = [], threading.Lock()

    def use(data):
        with lock:
            used.append(int(data))

    scope = {**{n: getattr(multiqueue_shm, n) for n in multiqueue_shm.__all__}, "time": time, "use": use}
    exec(numbered.replace('"work"', repr(name)), scope)
    with multiqueue_shm.RingQueue(name, scope["config"]) as queue:
        threads = [threading.Thread(target=scope["work_on"], args=(k, 3)) for k in range(3)]
        for t in threads:
            t.start()
        while multiqueue_shm.QueueManager().get_stats(name).consumer_count < 3:
            time.sleep(0.001)
        scope["share"](queue, (b"%d" % i for i in range(3000)))
        for t in threads:
            t.join()
    assert sorted(used) == list(range(3000))

    used.clear()
    exec(to_the_free.replace('f"work-', f'f"{name}-'), scope)

    def work_on(queue):
        for data, _ in iter(queue.pop_blocking, None):
            if not data:
                return
            use(data)

    threads = [threading.Thread(target=work_on, args=(queue,)) for queue in scope["queues"]]
    for t in threads:
        t.start()
    for i in range(1000):
        scope["give"](b"%d" % i)
    for queue in scope["queues"]:
        queue.push_blocking(b"")
    for t in threads:
        t.join()
    assert sorted(used) == list(range(1000))
    for queue in scope["queues"]:
        queue.close()
