# SPDX-License-Identifier: MIT
"""enable_async: a buffer before a producer, and the thread that empties it."""

import atexit
import collections
import os
import threading
import time
import weakref

from . import _queue  # noqa: F401: what it does at exit is registered before ours, and so done after it
from ._errors import QueueClosedError

EXIT_FLUSH_MS = 1000


class Feeder:
    """It knows nothing of its queue, which may so be collected."""

    def __init__(self, producer, limit):
        self._producer = producer
        self._limit = limit
        self._pid = os.getpid()
        self._items = collections.deque()
        self._changed = threading.Condition()
        self._error = None
        self._stopped = False
        _feeders.add(self)
        threading.Thread(target=self._run, name=f"multiqueue_shm {producer.name}", daemon=True).start()

    def put(self, data, timestamp, timeout_ms):
        with self._changed:
            if not self._wait(lambda: len(self._items) < self._limit, timeout_ms):
                return False
            self._items.append((data, timestamp))
            self._changed.notify_all()
            return True

    def flush(self, timeout_ms):
        with self._changed:
            return self._wait(lambda: not self._items, timeout_ms)

    def stop(self):
        """How many are left. Does not wait for the thread, which may be this one."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            return len(self._items)

    def drop(self):
        """Nobody can push any more, and nobody has closed it: what is left is lost."""
        if os.getpid() == self._pid:
            self.stop()
            self._producer.close()

    def _wait(self, ready, timeout_ms):
        timeout = None if timeout_ms is None or timeout_ms < 0 else timeout_ms / 1000
        self._changed.wait_for(lambda: self._error or self._stopped or ready(), timeout)
        if self._error:
            raise self._error
        if self._stopped:
            raise QueueClosedError(f"queue '{self._producer.name}' is closed here")
        return ready()

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._stopped)
                if self._stopped:
                    return
                data, timestamp = self._items[0]  # it stays there until it is in the queue
            try:
                self._producer.push(data, -1, timestamp)
            except Exception as error:  # whoever pushes next is told
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._items.popleft()
                self._changed.notify_all()


_feeders = weakref.WeakSet()


def _flush_all():
    until = time.monotonic() + EXIT_FLUSH_MS / 1000
    for feeder in list(_feeders):
        try:
            feeder.flush(max(0, int((until - time.monotonic()) * 1000)))
        except Exception:
            pass


atexit.register(_flush_all)
