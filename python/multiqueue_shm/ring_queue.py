# SPDX-License-Identifier: MIT
"""
The interface of an older library: queues that one object both pushes to and pops from. For new code take Producer and
Consumer. docs/migration.md says what changed.

Under a RingQueue are a producer, attached from the start (so the queue lives as long as one object of its name is open),
and a consumer, attached at the first pop or peek:

- Every object that pops gets every message. An object that only pushes has no cursor. Until one pops or peeks, the queue
  keeps all from its first message on (and is full with `capacity` of them); that one starts there, each later one at the
  oldest message that is still in the ring.
- BLOCKING: exactly `capacity` messages fit, counted from the slowest object that pops; then a push waits.
- NON_BLOCKING: a push onto a full queue overwrites the oldest; nobody holds a pusher back.

Threads may share an object. A child process opens its own (QueueForkedError). Times are in ms: 0 does not wait, negative
or None waits for ever.
"""

import dataclasses
import errno
import math
import operator
import os
import struct
import threading
import time
import typing
import weakref

from . import _native
from ._config import METADATA_MOST, BlockingMode, QueueConfig, is_int, pack_metadata, unpack_metadata
from ._errors import (
    InvalidConfigError,
    MessageSizeError,
    QueueClosedError,
    QueueForkedError,
    QueueSystemError,
    QueueTimeoutError,
)
from ._feeder import Feeder

QUEUE_VERSION = _native.abi_version
"""The version of the layout in shared memory: an int. Processes with another one can't open the same queues."""

PATIENCE_MS = 100  # with others who are just pushing
OPEN_TRIES = 100


class QueueStats(typing.NamedTuple):
    """Of the queue, at about one moment, unless it says "this object". Times are ns since 1970; 0: not yet."""

    total_pushed: int
    """Messages."""
    total_popped: int
    """Messages, summed over all objects that pop."""
    overwrite_count: int
    """NON_BLOCKING: messages that this object has not got and can't get any more."""
    producer_count: int
    """Open objects."""
    consumer_count: int
    """Objects that have popped."""
    current_size: int
    """size()"""
    capacity: int
    created_at: int
    last_write_time: int
    """This object's last push."""
    last_read_time: int
    """Anybody's last pop; exact to some ms, and to 32 messages or the last wait."""
    is_closed: bool


class _Name(str):
    """A name that older code may call, as the C++ class has a function name()."""

    def __call__(self):
        return str(self)


class _Queue:
    """What RingQueue and the typed ones have in common: opening, looking, closing; messages as bytes."""

    _type = None  # what it is called in the queue's metadata

    def __init__(self, name="", config=None):
        if config is None:
            config = QueueConfig()
        if not isinstance(config, QueueConfig):
            raise TypeError(f"config is a {type(config).__name__}, not a QueueConfig")
        if not isinstance(name, str):
            raise TypeError(f"name is a {type(name).__name__}, not a str")
        if hasattr(self, "_producer"):
            raise RuntimeError("this queue is open already")
        problem = config.problem()
        if problem:
            raise InvalidConfigError(problem)
        config = dataclasses.replace(config, queue_name=name or config.queue_name, extra_queue_names=list(config.extra_queue_names))
        self._name = _Name(config.queue_name)
        self._config = config
        self._overwrites = config.blocking_mode is BlockingMode.NON_BLOCKING
        self._consumer = None
        self._closed = False
        self._lock = threading.Lock()  # held while attaching and closing
        self._pid = os.getpid()
        producer = self._open()
        info = producer.info()
        try:
            self._check(info["flags"])
            self._joined(info)
        except BaseException:
            producer.close()
            raise
        self._created_at = info["created_at"]
        self._producer = producer
        self._feeder = Feeder(producer, config.async_buffer_size) if config.enable_async else None
        if self._feeder:
            weakref.finalize(self, self._feeder.drop).atexit = False

    # ---- opening

    def _flags(self):
        return (
            _native.SHARED
            | (_native.OVERWRITE if self._overwrites else _native.HOLD)
            | (_native.TIMESTAMP_OWN if self._config.has_timestamp else 0)
        )

    def _open(self):
        """Create it, or join what is there: that is how it is, if it is for us at all."""
        config = self._config
        nodes = _overwrite_nodes(config.capacity) if self._overwrites else config.capacity
        metadata = pack_metadata(config, self._type)
        if len(metadata) > METADATA_MOST:
            raise InvalidConfigError(f"the metadata takes {len(metadata)} bytes, more than {METADATA_MOST}")
        for _ in range(OPEN_TRIES):
            try:
                return _native.RingProducer(self._name, nodes, config.block_size, self._flags(), metadata)
            except InvalidConfigError as error:
                there = _native.stat(self._name)
                if there is None:  # it went meanwhile
                    refused = error
                    continue
            self._check(there["flags"])
            try:
                return _native.RingProducer(self._name)
            except QueueSystemError as error:
                if error.errno != errno.ENOENT:
                    raise
                refused = error
        raise refused

    def _check(self, found):
        """Messages or timestamps would get lost in a queue of another kind."""
        if found & ~_native.PERSISTENT == self._flags():
            return
        if (
            not found & _native.SHARED
            or not found & (_native.OVERWRITE | _native.HOLD)
            or found & _native.TIMESTAMP_OFF
        ):
            what = "was not made for RingQueue (shared; overwrite or hold)"
        elif bool(found & _native.OVERWRITE) != self._overwrites:
            what = "is NON_BLOCKING" if found & _native.OVERWRITE else "is BLOCKING"
        else:
            what = "has_timestamp" if found & _native.TIMESTAMP_OWN else "has no timestamps of its own"
        raise InvalidConfigError(f"queue '{self._name}' is there and {what}")

    def _joined(self, info):
        """What the queue turned out to be."""
        config = self._config
        config.capacity = _overwrite_capacity(info["node_count"]) if self._overwrites else info["node_count"]
        config.block_size = info["block_size"]
        config.user_metadata, kind, config.extra_queue_names = unpack_metadata(info["metadata"])
        if self._type and kind and kind != self._type:
            raise InvalidConfigError(f"queue '{self._name}' is there and has messages of type {kind}, not {self._type}")
        self._capacity = config.capacity

    def _reader(self):
        """At the first pop or peek."""
        if os.getpid() != self._pid:  # a lock of ours may be held by a thread that is not there
            raise _forked()
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._consumer is None:
                newest = self._capacity if self._overwrites else 0
                self._consumer = _native.RingConsumer(self._name, newest, self._created_at)
            return self._consumer

    # ---- pushing and popping: bytes

    def _put(self, data, timeout_ms, timestamp):
        if self._feeder:
            return self._put_async(data, timeout_ms, timestamp)
        if self._overwrites and timeout_ms is not None and 0 <= timeout_ms < PATIENCE_MS:
            timeout_ms = PATIENCE_MS  # for another who is just pushing: it is never full
        if self._producer.push(data, timeout_ms, timestamp):
            return True
        if timeout_ms != 0:
            return False
        for _ in range(PATIENCE_MS):  # without waiting, this may also say that another process is just pushing
            if self._seems_full():
                return False
            if self._producer.push(data, 1, timestamp):
                return True
        return False

    def _put_async(self, data, timeout_ms, timestamp):
        if os.getpid() != self._pid:
            raise _forked()
        view = memoryview(data)
        if view.nbytes > self._config.block_size:
            raise MessageSizeError(f"a message of {view.nbytes} bytes is larger than block_size {self._config.block_size}")
        timestamp = time.time_ns() if timestamp is None else operator.index(timestamp)
        if not 0 <= timestamp < 1 << 64:
            raise OverflowError("timestamp is not in 0..2**64-1")
        return self._feeder.put(view.tobytes(), timestamp, timeout_ms)

    def _push_ms(self):
        return 0 if self._overwrites else self._config.timeout_ms

    def _take(self, timeout_ms):
        message = (self._consumer or self._reader()).pop_message(timeout_ms)
        return None if message is None else message[:2]

    def _look_at_next(self):
        message = (self._consumer or self._reader()).peek_message(0)
        return None if message is None else message[:2]

    def push(self, data, timestamp=None):
        """
        Push one message. In BLOCKING mode this waits timeout_ms of the config for room; a NON_BLOCKING queue drops its oldest
        message instead.

        timestamp: an int of 0..2**64-1, kept if the queue has_timestamp (0 too); None: now.
        True; False: it was full for that long. With enable_async: the buffer was.
        """
        return self._put(data, self._push_ms(), timestamp)

    def try_push(self, data, timestamp=None):
        """push() without waiting."""
        return self._put(data, 0, timestamp)

    def push_with_timeout(self, data, timeout_ms, timestamp=None):
        """push() that waits timeout_ms."""
        return self._put(data, timeout_ms, timestamp)

    def push_blocking(self, data, timestamp=None, timeout_ms=-1):
        """push() that waits for ever, if timeout_ms says nothing else."""
        return self._put(data, timeout_ms, timestamp)

    def flush(self, timeout_ms=-1):
        """With enable_async: wait until all that was pushed is in the queue. False: it was not in time."""
        if os.getpid() != self._pid:
            raise _forked()
        if self._closed:
            raise self._closed_error()
        return self._feeder.flush(timeout_ms) if self._feeder else True

    # ---- looking

    def size(self):
        """
        Messages that this object has not popped yet. Before its first pop or peek: what that would find, if it has not pushed
        either; else what the slowest object that pops has before it. Without a cursor this takes some 10 us.
        """
        consumer = self._consumer
        if consumer is not None:
            return min(consumer.lag, self._capacity)
        return self._size(self._stat())

    __len__ = size

    def __bool__(self):
        return True  # also when it is empty

    def empty(self):
        """Is size() 0?"""
        return self.size() == 0

    def full(self):
        """Is size() the capacity? Before the first pop or peek: would a push find no room?"""
        if self._consumer is not None:
            return self.size() >= self._capacity
        return _is_full(self._stat(), self._capacity)

    def capacity(self):
        """Messages."""
        return self._capacity

    @property
    def name(self):
        """The name of the queue: a str."""
        return self._name

    @property
    def config(self):
        """A copy of the QueueConfig, with what the queue turned out to have."""
        return dataclasses.replace(self._config, extra_queue_names=list(self._config.extra_queue_names))

    @property
    def extra_queue_names(self):
        """Those that the queue was created with."""
        return list(self._config.extra_queue_names)

    def metadata(self):
        """The user_metadata that the queue was created with."""
        return self._config.user_metadata

    def get_stats(self):
        """QueueStats."""
        last_write = self._producer.last_write
        if self._closed:
            return QueueStats(*[0] * 6, self._capacity, self._created_at, last_write, 0, True)
        consumer = self._consumer
        stat = self._stat()
        size = self._size(stat) if consumer is None else self.size()
        popped, skipped = (0, 0) if consumer is None else consumer.counts()
        return _stats(stat, size, popped + size, skipped, last_write)

    def _stat(self):
        if os.getpid() != self._pid:
            raise _forked()
        if self._closed:
            raise self._closed_error()
        stat = _native.stat(self._name)
        if stat is None or stat["created_at"] != self._created_at:
            raise QueueClosedError(f"queue '{self._name}' was removed")
        return stat

    def _size(self, stat):
        most = _furthest_behind(stat, self._capacity)
        if most is None or self._producer.last_write == 0:
            return min(stat["kept"], self._capacity)
        return most

    def _seems_full(self):
        stat = _native.stat(self._name)
        return stat is not None and _is_full(stat, self._capacity)  # of one that is gone, push says it better

    # ---- closing

    def close(self):
        """
        Leave the queue. Waits that go on in other threads end with QueueClosedError, as do all later calls. The last object of
        a name takes the queue along, and what is in it. Again: nothing.

        With enable_async what is still in the buffer is pushed before, for timeout_ms of the config at most:
        QueueTimeoutError says how much is lost (and it is closed).
        """
        if os.getpid() != self._pid:
            raise _forked()
        feeder = None if self._closed else self._feeder
        try:
            if feeder:
                feeder.flush(self._config.timeout_ms)
        finally:
            with self._lock:
                self._closed = True
                try:
                    if self._consumer is not None:
                        self._consumer.close()
                finally:
                    self._producer.close()
        if feeder:
            left = feeder.stop()
            if left:
                raise QueueTimeoutError(f"{left} messages of the buffer were not pushed: the queue was full")

    def is_closed(self):
        """Has close() been called?"""
        return self._closed

    def _closed_error(self):
        return QueueClosedError(f"queue '{self._name}' is closed here")

    def __enter__(self):
        if os.getpid() != self._pid:
            raise _forked()
        if self._closed:
            raise self._closed_error()
        return self

    def __exit__(self, *exception):
        if os.getpid() != self._pid:
            return  # a child that ends: nothing here is its own
        try:
            self.close()
        except QueueTimeoutError:
            if exception[0] is None:  # else what was raised shall not be hidden
                raise

    def __iter__(self):
        return self

    def __repr__(self):
        return f"<{type(self).__name__} '{self._name}', capacity {self._capacity}{', closed' if self._closed else ''}>"

    def __reduce__(self):
        raise TypeError("a queue can't be copied or pickled: open it by its name")


class RingQueue(_Queue):
    """
    A queue of bytes, both to push to and to pop from.

    name: 1..63 of A-Z a-z 0-9 . _ -, not beginning with a dot; "" takes config.queue_name. It is created, or what is there is
    joined: then capacity, block size and metadata are as they are (see `config`), but blocking_mode and has_timestamp must be the
    same (InvalidConfigError). At most 64 objects of one name at a time, all processes together.

    >>> with RingQueue("doc-lines", QueueConfig(capacity=2, has_timestamp=True)) as queue:
    ...     queue.push(b"one", 0), queue.push(b"two", 17), queue.try_push(b"three")
    ...     len(queue), queue.full()
    ...     queue.pop(), queue.try_pop(), queue.try_pop()
    (True, True, False)
    (2, True)
    ((b'one', 0), (b'two', 17), None)

    Iteration pops, and ends when a pop gives nothing.

    Raises InvalidConfigError, QueueClosedError, QueueForkedError, MessageSizeError (larger than block_size),
    QueueSystemError, QueuePermissionError, TypeError, OverflowError (a timestamp out of range).
    """

    def pop(self):
        """
        Take the next message: (bytes, timestamp), or None when there is none. In BLOCKING mode this waits timeout_ms of the config.

        timestamp: an int, what was given or the time of the push in ns since 1970.
        """
        return self._take(0 if self._overwrites else self._config.timeout_ms)

    def try_pop(self):
        """pop() without waiting."""
        return self._take(0)

    def pop_with_timeout(self, timeout_ms):
        """pop() that waits timeout_ms, in either mode."""
        return self._take(timeout_ms)

    def pop_blocking(self, timeout_ms=-1):
        """pop() that waits for ever, if timeout_ms says nothing else; in either mode."""
        return self._take(timeout_ms)

    def peek(self):
        """The next message, which stays: (bytes, timestamp), a copy, or None. Does not wait. Attaches as pop() does."""
        return self._look_at_next()

    def push_array(self, array, timestamp=None):
        """
        push() of a numpy array (or what numpy makes one of) of any shape and dtype: its elements, in C order. Neither dtype nor
        shape go along. TypeError: Python objects in it.
        """
        import numpy

        array = numpy.ascontiguousarray(array)
        if array.dtype.hasobject:
            raise TypeError("an array of Python objects means nothing to other processes")
        return self.push(array.reshape(-1).view(numpy.uint8), timestamp)

    def pop_array(self, dtype, shape=-1):
        """
        pop() of an array: (array, timestamp), or None. dtype: of numpy; shape: an int or a tuple, one of them may be -1: as many
        as there are. The array is a copy, and writable. MessageSizeError: the next message has not that size; it stays.

        >>> import numpy
        >>> with RingQueue("doc-arrays") as queue:
        ...     queue.push_array(numpy.arange(6, dtype=numpy.float32).reshape(2, 3))
        ...     queue.pop_array(numpy.float32, (-1, 3))[0]
        True
        array([[0., 1., 2.],
               [3., 4., 5.]], dtype=float32)
        """
        import numpy

        dtype = numpy.dtype(dtype)
        shape = (shape,) if is_int(shape) else tuple(operator.index(n) for n in shape)
        known = dtype.itemsize * math.prod(n for n in shape if n != -1)
        if dtype.hasobject or min(shape, default=0) < -1 or shape.count(-1) > 1 or (known == 0 and -1 in shape):
            raise ValueError(f"no array can have dtype {dtype} and shape {shape} here")
        timeout_ms = 0 if self._overwrites else self._config.timeout_ms
        consumer = self._consumer or self._reader()
        message = consumer.pop_message(timeout_ms, -1, known) if -1 in shape else consumer.pop_message(timeout_ms, known)
        if message is None:
            return None
        return numpy.frombuffer(message[0], dtype).reshape(shape).copy(), message[1]

    def __next__(self):
        item = self.pop()
        if item is None:
            raise StopIteration
        return item


class _TypedQueue(_Queue):
    def __init__(self, name="", config=None):
        if isinstance(config, QueueConfig):
            config = dataclasses.replace(config, block_size=8)
        elif config is None:
            config = QueueConfig(block_size=8)
        super().__init__(name, config)

    def _joined(self, info):
        super()._joined(info)
        if info["block_size"] < 8:
            raise InvalidConfigError(f"queue '{self._name}' is there and has a block_size of {info['block_size']}, less than 8")

    def _put(self, value, timeout_ms, timestamp):
        return super()._put(self._encode(value), timeout_ms, timestamp)

    def _value(self, message):
        if message is None:
            return None, 0
        if len(message[0]) != 8:
            raise MessageSizeError(f"a message of {len(message[0])} bytes is no {self._type}")
        return self._decode(message[0]), message[1]

    def pop(self):
        """Take the next value: (value, timestamp), or (None, 0). Does not wait. MessageSizeError: it was no value; it is taken."""
        return self._value(self._take(0))

    def try_pop(self):
        """The same."""
        return self._value(self._take(0))

    def pop_with_timeout(self, timeout_ms):
        """pop() that waits timeout_ms."""
        return self._value(self._take(timeout_ms))

    def pop_blocking(self, timeout_ms=-1):
        """pop() that waits for ever, if timeout_ms says nothing else."""
        return self._value(self._take(timeout_ms))

    def peek(self):
        """The next value, which stays: (value, timestamp), or (None, 0). Does not wait."""
        return self._value(self._look_at_next())

    def __next__(self):
        item = self.pop()
        if item[0] is None:
            raise StopIteration
        return item


class RingQueueInt(_TypedQueue):
    """
    A RingQueue of signed 64-bit values. push() raises OverflowError for others, TypeError for what is no int.

    >>> with RingQueueInt("doc-numbers", QueueConfig(has_timestamp=True)) as queue:
    ...     queue.push(-5, 1), queue.pop(), queue.pop()
    (True, (-5, 1), (None, 0))
    """

    _type = "int64"

    @staticmethod
    def _encode(value):
        return _INT.pack(_int64(value))

    @staticmethod
    def _decode(data):
        return _INT.unpack(data)[0]


class RingQueueDouble(_TypedQueue):
    """
    A RingQueue of floats (IEEE 754, 64 bits). push() raises TypeError for what is no number.

    >>> with RingQueueDouble("doc-floats") as queue:
    ...     queue.push(0.5), queue.pop()[0]
    (True, 0.5)
    """

    _type = "float64"

    @staticmethod
    def _encode(value):
        try:
            return _DOUBLE.pack(value)
        except struct.error as error:
            raise (OverflowError if isinstance(value, int) else TypeError)(str(error)) from None

    @staticmethod
    def _decode(data):
        return _DOUBLE.unpack(data)[0]


_INT = struct.Struct("=q")
_DOUBLE = struct.Struct("=d")


def _int64(value):
    value = operator.index(value)
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{value} is no signed 64-bit value")
    return value


# ---- what queues are, seen from outside ---------------------------------------------------------------------


def _forked():
    return QueueForkedError(errno.ECHILD, "the queue's object belongs to a parent process")


def _overwrite_nodes(capacity):
    """A ring that overwrites drops up to 1/8 of itself at once. So that the newest `capacity` messages are always there, it is
    made larger by a bit more than that, and readers pass over what is older. As in mqshm/multiqueue.hpp."""
    return capacity + capacity // 7 + 2


def _overwrite_capacity(nodes):
    n = (nodes - 2) * 7 // 8 if nodes > 2 else 1
    while _overwrite_nodes(n + 1) <= nodes:
        n += 1
    return n


def _furthest_behind(stat, capacity):
    """Of the one who is furthest behind and counts: it lives, or has a lease, and (BLOCKING) holds pushers back."""
    overwrites = stat["flags"] & _native.OVERWRITE
    lags = [c["lag"] for c in stat["consumers"] if (c["alive"] or c["leased"]) and (overwrites or not c["lossy"])]
    return min(max(lags), capacity) if lags else None


def _is_full(stat, capacity):
    most = _furthest_behind(stat, capacity)
    if most is None and (stat["flags"] & _native.OVERWRITE or not stat["consumers_ever"]):
        most = min(stat["kept"], capacity)  # held, else nobody holds pushers back
    return most is not None and most >= capacity


def _capacity(stat):
    return _overwrite_capacity(stat["node_count"]) if stat["flags"] & _native.OVERWRITE else stat["node_count"]


def _stats(stat, size, gone, skipped, last_write):
    overwrites = stat["flags"] & _native.OVERWRITE
    return QueueStats(
        total_pushed=stat["total_pushed"],
        total_popped=max(0, stat["total_popped"] - skipped),
        overwrite_count=max(0, stat["total_pushed"] - gone) if overwrites else stat["overwrite_count"],
        producer_count=stat["producer_count"],
        consumer_count=stat["consumer_count"],
        current_size=size,
        capacity=_capacity(stat),
        created_at=stat["created_at"],
        last_write_time=last_write,
        last_read_time=max((c["last_access"] for c in stat["consumers"] if c["popped"]), default=0),
        is_closed=False,
    )
