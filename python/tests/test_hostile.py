# SPDX-License-Identifier: MIT
"""Whatever is passed: an exception, never a crash."""

import copy
import pickle
import sys

import pytest

import multiqueue_shm as mq
from multiqueue_shm import Consumer, Producer, _native

ODD = [None, True, -1, 0, 1, 1 << 31, 1 << 63, 1 << 64, -(1 << 70), 1.5, "", "x", "é\0", "\udc80", b"", b"x", [], [1], {}, object(), int]


@pytest.mark.parametrize("kind", [Producer, Consumer, _native.Producer, _native.Consumer], ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_constructors(name, kind):
    for bad in ODD:
        for args in [(bad, 8, 64), (name, bad, 64), (name, 8, bad), (name, 8, 64, bad), (bad,), (bad, bad), (bad,) * 5]:
            try:
                kind(*args).close()
            except (TypeError, ValueError, OverflowError, OSError):
                pass
        with pytest.raises(TypeError):
            kind(name, 8, 64, unknown=bad)
    for args in [(name, 0, 64), (name, -1, 64), (name, 8, 0), (name, 2**30 + 1, 64), (name, 8, 2**30 + 1)]:
        with pytest.raises(mq.InvalidConfigError):
            kind(*args)
    with pytest.raises(mq.MultiQueueError):  # larger than the address space
        kind(name, 2**30, 2**30)


@pytest.mark.parametrize("bad", ["", ".x", "a/b", "../x", "x" * 64, "control", "a b", "é", "a\0b", "x\n"])
def test_names(bad):
    for kind in Producer, Consumer:
        with pytest.raises(mq.InvalidConfigError):
            kind(bad, 8, 64)


def test_start_modes(name):
    for bad in "FROM_NOWHERE", 3, -1, None, 1.5, b"FROM_LATEST", "":
        with pytest.raises((mq.InvalidConfigError, TypeError)):
            Consumer(name, 8, 64, bad)
    with pytest.raises(mq.InvalidConfigError):
        _native.Consumer(name, 8, 64, 3)


@pytest.mark.parametrize("data", [None, 1, "text", [b"x"], {}, object(), memoryview(b"abcd")[::2]], ids=repr)
def test_what_is_no_message(name, data):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        with pytest.raises((TypeError, BufferError)):
            producer.push(data)
        with pytest.raises((TypeError, BufferError)):
            producer.push_batch([b"good", data])
        with pytest.raises(mq.MessageSizeError, match="65"):
            producer.push(bytes(65))
        assert consumer.pop() is None


def test_sequences_that_misbehave(name):
    class Shrinks(list):
        def __iter__(self):
            self.clear()
            return iter([b"a"])

    class Raises:
        def __iter__(self):
            yield b"x"
            raise ZeroDivisionError

    class Closes:
        def __iter__(self):
            producer.close()
            yield b"x"

    producer = Producer(name, 8, 64)
    with Consumer(name, 8, 64) as consumer:
        assert producer.push_batch(Shrinks([b"x"] * 5)) == 1
        with pytest.raises(ZeroDivisionError):
            producer.push_batch(Raises())
        with pytest.raises(TypeError):
            producer.push_batch(b"bytes are integers")
        with pytest.raises(mq.QueueClosedError):
            producer.push_batch(Closes())
        assert consumer.pop_batch(9) == [b"a"]


def test_arguments_of_all_methods(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        for owner in producer, consumer, producer.reserve(8):
            for method in dir(owner):
                if method.startswith("__") or method in ("close", "fail", "unregister", "_native"):
                    continue
                call = getattr(owner, method)
                if not callable(call):
                    continue
                for bad in ODD:
                    if bad in (1 << 31, 1 << 63, 1 << 64) or (bad in (None, -1) and method != "push"):
                        continue  # would wait for that long: below
                    for args, keywords in [((bad,), {}), ((bad, 0), {}), ((b"x", bad, bad), {}), ((), {"timeout_ms": bad}),
                                           ((bad,), {"timeout_ms": bad}), ((0,), {"nonsense": bad})]:
                        if keywords.get("timeout_ms", 0) in (None, -1, -(1 << 70)) or (len(args) == 1 and bad in (-(1 << 70),)):
                            continue
                        try:
                            call(*args, **keywords)
                        except (TypeError, ValueError, OverflowError, OSError, BufferError, mq.MultiQueueError):
                            pass
                for many in [(), (0,) * 10]:
                    try:
                        call(*many)
                    except (TypeError, ValueError, OSError, BufferError, mq.MultiQueueError):
                        pass
            del owner
        producer.push(b"x")
        while consumer.pop() is not None:
            pass
        producer.push(b"y")
        for forever in None, -1, 1 << 31, 1 << 63, -(1 << 63):
            if forever == 1 << 63:
                with pytest.raises(OverflowError):
                    consumer.pop(forever)
            else:
                assert bytes(consumer.peek(forever)) == b"y"
        with pytest.raises(ValueError):
            consumer.pop_batch(0)
        consumer.release()


def test_keywords(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        for call in [
            lambda: producer.push(), lambda: producer.push(timeout_ms=0), lambda: producer.push(b"x", data=b"x"),
            lambda: producer.push(b"x", 0, 0), lambda: consumer.pop(0, timeout_ms=0), lambda: consumer.pop_batch(),
            lambda: consumer.pop(timeout=0), lambda: consumer.peek("0"), lambda: consumer.pop(0.5), lambda: consumer.release(1),
            lambda: producer.reserve(), lambda: producer.reserve("1"), lambda: producer.reserve(1.0),
        ]:  # fmt: skip
            with pytest.raises(TypeError):
                call()
        with pytest.raises(ValueError):
            producer.reserve(-1)
        with pytest.raises(OverflowError):
            producer.reserve(1 << 64)


@pytest.mark.parametrize("kind", [Producer, Consumer])
def test_closed_and_never_opened(name, kind):
    closed = kind(name, 8, 64)
    closed.close()
    for thing in closed, kind.__new__(kind):
        assert thing.closed and not thing.is_active()
        for method, args in [("push", (b"",)), ("push_batch", ([b""],)), ("reserve", (1,)), ("pop", ()), ("pop_batch", (1,)), ("peek", ()),
                             ("release", ()), ("fileno", ()), ("metadata", ()), ("__next__", ())]:
            if hasattr(thing, method):
                with pytest.raises((mq.QueueClosedError, ValueError)):
                    getattr(thing, method)(*args)
        for attribute in "lag", "missed", "ended":
            if kind is Consumer:
                with pytest.raises(mq.QueueClosedError):
                    getattr(thing, attribute)
        thing.close()
        thing.__exit__(None, None, None)


@pytest.mark.parametrize("kind", [Producer, Consumer])
def test_a_second_init(name, kind):
    thing = kind(name, 8, 64)
    with pytest.raises(RuntimeError):
        thing.__init__(name, 8, 64)
    with pytest.raises(RuntimeError):
        thing.__init__(name + "2", 8, 64)
    assert thing.is_active()
    thing.close()
    with pytest.raises(RuntimeError):
        thing.__init__(name, 8, 64)


@pytest.mark.parametrize("kind", [Producer, Consumer])
def test_handles_are_not_copied(name, kind):
    with kind(name, 8, 64) as thing:
        for call in pickle.dumps, copy.copy, copy.deepcopy:
            with pytest.raises(TypeError):
                call(thing)


def test_types_can_not_be_made_by_hand():
    with pytest.raises(TypeError):
        _native.Reservation()


def test_finalizers_that_use_the_handle(name):
    """Code that the garbage collector runs in the middle of a call uses the same handle."""
    import gc

    with Producer(name, 64, 64) as producer, Consumer(name, 64, 64) as consumer:
        ran = []

        class Late:
            def __init__(self):
                self.me = self

            def __del__(self):
                ran.append(consumer.pop())
                try:
                    producer.push(b"late")
                except mq.QueueSystemError:  # in the midst of a reservation
                    pass

        threshold = gc.get_threshold()
        gc.set_threshold(1)
        try:
            for i in range(2000):
                Late()
                producer.push_batch([b"x", b"y"])
                consumer.pop_batch(5)
                view = consumer.peek()
                if view is not None:
                    try:
                        view.release()
                    except ValueError:
                        pass
                try:
                    with producer.reserve(1, 0):
                        pass
                except mq.MultiQueueError:
                    pass
        finally:
            gc.set_threshold(*threshold)
            gc.collect()
        assert len(ran) == 2000


def test_no_reference_is_lost_or_kept(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        data, view = b"0123456789" * 2, bytearray(b"x")
        before = sys.getrefcount(data), sys.getrefcount(view), sys.getrefcount(producer), sys.getrefcount(consumer), sys.getrefcount(Consumer)
        for _ in range(50):
            producer.push(data)
            producer.push_batch([data, view])
            with pytest.raises(TypeError):
                producer.push_batch([data, view, None])
            consumer.pop_batch(8)
            with producer.reserve(3):
                pass
            with consumer.peek():
                pass
            Consumer(name, 8, 64).close()
        view.append(1)  # no export is left
        after = sys.getrefcount(data), sys.getrefcount(view), sys.getrefcount(producer), sys.getrefcount(consumer), sys.getrefcount(Consumer)
        assert before == after
