# SPDX-License-Identifier: MIT
"""The older interface: RingQueue, the typed ones, QueueConfig."""

import errno
import multiprocessing
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import multiqueue_shm as mq
from multiqueue_shm import BlockingMode, QueueConfig, RingQueue, RingQueueDouble, RingQueueInt

LONG = "MQSHM_LONG" in os.environ


def config(**keywords):
    return QueueConfig(**{"capacity": 8, "timeout_ms": 0, **keywords})


def overwriting(**keywords):
    return config(blocking_mode=BlockingMode.NON_BLOCKING, **keywords)


def numbers(queue):
    return [int(data) for data, _ in iter(queue.try_pop, None)]


def test_names_are_there():
    for name in (
        "QueueConfig BlockingMode RingQueue RingQueueInt RingQueueDouble QueueStats QueueManager MergedQueueView SyncStats "
        "TimestampSynchronizer timestamp_now timestamp_micros timestamp_millis timestamp_now_micros timestamp_now_millis "
        "MultiQueueError QueueFullError QueueEmptyError QueueTimeoutError QueueClosedError InvalidConfigError"
    ).split():
        assert name in mq.__all__ and getattr(mq, name)
    assert isinstance(mq.QUEUE_VERSION, int) and isinstance(mq.__version__, str)
    assert mq.QueueStats._fields == tuple(
        "total_pushed total_popped overwrite_count producer_count consumer_count current_size capacity created_at last_write_time "
        "last_read_time is_closed".split()
    )


# ---- QueueConfig


def test_config_defaults():
    c = QueueConfig()
    assert (c.capacity, c.blocking_mode, c.timeout_ms, c.has_timestamp) == (1024, BlockingMode.BLOCKING, 1000, False)
    assert (c.queue_name, c.extra_queue_names, c.user_metadata, c.block_size) == ("", [], "", 4096)
    assert (c.enable_async, c.async_buffer_size, c.async_thread_count) == (False, 256, 1)
    assert c.is_valid() and c.is_power_of_two()


@pytest.mark.parametrize("given, power, rounded", [(1, True, 1), (2, True, 2), (3, False, 4), (1000, False, 1024), (1024, True, 1024)])
def test_powers_of_two(given, power, rounded):
    c = QueueConfig(capacity=given)
    assert c.is_power_of_two() is power
    assert c.round_up_capacity_to_power_of_two() == rounded == c.capacity


@pytest.mark.parametrize("what, bad", [
    ("capacity", 0), ("capacity", -1), ("capacity", 2**29 + 1), ("capacity", 1.5), ("capacity", True), ("capacity", None),
    ("block_size", 0), ("block_size", 2**30 + 1), ("blocking_mode", "BLOCKING"), ("blocking_mode", 0), ("timeout_ms", 1.5),
    ("timeout_ms", None), ("has_timestamp", 1), ("queue_name", "a/b"), ("queue_name", None), ("user_metadata", b"x"),
    ("user_metadata", "x" * 257), ("user_metadata", "a\0b"), ("extra_queue_names", "ab"), ("extra_queue_names", ["a/b"]),
    ("extra_queue_names", [1]), ("extra_queue_names", ["x" * 63] * 5), ("enable_async", None), ("async_buffer_size", 0),
    ("async_thread_count", 0),
])  # fmt: skip
def test_configs_that_can_not_be(name, what, bad):
    c = QueueConfig(**{what: bad})
    assert not c.is_valid()
    with pytest.raises(mq.InvalidConfigError, match=what):
        RingQueue(name, c)
    with pytest.raises(ValueError):
        RingQueue(name, c)


def test_the_config_stays_what_it_was(name):
    c = config(queue_name=name)
    with RingQueue(config=c) as queue, RingQueue(name, QueueConfig(capacity=99, block_size=7, user_metadata="not this")) as other:
        assert queue.name == name == queue.name() and c == config(queue_name=name)
        assert other.capacity() == 8 and other.config.block_size == 4096 and other.metadata() == ""
        other.config.capacity = 5
        assert other.capacity() == 8


def test_metadata_and_extra_names_are_kept(name):
    with RingQueue(name, config(user_metadata="48 kHz, é", extra_queue_names=["a", "b.c"])) as queue, RingQueue(name) as other:
        for q in queue, other:
            assert q.metadata() == q.config.user_metadata == "48 kHz, é"
            assert q.extra_queue_names == q.config.extra_queue_names == ["a", "b.c"]
        assert not mq.QueueManager().exists("b.c")


# ---- pushing and popping


def test_push_and_pop(name):
    with RingQueue(name, config()) as queue:
        assert queue.empty() and not queue.full() and len(queue) == queue.size() == 0 and queue.capacity() == 8
        before = time.time_ns()
        assert queue.push(b"one") is True and queue.push(bytearray(b"two")) and queue.push(b"")
        assert len(queue) == 3
        data, stamp = queue.peek()
        assert data == b"one" and before <= stamp <= time.time_ns()
        assert queue.peek() == queue.pop() == (b"one", stamp)
        assert queue.pop()[0] == b"two" and queue.pop()[0] == b"" and queue.pop() is None
        assert queue.pop_with_timeout(1) is None and queue.pop_blocking(1) is None and queue.try_pop() is None and queue.peek() is None


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 8, 100, 1000])
def test_takes_exactly_n(name, capacity):
    with RingQueue(name, config(capacity=capacity)) as queue, RingQueue(name) as other:
        for _ in range(3):  # before anybody has popped, and with a cursor
            for i in range(capacity):
                assert not queue.full() and len(queue) == i
                assert queue.push(str(i).encode())
            assert queue.full() and len(queue) == capacity
            for push in queue.push, queue.try_push, other.try_push:
                assert push(b"no room") is False
            assert queue.push_with_timeout(b"no room", 1) is False and queue.push_blocking(b"no room", timeout_ms=1) is False
            assert numbers(queue) == list(range(capacity))


def test_one_pushes_and_one_pops(name):
    """The pusher holds no cursor, so it runs for ever: 10 times the capacity."""
    with RingQueue(name, config()) as a, RingQueue(name) as b:
        for i in range(80):
            assert a.push(str(i).encode())
            assert b.try_pop()[0] == str(i).encode()
            assert a.empty() and a.size() == 0
        assert a.get_stats().consumer_count == 1


def test_held_until_the_first_pop(name):
    with RingQueue(name, config()) as a, RingQueue(name) as b, RingQueue(name) as c:
        for i in range(8):
            assert a.push(str(i).encode())
        assert not a.try_push(b"8") and not c.try_push(b"8")
        assert len(a) == len(b) == len(c) == 8 and b.full()
        assert b.peek()[0] == b"0" and numbers(b) == list(range(8))  # it adopts the cursor of the queue
        assert len(b) == 0 and b.empty()
        assert a.push(b"8")  # only b counts: c has no cursor yet
        # one of the old messages may have gone: the ring keeps at least 7/8 of itself
        late = numbers(c)
        assert late == list(range(late[0], 9)) and late[0] <= 2
        assert numbers(b) == [8]


def test_the_size_before_the_first_pop(name):
    with RingQueue(name, config()) as a, RingQueue(name) as b, RingQueue(name) as c:
        for i in range(5):
            a.push(b"%d" % i)
        assert numbers(b) == [0, 1, 2, 3, 4]
        assert a.size() == 0  # it has pushed: what the slowest of the others has before it
        assert c.size() == 5 and not c.empty() and not c.full()  # what it would find
        assert len(numbers(c)) == 5 and c.size() == 0


def test_everybody_gets_everything(name):
    with RingQueue(name, config()) as a, RingQueue(name) as b:
        assert a.try_pop() is None and b.try_pop() is None
        for i in range(100):
            assert a.push(str(i).encode())
            assert numbers(a) == numbers(b) == [i]
        for i in range(8):
            assert a.push(str(i).encode())
        assert numbers(a) == list(range(8)) and len(a) == 0 and len(b) == 8
        assert a.try_push(b"x") is False and b.full() and not a.full()


def test_a_full_queue_overwrites(name):
    for capacity in 1, 2, 7, 8, 100:
        with RingQueue(name, overwriting(capacity=capacity)) as a, RingQueue(name, overwriting()) as b:
            assert a.capacity() == b.capacity() == capacity
            for i in range(10 * capacity):
                assert a.push(str(i).encode()) and a.try_push(str(i).encode())
            assert a.full() and len(a) == capacity
            newest = [i // 2 for i in range(19 * capacity, 20 * capacity)]
            assert int(b.peek()[0]) == newest[0]
            assert len(b) == capacity and numbers(b) == newest == numbers(a)
            assert b.pop() is None  # does not wait
            stats = b.get_stats()
            assert (stats.total_pushed, stats.overwrite_count, stats.total_popped >= capacity) == (20 * capacity, 19 * capacity, True)


@pytest.mark.parametrize("stamp", [0, 1, 2**63, 2**64 - 1])
def test_timestamps_are_kept(name, stamp):
    with RingQueue(name, config(has_timestamp=True)) as queue, RingQueue(name, config(has_timestamp=True)) as other:
        before = time.time_ns()
        assert queue.push(b"a", stamp) and queue.try_push(b"b", timestamp=stamp) and queue.push_with_timeout(b"c", 5, stamp) and queue.push(b"d")
        for reader in queue, other:
            assert [reader.pop() for _ in range(3)] == [(b"a", stamp), (b"b", stamp), (b"c", stamp)]
            assert before <= reader.pop()[1] <= time.time_ns()


def test_timestamps_are_of_the_push_without(name):
    with RingQueue(name, config()) as queue:
        assert queue.push(b"x", 5)
        assert abs(queue.pop()[1] - time.time_ns()) < 3600e9


def test_arrays(name):
    with RingQueue(name, config()) as queue:
        wave = np.arange(12, dtype=np.float32).reshape(3, 4)
        for array, dtype, shape in [
            (wave, np.float32, (3, 4)), (wave, np.float32, -1), (wave, "f4", (-1, 4)), (wave.T, np.float32, (4, 3)), (wave[:, ::2], np.float32, (3, 2)),
            (np.array(5, np.int16), np.int16, ()), (np.zeros((0, 3)), float, 0), ([1, 2], int, 2), (np.array([True, False]), bool, [2]),
        ]:  # fmt: skip
            assert queue.push_array(array)
            got, stamp = queue.pop_array(dtype, shape)
            assert got.dtype == np.dtype(dtype) and np.array_equal(got.ravel(), np.ravel(array)) and got.flags.writeable and stamp > 0
        assert queue.pop_array(np.float32, 3) is None
        queue.push_array(wave)
        for dtype, shape in [(np.float32, 11), (np.float64, (3, 4)), (np.float32, (-1, 5)), ("V7", -1)]:
            with pytest.raises(mq.MessageSizeError):
                queue.pop_array(dtype, shape)
        for dtype, shape in [(object, 1), (np.float32, (-1, -1)), (np.float32, -2), ("V0", -1), (np.float32, (0, -1))]:
            with pytest.raises(ValueError):
                queue.pop_array(dtype, shape)
        for dtype, shape in [("nonsense", 1), (np.float32, "x"), (np.float32, 1.5), (np.float32, None)]:
            with pytest.raises(TypeError):
                queue.pop_array(dtype, shape)
        assert np.array_equal(queue.pop_array(np.float32, (3, 4))[0], wave)  # it stayed
        with pytest.raises(TypeError):
            queue.push_array(np.array([object()]))
        assert queue.empty()


def test_iteration(name):
    with RingQueue(name, config()) as queue, RingQueueInt(name + "i", config()) as typed:
        for i in range(5):
            queue.push(b"%d" % i)
            typed.push(i)
        assert [int(data) for data, stamp in queue] == [0, 1, 2, 3, 4] == [value for value, stamp in typed]
        assert list(queue) == list(typed) == []


# ---- typed


@pytest.mark.parametrize("kind, good, bad", [
    (RingQueueInt, [0, 1, -1, 2**63 - 1, -(2**63), True, np.int32(-7)], [(2**63, OverflowError), (-(2**63) - 1, OverflowError), (1.0, TypeError), ("1", TypeError), (None, TypeError), (b"12345678", TypeError)]),
    (RingQueueDouble, [0.0, -0.5, 1e308, float("inf"), 3, np.float32(0.25)], [("1", TypeError), (None, TypeError), (b"12345678", TypeError), (1j, TypeError), (10**400, OverflowError)]),
], ids=["int", "double"])  # fmt: skip
def test_typed(name, kind, good, bad):
    with kind(name, config(has_timestamp=True)) as queue:
        assert queue.pop() == queue.peek() == queue.try_pop() == queue.pop_blocking(1) == queue.pop_with_timeout(1) == (None, 0)
        for value in good:
            assert queue.push(value, 7)
            assert queue.peek() == (value, 7)
            assert queue.pop() == (value, 7)
            assert queue.try_push(value, 0) and queue.push_with_timeout(value, 1, 8) and queue.push_blocking(value, 9)
            assert [queue.pop_blocking(1000), queue.pop_with_timeout(1000), queue.try_pop()] == [(value, 0), (value, 8), (value, 9)]
        for value, error in bad:
            with pytest.raises(error):
                queue.push(value)
        assert queue.empty() and queue.config.block_size == 8


def test_typed_pop_does_not_wait(name):
    """Even on a queue that would wait for ever."""
    with RingQueueInt(name, QueueConfig(timeout_ms=-1)) as queue:
        assert queue.pop() == (None, 0) == queue.try_pop()


def test_types_are_not_mixed_up(name):
    with RingQueueInt(name, config()) as queue:
        with pytest.raises(mq.InvalidConfigError, match="int64"):
            RingQueueDouble(name, config())
        with RingQueue(name) as raw, RingQueueInt(name) as same:
            queue.push(-2)
            assert raw.pop()[0] == struct.pack("=q", -2) and same.pop()[0] == -2
            raw.push(b"short")
            with pytest.raises(mq.MessageSizeError):
                same.pop()
            assert same.pop() == (None, 0)
            with pytest.raises(mq.MessageSizeError):
                raw.push(b"longer than 8")
    with RingQueue(name, config(block_size=4)):
        with pytest.raises(mq.InvalidConfigError, match="4"):
            RingQueueInt(name)


# ---- joining


def test_other_kinds_of_queue_are_refused(name):
    with RingQueue(name, config()):
        for other, why in [(overwriting(), "is BLOCKING"), (config(has_timestamp=True), "no timestamps")]:
            with pytest.raises(mq.InvalidConfigError, match=why):
                RingQueue(name, other)
    with RingQueue(name, overwriting(has_timestamp=True)):
        for other, why in [(config(has_timestamp=True), "is NON_BLOCKING"), (overwriting(), "has_timestamp")]:
            with pytest.raises(mq.InvalidConfigError, match=why):
                RingQueue(name, other)
    for shared in False, True:
        with mq.Producer(name, 8, 4096, shared=shared):
            with pytest.raises(mq.InvalidConfigError, match="not made for RingQueue"):
                RingQueue(name, config())


def test_plain_consumers_read_along(name):
    with RingQueue(name, config()) as queue, mq.Consumer(name, 8, 4096) as consumer:
        queue.push(b"x")
        assert consumer.pop() == b"x"


# ---- statistics


def test_stats(name):
    before = time.time_ns()
    with RingQueue(name, config()) as a, RingQueue(name) as b:
        s = a.get_stats()
        assert (s.total_pushed, s.total_popped, s.current_size, s.capacity, s.producer_count, s.consumer_count) == (0, 0, 0, 8, 2, 0)
        assert s.last_write_time == s.last_read_time == s.overwrite_count == 0 and s.is_closed is False
        for i in range(5):
            a.push(b"x")
        b.pop(), b.pop(), a.pop()
        s, now = a.get_stats(), time.time_ns()
        assert (s.total_pushed, s.total_popped, s.current_size, s.consumer_count) == (5, 3, 4, 2)
        assert before <= s.created_at <= s.last_write_time <= now and before - 10**9 <= s.last_read_time <= now
        assert b.get_stats().current_size == 3 and b.get_stats().last_write_time == 0
        a.close()
        s = a.get_stats()
        assert s.is_closed is True and s.capacity == 8
        assert b.get_stats().producer_count == 1


# ---- closing


CALLS = {
    "push": lambda q: q.push(b"x"), "try_push": lambda q: q.try_push(b"x"), "push_with_timeout": lambda q: q.push_with_timeout(b"x", 1),
    "push_blocking": lambda q: q.push_blocking(b"x"), "pop": lambda q: q.pop(), "try_pop": lambda q: q.try_pop(), "pop_with_timeout": lambda q: q.pop_with_timeout(1),
    "pop_blocking": lambda q: q.pop_blocking(), "peek": lambda q: q.peek(), "push_array": lambda q: q.push_array([1]),
    "pop_array": lambda q: q.pop_array("u1"), "size": lambda q: q.size(), "empty": lambda q: q.empty(), "full": lambda q: q.full(), "len": len, "next": next,
    "with": lambda q: q.__enter__(), "flush": lambda q: q.flush(),
}  # fmt: skip


@pytest.mark.parametrize("popped", [False, True])
@pytest.mark.parametrize("with_thread", [False, True])
def test_closed(name, popped, with_thread):
    queue = RingQueue(name, config(enable_async=with_thread))
    if popped:
        queue.pop()
    queue.close()
    queue.close()
    assert queue.is_closed() and "closed" in repr(queue)
    for what, call in CALLS.items():
        with pytest.raises(mq.QueueClosedError):
            call(queue)
            pytest.fail(what)
    with RingQueueInt(name + "i") as typed:
        typed.close()
        with pytest.raises(mq.QueueClosedError):
            typed.pop()


def test_removed_by_force(name):
    with RingQueue(name, config()) as queue, RingQueue(name) as fresh:
        queue.pop()
        assert mq.QueueManager().remove_queue(name, force=True)
        for call in CALLS["push"], CALLS["pop"], CALLS["full"]:
            for q in queue, fresh:
                if (call, q) != (CALLS["full"], queue):  # that is its cursor's
                    with pytest.raises((mq.QueueClosedError, mq.QueueSystemError)):
                        call(q)
        with RingQueue(name, config()):
            with pytest.raises((mq.QueueClosedError, mq.QueueSystemError)):  # it is another one
                fresh.pop()


# ---- processes


def push_numbers(name, count, start):
    with RingQueue(name, config(timeout_ms=-1)) as queue:
        for i in range(start, start + count):
            assert queue.push(str(i).encode())


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_several_processes_push(name, method):
    context = multiprocessing.get_context(method)
    with RingQueue(name, config(timeout_ms=-1)) as queue:
        children = [context.Process(target=push_numbers, args=(name, 2000, k * 10000)) for k in range(3)]
        for child in children:
            child.start()
        got = [int(queue.pop()[0]) for _ in range(6000)]
        for child in children:
            child.join()
            assert child.exitcode == 0
        for k in range(3):  # each one's order is kept
            assert [n for n in got if n // 10000 == k] == [k * 10000 + i for i in range(2000)]
        assert queue.try_pop() is None


def pop_numbers(name, count, results):
    with RingQueue(name, config(timeout_ms=-1)) as queue:
        results.put([int(queue.pop()[0]) for _ in range(count)])


def test_several_processes_pop(name):
    """Each gets everything. They attach at their first pop: the test pushes what stays in the ring, until all are there."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with RingQueue(name, config(timeout_ms=-1)) as queue:
        assert queue.push(b"0")
        children = [context.Process(target=pop_numbers, args=(name, 500, results)) for _ in range(2)]
        for child in children:
            child.start()
        while queue.get_stats().consumer_count < 2:
            time.sleep(0.01)
        for i in range(1, 500):
            assert queue.push(str(i).encode())
        assert [results.get(timeout=100) for _ in children] == [list(range(500))] * 2
        for child in children:
            child.join()


def test_a_child_of_fork_opens_its_own(name):
    with RingQueue(name, config()) as queue, RingQueue(name, config(enable_async=True)) as with_thread, RingQueueInt(name + "i", config()) as typed:
        typed.push(1)
        fresh = RingQueue(name)
        queue.pop()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for q in queue, with_thread, fresh:
                    for what, call in {**CALLS, "close": lambda q: q.close(), "stats": lambda q: q.get_stats()}.items():
                        with pytest.raises(ChildProcessError):
                            call(q)
                            os.write(2, f"{what} worked\n".encode())
                            os._exit(2)
                    q.__exit__(None, None, None)
                with pytest.raises(mq.QueueForkedError):
                    typed.pop()
                with RingQueue(name) as own:
                    own.push(b"from the child")
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert queue.pop()[0] == b"from the child" and typed.pop()[0] == 1
        fresh.close()


def test_with_a_ring_queue_of_c_plus_plus(name):
    peer = os.environ.get("MQSHM_PEER")
    if not peer:
        pytest.skip("needs MQSHM_PEER, see tests/python/package.sh")
    # The sizes are those of who comes first, the metadata too.
    there = config(has_timestamp=True, timeout_ms=-1, user_metadata="from Python", extra_queue_names=["x"])
    with RingQueue(name + "i", there) as to, RingQueue(name + "o", there) as back:
        assert back.try_pop() is None
        child = subprocess.Popen([peer, name + "i", name + "o"])
        for i in range(100):
            to.push(b"%d" % i, i)
            assert back.pop() == (b"%d" % i, i)
        to.push(b"")
        assert back.pop()[0] == b"" and child.wait() == 0
        assert to.get_stats().total_popped == 101
    child = subprocess.Popen([peer, name + "i", name + "o"])
    manager = mq.QueueManager()
    while not (manager.exists(name + "o") and manager.get_stats(name + "o").producer_count):
        time.sleep(0.001)
    with RingQueue(name + "o", there) as back, RingQueue(name + "i", there) as to:
        assert back.capacity() == to.capacity() == 5 and back.config.block_size == 100
        assert back.metadata() == "from C++" and back.extra_queue_names == []
        to.push(b"")
        assert back.pop()[0] == b"" and child.wait() == 0


# ---- threads


def test_threads_push_and_pop_on_one_object(name):
    count = 3000
    with RingQueue(name, config(timeout_ms=-1)) as queue:
        got, lock = [], threading.Lock()

        def push(k):
            for i in range(count):
                assert queue.push(b"%d" % (k * count + i))

        def pop():
            mine = [int(queue.pop()[0]) for _ in range(count)]
            with lock:
                got.append(mine)

        threads = [threading.Thread(target=push, args=(k,)) for k in range(2)] + [threading.Thread(target=pop) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(got[0] + got[1]) == list(range(2 * count))  # threads of one object share
        for mine in got:
            for k in range(2):
                part = [n for n in mine if n // count == k]
                assert part == sorted(part)


@pytest.mark.parametrize("wait", ["pop", "push", "async push"])
def test_close_ends_the_waits_of_other_threads(name, wait):
    queue = RingQueue(name, config(timeout_ms=-1, enable_async=wait == "async push", async_buffer_size=1))
    while wait == "push" and queue.try_push(b"x"):
        pass
    seen = []

    def waits():
        try:
            while True:
                queue.pop() if wait == "pop" else queue.push(b"x")
                seen.append(None)
        except mq.QueueClosedError as error:
            seen.append(error)

    thread = threading.Thread(target=waits)
    thread.start()
    if wait == "async push":
        while len(seen) < 8:
            time.sleep(0.001)
        queue._config.timeout_ms = 1
        with pytest.raises((mq.QueueTimeoutError, mq.QueueClosedError)):
            queue.close()
            raise mq.QueueClosedError("all was pushed before: its last put failed")
    else:
        assert queue.size() in (0, 8)  # while the other waits
        queue.close()
    thread.join()
    assert isinstance(seen[-1], mq.QueueClosedError)


@pytest.mark.parametrize("wait", [
    "q.pop()", "q.pop_blocking()", "q.pop_with_timeout(10**9)", "next(q)", "q.pop_array('u1')", "[q.push(b'x') for _ in range(9)]",
    "[q.push_blocking(b'x') for _ in range(9)]", "[a.push(b'x') for _ in range(99)]", "[a.push(b'x') for _ in range(9)] + [a.flush()]",
    "mq.RingQueueInt(sys.argv[1] + 'i').pop_blocking()", "mq.QueueManager().merge_queues([sys.argv[1]], -1).next()",
])  # fmt: skip
def test_ctrl_c_ends_every_wait(name, script, wait):
    child = script(
        """
        import os, threading, time
        import multiqueue_shm as mq
        q = mq.RingQueue(sys.argv[1], mq.QueueConfig(capacity=8, timeout_ms=-1))
        a = mq.RingQueue(sys.argv[1], mq.QueueConfig(capacity=8, timeout_ms=-1, enable_async=True, async_buffer_size=2))
        waits = ("7", "16", "202", "230", "271", "449", "98", "115")    # poll, ioctl, futex, clock_nanosleep, ppoll, futex_waitv
        def watch():    # runs, so the GIL is free in the wait
            seen = 0
            while seen < 10:
                time.sleep(0.001)
                with open(f"/proc/self/task/{os.getpid()}/syscall") as state:
                    seen = seen + 1 if state.read().split()[0] in waits else 0
            print(os.getpid(), flush=True)
        try:
            threading.Thread(target=watch).start()
            eval(sys.argv[2])
            print("it came back")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        os._exit(0)
        """,
        name, wait,
    )  # fmt: skip
    os.kill(int(child.line()), signal.SIGINT)
    assert child.line() == "interrupted"
    child.end()
    for queue in name, name + "i":  # it was left by _exit()
        mq.QueueManager().remove_queue(queue, force=True)


# ---- enable_async


def test_async_keeps_order_and_stamps(name):
    with RingQueue(name, config(enable_async=True, async_buffer_size=4, has_timestamp=True, timeout_ms=-1, async_thread_count=3)) as queue:
        reader = RingQueue(name, config(has_timestamp=True, timeout_ms=-1))
        got = []
        thread = threading.Thread(target=lambda: got.extend(reader.pop() for _ in range(500)))
        thread.start()
        buffer = bytearray(b"....")
        for i in range(500):
            buffer[:] = b"%4d" % i  # it is copied at once
            assert queue.push(buffer, i)
        thread.join()
        assert got == [(b"%4d" % i, i) for i in range(500)]
        assert queue.flush()
        reader.close()
        with pytest.raises(mq.MessageSizeError):
            queue.push(bytes(4097))
        for bad, error in [("x", TypeError), (None, TypeError)]:
            with pytest.raises(error):
                queue.push(bad)
        for bad, error in [(-1, OverflowError), (2**64, OverflowError), (1.5, TypeError)]:
            with pytest.raises(error):
                queue.push(b"x", bad)


def test_async_buffer_is_bounded(name):
    with RingQueue(name) as reader:
        reader.pop_with_timeout(0)
        queue = RingQueue(name, config(enable_async=True, async_buffer_size=3))
        capacity, pushed = queue.capacity(), 0
        while queue.push_with_timeout(b"%d" % pushed, 200 if pushed < capacity + 3 else 0):
            pushed += 1
        assert pushed == capacity + 3 and not queue.flush(1)
        for i in range(pushed):
            assert reader.pop_with_timeout(10000)[0] == b"%d" % i
        assert queue.flush()
        for _ in range(capacity + 3):
            queue.push_blocking(b"x")
        with pytest.raises(mq.QueueTimeoutError, match="3 messages"):
            queue.close()
        assert queue.is_closed()


def test_async_at_exit(name, script):
    """A script that ends right after its last push, without a close: nothing is lost."""
    with RingQueue(name, config(capacity=1000)) as reader:
        script(
            """
            import multiqueue_shm as mq
            queue = mq.RingQueue(sys.argv[1], mq.QueueConfig(capacity=1000, enable_async=True))
            for i in range(200):
                queue.push(b"%d" % i)
            """,
            name,
        ).end()
        assert numbers(reader) == list(range(200))


def test_async_that_is_dropped_leaves_no_thread(name):
    before = threading.active_count()
    queue = RingQueue(name, config(enable_async=True))
    assert threading.active_count() == before + 1
    del queue
    while threading.active_count() > before:
        time.sleep(0.001)


# ---- what is wrong

ODD = [None, True, -1, 0, 1 << 64, -(1 << 70), 1.5, "", "x", "é\0", "\udc80", b"", b"x", [], [1], {}, object(), int]


@pytest.mark.parametrize("kind", [RingQueue, RingQueueInt, RingQueueDouble])
def test_odd_arguments(name, kind):
    for bad in ODD:
        for args in [(bad,), (bad, bad), (name, bad), (name, bad, bad)]:
            if args[0] == "x":
                continue  # a good name
            try:
                kind(*args).close()
            except (TypeError, ValueError, OverflowError, OSError):
                assert args != (name, None)
    with kind(name, config()) as queue:
        with pytest.raises(RuntimeError):
            queue.__init__(name)
        with pytest.raises(TypeError):
            pickle.dumps(queue)
        for method in dir(queue):
            call = getattr(queue, method)
            if method.startswith("_") or not callable(call) or method in ("close", "name"):
                continue
            for bad in ODD:
                if "pop" in method and bad in (None, -1, -(1 << 70)):
                    continue  # would wait for ever
                for args in [(bad,), (bad, bad), (b"x", 0, bad), (bad,) * 4]:
                    if method == "push_blocking":
                        args = (bad, None, 0)
                    elif "blocking" in method and len(args) < 3 or "timeout" in method and (len(args) < 2 or args[1] in (None, -1, -(1 << 70))):
                        args = (*args[:1], 0)
                    if method == "flush" and args[0] in (None, -1):
                        continue
                    try:
                        call(*args)
                    except (TypeError, ValueError, OverflowError, OSError, BufferError, mq.MultiQueueError):
                        pass
    for bad_name in "", ".x", "a/b", "x" * 64, "a b", "a\0b", "control":
        with pytest.raises(mq.InvalidConfigError):
            kind(bad_name, config())


@pytest.mark.parametrize("kind", ["RingProducer", "RingConsumer"])
def test_the_native_part(name, kind):
    kind = getattr(mq._native, kind)
    empty = kind.__new__(kind)
    for method in "push", "pop_message", "peek_message", "info", "counts", "last_write":
        if hasattr(empty, method) and method not in ("info", "counts", "last_write"):
            with pytest.raises((mq.QueueClosedError, TypeError)):
                getattr(empty, method)()
    with RingQueue(name, config()) as queue:
        queue.push(b"12345")
        for bad in ODD:
            for args in [(bad,), (name, bad), (name, bad, bad), (name, 8, 4096, bad), (name, 8, 4096, 5, bad)]:
                if args[0] == "x":
                    continue  # a good name
                try:
                    kind(*args).close()
                except (TypeError, ValueError, OverflowError, OSError):
                    pass
        thing = kind(name)
        with pytest.raises(RuntimeError):
            thing.__init__(name)
        if kind is mq._native.RingConsumer:
            for args in [(0, 4), (0, -1, 2), (0, 6, 1)]:
                with pytest.raises(mq.MessageSizeError):
                    thing.pop_message(*args)
            assert thing.peek_message(0, False)[0] is None
            assert thing.pop_message(0, 5)[0] == b"12345" and thing.counts() == (1, 0)
        thing.close()
    for call in mq._native.stat, mq._native.remove:
        for bad in ODD:
            with pytest.raises((TypeError, mq.MultiQueueError, UnicodeError)) if not isinstance(bad, str) or bad != "x" else pytest.raises(AssertionError):
                call(bad)
                raise AssertionError
    with pytest.raises(OSError) as caught:
        kind(name + "-none")
    assert caught.value.errno == errno.ENOENT


# ---- memory


def resident():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_memory_stays_flat(name):
    """10 million messages with MQSHM_LONG, else a tenth."""
    with RingQueue(name, config(capacity=512, has_timestamp=True)) as queue, RingQueueInt(name + "i", config()) as typed, \
            RingQueue(name + "o", overwriting()) as over:  # fmt: skip
        block = np.arange(16, dtype=np.float32)

        def some():
            for i in range(2000):
                queue.push(b"x" * 64, i)
                queue.peek()
                assert queue.pop()[1] == i
                typed.push(i << 40)
                assert typed.pop()[0] == i << 40
                over.push(b"y")
                queue.push_array(block)
                queue.pop_array("f4")
                if i % 100 == 0:
                    over.try_pop()
                    queue.get_stats(), queue.full(), over.get_stats(), queue.config
                    with RingQueue(name + "h", config()) as other:
                        other.push(b"z")
                        other.pop()

        for _ in range(5):
            some()
        before = resident()
        for _ in range(1250 if LONG else 120):
            some()
        assert resident() - before < 4 << 20
