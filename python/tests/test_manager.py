# SPDX-License-Identifier: MIT
"""QueueManager, MergedQueueView, TimestampSynchronizer."""

import errno
import os
import threading
import time

import pytest

import multiqueue_shm as mq
from multiqueue_shm import BlockingMode, QueueConfig, QueueManager, RingQueue, RingQueueDouble, RingQueueInt


def stamped(**keywords):
    return QueueConfig(**{"capacity": 64, "timeout_ms": 0, "has_timestamp": True, **keywords})


@pytest.fixture
def pair(name):
    with RingQueue(name + "a", stamped()) as a, RingQueue(name + "b", stamped()) as b:
        yield a, b
    for end in "ab":
        assert not mq.QueueManager().exists(name + end)


def merged(*queues, ms=0):
    return QueueManager().merge_queues([q.name for q in queues], ms)


# ---- the manager


def test_create_or_open(name):
    with QueueManager() as manager:
        assert not manager.exists(name) and name not in manager.list_queues()
        queue = manager.create_or_open(name, QueueConfig(capacity=3))
        assert manager.create_or_open(name) is queue and manager.create_or_open("", QueueConfig(queue_name=name)) is queue
        assert queue.capacity() == 3 and manager.exists(name) and name in manager.list_queues()
        typed = manager.create_or_open(name + "i", kind=RingQueueInt)
        assert type(typed) is RingQueueInt
        with pytest.raises(mq.InvalidConfigError, match="RingQueueInt"):
            manager.create_or_open(name + "i")
        with pytest.raises(TypeError):
            manager.create_or_open(name + "d", None, list)
        queue.push(b"x")
        assert manager.get_stats(name).total_pushed == 1 and set(manager.get_stats()) == {name, name + "i"}
        assert QueueManager().get_stats(name).current_size == 1
        assert manager.close_queue(name) is True and manager.close_queue(name) is False
        assert queue.is_closed() and not manager.exists(name)
        again = manager.create_or_open(name)
        assert again is not queue and again.capacity() == 1024
        again.close()
        assert manager.close_queue(name) is False
        assert not manager.create_or_open(name).is_closed()
    assert typed.is_closed() and not QueueManager().exists(name)
    with pytest.raises(OSError) as caught:
        QueueManager().get_stats(name)
    assert caught.value.errno == errno.ENOENT


def test_remove(name):
    manager = QueueManager()
    assert manager.remove_queue(name) is False
    manager.create_or_open(name)
    assert manager.remove_queue(name) is True and not manager.exists(name)
    with RingQueue(name) as other:
        with pytest.raises(OSError) as caught:
            manager.remove_queue(name)
        assert caught.value.errno == errno.EBUSY
        assert manager.remove_queue(name, force=True) and not manager.exists(name)
        with pytest.raises((mq.QueueClosedError, OSError)):
            other.push(b"x")
    for bad in None, 1, b"x":
        for call in manager.exists, manager.remove_queue:
            with pytest.raises(TypeError):
                call(bad)


def test_threads_share_a_manager(name):
    with QueueManager() as manager:
        got = []
        threads = [threading.Thread(target=lambda: got.append(manager.create_or_open(name))) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(got) == 8 and len(set(map(id, got))) == 1


def test_fork(pair):
    manager, view = QueueManager(), merged(*pair)
    pid = os.fork()
    if pid == 0:
        try:
            for call in (
                lambda: manager.create_or_open("x"), manager.close_all, lambda: manager.close_queue("x"), view.next, view.has_more, view.close, manager.get_stats,
            ):  # fmt: skip
                with pytest.raises(ChildProcessError):
                    call()
                    os._exit(2)
            view.__exit__(None, None, None)
            manager.__exit__(None, None, None)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    view.close()


# ---- merging


def test_merge_is_in_order_of_time(pair):
    a, b = pair
    for stamp in 1, 4, 5, 9:
        a.push(b"a%d" % stamp, stamp)
    for stamp in 2, 3, 5, 7, 0:
        b.push(b"b%d" % stamp, stamp)
    with merged(a, b, ms=None) as view:
        assert view.has_more()
        got = [view.next() for _ in range(7)]
        assert got == [(b"a1", 1), (b"b2", 2), (b"b3", 3), (b"a4", 4), (b"a5", 5), (b"b5", 5), (b"b7", 7)]
        assert view.next() == (b"b0", 0)  # within a queue the order stays
        assert view.get_sync_stats() == (8, 0, 1)
        b.push(b"b10", 10)
        assert view.next() == (b"a9", 9)
        stats = view.get_sync_stats()
        assert (stats.total_synced, stats.timeout_count, stats.timestamp_rewind_count) == (9, 0, 1)
        view.reset_stats()
        assert view.get_sync_stats() == (0, 0, 0)


def test_merge_takes_nothing_from_others(pair):
    a, b = pair
    for i in range(5):
        a.push(b"%d" % i, i)
    with merged(a, b) as view:
        assert len(list(view)) == 5
        for i in range(3):
            a.push(b"%d" % i, 10 + i)
        assert a.pop() and [stamp for _, stamp in view] == [10, 11, 12] and not view.has_more()


def test_silent_queues_are_not_waited_for(pair):
    a, b = pair
    with merged(a, b, ms=30) as view:
        before = time.monotonic()
        assert view.next() is None
        assert time.monotonic() - before >= 0.03
        a.push(b"a", 5)
        assert view.next() == (b"a", 5)  # both are silent by now
        b.push(b"late", 3)
        assert view.next() == (b"late", 3)
        stats = view.get_sync_stats()
        assert stats.timeout_count >= 2 and stats.timestamp_rewind_count == 1
        assert list(view) == []


def test_merge_waits_for_the_message_that_is_missing(pair):
    a, b = pair
    with merged(a, b, ms=-1) as view:
        got = []
        thread = threading.Thread(target=lambda: got.extend([view.next(), view.next()]))
        thread.start()
        a.push(b"later", 2)
        time.sleep(0.02)  # whatever happens meanwhile: it must not be given
        assert got == []
        b.push(b"sooner", 1)
        a.push(b"x", 3)
        b.push(b"y", 3)
        thread.join()
        assert got == [(b"sooner", 1), (b"later", 2)]


def test_closing_a_view(pair):
    a, b = pair
    view, seen = merged(a, b, ms=-1), []

    def waits():
        try:
            view.next()
        except mq.QueueClosedError as error:
            seen.append(error)

    thread = threading.Thread(target=waits)
    thread.start()
    view.close()
    thread.join()
    assert seen
    view.close()
    for call in view.next, view.has_more:
        with pytest.raises(mq.QueueClosedError):
            call()
    assert a.get_stats().consumer_count == 0


def test_a_stream_that_ended_is_not_waited_for(name):
    producer = mq.Producer(name, 64, 64)
    producer.push(b"1")
    with RingQueue(name + "b", stamped()) as b, QueueManager().merge_queues([name, b.name], None) as view:
        b.push(b"2", 2**64 - 1)
        assert view.next()[0] == b"1"
        producer.close()
        assert view.next() == (b"2", 2**64 - 1)
        with mq.Producer(name, 64, 64) as another:
            another.push(b"3")
            b.push(b"4", 2**64 - 1)  # that one is waited for
            assert view.next()[0] == b"3"


def test_the_end_of_a_stream_does_not_keep_it_awake(name, monkeypatch):
    """Its descriptor is readable for good."""
    with mq.Producer(name, 8, 64) as producer:
        view, sleeps, sleep = QueueManager().merge_queues([name], 200), [], mq.MergedQueueView._sleep
        producer.push(b"x")
    assert view.next()[0] == b"x"
    monkeypatch.setattr(mq.MergedQueueView, "_sleep", lambda *args: (sleeps.append(1), sleep(*args)))
    assert view.next() is None
    assert 1 <= len(sleeps) < 50
    view.close()


def test_merge_of_queues_that_overwrite(name):
    over = stamped(capacity=8, blocking_mode=BlockingMode.NON_BLOCKING)
    with RingQueue(name + "a", over) as a, RingQueue(name + "b", over) as b, merged(a, b) as view:
        for i in range(4):
            a.push(b"a", 2 * i)
            b.push(b"b", 2 * i + 1)
        assert view.next() == (b"a", 0) and view.next() == (b"b", 1)
        for i in range(100, 200):  # what was looked at has gone
            a.push(b"a", 2 * i)
        got = [stamp for _, stamp in view]
        assert got == [3, 5, 7] + [2 * i for i in range(192, 200)]


def test_wrong_arguments(pair):
    manager = QueueManager()
    for bad, error in [([], ValueError), ("abc", TypeError), (None, TypeError), ([1], TypeError), ([b"x"], TypeError), (["a/b"], ValueError)]:
        with pytest.raises(error):
            manager.merge_queues(bad)
    with pytest.raises(OSError) as caught:
        manager.merge_queues([pair[0].name, pair[0].name + "-none"])
    assert caught.value.errno == errno.ENOENT
    for bad in 1.5, "1", [1]:
        with pytest.raises(TypeError):
            manager.merge_queues([pair[0].name], bad)
    assert pair[0].get_stats().consumer_count == 0


def test_many_queues(name):
    queues = [RingQueueDouble(f"{name}{i}", stamped()) for i in range(20)]
    for round in range(3):
        for i, q in enumerate(queues):
            q.push(0.5, round * 100 + (7 * i) % 20)
    with merged(*queues) as view:
        assert [stamp for _, stamp in view] == [round * 100 + i for round in range(3) for i in range(20)]
    for q in queues:
        q.close()


# ---- timestamps


def test_timestamps():
    sync = mq.TimestampSynchronizer
    for now, unit in (sync.now, 1), (sync.now_micros, 1000), (sync.now_millis, 10**6), (mq.timestamp_now, 1), \
            (mq.timestamp_micros, 1000), (mq.timestamp_millis, 10**6), (mq.timestamp_now_micros, 1000), (mq.timestamp_now_millis, 10**6):  # fmt: skip
        before = time.time_ns() // unit
        assert before <= now() <= time.time_ns() // unit
    assert sync.nanos_to_micros(1999) == 1 and sync.nanos_to_millis(1_999_999) == 1 and sync().nanos_to_millis(5_000_000) == 5
    now = sync.now()
    assert sync.is_timestamp_valid(now) and not sync.is_timestamp_valid(0) and not sync.is_timestamp_valid(now + 3600 * 10**9)
    assert sync.is_timestamp_valid(now - 5 * 10**9, 3600000) and not sync.is_timestamp_valid(now - 5 * 10**9, tolerance_ms=4999)
    with pytest.raises(TypeError):
        sync.is_timestamp_valid("now")
