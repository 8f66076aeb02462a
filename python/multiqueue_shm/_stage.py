# SPDX-License-Identifier: MIT
"""
A stage: a user's function between queues. What the decorators and Processor are made of.

    queue -> reader -> buffer -> worker, which calls the function -> buffer -> writer -> queue

Each is a thread; one without an input has no reader, one without an output no writer. The buffers are bounded and nothing
is dropped: a queue that is full stops the writer, that the worker, that the reader, and that whoever pushes into the input.

How a stage ends: its generator is exhausted (what is there goes out, the output is closed); stop() (the same, but for
FLUSH_S, and input that was not given to the function yet is dropped); an error (the output ends as 'died').
"""

import dataclasses
import errno
import inspect
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable

from ._errors import MessageSizeError, MultiQueueError, QueueClosedError, QueueForkedError, QueueTimeoutError
from ._queue import Consumer, ConsumerStartMode, Producer

BUFFER = 16  # messages that a buffer holds, or two batches if that is more
GRACE_S = 2.0  # how long stop() waits for the user's function
FLUSH_S = 0.2  # how long stop() lets what was produced wait for room


@dataclasses.dataclass
class Input:
    """The queue that a stage reads."""

    shm_name: str
    node_count: int
    block_size: int
    start_mode: ConsumerStartMode = ConsumerStartMode.FROM_LATEST
    batch_size: int = 1
    timeout_ms: int = 100
    metadata: str = ""


@dataclasses.dataclass
class Output:
    """The queue that a stage writes."""

    shm_name: str
    node_count: int
    block_size: int
    metadata: str = ""
    interval: float = 0.01
    timeout_ms: int = 100


class Buffer:
    """Messages on their way between two threads; at most limit of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: deque[bytes] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def room(self) -> int:
        """Wait for room: how many more it takes; 0 when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self.limit)
            return 0 if self._closed else self.limit - len(self._items)

    def put(self, items: list[bytes], timeout_s: float | None = None) -> bool:
        """Put one, or what room() said there is room for. False: closed, or no room in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self.limit, timeout_s)
            if self._closed or len(self._items) >= self.limit:
                return False
            self._items.extend(items)
            self._changed.notify_all()
            return True

    def take(self, most: int) -> list[bytes]:
        """Wait for messages: 1..most of them; none when it is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
            return taken

    def close(self, drop: bool = False) -> int:
        """Nothing comes any more; with drop, what is there goes. How many that were."""
        with self._changed:
            self._closed = True
            dropped = len(self._items) if drop else 0
            if drop:
                self._items.clear()
            self._changed.notify_all()
            return dropped


class Stopped(BaseException):
    """Raised in the worker when its output takes no more; a user's `except Exception` lets it pass."""


@dataclasses.dataclass
class Run:
    """What lives from a start to its end."""

    consumer: Consumer | None = None
    producer: Producer | None = None
    taken: Buffer | None = None
    given: Buffer | None = None
    reader: threading.Thread | None = None
    worker: threading.Thread | None = None
    writer: threading.Thread | None = None
    stopping: threading.Event = dataclasses.field(default_factory=threading.Event)
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    left: int = 0  # threads that still run
    failed: bool = False

    def threads(self) -> list[threading.Thread]:
        return [thread for thread in (self.reader, self.worker, self.writer) if thread]


class Stage:
    """
    A function with its queues, which can be started and stopped.

    errors: how often the function raised or gave what can't be sent. error: the last of these exceptions, or that of a
    queue, or None. failed: did an error end it? dropped: messages it produced and could not send when it was stopped.
    """

    def __init__(self, function: Callable[..., Any], what: str, name: str | None = None) -> None:
        self.function = function
        self.what = what
        self.name = name or getattr(function, "__qualname__", repr(function))
        self.input: Input | None = None
        self.output: Output | None = None
        self.on_error = "stop"
        self.errors = 0
        self.dropped = 0
        self.error: BaseException | None = None
        self.on_exit: Callable[[], None] | None = None  # the function called sys.exit()
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._pid = os.getpid()

    # ---- from outside

    @property
    def running(self) -> bool:
        run = self._run
        return run is not None and self._pid == os.getpid() and not run.done.is_set()

    @property
    def failed(self) -> bool:
        return self._run is not None and self._run.failed

    @property
    def started(self) -> bool:
        return self._run is not None

    def threads(self) -> list[threading.Thread]:
        return self._run.threads() if self._run else []

    def start(self) -> None:
        """Open the queues and start. What goes wrong with the queues is raised here."""
        start_all([self])

    def open_input(self) -> None:
        with self._lock:
            run = Run()
            if self.input:
                queue = self.input
                run.taken = Buffer(max(BUFFER, 2 * queue.batch_size))
                run.consumer = Consumer(
                    queue.shm_name, queue.node_count, queue.block_size, queue.start_mode, metadata=queue.metadata
                )
            self._run = run
            run.done.set()  # until begin()

    def open_output(self) -> None:
        run = self._run
        assert run
        if self.output:
            queue = self.output
            run.given = Buffer(BUFFER)
            run.producer = Producer(queue.shm_name, queue.node_count, queue.block_size, queue.metadata)

    def begin(self) -> None:
        run = self._run
        assert run
        run.reader = self._thread(run, "reader", self._read) if run.consumer else None
        run.worker = self._thread(run, "worker", self._work)
        run.writer = self._thread(run, "writer", self._write) if run.producer else None
        run.left = len(run.threads())
        run.done.clear()
        for thread in run.threads():
            thread.start()

    def undo(self) -> None:
        """After an error of open_...()."""
        with self._lock:
            run = self._run
            if run and run.consumer:
                run.consumer.close()
            if run and run.producer:
                run.producer.close()
            self._run = None

    def give_up(self) -> None:
        """It could not be started, and is over."""
        self._run = Run(failed=True)
        self._run.done.set()

    def request_stop(self) -> None:
        """Tell it to stop; returns at once."""
        self._check_process()
        run = self._run
        if not run or run.done.is_set():
            return
        run.stopping.set()
        if run.taken:
            run.taken.close(drop=True)
        if run.consumer:
            run.consumer.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; with a timeout, whether that came."""
        self._check_process()
        run = self._run
        return not run or run.done.wait(timeout_s)

    def stop(self) -> None:
        """
        Stop, and wait for it: the function is not called again, what it produced is sent if there is room. Called by the
        function itself, it does not wait. Raises QueueTimeoutError if the function hangs.
        """
        self.request_stop()
        run = self._run
        if not run or run.done.is_set():
            return
        if threading.current_thread() in run.threads():
            threading.Thread(target=self._finish, args=(run,), daemon=True).start()
            return
        self.finish(time.monotonic() + GRACE_S)

    def finish(self, deadline: float, tell: Callable[[str], None] | None = None) -> None:
        """
        After request_stop(): wait until deadline for the function, then for what it gave. QueueTimeoutError: it hangs, which
        is told before others see the end.
        """
        run = self._run
        if run and run.worker and not self._finish(run, deadline):
            self.error = QueueTimeoutError(f"{self} hangs: its function still runs {GRACE_S:g} s after it was told to stop")
            run.failed = True
            if tell:
                tell(str(self.error))
            run.done.set()
            raise self.error

    def _finish(self, run: Run, deadline: float = float("inf")) -> bool:
        assert run.worker
        run.worker.join(FLUSH_S)
        if run.given:
            run.given.close()  # the worker, which waits for room, gets Stopped
        run.worker.join(min(threading.TIMEOUT_MAX, max(0.0, deadline - time.monotonic())))
        if run.writer and run.producer:
            run.writer.join(FLUSH_S)
            if run.writer.is_alive():  # it waits for room, and gets QueueClosedError
                (run.producer.fail if run.failed else run.producer.close)()
        for thread in run.threads():
            if thread is not run.worker:
                thread.join()
        return not run.worker.is_alive()

    def send(self, data: Any, timeout_s: float | None) -> bool:
        """Into the output's buffer; False: it was full for that long. Raises QueueClosedError, and for wrong data."""
        self._check_process()
        run = self._run
        if not run or not run.given or run.done.is_set():
            raise QueueClosedError(f"{self} does not run")
        if run.given.put([self._message(data)], timeout_s):
            return True
        if run.stopping.is_set() or run.done.is_set():
            raise QueueClosedError(f"{self} has stopped")
        return False

    def __str__(self) -> str:
        return f"{self.what} '{self.name}'"

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise QueueForkedError(errno.ECHILD, f"{self} belongs to the parent process")

    # ---- the threads

    def _thread(self, run: Run, role: str, target: Callable[[Run], None]) -> threading.Thread:
        def body() -> None:
            try:
                target(run)
            except BaseException as error:  # a queue does not go on
                self.error = error
                run.failed = True
                say(f"{self} ends: {type(error).__name__}: {error}")
                self.request_stop()
            finally:
                self._leave(run)

        # Daemons: one whose function hangs must not keep the process from ending.
        return threading.Thread(target=body, name=f"{self.name}-{role}", daemon=True)

    def _leave(self, run: Run) -> None:
        with self._lock:
            run.left -= 1
            last = run.left == 0
        if last:
            run.done.set()

    def _read(self, run: Run) -> None:
        assert run.consumer and run.taken and self.input
        wait_ms = nap(self.input.timeout_ms)
        try:
            while room := run.taken.room():
                batch = run.consumer.pop_batch(room, wait_ms)
                if batch and not run.taken.put(batch):
                    break
        except QueueClosedError:
            if not run.taken.closed:
                raise
        finally:
            run.taken.close()
            run.consumer.close()

    def _work(self, run: Run) -> None:
        try:
            if run.taken:
                self._consume(run, run.taken)
            else:
                self._produce(run)
        except Stopped:
            pass
        except SystemExit:  # sys.exit() in the function
            run.stopping.set()
            if self.on_exit:
                self.on_exit()
        finally:
            if run.given:
                run.given.close()
            if run.taken and run.consumer:
                run.taken.close(drop=True)
                run.consumer.close()

    def _consume(self, run: Run, taken: Buffer) -> None:
        assert self.input
        while not run.stopping.is_set() and not run.failed:
            batch = taken.take(self.input.batch_size)
            if not batch:
                return
            self._guarded(run, self._call, run, batch)

    def _produce(self, run: Run) -> None:
        assert self.output
        due = time.monotonic()
        items: Iterator[Any] | None = None
        ended: list[bool] = []

        def advance() -> None:
            assert items is not None
            for item in items:
                self._emit(run, item)
                return
            ended.append(True)

        try:
            while not run.stopping.is_set():
                if not inspect.isgeneratorfunction(self.function):
                    self._guarded(run, self._call, run)
                else:
                    items = items or self.function()
                    if not self._guarded(run, advance):
                        items = None  # a generator that raised is over: the next is a new one
                if ended or run.failed:
                    return
                due += self.output.interval
                left = due - time.monotonic()
                if left > 0:
                    run.stopping.wait(left)
                else:
                    due -= left  # no burst of calls after a wait
        finally:
            if items:
                self._guarded(run, items.close)  # type: ignore[attr-defined]

    def _guarded(self, run: Run, call: Callable[..., None], *args: Any) -> bool:
        """Call what is the user's. False: it raised; run.failed: and is not to go on."""
        try:
            call(*args)
            return True
        except Exception as error:
            self.errors += 1
            self.error = error
            stops = self.on_error == "stop"
            said = "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__)))
            say(f"{self}: error {self.errors}, {'it stops' if stops else 'skipped'}\n{said.rstrip()}")
            if stops:
                run.failed = True
            return False

    def _call(self, run: Run, *args: Any) -> None:
        """Call the function, and put what it returns or yields into the output."""
        result = self.function(*args)
        try:
            if not run.given:
                if isinstance(result, Iterator):
                    raise TypeError(f"{self} yields, and has no sharedmem_producer above it that takes that")
            elif isinstance(result, (list, tuple, Iterator)):
                for item in result:
                    self._emit(run, item)
            else:
                self._emit(run, result)
        finally:
            if inspect.isgenerator(result):
                result.close()

    def _emit(self, run: Run, item: Any) -> None:
        assert run.given
        if item is not None and not run.given.put([self._message(item)]):
            self.dropped += 1
            raise Stopped

    def _message(self, data: Any) -> bytes:
        """A copy: the function may go on with what it gave."""
        assert self.output
        if isinstance(data, str):
            message = data.encode()
        else:
            try:
                message = data if type(data) is bytes else memoryview(data).tobytes()
            except TypeError:
                raise TypeError(f"{self} gave {type(data).__name__}, not bytes-like, str or None") from None
        if len(message) > self.output.block_size:
            raise MessageSizeError(
                f"{self} gave {len(message)} bytes; queue '{self.output.shm_name}' takes {self.output.block_size}"
            )
        return message

    def _write(self, run: Run) -> None:
        assert run.producer and run.given and self.output
        wait_ms = nap(self.output.timeout_ms)
        batch: list[bytes] = []
        try:
            while batch := run.given.take(BUFFER):
                while batch:
                    del batch[: run.producer.push_batch(batch, wait_ms)]
        except QueueClosedError:
            if not run.stopping.is_set():
                raise
        finally:
            self.dropped += len(batch) + run.given.close(drop=True)
            if self.dropped:
                say(f"{self}: {self.dropped} messages were not sent: the queue had no room")
            if run.failed:
                run.producer.fail()
            else:
                run.producer.close()


def start_all(stages: list[Stage]) -> None:
    """
    Start some together: consumers attach first, so that they get all of a producer beside them. All or, if a queue can't
    be opened, none, and that exception.
    """
    for stage in stages:
        stage._check_process()
        if stage.running:
            raise MultiQueueError(f"{stage} runs already")
    opened: list[Stage] = []
    try:
        for stage in stages:
            stage.open_input()
            opened.append(stage)
        for stage in stages:
            stage.open_output()
    except BaseException as error:
        stage.error = error
        for other in opened:
            other.undo()
        raise
    for stage in stages:
        stage.begin()


def nap(timeout_ms: int) -> int:
    """Waits are repeated: one without an end would return at once at the end of a stream, one of 0 ms always."""
    return max(1, timeout_ms) if timeout_ms >= 0 else 1000


def say(text: str) -> None:
    """To stderr, which may have gone."""
    try:
        sys.stderr.write(f"multiqueue_shm: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _own_frames(tb: Any) -> Any:
    """The part of a traceback that is the user's."""
    first = tb
    while tb and tb.tb_frame.f_globals.get("__name__") == __name__:
        tb = tb.tb_next
    return tb or first
