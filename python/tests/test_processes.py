# SPDX-License-Identifier: MIT
"""Several processes: spawned, forked, started; killed; and many messages."""

import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

import multiqueue_shm as mq
from multiqueue_shm import Consumer, Producer

BLOCKS, FLOATS = 2000, 3200


def produce(name):
    with Producer(name, 64, 4 * FLOATS) as producer:
        for i in range(BLOCKS):
            with producer.reserve(4 * FLOATS) as view:
                np.frombuffer(view, np.float32)[:] = i


def consume(name, ready, sums):
    with Consumer(name, 64, 4 * FLOATS) as consumer:
        ready.set()
        total = count = 0
        for block in consumer:
            array = np.frombuffer(block, np.float32)
            assert (array == count).all() and array.size == FLOATS
            total += int(array[0])
            count += 1
        sums.put((count, total))


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(name, method):
    context = multiprocessing.get_context(method)
    sums, ready = context.SimpleQueue(), [context.Event() for _ in range(2)]
    consumers = [context.Process(target=consume, args=(name, event, sums)) for event in ready]
    producer = context.Process(target=produce, args=(name,))
    for process in consumers:
        process.start()
    for event in ready:
        assert event.wait(60)
    producer.start()
    results = [sums.get(), sums.get()]
    for process in [producer, *consumers]:
        process.join(60)
        assert process.exitcode == 0
    assert results == [(BLOCKS, BLOCKS * (BLOCKS - 1) // 2)] * 2


def child(call):
    """Run call in a forked child, with what the parent has open; it must end well, and without a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            call()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_child_may_not_use_its_parents_handles(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        producer.push(b"a")
        calls = [
            lambda: producer.push(b"x"), lambda: producer.push_batch([b"x"]), lambda: producer.reserve(1), producer.metadata,
            producer.is_active, producer.close, producer.fail, producer.__enter__,
            consumer.pop, lambda: consumer.pop(-1), lambda: consumer.pop_batch(1), consumer.peek, consumer.release,
            consumer.fileno, consumer.metadata, consumer.is_active, consumer.unregister, consumer.close,
            consumer.__enter__, lambda: next(consumer), lambda: consumer.lag, lambda: consumer.missed, lambda: consumer.ended,
        ]  # fmt: skip

        def use():
            for call in calls:
                with pytest.raises(mq.QueueForkedError, match="parent"):
                    call()
                with pytest.raises(ChildProcessError):
                    call()

        child(use)
        assert consumer.pop() == b"a" and producer.push(b"b") and consumer.pop() == b"b"  # nothing has happened to us

        def open_its_own():
            with Consumer(name, 8, 64, "FROM_OLDEST_AVAILABLE") as own:
                assert own.pop_batch(9) == [b"a", b"b"]

        child(open_its_own)

        def end():
            nonlocal producer, consumer
            with producer, consumer:
                pass

        def drop():
            nonlocal producer, consumer, calls
            del producer, consumer, calls
            gc.collect()

        with pytest.raises(AssertionError):
            child(end)  # __enter__ raises
        child(drop)
        assert producer.push(b"c") and consumer.pop() == b"c"


def test_a_child_with_views(name):
    """There is no mapping behind them, but there is no crash either."""
    size = 40000
    with Producer(name, 8, size) as producer, Consumer(name, 8, size) as consumer:
        producer.push(b"\1" * size)
        view = consumer.peek()
        array, room = np.frombuffer(view, "u1"), producer.reserve(size)
        filled = np.frombuffer(room.__enter__(), "u1")
        filled[:] = 2

        def look():
            nonlocal array, filled, room, view
            assert array.sum() == 0 and bytes(view) == bytes(size)
            filled[:] = 3
            for call in room.commit, room.abort, consumer.release, consumer.close:
                with pytest.raises(ChildProcessError):
                    call()
            with pytest.raises(ChildProcessError):
                room.__enter__()
            del array, filled, room, view
            gc.collect()

        child(look)
        assert array.sum() == size and filled.sum() == 2 * size
        del array, filled
        room.commit()
        assert consumer.pop() == b"\1" * size and consumer.pop() == b"\2" * size


def test_a_fork_while_another_thread_waits(name):
    import threading

    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        thread = threading.Thread(target=consumer.pop, args=(-1,))
        thread.start()

        def use():
            with pytest.raises(ChildProcessError):
                consumer.pop()
            gc.collect()

        for _ in range(20):
            child(use)
        producer.push(b"x")
        thread.join(60)
        assert not thread.is_alive()


def test_a_killed_producer(name, script):
    with Consumer(name, 8, 64) as consumer:
        victim = script(
            """
            import time
            from multiqueue_shm import Producer
            p = Producer(sys.argv[1], 8, 64)
            p.push(b"last")
            print(p.is_active(), flush=True)
            time.sleep(1e6)
            """,
            name,
        )
        assert victim.line() == "True"
        victim.process.send_signal(signal.SIGKILL)
        assert next(consumer) == b"last"
        with pytest.raises(mq.ProducerDiedError):
            next(consumer)
        assert consumer.ended == "died"
        with Producer(name, 8, 64) as producer:
            producer.push(b"next")
            assert next(consumer) == b"next"


def test_a_program_that_ends_closes(name, script):
    with Consumer(name, 8, 64) as consumer:
        script("from multiqueue_shm import Producer; p = Producer(sys.argv[1], 8, 64); p.push(b'a')", name).end()
        assert list(consumer) == [b"a"] and consumer.ended == "closed"


@pytest.mark.parametrize("close", ["", "atexit.register(c.close)", "atexit.register(p.close)", "keep = At(c)", "keep = At(p)"])
def test_a_program_that_ends_with_threads_that_wait(name, script, close):
    child = script(
        """
        import atexit, threading, time
        from multiqueue_shm import Consumer, Producer
        class At:
            def __init__(self, handle):
                self.me, self.it = self, handle
            def __del__(self):
                self.it.close()
        p, c = Producer(sys.argv[1], 4, 64), Consumer(sys.argv[1], 4, 64)
        other = Producer(sys.argv[1] + "2", 4, 64), Consumer(sys.argv[1] + "2", 4, 64)
        other[0].push_batch([b"x"] * 4)
        for call in (lambda: c.pop(-1), lambda: list(c), lambda: other[0].push(b"x", -1)):
            threading.Thread(target=call, daemon=True).start()
        time.sleep(0.02)
        exec(sys.argv[2])
        """,
        name,
        close,
    )
    assert child.end() == ""
    if "atexit" not in close:  # else the threads are told, and say so
        assert child.errors == ""


def test_a_program_that_ends_with_an_array_of_a_message(name, script):
    """What is in view stays mapped to the end; the queue of the dead is cleaned up by who comes next."""
    script(
        """
        import numpy
        from multiqueue_shm import Consumer, Producer
        p, c = Producer(sys.argv[1], 4, 64), Consumer(sys.argv[1], 4, 64)
        p.push(b"abcd")
        class Late:
            def __init__(self, array):
                self.me, self.array = self, array
            def __del__(self):
                assert bytes(self.array) == b"abcd"
                print("seen")
        Late(numpy.frombuffer(c.peek(), "u1"))
        """,
        name,
    ).end()
    Consumer(name, 8, 128).close()


def test_the_tool_reads_what_python_writes(name):
    tool = subprocess.Popen([os.environ["MQSHM"], "pop", name], stdout=subprocess.PIPE)
    with Producer(name, 8, 64) as producer:
        while str(tool.pid) not in subprocess.run([os.environ["MQSHM"], "stat", name], capture_output=True, text=True).stdout:
            pass
        producer.push_batch([b"one\n", b"two\n"], timeout_ms=-1)
    assert tool.communicate()[0] == b"one\ntwo\n" and tool.returncode == 0


def resident():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def test_memory_stays_flat(name):
    """10 million messages, by every way; and handles, views and reservations that come and go."""
    with Producer(name, 512, 64) as producer, Consumer(name, 512, 64) as consumer:
        batch, one = [b"x" * 64] * 500, b"y" * 48

        def some():
            for _ in range(1800):
                producer.push_batch(batch)
                assert len(consumer.pop_batch(500)) == 500
            for _ in range(50000):
                producer.push(one)
                consumer.pop()
            for _ in range(25000):
                with producer.reserve(8) as view:
                    view[0] = 1
                with consumer.peek() as view:
                    assert view[0] == 1
            for _ in range(25000):
                producer.push(one)
                next(consumer)

        def handles():
            for i in range(300):
                with Consumer(name, 512, 64) as c:
                    c.fileno()
                    producer.push(one)
                    np.frombuffer(c.peek(), "u1")
                    c.pop()
                consumer.pop()
                with pytest.raises(mq.MultiQueueError):
                    Producer(name, 512, 64)

        some()
        handles()
        before = resident()
        for _ in range(10):
            some()
        handles()
        assert resident() - before < 4 << 20
