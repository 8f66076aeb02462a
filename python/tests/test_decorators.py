# SPDX-License-Identifier: MIT
"""Decorated functions: in programs of their own, which come to their end, sleep, are interrupted, fail and hang."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import multiqueue_shm as mq
from conftest import LIMIT
from multiqueue_shm import Consumer, Producer, sharedmem_consumer, sharedmem_producer

HEAD = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from multiqueue_shm import *
QUEUE, OTHER = sys.argv[1] + "-a", sys.argv[1] + "-b"
A = dict(shm_name=QUEUE, node_count=8, block_size=64)
B = dict(shm_name=OTHER, node_count=8, block_size=64)
def say(*args):
    print(*args, flush=True)
"""
TICK = """
@sharedmem_producer(A, interval=0.001)
def tick():
    return b"tick"
"""
AFTER_MAIN = """
from multiqueue_shm import _running
@sharedmem_producer(A, interval=0.001)
def tick():  # once signals are taken care of
    if _running._process.alone and signal.getsignal(signal.SIGTERM) is _running._on_signal:
        return b"tick"
"""
ECHO = """
@sharedmem_consumer(A, start_mode="FROM_OLDEST_AVAILABLE")
def echo(batch):
    say(b" ".join(batch).decode())
"""


class Program:
    """A script in a file."""

    def __init__(self, path, name, text, *args):
        path.write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(path), name, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self, number):
        """Once it catches or ignores that: what it said last may be from before."""
        while self.process.poll() is None and not self.minds(number):
            time.sleep(0.01)
        self.process.send_signal(number)

    def minds(self, number):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as status:
            sets = [int(line.split()[1], 16) for line in status if line.startswith(("SigCgt:", "SigIgn:"))]
        return any(s >> (number - 1) & 1 for s in sets)

    def end(self):
        """(status, what else it said, its stderr)"""
        out, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, errors


@pytest.fixture
def program(name, tmp_path):
    programs = []

    def start(text, *args):
        programs.append(Program(tmp_path / f"program{len(programs)}.py", name, text, *args))
        return programs[-1]

    yield start
    for p in programs:
        if p.process.poll() is None:
            p.process.kill()
        p.process.communicate()


def queue(name, which="-a", mode="FROM_OLDEST_AVAILABLE"):
    return Consumer(name + which, 8, 64, mode)


# ---- parameters


@pytest.mark.parametrize("decorator", [sharedmem_producer, sharedmem_consumer])
@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"shm_name": None}, TypeError, "shm_name is NoneType, not str"),
        ({"node_count": "8"}, TypeError, "node_count is str, not int"),
        ({"node_count": True}, TypeError, "node_count is bool"),
        ({"node_count": 0}, mq.InvalidConfigError, "node_count is 0, not 1"),
        ({"block_size": 1 << 31}, mq.InvalidConfigError, "block_size is"),
        ({"blok_size": 64}, mq.InvalidConfigError, "unknown parameter 'blok_size'; did you mean 'block_size'"),
        ({"zzz": 1}, mq.InvalidConfigError, "unknown parameter 'zzz'; there are batch_size"),
        ({"on_error": "retry"}, mq.InvalidConfigError, "on_error is 'retry', not one of stop, skip"),
        ({"timeout_ms": -2}, mq.InvalidConfigError, "timeout_ms is -2"),
        ({"timeout_ms": "1"}, TypeError, "timeout_ms is str"),
    ],
)
def test_wrong_parameters(decorator, change, error, words):
    given = {"shm_name": "x", "node_count": 8, "block_size": 64} | change
    with pytest.raises(error, match=words):
        decorator(given)
    with pytest.raises(error, match=words):
        decorator(**given)


@pytest.mark.parametrize(
    "decorator, change, words",
    [
        (sharedmem_producer, {"interval": -1}, "interval is -1"),
        (sharedmem_producer, {"interval": float("nan")}, "interval is nan"),
        (sharedmem_consumer, {"batch_size": 0}, "batch_size is 0"),
        (sharedmem_consumer, {"start_mode": "LATEST"}, "start_mode is 'LATEST', not one of FROM_LATEST"),
    ],
)
def test_wrong_values(decorator, change, words):
    with pytest.raises(mq.InvalidConfigError, match=words):
        decorator({"shm_name": "x", "node_count": 8, "block_size": 64}, **change)


@pytest.mark.parametrize("missing", ["shm_name", "node_count", "block_size"])
def test_missing_parameters(missing):
    given = {"shm_name": "x", "node_count": 8, "block_size": 64}
    del given[missing]
    other = {"shm_name": "shm", "node_count": "queue_len", "block_size": "block_size"}[missing]
    with pytest.raises(mq.InvalidConfigError, match=f"sharedmem_consumer: missing parameter .*in_{other}"):
        sharedmem_consumer(given | {f"out_{other}": 1})  # what is the producer's is not ours
    with pytest.raises(mq.InvalidConfigError, match=f"sharedmem_producer: missing parameter .*out_{other}"):
        sharedmem_producer(given | {f"in_{other}": 1})


def test_wrong_uses():
    given = {"shm_name": "x", "node_count": 8, "block_size": 64}
    with pytest.raises(TypeError, match="in a dict or as keywords, not function"):
        sharedmem_producer(lambda: b"")
    with pytest.raises(mq.InvalidConfigError, match="'node_count' is given twice"):
        sharedmem_producer(given, node_count=8)
    with pytest.raises(TypeError, match="decorates functions, not int"):
        sharedmem_producer(given)(3)

    async def function(batch):
        pass

    with pytest.raises(TypeError, match="async"):
        sharedmem_consumer(given)(function)


def test_every_spelling(program):
    p = program(
        """
        import processor_decorator
        assert processor_decorator.sharedmem_consumer is sharedmem_consumer
        assert processor_decorator.sharedmem_producer is sharedmem_producer
        def function(batch=None):
            "doc"
            return 42
        def new():
            return lambda batch: None
        for names in ("shm_name", "node_count", "block_size"), ("in_shm", "in_queue_len", "in_block_size"), \\
                     ("in_shm", "in_node_count", "in_block_size"):
            given = dict(zip(names, ("q", 5, 6)))
            for decorate in sharedmem_consumer(given), sharedmem_consumer(**given):
                s = decorate(new()).stage.input
                assert (s.shm_name, s.node_count, s.block_size, s.batch_size, s.timeout_ms) == ("q", 5, 6, 1, 100), s
                assert s.start_mode is ConsumerStartMode.FROM_LATEST
        for names in ("shm_name", "node_count", "block_size"), ("out_shm", "out_queue_len", "out_block_size"), \\
                     ("out_shm", "out_node_count", "out_block_size"):
            given = dict(zip(names, ("q", 5, 6)))
            for decorate in sharedmem_producer(given), sharedmem_producer(**given):
                s = decorate(new()).stage.output
                assert (s.shm_name, s.node_count, s.block_size, s.interval, s.timeout_ms) == ("q", 5, 6, 0.01, 100), s
        # A chain: one dict for both, in_ and out_; or one with shm_name for the other side; or each its own.
        both = dict(in_shm="i", in_queue_len=1, in_block_size=2, out_shm="o", out_queue_len=3, out_block_size=4,
                    batch_size=9, interval=0.5, metadata="m", start_mode="FROM_BEGINNING", timeout_ms=7, on_error="skip")
        f = sharedmem_producer(both)(sharedmem_consumer(both)(new()))
        i, o = f.stage.input, f.stage.output
        assert (i.shm_name, i.node_count, i.block_size, i.batch_size, i.timeout_ms, i.metadata) == ("i", 1, 2, 9, 7, ""), i
        assert i.start_mode is ConsumerStartMode.FROM_BEGINNING
        assert (o.shm_name, o.node_count, o.block_size, o.interval, o.metadata) == ("o", 3, 4, 0.5, "m"), o
        assert f.stage.on_error == "skip" and f.stage.what == "chain"
        mixed = dict(shm_name="i", node_count=1, block_size=2, out_shm="o", out_queue_len=3, out_block_size=4)
        f = sharedmem_producer(mixed)(sharedmem_consumer(mixed)(new()))
        assert (f.stage.input.shm_name, f.stage.output.shm_name) == ("i", "o")
        f = sharedmem_consumer(A)(sharedmem_producer(B)(new()))  # the other way round
        assert (f.stage.input.shm_name, f.stage.output.shm_name) == (QUEUE, OTHER)
        assert sharedmem_consumer(A, metadata="m")(new()).stage.input.metadata == "m"
        for again in sharedmem_consumer(A), sharedmem_producer(A):
            try:
                again(f)
            except InvalidConfigError as e:
                assert "already" in str(e)
            else:
                assert 0
        # The function is as it was.
        g = sharedmem_producer(B)(function)
        assert g is function and g() == 42 and g.__doc__ == "doc"
        sys.exit(7)
        """
    )
    assert p.end() == (7, "", "")


# ---- start and end


def test_a_script_that_ends_with_its_functions(name, program):
    """Three of them; nothing else starts them, a chain passes on, and the generator's end is the end of the stream."""
    last = program("""
        @sharedmem_consumer(B, batch_size=100)
        def show(batch):
            for message in batch:
                say(message.decode())
                if message == b"99!":
                    stop()
        """)
    chain = program("""
        @sharedmem_producer(B)
        @sharedmem_consumer(A, batch_size=3)
        def mark(batch):
            assert 1 <= len(batch) <= 3
            for message in batch:
                yield message + b"!"
        """)
    for which in "-a", "-b":
        wait_for_consumers(name + which, 1)
    first = program("""
        @sharedmem_producer(A, interval=0)
        def count():
            for i in range(100):
                yield str(i)
        """)
    assert first.end() == (0, "", "")
    status, out, errors = last.end()
    assert (status, errors) == (0, "")
    assert out.split() == [f"{i}!" for i in range(100)]
    chain.kill(signal.SIGTERM)
    assert chain.end() == (0, "", "")


def wait_for_consumers(queue, count):
    """Until so many are attached: looked at from outside, by the tool."""
    while True:
        said = subprocess.run([os.environ["MQSHM"], "stat", "--json", queue], capture_output=True, text=True, check=False)
        if said.returncode == 0 and len(json.loads(said.stdout)["consumers"]) >= count:
            return


@pytest.mark.parametrize("number, status", [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 0)])
def test_a_script_that_only_sleeps(name, program, number, status):
    """It starts after 0.2 s. The signal does what it always does in Python; the stream ends as closed."""
    with queue(name) as consumer:
        p = program(TICK + "time.sleep(1e6)")
        assert [next(consumer), next(consumer)] == [b"tick", b"tick"]
        p.kill(number)
        assert set(consumer) <= {b"tick"} and consumer.ended == "closed"
    got, out, errors = p.end()
    assert got == status and out == ""
    assert errors == "" if number == signal.SIGTERM else errors.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("by_hand", ["", "run(); say('after')"])
def test_signals_after_the_end_of_main_and_in_run(name, program, number, by_hand):
    with queue(name) as consumer:
        p = program(AFTER_MAIN + by_hand)
        assert next(consumer) == b"tick"
        p.kill(number)
        assert set(consumer) <= {b"tick"} and consumer.ended == "closed"
    assert p.end() == (0, "after\n" if by_hand else "", "")


@pytest.mark.parametrize("late", [False, True])
def test_an_own_handler_is_called_too(name, program, late):
    """It is chained, also when it was set after the decoration and the main module has ended since."""
    own = "signal.signal(signal.SIGTERM, lambda number, frame: say('mine', number))\n"
    with queue(name) as consumer:
        p = program(AFTER_MAIN + own if late else own + AFTER_MAIN)
        assert next(consumer) == b"tick"
        p.kill(signal.SIGTERM)
        assert set(consumer) <= {b"tick"} and consumer.ended == "closed"
    assert p.end() == (0, "mine 15\n", "")


def test_an_own_handler_while_main_sleeps(name, program):
    """It does not raise: main goes on, and its functions have stopped."""
    with queue(name) as consumer:
        p = program(
            """
            signal.signal(signal.SIGTERM, lambda number, frame: say('mine'))
            """
            + textwrap.indent(TICK, " " * 12)
            + """
            sys.stdin.readline()
            tick.stage.wait()
            say(tick.stage.running)
            """
        )
        assert next(consumer) == b"tick"
        p.kill(signal.SIGTERM)
        assert p.line() == "mine"
        assert set(consumer) <= {b"tick"} and consumer.ended == "closed"
        p.tell()
    assert p.end() == (0, "False\n", "")


def test_an_ignored_signal_stays_ignored(name, program):
    with queue(name) as consumer:
        p = program("signal.signal(signal.SIGINT, signal.SIG_IGN)" + TICK)
        assert next(consumer) == b"tick"
        p.kill(signal.SIGINT)
        for _ in range(100):
            assert next(consumer) == b"tick"
        p.kill(signal.SIGTERM)
        assert p.end() == (0, "", "")


@pytest.mark.parametrize("end, status", [("sys.exit(3)", 3), ("raise SystemExit(4)", 4), ("1 / 0", 1), ("exit(5)", 5)])
def test_sys_exit_and_exceptions_stop(name, program, end, status):
    with queue(name) as consumer:
        p = program(TICK + "start()\nsys.stdin.readline()\n" + end)
        assert next(consumer) == b"tick"
        p.tell()
        assert set(consumer) <= {b"tick"} and consumer.ended == "closed"
    got, out, errors = p.end()
    assert (got, out) == (status, "") and ("ZeroDivisionError" in errors) == (status == 1)


@pytest.mark.parametrize("end", ["sys.exit(3)", "1 / 0"])
def test_sys_exit_at_once_starts_nothing(program, end):
    p = program(
        """
        @sharedmem_producer(A)
        def never():
            say("called")
        import atexit
        atexit.register(lambda: say(never.stage.started))
        """
        + end
    )
    assert p.end()[1] == "False\n"


def test_main_that_ends_in_an_imported_stage_and_a_second_start(name, program):
    """What is decorated later starts later; start() twice starts nothing twice."""
    p = program(
        """
        @sharedmem_producer(A, interval=0)
        def one():
            yield b"1"
        start()
        start()
        assert one.stage.started
        one.stage.wait()
        start()
        assert not one.stage.running
        @sharedmem_consumer(A, start_mode="FROM_OLDEST_AVAILABLE")
        def two(batch):
            say("two")
        assert not two.stage.started
        start()
        assert two.stage.running
        stop()
        assert not two.stage.running
        two.stage.start()  # this one again
        assert two.stage.running
        try:
            two.stage.start()
        except MultiQueueError as e:
            say(e)
        """
    )
    assert p.line() == "sharedmem_consumer 'two' runs already"
    p.kill(signal.SIGTERM)
    assert p.end() == (0, "", "")


def test_a_queue_that_cannot_be_opened(name, program):
    with Producer(name + "-a", 8, 64):
        p = program(TICK + "try:\n    start()\nexcept QueueSystemError as e:\n    say(e.errno)\n    sys.exit()")
        assert p.end() == (0, "16\n", "")
        p = program(TICK)  # nobody is there to be told but the terminal and the status
        status, out, errors = p.end()
        assert status == 1 and "sharedmem_producer 'tick' can't start: QueueSystemError" in errors
        p = program(TICK.replace("A,", "A | {'block_size': 65},") + "run()")
        status, out, errors = p.end()
        assert status == 1 and "InvalidConfigError" in errors


# ---- several processes


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_multiprocessing_children_start_nothing(name, program, method):
    """Whether the main module is imported again for it or forked: the child runs what it is told to, and only that."""
    p = program(
        """
        import multiprocessing
        from multiqueue_shm import _running
        """
        + textwrap.indent(TICK, " " * 8)
        + """
        start()  # in an import for a child, this does nothing
        if __name__ == "__mp_main__":
            run()

        def work(connection):
            connection.send((_running._process.thread is None, tick.stage.running, _running._hooked and True,
                             signal.getsignal(signal.SIGTERM) == signal.SIG_DFL))
            connection.recv()

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[2])
            here, there = context.Pipe()
            child = context.Process(target=work, args=(there,))
            child.start()
            say(here.recv())
            child.terminate()
            child.join()
            say(child.exitcode)
            stop()
        """,
        method,
    )
    hooked = method == "fork"
    assert p.end() == (0, f"(True, False, {hooked}, True)\n-15\n", "")


def test_a_forked_child_may_not_use_its_parents_stages(name, program):
    p = program(
        TICK
        + """
start()
pid = os.fork()
if pid == 0:
    try:
        tick.stage.stop()
    except ChildProcessError as e:
        os._exit(9 if not tick.stage.running else 1)
    os._exit(2)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), tick.stage.running)
if os.fork() == 0:  # a child that decorates for itself, and comes to the end of the main module
    @sharedmem_producer(B, interval=0)
    def own():
        yield b"child"
else:
    say(os.waitstatus_to_exitcode(os.wait()[1]))
    stop()
"""
    )
    with queue(name, "-b") as consumer:
        assert list(consumer) == [b"child"] and consumer.ended == "closed"
    assert p.end() == (0, "9 True\n0\n", "")


def test_a_consumer_comes_first_and_stays(name, program):
    p = program(ECHO)
    wait_for_consumers(name + "-a", 1)  # it has created the queue
    for word in b"one", b"two":
        with Producer(name + "-a", 8, 64) as producer:
            assert producer.push(word, -1)
            assert p.line() == word.decode()
    other = Producer(name + "-a", 8, 64)
    other.push(b"three")
    assert p.line() == "three"
    other.fail()  # a producer that dies
    with Producer(name + "-a", 8, 64) as producer:
        producer.push(b"four")
        assert p.line() == "four"
    p.kill(signal.SIGINT)
    assert p.end() == (0, "", "")


# ---- what functions give, raise and do


def test_what_a_function_may_give(name, program):
    with queue(name) as consumer:
        p = program(
            """
            import array, numpy
            work = numpy.zeros(2, "u2")
            def fresh():
                for i in range(2):
                    work[:] = i  # the same array, changed after it was given
                    yield work
            gives = [b"bytes", bytearray(b"array"), memoryview(b"view"), "text \\u00e4\\u20ac", None, array.array("H", [1]), [b"a", None, "b"],
                     fresh(), numpy.arange(4, dtype="u1")[::2], b""]
            @sharedmem_producer(A, interval=0)
            def give():
                if not gives:
                    sys.exit()
                return gives.pop(0)
            """
        )
        assert list(consumer) == [
            b"bytes", b"array", b"view", "text ä€".encode(), b"\1\0", b"a", b"b", b"\0\0\0\0", b"\1\0\1\0", b"\0\2", b"",
        ]  # fmt: skip
        assert consumer.ended == "closed"
    assert p.end() == (0, "", "")


def test_an_error_stops(name, program):
    """With its traceback; the stream is not whole, and the status says so."""
    with queue(name) as consumer:
        p = program(
            """
            @sharedmem_producer(A, interval=0)
            def bad():
                yield b"good"
                raise RuntimeError("no more")
            """
        )
        assert next(consumer) == b"good"
        with pytest.raises(mq.ProducerDiedError):
            next(consumer)
    status, out, errors = p.end()
    assert status == 1 and out == ""
    assert "sharedmem_producer 'bad': error 1, it stops" in errors and 'raise RuntimeError("no more")' in errors
    assert "_stage.py" not in errors  # of ours nothing is shown


def test_errors_that_are_skipped(name, program):
    with queue(name, "-b") as consumer:
        p = program(
            """
            @sharedmem_producer(B)
            @sharedmem_consumer(A, on_error="skip", start_mode="FROM_OLDEST_AVAILABLE")
            def chain(batch):
                yield batch[0]
                if batch[0] == b"1":
                    raise ValueError("one")
                if batch[0] == b"2":
                    yield b"x" * 65
                if batch[0] == b"3":
                    yield 3
                if batch[0] == b"4":
                    say(chain.stage.errors, repr(chain.stage.error))
                    stop()
            """
        )
        with Producer(name + "-a", 8, 64) as producer:
            assert producer.push_batch([b"%d" % i for i in range(5)], -1) == 5
            assert [next(consumer) for _ in range(5)] == [b"%d" % i for i in range(5)]
            status, out, errors = p.end()
            assert list(consumer) == [] and consumer.ended == "closed"
    assert status == 0 and out.startswith("3 TypeError(\"chain 'chain' gave int, not bytes-like")
    assert errors.count("skipped\n") == 3 and "MessageSizeError: chain 'chain' gave 65 bytes" in errors


def test_a_generator_that_raised_is_begun_anew(name, program):
    with queue(name) as consumer:
        p = program(
            """
            tries = []
            @sharedmem_producer(A, interval=0, on_error="skip")
            def read():
                tries.append(1)
                yield b"try %d" % len(tries)
                if len(tries) < 3:
                    raise OSError("lost")
            """
        )
        assert list(consumer) == [b"try 1", b"try 2", b"try 3"] and consumer.ended == "closed"
    status, _, errors = p.end()
    assert status == 0 and errors.count("OSError: lost") == 2


def test_run_raises_what_stopped_a_function(name, program):
    p = program(
        """
        @sharedmem_producer(A)
        def bad():
            return 1 / 0
        try:
            run()
        except MultiQueueError as e:
            say(e, repr(e.__cause__))
        """
    )
    status, out, _ = p.end()
    assert out == "sharedmem_producer 'bad' was stopped by ZeroDivisionError: division by zero " \
        "ZeroDivisionError('division by zero')\n"  # fmt: skip


def test_a_consumer_that_yields_needs_a_producer(name, program):
    p = program(
        """
        @sharedmem_consumer(A, start_mode="FROM_OLDEST_AVAILABLE")
        def lost(batch):
            yield batch
        @sharedmem_producer(A)
        def feed():
            yield b"x"
        """
    )
    status, _, errors = p.end()
    assert status == 1 and "'lost' yields, and has no sharedmem_producer above it" in errors


@pytest.mark.parametrize("how", ["time.sleep(1e6)", "while True: pass", "threading.Lock().acquire() and threading.Event().wait()"])
def test_a_function_that_hangs(name, program, how):
    """stop() says so; a signal ends the process nevertheless, with a status."""
    text = f"""
        @sharedmem_consumer(A, start_mode="FROM_OLDEST_AVAILABLE")
        def hang(batch):
            say("in")
            {how}
        """
    with Producer(name + "-a", 8, 64) as producer:
        producer.push(b"x")
        p = program(text + """
        start()
        sys.stdin.readline()
        try:
            stop()
        except TimeoutError as e:
            say(type(e).__name__, e)
        """)
        q = program(text)
        assert p.line() == "in" and q.line() == "in"
        p.tell()
        q.kill(signal.SIGTERM)
        assert p.line().startswith("QueueTimeoutError sharedmem_consumer 'hang' hangs")
        status, _, errors = p.end()
        assert status == 1 and errors == ""
        status, _, errors = q.end()
        assert status == 1 and "sharedmem_consumer 'hang' hangs" in errors


def test_a_second_signal_does_not_wait(name, program):
    with Producer(name + "-a", 8, 64) as producer:
        producer.push(b"x")
        p = program("""
            from multiqueue_shm import _running, _stage
            _stage.GRACE_S = _running.GRACE_S = 1e6
            @sharedmem_consumer(A, start_mode="FROM_OLDEST_AVAILABLE")
            def hang(batch):
                while not _running._process.alone:
                    pass
                say("in")
                time.sleep(1e6)
            """)
        assert p.line() == "in"
        while p.process.poll() is None:
            p.kill(signal.SIGINT)
            try:
                p.process.wait(0.1)
            except subprocess.TimeoutExpired:
                pass
        status, _, errors = p.end()
        assert status == 130 and "interrupted" in errors


# ---- back-pressure


def test_a_slow_function_holds_back_the_producer(name, program):
    """Through callback, buffer, ring, chain, buffer and ring: what is under way is bounded, and nothing is lost."""
    p = program(
        """
        made, gate = [], threading.Event()
        @sharedmem_producer(A, interval=0)
        def make():
            for i in range(500):
                made.append(i)
                yield str(i)
        @sharedmem_producer(B)
        @sharedmem_consumer(A)
        def chain(batch):
            return batch
        seen = []
        @sharedmem_consumer(B, batch_size=7)
        def slow(batch):
            gate.wait()
            assert 1 <= len(batch) <= 7
            seen.extend(batch)
            if len(seen) == 500:
                stop()
        start()
        count = -1
        while count != len(made) or count < 60:  # until it moves no more
            count = len(made)
            time.sleep(0.2)
        # per stage: a buffer, what its writer has in hand, a message in its function; and the rings
        say(count <= 4 * (16 + 16) + 2 * 8 + 16)
        gate.set()
        for f in make, chain, slow:
            f.stage.wait()
        say(seen == [b"%d" % i for i in range(500)])
        """
    )
    assert p.end() == (0, "True\nTrue\n", "")


def test_stop_with_a_full_queue(name, program):
    """Nobody reads: it ends, and says what it could not send. The other process sees a closed stream."""
    with queue(name) as consumer:
        p = program(
            """
            @sharedmem_producer(A, interval=0)
            def make():
                return b"x"
            """
        )
        while consumer.lag < 8:
            pass
        p.kill(signal.SIGTERM)
        status, _, errors = p.end()
        assert status == 0 and "messages were not sent" in errors
        assert list(consumer) == [b"x"] * 8 and consumer.ended == "closed"
