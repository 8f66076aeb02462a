# SPDX-License-Identifier: MIT
"""What producers and consumers do, in one process."""

import array
import ctypes
import errno
import os
import subprocess

import pytest

import multiqueue_shm as mq
from multiqueue_shm import Consumer, ConsumerStartMode, Producer


@pytest.fixture
def pair(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        yield producer, consumer


def test_messages_come_in_order_and_whole(pair):
    producer, consumer = pair
    for size in range(65):
        data = bytes(range(size))
        assert producer.push(data) is True
        assert consumer.pop() == data
    assert consumer.pop() is None


@pytest.mark.parametrize(
    "data",
    [b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), array.array("b", b"abcd"), (ctypes.c_char * 4)(*b"abcd")],
    ids=lambda data: type(data).__name__,
)
def test_any_buffer_is_a_message(pair, data):
    producer, consumer = pair
    assert producer.push(data)
    assert producer.push_batch([data, b"more"]) == 2
    assert consumer.pop_batch(9) == [b"abcd", b"abcd", b"more"]


@pytest.mark.parametrize("size", [64, 8192, 8193, 12800, 1 << 20])
def test_sizes_on_both_ways_of_copying(name, size):
    data = os.urandom(size)
    with Producer(name, 4, size) as producer, Consumer(name, 4, size) as consumer:
        assert producer.push(data) and producer.push_batch([data, data[1:]]) == 2
        assert consumer.pop() == data
        assert consumer.pop_batch(4) == [data, data[1:]]


def test_a_full_queue_says_false(pair):
    producer, consumer = pair
    assert producer.push_batch([b"%d" % i for i in range(11)]) == 8
    assert producer.push(b"x") is False
    assert producer.push(b"x", timeout_ms=30) is False
    assert producer.push_batch([b"x", b"y"], 30) == 0
    assert consumer.pop() == b"0"
    assert producer.push(data=b"8", timeout_ms=-1) is True
    assert consumer.pop_batch(max_count=100) == [b"%d" % i for i in range(1, 9)]


def test_a_batch_ends_before_what_is_too_large(pair):
    producer, consumer = pair
    assert producer.push_batch([b"1", b"2", bytes(65), b"3"]) == 2
    with pytest.raises(mq.MessageSizeError):
        producer.push_batch([bytes(65), b"3"])
    assert producer.push_batch([b"3", bytes(65)], timeout_ms=-1) == 1  # not waited for
    assert consumer.pop_batch(9) == [b"1", b"2", b"3"]


def test_large_batches_are_taken_in_parts(name):
    with Producer(name, 1000, 64) as producer, Consumer(name, 1000, 64) as consumer:
        messages = [b"%d" % i for i in range(1000)]
        assert producer.push_batch(messages) == 1000
        assert consumer.pop_batch(100) == messages[:100]
        assert consumer.pop_batch(1 << 70) == messages[100:]


def test_batches_of_large_messages(name):
    """Those are copied without the GIL, part by part."""
    with Producer(name, 200, 1000) as producer, Consumer(name, 200, 1000) as consumer:
        messages = [bytes([i]) * (1000 - i) for i in range(200)]
        assert producer.push_batch(messages) == 200
        assert consumer.pop_batch(200) == messages


def test_batches_of_others_than_lists(pair):
    producer, consumer = pair
    assert producer.push_batch(()) == 0
    assert producer.push_batch(b"%d" % i for i in range(3)) == 3
    assert consumer.pop_batch(9) == [b"0", b"1", b"2"]
    assert consumer.pop_batch(9) == []


def test_timeouts_are_waited_out(pair):
    _, consumer = pair
    clock = os.times
    before = clock().elapsed
    assert consumer.pop(60) is None
    assert consumer.pop_batch(2, timeout_ms=60) == []
    assert consumer.peek(timeout_ms=60) is None
    assert clock().elapsed - before >= 0.17


def test_every_consumer_gets_everything(name):
    with Producer(name, 8, 64) as producer:
        consumers = [Consumer(name, 8, 64) for _ in range(5)]
        producer.push_batch([b"a", b"b"])
        assert [c.pop_batch(9) for c in consumers] == [[b"a", b"b"]] * 5
        for c in consumers:
            c.unregister()
            assert c.closed


@pytest.mark.parametrize("mode", [ConsumerStartMode.FROM_OLDEST_AVAILABLE, "FROM_OLDEST_AVAILABLE", 1])
def test_start_from_the_oldest(name, mode):
    with Producer(name, 8, 64) as producer:
        producer.push_batch([b"a", b"b"])
        with Consumer(name, 8, 64, start_mode=mode) as consumer:
            assert consumer.lag == 2
            assert list(consumer.pop_batch(9)) == [b"a", b"b"]
            assert (consumer.lag, consumer.missed) == (0, 0)


def test_start_from_the_beginning_counts_what_has_gone(name):
    with Producer(name, 8, 64) as producer:
        for i in range(1000):
            assert producer.push(b"%d" % i)
        with Consumer(name, 8, 64, ConsumerStartMode.FROM_BEGINNING) as consumer:
            first = int(consumer.pop())
            assert 0 < consumer.missed == first < 1000
        with Consumer(name, 8, 64) as consumer:
            assert consumer.pop() is None and consumer.missed == 0


def test_the_end_of_a_stream(name):
    consumer = Consumer(name, 8, 64)
    assert consumer.ended is None
    producer = Producer(name, 8, 64)
    producer.push_batch([b"a", b"b"])
    producer.close()
    producer.close()
    assert producer.closed and not producer.is_active()
    assert consumer.ended is None  # there is something to read
    assert list(consumer) == [b"a", b"b"]
    assert consumer.ended == "closed"
    assert consumer.pop(-1) is None and consumer.pop(None) is None and consumer.pop(20) is None
    with Producer(name, 8, 64) as producer:  # it outlives its producer
        producer.push(b"c")
        assert consumer.ended is None
        assert consumer.pop(-1) == b"c"
    consumer.close()


def test_a_stream_that_failed(name):
    with Consumer(name, 8, 64) as consumer:
        with pytest.raises(ZeroDivisionError), Producer(name, 8, 64) as producer:
            producer.push(b"a")
            raise ZeroDivisionError
        assert producer.closed
        assert next(consumer) == b"a"
        with pytest.raises(mq.ProducerDiedError, match="died without closing, or failed"):
            next(consumer)
        assert consumer.ended == "died" and consumer.pop() is None
        with pytest.raises(SystemExit), Producer(name, 8, 64) as producer:
            raise SystemExit
        assert consumer.ended == "closed"


def test_metadata(name):
    with Producer(name, 8, 64, "Hz: 48,000 – é") as producer, Consumer(name, 8, 64) as consumer:
        assert producer.metadata() == consumer.metadata() == "Hz: 48,000 – é"
    with Producer(name, 8, 64) as producer:
        assert producer.metadata() == ""
    with pytest.raises(mq.InvalidConfigError, match="257"):
        Producer(name, 8, 64, metadata="x" * 257)
    with Producer(name, 8, 64, metadata="x" * 256) as producer:
        assert producer.metadata() == "x" * 256


def test_one_producer_unless_shared(name):
    with Producer(name, 8, 64):
        with pytest.raises(mq.QueueSystemError, match=f"live producer: pid {os.getpid()}") as caught:
            Producer(name, 8, 64)
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(mq.InvalidConfigError, match="not shared"):
            Consumer(name, 8, 64, shared=True)
    with Consumer(name, 8, 64, shared=True) as consumer:
        with Producer(name, 8, 64, shared=True) as one, Producer(name, 8, 64) as two:
            assert one.push(b"1") and two.push(b"2") and one.push(b"3")
            assert consumer.pop_batch(9) == [b"1", b"2", b"3"]
            assert one.push_batch([b"x"] * 8) == 8 and two.push(b"y") is False


@pytest.mark.parametrize("geometry", [(9, 64), (8, 65)])
def test_another_geometry(name, geometry):
    with Producer(name, 8, 64):
        for kind in Producer, Consumer:
            with pytest.raises(mq.InvalidConfigError, match=name):
                kind(name, *geometry)


def test_a_queue_that_is_removed_by_force(pair):
    producer, consumer = pair
    producer.push(b"a")
    assert producer.is_active() and consumer.is_active()
    subprocess.run([os.environ["MQSHM"], "rm", "--force", producer.name], check=True)
    assert not producer.is_active() and not consumer.is_active()
    with pytest.raises(mq.QueueClosedError):
        producer.push(b"b")
    for call in consumer.pop, consumer.peek, lambda: consumer.pop(-1), lambda: next(consumer):
        with pytest.raises(mq.QueueClosedError):
            call()


def test_exceptions_have_their_built_in_kinds():
    kinds = {
        mq.QueueFullError: BlockingIOError,
        mq.QueueEmptyError: BlockingIOError,
        mq.QueueTimeoutError: TimeoutError,
        mq.QueueClosedError: ValueError,
        mq.ProducerDiedError: mq.QueueClosedError,
        mq.InvalidConfigError: ValueError,
        mq.MessageSizeError: ValueError,
        mq.MessageOvertakenError: BufferError,
        mq.QueueSystemError: OSError,
        mq.QueuePermissionError: PermissionError,
        mq.QueueForkedError: ChildProcessError,
    }
    for error, kind in kinds.items():
        assert issubclass(error, mq.MultiQueueError) and issubclass(error, kind)


def test_version():
    out = subprocess.run([os.environ["MQSHM"], "--version"], check=True, capture_output=True, text=True).stdout
    assert out.splitlines()[0] == f"mqshm {mq.__version__}"
