# SPDX-License-Identifier: MIT
"""A stage between two queues as an object, which the program starts and stops."""
from types import TracebackType
from typing import Any, Callable, Self

from ._errors import InvalidConfigError
from ._queue import start_mode_of
from ._stage import Input, Output, Stage
from .decorators import ON_ERROR


class Processor:
    """
    Reads a queue, calls a function with batches, and writes what it gives into another queue.

    in_shm, in_node_count, in_block_size, out_shm, out_node_count, out_block_size: the two queues, as for Consumer and
    Producer; both are created when they are missing. metadata: of the output. batch_size: most messages of one call.
    timeout_ms: how long one look at the input waits (it is repeated), and how long push_to_output() waits for room.
    start_mode: a ConsumerStartMode or its name. on_error: 'stop' or 'skip', what an exception of the callback does.

    Raises InvalidConfigError, TypeError. Errors of the queues come with start().
    """

    def __init__(
        self,
        in_shm: str,
        in_node_count: int,
        in_block_size: int,
        out_shm: str,
        out_node_count: int,
        out_block_size: int,
        metadata: str = "",
        batch_size: int = 1,
        timeout_ms: int = 100,
        *,
        start_mode: object = "FROM_LATEST",
        on_error: str = "stop",
    ) -> None:
        for what, value in (
            ("in_node_count", in_node_count),
            ("in_block_size", in_block_size),
            ("out_node_count", out_node_count),
            ("out_block_size", out_block_size),
            ("batch_size", batch_size),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{what} is {type(value).__name__}, not int")
            if not 1 <= value <= 1 << 30:
                raise InvalidConfigError(f"{what} is {value}, not 1..{1 << 30}")
        for what, text in (("in_shm", in_shm), ("out_shm", out_shm), ("metadata", metadata)):
            if not isinstance(text, str):
                raise TypeError(f"{what} is {type(text).__name__}, not str")
        if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, int):
            raise TypeError(f"timeout_ms is {type(timeout_ms).__name__}, not int")
        if on_error not in ON_ERROR:
            raise InvalidConfigError(f"on_error is {on_error!r}, not one of {', '.join(ON_ERROR)}")
        mode = start_mode_of(start_mode)
        self._timeout_s = None if timeout_ms < 0 else timeout_ms / 1000
        self._stage = Stage(_no_callback, "Processor", f"{in_shm} -> {out_shm}")
        self._stage.input = Input(in_shm, in_node_count, in_block_size, mode, batch_size, timeout_ms)
        self._stage.output = Output(out_shm, out_node_count, out_block_size, metadata, timeout_ms=timeout_ms)
        self._stage.on_error = on_error

    def register_callback(self, callback: Callable[[list[bytes]], Any]) -> None:
        """
        callback(batch) is called with 1..batch_size messages, a list of bytes, in a thread of its own. What it returns or
        yields is sent: bytes-like, str (UTF-8), None for nothing, or several in a list or iterator; it may also call
        push_to_output(). May be replaced while it runs.
        """
        if not callable(callback):
            raise TypeError(f"a callback is callable, not {type(callback).__name__}")
        self._stage.function = callback

    def start(self) -> None:
        """Open both queues and start. Raises MultiQueueError if it runs, InvalidConfigError without a callback, and what
        Consumer and Producer raise."""
        if self._stage.function is _no_callback:
            raise InvalidConfigError("there is no callback: register_callback() comes first")
        self._stage.start()

    def stop(self) -> None:
        """
        Stop, and wait for the callback and for what it gave to be sent, if there is room; both queues are closed. From the
        callback, it does not wait. It can be started again. Raises QueueTimeoutError if the callback hangs: it is left
        behind.
        """
        self._stage.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it ends, by stop() or an error. False: not within timeout_s seconds."""
        return self._stage.wait(timeout_s)

    def push_to_output(self, data: Any) -> bool:
        """
        Send one message: bytes-like or str, at most out_block_size bytes. From any thread. False: there was no room within
        timeout_ms. Raises QueueClosedError (not running), MessageSizeError, TypeError.
        """
        return self._stage.send(data, self._timeout_s)

    @property
    def running(self) -> bool:
        """Between start() and its end."""
        return self._stage.running

    @property
    def errors(self) -> int:
        """How often the callback raised, or gave what can't be sent."""
        return self._stage.errors

    @property
    def error(self) -> BaseException | None:
        """The last exception of the callback or of a queue."""
        return self._stage.error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        type: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None:
        self.stop()


def _no_callback(batch: list[bytes]) -> None:
    """Until there is one."""
