# SPDX-License-Identifier: MIT
"""QueueManager, which knows queues by name, and MergedQueueView, which makes one stream of many, in order of time."""

import errno
import operator
import os
import select
import threading
import time
import typing

from . import _native
from ._errors import InvalidConfigError, QueueClosedError, QueueSystemError
from .ring_queue import RingQueue, RingQueueDouble, RingQueueInt, _capacity, _forked, _furthest_behind, _stats

SLICE_MS = 50  # how often a wait looks whether it was closed, and at streams that had ended


class QueueManager:
    """
    RingQueues by name. Threads may share it; a child process makes its own.

    >>> with QueueManager() as manager:
    ...     queue = manager.create_or_open("doc-managed")
    ...     queue is manager.create_or_open("doc-managed"), manager.exists("doc-managed")
    (True, True)
    """

    def __init__(self):
        self._queues = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def create_or_open(self, name, config=None, kind=RingQueue):
        """
        The queue of that name: the same object for all who ask, until it is closed. config means something only for who opens
        it first. kind: RingQueue, RingQueueInt or RingQueueDouble. Raises as these do; InvalidConfigError: it is open as
        another kind.
        """
        if not isinstance(kind, type) or not issubclass(kind, (RingQueue, RingQueueInt, RingQueueDouble)):
            raise TypeError(f"kind is {kind!r}, not RingQueue, RingQueueInt or RingQueueDouble")
        with self._ours():
            name = name or (config.queue_name if config else "")
            queue = self._queues.get(name)
            if queue is None or queue.is_closed():
                queue = self._queues[name] = kind(name, config)
            elif type(queue) is not kind:
                raise InvalidConfigError(f"queue '{name}' is open as {type(queue).__name__}, not {kind.__name__}")
            return queue

    def merge_queues(self, names, sync_timeout_ms=1000):
        """
        A MergedQueueView of queues that exist. It has a place of its own in each, and so takes nothing from others.
        Raises QueueSystemError (errno ENOENT: there is no such queue), ValueError (no names).
        """
        return MergedQueueView(names, sync_timeout_ms)

    def get_stats(self, name=None):
        """QueueStats of a queue, open here or not; without a name a dict with those of all that are open here."""
        if name is None:
            with self._ours():
                queues = dict(self._queues)
            return {name: queue.get_stats() for name, queue in queues.items() if not queue.is_closed()}
        with self._ours():
            queue = self._queues.get(name)
        if queue is not None and not queue.is_closed():
            return queue.get_stats()
        stat = _native.stat(name)
        if stat is None:
            raise QueueSystemError(errno.ENOENT, f"there is no queue '{name}'")
        capacity = _capacity(stat)
        most = _furthest_behind(stat, capacity)
        size = min(stat["kept"], capacity) if most is None else most
        return _stats(stat, size, stat["total_popped"] + size, 0, 0)

    def remove_queue(self, name, force=False):
        """
        Close it here, and remove it. True: it is gone; False: there was none. QueueSystemError with errno EBUSY: others
        use it. force: they lose it, QueueClosedError.
        """
        existed = self.exists(name)
        self.close_queue(name)
        return _native.remove(name, force) or existed

    def list_queues(self):
        """The names of all queues on this machine that we may look at, in order."""
        return _native.names()

    def exists(self, name):
        """Is there a queue of that name, whoever has it?"""
        return _native.stat(name) is not None

    def close_queue(self, name):
        """Close it here. False: it was not open."""
        with self._ours():
            queue = self._queues.pop(name, None)
        if queue is None or queue.is_closed():
            return False
        queue.close()
        return True

    def close_all(self):
        """Close all that are open here. Merged views have a life of their own."""
        with self._ours():
            queues, self._queues = self._queues, {}
        error = None
        for queue in queues.values():
            try:
                queue.close()
            except Exception as e:  # the others all the same
                error = e
        if error:
            raise error

    def _ours(self):
        if os.getpid() != self._pid:
            raise _forked()
        return self._lock

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if os.getpid() == self._pid:
            self.close_all()


class SyncStats(typing.NamedTuple):
    """What a MergedQueueView has seen."""

    total_synced: int
    """Messages given."""
    timeout_count: int
    """How often a queue became silent: was waited for in vain."""
    timestamp_rewind_count: int
    """Messages with a smaller timestamp than the one given before."""


class _Source:
    """One queue of a view. Its next message is only looked at, and stays in the ring, until it is given."""

    def __init__(self, name):
        stat = _native.stat(name)
        if stat is None:
            raise QueueSystemError(errno.ENOENT, f"there is no queue '{name}'")
        newest = _capacity(stat) if stat["flags"] & _native.OVERWRITE else 0
        self.consumer = _native.RingConsumer(name, newest)
        self.fd = self.consumer.fileno()
        self.head = None  # timestamp and sequence of the next message
        self.taken = None  # a message that had to be taken early
        self.empty_since = time.monotonic()
        self.silent = self.ended = False

    def look(self):
        if self.head is None:
            message = self.consumer.peek_message(0, False)
            if message:
                self.head = message[1:]
                self.silent = self.ended = False
            else:
                self.ended = self.consumer.ended is not None
                if self.empty_since is None:
                    self.empty_since = time.monotonic()

    def take(self):
        """(data, timestamp), or None: a queue that overwrites has done so, and its next message is another one."""
        if self.taken is None:
            self.taken = self.consumer.pop_message(0)
            expected, self.head = self.head, None
            if self.taken is None:
                return None
            if self.taken[1:] != expected:
                self.head = self.taken[1:]
                return None
        message, self.taken, self.head, self.empty_since = self.taken, None, None, None
        return message[:2]


class MergedQueueView:
    """
    One stream of many queues, in order of their messages' timestamps; of equal ones the queue named first comes first.

    A message is given when each queue has shown its next one. A queue that has none for sync_timeout_ms is silent, and no
    longer waited for until it has one again; what comes too late comes out late, and is counted as a rewind. sync_timeout_ms:
    negative or None waits for ever, 0 gives what is there.

    >>> import sys
    >>> with RingQueueInt("doc-left") as left, RingQueueInt("doc-right") as right:
    ...     left.push(1), right.push(2), left.push(3)
    ...     with QueueManager().merge_queues(["doc-left", "doc-right"], 10) as view:
    ...         [int.from_bytes(data, sys.byteorder) for data, timestamp in view]
    (True, True, True)
    [1, 2, 3]

    Threads may share it; a child process opens its own.
    """

    def __init__(self, names, sync_timeout_ms=1000):
        if isinstance(names, str):
            raise TypeError("names is a str, not a list of them")
        self._timeout = None if sync_timeout_ms is None else operator.index(sync_timeout_ms) / 1000
        if self._timeout is not None and self._timeout < 0:
            self._timeout = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False
        self._sources = []
        self._last = None
        self._counts = [0, 0, 0]
        try:
            for name in names:
                self._sources.append(_Source(name))
        except BaseException:
            self.close()
            raise
        if not self._sources:
            raise ValueError("there are no queues to merge")

    def next(self):
        """The next message: (bytes, timestamp), or None after sync_timeout_ms without any."""
        if os.getpid() != self._pid:
            raise _forked()
        with self._lock:
            began = time.monotonic()
            while True:
                if self._closed:
                    raise QueueClosedError("this view is closed")
                now = time.monotonic()
                for source in self._sources:
                    source.look()
                waited = [s for s in self._sources if s.head is None and not s.ended and not self._fell_silent(s, now)]
                ready = [s for s in self._sources if s.head is not None]
                if ready and not waited:
                    message = min(ready, key=lambda s: s.head[0]).take()
                    if message:
                        return self._given(message)
                    continue
                since = [s.empty_since for s in waited] if ready else [began]
                left = None if self._timeout is None else min(since) + self._timeout - now
                if left is not None and left <= 0 and not ready:
                    return None
                self._sleep(left)

    def _fell_silent(self, source, now):
        if not source.silent and self._timeout is not None and now - source.empty_since >= self._timeout:
            source.silent = True
            self._counts[1] += 1
        return source.silent

    def _given(self, message):
        self._counts[0] += 1
        if self._last is not None and message[1] < self._last:
            self._counts[2] += 1
        self._last = message[1]
        return message

    def _sleep(self, left):
        """Until a queue that has no message gets one, for a slice at most."""
        poll = select.poll()
        for source in self._sources:
            if source.head is None and not source.ended:  # the end of a stream is readable for good
                poll.register(source.fd, select.POLLIN)
        poll.poll(SLICE_MS if left is None else min(SLICE_MS, max(0, left) * 1000))

    def has_more(self):
        """Is a message there in any of the queues? Does not wait."""
        if os.getpid() != self._pid:
            raise _forked()
        if self._closed:
            raise QueueClosedError("this view is closed")
        return any(s.taken or s.consumer.lag for s in self._sources)

    def get_sync_stats(self):
        """SyncStats."""
        return SyncStats(*self._counts)

    def reset_stats(self):
        """From 0 again."""
        self._counts = [0, 0, 0]

    def close(self):
        """Leave all queues. A next() that waits in another thread raises QueueClosedError. Again: nothing."""
        if os.getpid() != self._pid:
            raise _forked()
        self._closed = True
        with self._lock:
            for source in self._sources:
                source.consumer.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if os.getpid() == self._pid:
            self.close()

    def __iter__(self):
        return self

    def __next__(self):
        message = self.next()
        if message is None:
            raise StopIteration
        return message
