# SPDX-License-Identifier: MIT
"""Processor; and what Consumer can do since: metadata, lossy, named, messages with their sequence and time."""

import os
import threading
import time

import pytest

import multiqueue_shm as mq
from multiqueue_shm import Consumer, Processor, Producer


@pytest.fixture
def ends(name):
    """(processor of name-i -> name-o, producer of its input, consumer of its output)"""
    processor = Processor(name + "-i", 8, 64, name + "-o", 8, 64, metadata="made", batch_size=3, timeout_ms=50)
    with Producer(name + "-i", 8, 64) as producer, Consumer(name + "-o", 8, 64) as consumer:
        yield processor, producer, consumer
        processor.stop()


def test_a_callback_between_two_queues(ends):
    processor, producer, consumer = ends
    sizes = []

    def callback(batch):
        sizes.append(len(batch))
        return [message.upper() for message in batch]

    processor.register_callback(callback)
    processor.start()
    assert processor.running
    for i in range(100):
        assert producer.push(b"m%d" % i, -1)
        if i % 8 == 7:
            assert [next(consumer) for _ in range(8)] == [b"M%d" % k for k in range(i - 7, i + 1)]
    assert [next(consumer) for _ in range(4)] == [b"M96", b"M97", b"M98", b"M99"]
    assert sum(sizes) == 100 and max(sizes) <= 3
    processor.stop()
    assert not processor.running and processor.errors == 0
    assert list(consumer) == [] and consumer.ended == "closed"


def test_push_to_output_from_anywhere(ends):
    processor, producer, consumer = ends
    with pytest.raises(mq.QueueClosedError, match="does not run"):
        processor.push_to_output(b"early")
    processor.register_callback(lambda batch: processor.push_to_output(batch[0] + b"!") and None)
    with processor:
        assert processor.push_to_output("text ä") and next(consumer) == "text ä".encode()
        producer.push(b"in")
        assert next(consumer) == b"in!"
        with pytest.raises(mq.MessageSizeError, match="65 bytes"):
            processor.push_to_output(b"x" * 65)
        with pytest.raises(TypeError, match="gave int"):
            processor.push_to_output(3)
        while processor.push_to_output(b"more"):  # nobody reads: full after a while, and it says so
            pass
        assert next(consumer) == b"more"
        while not processor.push_to_output(b"again"):
            pass
        while (message := consumer.pop(1000)) != b"again":
            assert message == b"more"
    with pytest.raises(mq.QueueClosedError):
        processor.push_to_output(b"late")


def test_it_can_be_started_again_and_takes_another_callback(ends):
    processor, producer, consumer = ends
    with pytest.raises(mq.InvalidConfigError, match="register_callback"):
        processor.start()
    with pytest.raises(TypeError, match="callable, not int"):
        processor.register_callback(3)
    for word in b"one", b"two":
        processor.register_callback(lambda batch, word=word: word)
        processor.start()
        with pytest.raises(mq.MultiQueueError, match="runs already"):
            processor.start()
        producer.push(b"x")
        assert next(consumer) == word
        processor.stop()
        processor.stop()


def test_a_callback_that_raises(name, ends, capfd):
    processor, producer, consumer = ends

    def callback(batch):
        raise ValueError(batch[0].decode())

    processor.register_callback(callback)
    processor.start()
    producer.push(b"oops")
    assert processor.wait(60)
    assert processor.errors == 1 and repr(processor.error) == "ValueError('oops')"
    with pytest.raises(mq.ProducerDiedError):
        next(consumer)
    said = capfd.readouterr().err
    assert f"Processor '{name}-i -> {name}-o': error 1, it stops" in said and "ValueError: oops" in said


def test_a_callback_that_hangs_or_stops_itself(ends):
    processor, producer, consumer = ends
    gate, inside = threading.Event(), threading.Event()

    def hang(batch):
        inside.set()
        gate.wait()

    processor.register_callback(hang)
    processor.start()
    producer.push(b"x")
    assert inside.wait(60)
    with pytest.raises(mq.QueueTimeoutError, match="hangs"):
        processor.stop()
    assert not processor.running and isinstance(processor.error, TimeoutError)
    gate.set()

    processor.register_callback(lambda batch: processor.stop())
    processor.start()
    producer.push(b"x")
    assert processor.wait(60)


def test_the_output_holds_back_the_input(ends):
    processor, producer, consumer = ends
    processor.register_callback(lambda batch: batch)
    with processor:
        pushed = 0
        while producer.push(b"%d" % pushed, 300):
            pushed += 1
        assert 16 < pushed <= 8 + 16 + 3 + 16 + 16 + 8
        assert [next(consumer) for _ in range(pushed)] == [b"%d" % i for i in range(pushed)]


def test_a_forked_child_may_not_use_it(ends):
    processor, producer, consumer = ends
    processor.register_callback(lambda batch: batch)
    processor.start()
    pid = os.fork()
    if pid == 0:
        status = 0
        for call in processor.stop, processor.start, processor.wait, lambda: processor.push_to_output(b"x"):
            try:
                call()
                status = 1
            except mq.QueueForkedError:
                pass
        os._exit(status + 2 * processor.running)
    assert os.waitpid(pid, 0)[1] == 0
    producer.push(b"x")
    assert next(consumer) == b"x"


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"in_shm": 1}, TypeError, "in_shm is int, not str"),
        ({"out_node_count": "8"}, TypeError, "out_node_count is str, not int"),
        ({"in_block_size": 0}, mq.InvalidConfigError, "in_block_size is 0"),
        ({"batch_size": 0}, mq.InvalidConfigError, "batch_size is 0"),
        ({"timeout_ms": 1.5}, TypeError, "timeout_ms is float"),
        ({"start_mode": "x"}, mq.InvalidConfigError, "start_mode is 'x'"),
        ({"on_error": "x"}, mq.InvalidConfigError, "on_error is 'x'"),
        ({"on_eror": "x"}, TypeError, "unexpected keyword"),
    ],
)
def test_wrong_parameters(change, error, words):
    given = dict(in_shm="a", in_node_count=8, in_block_size=64, out_shm="b", out_node_count=8, out_block_size=64) | change
    with pytest.raises(error, match=words):
        Processor(**given)


def test_wrong_queues(name):
    with Consumer(name + "-o", 8, 65):
        processor = Processor(name + "-i", 8, 64, name + "-o", 8, 64)
        processor.register_callback(print)
        for _ in range(2):
            with pytest.raises(mq.InvalidConfigError, match="block_size"):
                processor.start()
            assert not processor.running
    processor.start()  # it has let go of its input meanwhile
    processor.stop()


# ---- Consumer


def test_the_metadata_of_a_consumer_that_comes_first(name):
    with Consumer(name, 8, 64, metadata="48 kHz ä") as consumer, Producer(name, 8, 64, "other") as producer:
        assert consumer.metadata() == producer.metadata() == "48 kHz ä"
    with pytest.raises(mq.InvalidConfigError, match="metadata"):
        Consumer(name, 8, 64, metadata="x" * 257)
    with pytest.raises(TypeError):
        Consumer(name, 8, 64, metadata=3)


def test_a_lossy_consumer(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64, lossy=True) as lossy:
        for i in range(100):
            assert producer.push(b"%d" % i)  # never full
        got = lossy.pop_batch(100)
        assert got[-1] == b"99" and lossy.missed + len(got) == 100


def test_a_named_consumer(name):
    with Producer(name, 8, 64) as producer:
        with Consumer(name, 8, 64, consumer_name="recorder", lease_ms=86_400_000) as first:
            producer.push_batch([b"1", b"2"])
            assert first.pop() == b"1"
            with pytest.raises(mq.QueueSystemError):
                Consumer(name, 8, 64, consumer_name="recorder", lease_ms=1000)
        producer.push(b"3")
        second = Consumer(name, 8, 64, consumer_name="recorder", lease_ms=86_400_000)
        assert second.pop_batch(9) == [b"2", b"3"]
        second.unregister()
        producer.push(b"4")
        with Consumer(name, 8, 64, consumer_name="recorder", lease_ms=1) as third:
            assert third.pop() is None
            third.unregister()  # else the place outlives us, and the queue with it
        for wrong in {"consumer_name": "a/b", "lease_ms": 1}, {"consumer_name": "a", "lease_ms": -1}, \
                {"consumer_name": "a"}, {"consumer_name": "a" * 32, "lease_ms": 1}:  # fmt: skip
            with pytest.raises(mq.InvalidConfigError):
                Consumer(name, 8, 64, **wrong)


def test_messages_with_sequence_and_time(name):
    with Producer(name, 8, 64) as producer, Consumer(name, 8, 64) as consumer:
        before = time.time_ns()
        producer.push_batch([b"a", b"b", b""])
        after = time.time_ns()
        first = consumer.pop_message()
        assert isinstance(first, mq.Message) and first.data == b"a" and first.sequence == 0
        assert before <= first.timestamp_ns <= after
        rest = consumer.pop_messages(5, timeout_ms=-1)
        assert [(m.data, m.sequence) for m in rest] == [(b"b", 1), (b"", 2)]
        assert consumer.pop_message() is None and consumer.pop_messages(2, 1) == []
        with pytest.raises(ValueError, match="max_count"):
            consumer.pop_messages(0)
        with pytest.raises(TypeError):
            consumer.pop_message("1")
        producer.close()
        assert consumer.pop_message(-1) is None
    with pytest.raises(mq.QueueClosedError):
        consumer.pop_message()
