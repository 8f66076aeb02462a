# SPDX-License-Identifier: MIT
"""Zero copy: views of the ring, who uses them, and when they are over."""

import gc
import os
import subprocess
import weakref

import numpy as np
import pytest

import multiqueue_shm as mq
from multiqueue_shm import Consumer, Producer


@pytest.fixture
def pair(name):
    producer, consumer = Producer(name, 8, 64), Consumer(name, 8, 64)
    yield producer, consumer
    gc.collect()
    producer.close()
    consumer.close()


def test_peek_is_in_place_and_read_only(pair):
    producer, consumer = pair
    assert consumer.peek() is None
    producer.push(np.arange(4, dtype="f4"))
    view = consumer.peek()
    assert type(view) is memoryview and view.readonly and (view.format, view.shape) == ("B", (16,))
    assert consumer.peek() is view  # looking again gives the same
    assert np.frombuffer(view, "f4").tolist() == [0, 1, 2, 3]
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(ValueError):
        np.frombuffer(view, "f4")[0] = 1
    where = np.frombuffer(view, "u1").__array_interface__["data"][0]
    with Consumer(producer.name, 8, 64, "FROM_OLDEST_AVAILABLE") as other:
        with other.peek() as view2:  # another mapping of the same memory
            assert np.frombuffer(view2, "u1").__array_interface__["data"][0] % 4096 == where % 4096
    consumer.release()


@pytest.mark.parametrize("how", ["with", "view.release", "consumer.release"])
def test_a_release_moves_on(pair, how):
    producer, consumer = pair
    producer.push_batch([b"a", b"b"])
    view = consumer.peek()
    if how == "with":
        with view:
            assert view == b"a"
    else:
        (view if how == "view.release" else consumer).release()
    with pytest.raises(ValueError, match="released"):
        view[0]
    with pytest.raises(ValueError, match="no message in view"):
        consumer.release()
    assert consumer.lag == 1
    with consumer.peek() as view:
        assert bytes(view) == b"b"
    assert consumer.peek() is None


def test_pop_gives_what_is_in_view(pair):
    producer, consumer = pair
    producer.push_batch([b"a", b"b", b"c"])
    view = consumer.peek()
    assert consumer.pop() == b"a"
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    consumer.peek()
    assert consumer.pop_batch(9) == [b"b", b"c"]


def test_close_ends_the_view_and_keeps_the_message(name):
    producer, consumer = Producer(name, 8, 64), Consumer(name, 8, 64)
    producer.push(b"a")
    view = consumer.peek()
    consumer.close()
    with pytest.raises(ValueError, match="released"):
        view[0]
    producer.close()


USERS = {
    "numpy": lambda view: np.frombuffer(view, "u1"),
    "slice": lambda view: view[1:],
    "cast": lambda view: view.cast("b"),
    "copy of the view": memoryview,
    "slice of an array": lambda view: np.frombuffer(view, "u1")[::2],
}


@pytest.mark.parametrize("use", USERS.values(), ids=USERS.keys())
@pytest.mark.parametrize("end", ["release", "close", "unregister", "pop", "pop(-1)", "pop_batch", "next"])
def test_a_view_in_use_is_kept(pair, use, end):
    producer, consumer = pair
    producer.push_batch([b"abcd", b"next"])
    view = consumer.peek()
    user = use(view)
    calls = {"pop_batch": lambda: consumer.pop_batch(2), "next": lambda: next(consumer), "pop(-1)": lambda: consumer.pop(-1)}
    call = calls.get(end) or getattr(consumer, end)
    for _ in range(2):
        with pytest.raises(BufferError):
            call()
        assert bytes(view) == b"abcd" and user[1] is not None and consumer.lag == 2 and not consumer.closed
        assert consumer.peek() is view
    for _ in range(100):
        producer.push(b"x" * 64)  # fills the queue; the message in view stays
    assert bytes(view) == b"abcd"
    del user
    consumer.release()
    assert consumer.pop() == b"next"


def test_an_array_keeps_its_message_without_the_view(pair):
    producer, consumer = pair
    producer.push_batch([b"abcd", b"next"])
    with consumer.peek() as view:
        array = np.frombuffer(view, "u1")
    assert array.tobytes() == b"abcd" and consumer.lag == 2
    for call in consumer.peek, consumer.pop, consumer.release, consumer.close:
        with pytest.raises(BufferError):
            call()
    del array
    assert consumer.lag == 1 and consumer.pop() == b"next"


def test_an_array_keeps_the_mapping_without_the_consumer(name):
    producer, consumer = Producer(name, 8, 64), Consumer(name, 8, 64)
    producer.push(b"abcd")
    array = np.frombuffer(consumer.peek(), "u1")
    alive = weakref.ref(consumer)
    del consumer
    assert alive() is None
    producer.close()
    gc.collect()
    assert array.tobytes() == b"abcd"
    del array  # the name fixture sees that the queue goes with it


def test_the_exporter_is_no_way_around(pair):
    producer, consumer = pair
    producer.push(b"abcd")
    view = consumer.peek()
    exporter = view.obj
    view.release()
    with pytest.raises(BufferError):
        memoryview(exporter)
    with pytest.raises(TypeError):
        type(exporter)()


def test_reserve_commits_at_the_end(pair):
    producer, consumer = pair
    with producer.reserve(16) as view:
        assert type(view) is memoryview and not view.readonly and len(view) == 16
        np.frombuffer(view, "f4")[:] = [1, 2, 3, 4]
        assert consumer.pop() is None
    assert np.frombuffer(consumer.pop(), "f4").tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="released"):
        view[0]
    with producer.reserve(0):
        pass
    assert consumer.pop() == b""


def test_reserve_takes_fewer_bytes(pair):
    producer, consumer = pair
    room = producer.reserve(64)
    assert room.size == 64
    with room as view:
        view[:5] = b"hello"
        with pytest.raises(ValueError, match="0..64"):
            room.commit(65)
        with pytest.raises(ValueError):
            room.commit(-1)
        room.commit(5)
    assert consumer.pop() == b"hello" and consumer.pop() is None
    for call in room.commit, room.abort, room.__enter__:
        with pytest.raises(ValueError, match="already"):
            call()


def test_an_exception_takes_the_room_back(pair):
    producer, consumer = pair
    with pytest.raises(ZeroDivisionError), producer.reserve(4) as view:
        view[:] = b"lost"
        raise ZeroDivisionError
    assert producer.push(b"kept") and consumer.pop_batch(9) == [b"kept"]


def test_an_exception_with_an_array_in_use(pair):
    producer, consumer = pair
    with pytest.raises(ZeroDivisionError), producer.reserve(4) as view:
        array = np.frombuffer(view, "u1")
        raise ZeroDivisionError
    with pytest.raises(mq.QueueSystemError):  # EDEADLK: one at a time
        producer.push(b"x")
    array[:] = 1  # harmless: the room is not yet anybody else's
    del array, view
    gc.collect()
    assert producer.push(b"kept") and consumer.pop_batch(9) == [b"kept"]


def test_an_array_in_use_is_not_published(pair):
    producer, consumer = pair
    room = producer.reserve(4)
    with pytest.raises(BufferError):
        with room as view:
            array = np.frombuffer(view, "u1")
    for call in room.commit, room.abort, producer.close:
        with pytest.raises(BufferError):
            call()
    array[:] = list(b"abcd")
    assert consumer.pop() is None
    del array
    room.commit()
    assert consumer.pop() == b"abcd"


def test_a_reservation_that_is_dropped(pair):
    producer, consumer = pair
    producer.reserve(4)
    assert producer.push(b"a")
    view = producer.reserve(4).__enter__()
    with pytest.raises(mq.QueueSystemError):
        producer.reserve(4)
    assert producer.is_active()
    view[:] = b"lost"
    view.release()
    assert producer.push(b"b") and consumer.pop_batch(9) == [b"a", b"b"]


def test_reserve_in_a_full_queue(pair):
    producer, consumer = pair
    producer.push_batch([b"x"] * 8)
    with pytest.raises(mq.QueueFullError):
        producer.reserve(4, timeout_ms=0)
    with pytest.raises(mq.QueueTimeoutError):
        producer.reserve(4, timeout_ms=20)
    with pytest.raises(mq.MessageSizeError):
        producer.reserve(65)


def test_a_read_that_is_overtaken(name):
    how = ["--nodes=8", "--block=64", "--overflow=overwrite", "--persistent"]
    subprocess.run([os.environ["MQSHM"], "create", name, *how], check=True)
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        producer.push(b"first")
        consumer.peek()
        for i in range(1000):
            assert producer.push(b"%d" % i)
        with pytest.raises(mq.MessageOvertakenError):
            consumer.release()
        got = [int(m) for m in consumer.pop_batch(1000)]
        assert got == list(range(got[0], 1000)) and consumer.missed == got[0] + 1
    subprocess.run([os.environ["MQSHM"], "rm", name], check=True)
