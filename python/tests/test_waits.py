# SPDX-License-Identifier: MIT
"""Waits: signals, threads, descriptors, asyncio."""

import asyncio
import ctypes
import os
import select
import signal
import sys
import threading
import time

import pytest

import multiqueue_shm as mq
from multiqueue_shm import Consumer, Producer

WAITS = {
    "pop": "c.pop(-1)",
    "pop with a timeout": "c.pop(10**9)",
    "pop_batch": "c.pop_batch(5, None)",
    "peek": "c.peek(-1)",
    "iteration": "next(c)",
    "push": "p.push(b'x', -1)",
    "large push": "p.push(bytes(12800), -1)",
    "push_batch": "p.push_batch([b'x'] * 5, -1)",
    "reserve": "p.reserve(5)",
    "pop after the end": "(p.close(), c.pop_batch(9), c.pop(10**9))",
    "pop in a thread's shadow": "(threading.Thread(target=c.pop, args=(-1,), daemon=True).start(), c.pop(-1))",
    "push in a thread's shadow": "(threading.Thread(target=p.push, args=(b'x', -1), daemon=True).start(), p.push(b'x', -1))",
}

WAITER = """
    import os, threading, time
    from multiqueue_shm import Consumer, Producer
    p, c = Producer(sys.argv[1], 4, 12800), Consumer(sys.argv[1], 4, 12800)
    if sys.argv[2].startswith(("p.", "(threading.Thread(target=p")):
        p.push_batch([b"x"] * 4)
    if sys.argv[3] == "other":    # the signal comes to a thread that is not the waiter
        threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()
    print(os.getpid(), flush=True)
    try:
        eval(sys.argv[2])
        print("it came back")
    except KeyboardInterrupt:
        print("interrupted", time.monotonic(), flush=True)
    sys.stdout.flush()
    p.close(); c.close()
    os._exit(0)
"""


def asleep(pid):
    """Wait until the main thread of a process sleeps."""
    while True:
        with open(f"/proc/{pid}/task/{pid}/syscall", encoding="ascii") as state:
            if state.read().split()[0] in ("16", "202", "230", "449", "98", "115"):  # ioctl, futex, clock_nanosleep, futex_waitv
                return
        time.sleep(0.001)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
@pytest.mark.parametrize("to", ["main", "other"])
def test_ctrl_c_ends_every_wait(name, script, wait, to):
    child = script(WAITER, name, wait, to)
    pid = int(child.line())
    asleep(pid)
    thread = pid
    if to == "other":
        thread = max(int(task) for task in os.listdir(f"/proc/{pid}/task"))
    before = time.monotonic()
    signal_thread(pid, thread)
    word, *when = child.line().split()
    assert word == "interrupted"
    print(f"{float(when[0]) - before:.3f} s")
    child.end()


def signal_thread(pid, thread):
    """tgkill(): the signal to this thread alone."""
    assert ctypes.CDLL(None, use_errno=True).syscall(234, pid, thread, int(signal.SIGINT)) == 0


def test_a_handler_that_does_not_raise_ends_no_wait(name, script):
    child = script(
        """
        import os, signal
        from multiqueue_shm import Consumer
        count = 0
        def handler(*_):
            global count
            count += 1
            print("handled", flush=True)
        signal.signal(signal.SIGUSR1, handler)
        c = Consumer(sys.argv[1], 4, 64)
        print(os.getpid(), flush=True)
        print(c.pop(-1), count)
        """,
        name,
    )
    pid = int(child.line())
    for _ in range(3):
        asleep(pid)
        child.process.send_signal(signal.SIGUSR1)
        assert child.line() == "handled"
    with Producer(name, 4, 64) as producer:
        producer.push(b"now")
        assert child.line() == "b'now' 3"
    child.end()


@pytest.fixture
def pair(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        yield producer, consumer


class Background(threading.Thread):
    """A thread whose result, or exception, is asked for later."""

    def __init__(self, call, *args):
        super().__init__(daemon=True)
        self.call, self.args, self.result = call, args, None
        self.start()

    def run(self):
        try:
            self.result = self.call(*self.args)
        except BaseException as error:
            self.result = error

    def get(self):
        self.join(60)
        assert not self.is_alive(), "it still waits"
        return self.result


def sleeps(thread):
    """Wait until a thread of ours sleeps in the library or on its handle: futex, or the module's ioctl."""
    while True:
        with open(f"/proc/self/task/{thread.native_id}/syscall", encoding="ascii") as state:
            if state.read().split()[0] in ("202", "16"):
                return
        time.sleep(0.001)


def test_the_gil_is_free_during_waits(pair):
    producer, consumer = pair
    popper = Background(consumer.pop, -1)
    sleeps(popper)
    assert producer.push(b"a")
    assert popper.get() == b"a"
    producer.push_batch([b"x"] * 8)
    pusher = Background(producer.push, b"y", -1)
    sleeps(pusher)
    assert consumer.pop() == b"x"
    assert pusher.get() is True


@pytest.mark.parametrize("size,free", [(64, False), (1 << 24, True)])
def test_the_gil_is_free_during_large_copies(name, size, free):
    """Nobody takes the GIL away (switchinterval): another thread runs only when it is let go. Else this never ends."""
    with Producer(name, 2, size) as producer, Consumer(name, 2, size) as consumer:
        count, stop = [0], []

        def run():
            while not stop:
                count[0] += 1
                time.sleep(0)

        data, interval = bytes(size), sys.getswitchinterval()
        other = Background(run)
        sys.setswitchinterval(1000)
        try:
            for push, pop in (producer.push, consumer.pop), (lambda d: producer.push_batch([d]), lambda: consumer.pop_batch(1)):
                pushed = popped = tries = 0
                while not (pushed and popped) if free else tries < 100:  # on a busy machine the other may come late
                    tries += 1
                    time.sleep(0)
                    before = count[0]
                    assert push(data)
                    pushed += count[0] != before
                    time.sleep(0)
                    before = count[0]
                    assert pop()
                    popped += count[0] != before
                assert free or pushed == popped == 0
        finally:
            stop.append(True)
            sys.setswitchinterval(interval)
            other.get()


@pytest.mark.parametrize("call", ["pop", "pop_batch", "peek", "next"])
def test_close_ends_a_pop_of_another_thread(name, call):
    consumer = Consumer(name, 8, 64)
    calls = {"pop_batch": lambda: consumer.pop_batch(3, -1), "next": lambda: next(consumer)}
    waiting = [Background(calls.get(call) or (lambda: getattr(consumer, call)(-1))) for _ in range(3)]
    for w in waiting:
        sleeps(w)
    consumer.close()
    for w in waiting:
        assert isinstance(w.get(), mq.QueueClosedError)


@pytest.mark.parametrize("call", ["push", "push_batch", "reserve"])
def test_close_ends_a_push_of_another_thread(name, call):
    with Consumer(name, 8, 64):
        producer = Producer(name, 8, 64)
        producer.push_batch([b"x"] * 8)
        argument = {"push": b"x", "push_batch": [b"x"], "reserve": 5}[call]
        waiting = [Background(getattr(producer, call), argument, -1) for _ in range(3)]
        for w in waiting:
            sleeps(w)
        producer.close()
        for w in waiting:
            assert isinstance(w.get(), mq.QueueClosedError)


def test_who_waits_holds_nobody_up(pair):
    producer, consumer = pair
    waiting = [Background(consumer.pop, -1) for _ in range(3)]
    for w in waiting:
        sleeps(w)
    for _ in range(100):
        assert consumer.pop() is None and consumer.peek() is None and consumer.pop(1) is None
        assert (consumer.lag, consumer.missed, consumer.ended, consumer.is_active()) == (0, 0, None, True)
        assert consumer.fileno() > 0 and consumer.metadata() == ""
    producer.push_batch([b"x"] * 3)
    assert [w.get() for w in waiting] == [b"x"] * 3


def test_threads_share_a_producer_and_a_consumer(name):
    with Producer(name, 16, 64) as producer, Consumer(name, 16, 64) as consumer:
        count, threads = 3000, 4

        def push(which):
            for i in range(0, count, 2):
                assert producer.push(b"%d %d" % (which, i), timeout_ms=-1)
                assert producer.push_batch([b"%d %d" % (which, i + 1)], timeout_ms=None) == 1

        def pop(which):
            got = []
            while True:
                if which % 3 == 0:
                    messages = [consumer.pop(20)]
                elif which % 3 == 1:
                    messages = consumer.pop_batch(5, 20)
                else:
                    messages = [consumer.pop()]
                messages = [m for m in messages if m is not None]
                if b"end" in messages:
                    return got + [m for m in messages if m != b"end"]
                got += messages

        poppers = [Background(pop, i) for i in range(threads)]
        pushers = [Background(push, i) for i in range(threads)]
        for p in pushers:
            assert p.get() is None
        while any(p.is_alive() for p in poppers):
            producer.push(b"end", timeout_ms=10)
        got = [p.get() for p in poppers]
        assert sorted(sum(got, [])) == sorted(b"%d %d" % (w, i) for w in range(threads) for i in range(count))
        for one in got:  # each sees every pusher's messages in order
            for which in range(threads):
                order = [int(m.split()[1]) for m in one if m.startswith(b"%d " % which)]
                assert order == sorted(order)


def test_threads_peek_reserve_and_pop_at_once(name):
    """Whatever happens to views in between: an exception, or the right bytes."""
    with Producer(name, 16, 64) as producer, Consumer(name, 16, 64) as consumer:
        stop, seen = [], []

        def fill():
            i = 0
            while not stop:
                try:
                    with producer.reserve(8, timeout_ms=5) as view:
                        view[:] = i.to_bytes(8, "little")
                    i += 1
                except (mq.QueueTimeoutError, mq.QueueSystemError):
                    pass

        def look():
            while not stop:
                try:
                    with consumer.peek(5) or memoryview(b"") as view:
                        if view.nbytes:
                            seen.append(int.from_bytes(view, "little"))
                except (BufferError, ValueError):
                    pass

        def take():
            while not stop:
                try:
                    data = consumer.pop(1)
                    if data is not None:
                        seen.append(int.from_bytes(data, "little"))
                except BufferError:
                    pass

        threads = [Background(f) for f in (fill, fill, look, look, take, take)]
        while len(seen) < 5000:
            time.sleep(0.01)
            assert all(t.is_alive() for t in threads), [t.result for t in threads]
        stop.append(True)
        for t in threads:
            assert t.get() is None
        assert len(set(seen)) >= 1000


def test_fileno(pair):
    producer, consumer = pair
    poll = select.poll()
    poll.register(consumer, select.POLLIN)
    assert consumer.pop() is None and poll.poll(0) == []
    pusher = Background(lambda: (time.sleep(0.01), producer.push(b"a")))
    assert poll.poll(60000) == [(consumer.fileno(), select.POLLIN)]
    pusher.get()
    assert consumer.pop() == b"a" and consumer.pop() is None and poll.poll(0) == []
    producer.close()
    assert poll.poll(60000)


def test_async_for(pair):
    producer, consumer = pair
    got = []

    async def consume():
        async for message in consumer:
            got.append(message)

    async def produce():
        for i in range(500):
            while not producer.push(b"%d" % i):
                await asyncio.sleep(0)
            if i % 50 == 0:
                await asyncio.sleep(0.001)
        producer.close()

    async def both():
        await asyncio.wait_for(asyncio.gather(consume(), produce()), 60)

    asyncio.run(both())
    assert got == [b"%d" % i for i in range(500)]


def test_async_tasks_share_a_consumer(pair):
    producer, consumer = pair
    got = []

    async def consume():
        async for message in consumer:
            got.append(message)

    async def main():
        tasks = [asyncio.create_task(consume()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for i in range(100):
            while not producer.push(b"%d" % i):
                await asyncio.sleep(0.001)
        producer.fail()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    assert [type(r) for r in asyncio.run(main())] == [mq.ProducerDiedError] * 3
    assert sorted(got, key=int) == [b"%d" % i for i in range(100)]


def test_async_close_and_cancel(pair):
    _, consumer = pair

    async def consume():
        async for _ in consumer:
            pass

    async def main():
        first, second = asyncio.create_task(consume()), asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        consumer.close()
        with pytest.raises(mq.QueueClosedError):
            await asyncio.wait_for(second, 60)

    asyncio.run(main())


def test_async_lets_others_run(name):
    with Producer(name, 1000, 64) as producer, Consumer(name, 1000, 64) as consumer:
        producer.push_batch([b"x"] * 1000)
        producer.close()
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def main():
            task = asyncio.create_task(count())
            got = [m async for m in consumer]
            task.cancel()
            return got

        assert len(asyncio.run(main())) == 1000
        assert turns >= 1000 // 64
