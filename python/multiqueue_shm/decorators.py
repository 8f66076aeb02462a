# SPDX-License-Identifier: MIT
"""
Functions that are called with what comes out of a queue, and give what goes into one:

    @sharedmem_producer({"out_shm": "half", "out_queue_len": 64, "out_block_size": 12800})
    @sharedmem_consumer({"in_shm": "full", "in_queue_len": 64, "in_block_size": 12800, "batch_size": 10})
    def halve(batch):
        for block in batch:
            yield numpy.frombuffer(block, numpy.float32) / 2

They run in threads of their own, which start at the end of the main module, 0.2 s after the last decoration, or by start()
and run(). The function itself stays what it is: it can be called as usual.
"""

import collections.abc
import difflib
import inspect
import math
from typing import Any, Callable, TypeVar

from . import _running
from ._errors import InvalidConfigError
from ._queue import ConsumerStartMode, start_mode_of
from ._running import run, start, stop
from ._stage import Input, Output, Stage

__all__ = ["run", "sharedmem_consumer", "sharedmem_producer", "start", "stop"]

Function = TypeVar("Function", bound=Callable[..., Any])

# What a parameter is called: by a consumer, by a producer. The first that is given counts.
NAMES = {
    "shm_name": (("in_shm", "shm_name"), ("out_shm", "shm_name")),
    "node_count": (("in_queue_len", "in_node_count", "node_count"), ("out_queue_len", "out_node_count", "node_count")),
    "block_size": (("in_block_size", "block_size"), ("out_block_size", "block_size")),
}
OTHERS = ("batch_size", "interval", "metadata", "on_error", "start_mode", "timeout_ms")
KNOWN = sorted({name for sides in NAMES.values() for side in sides for name in side} | set(OTHERS))
CONSUMER, PRODUCER = 0, 1
WHO = ("sharedmem_consumer", "sharedmem_producer")
ON_ERROR = ("stop", "skip")


def sharedmem_producer(
    params: collections.abc.Mapping[str, Any] | None = None, /, **keywords: Any
) -> Callable[[Function], Function]:
    """
    What the function returns, or yields, goes into a queue. It is called without arguments every `interval` seconds; as a
    generator it is called once, gives one message each `interval`, and its end is the end of the stream. Above a
    sharedmem_consumer it makes a chain: the function is called with what was consumed.

    A message is bytes-like (bytes, an array: its bytes are copied), str (sent as UTF-8), or None: nothing is sent; at most
    block_size bytes. A list, tuple or iterator is several messages.

    Parameters, in one dict or as keywords: shm_name (or out_shm), node_count (or out_queue_len), block_size in bytes (or
    out_block_size); interval=0.01 in seconds, timeout_ms=100: how long one attempt waits for room (it is repeated: nothing
    is dropped), metadata="", on_error="stop": what an exception of the function does, or "skip". Those of a consumer are
    passed over, so that both can have one dict; the out_ names come first.

    Raises InvalidConfigError (one is missing, unknown or out of range), TypeError (of the wrong type).
    """
    given = _given(PRODUCER, params, keywords)
    output = Output(**_queue(PRODUCER, given))
    output.metadata = _text(given, "metadata", "")
    output.interval = _seconds(given, "interval", 0.01)
    output.timeout_ms = _timeout(given)
    on_error = _on_error(given)

    def decorate(function: Function) -> Function:
        stage = _stage(PRODUCER, function)
        if stage.output:
            raise InvalidConfigError(f"'{stage.name}' has a sharedmem_producer already")
        stage.output = output
        return _complete(stage, function, on_error)

    return decorate


def sharedmem_consumer(
    params: collections.abc.Mapping[str, Any] | None = None, /, **keywords: Any
) -> Callable[[Function], Function]:
    """
    The function is called with what comes out of a queue: a list of bytes, 1..batch_size of them, in order. The queue is
    created when it is missing; producers may come, end, and be followed by others.

    Parameters, in one dict or as keywords: shm_name (or in_shm), node_count (or in_queue_len), block_size in bytes (or
    in_block_size); batch_size=1, timeout_ms=100: how long one look at the queue waits (it is repeated),
    start_mode="FROM_LATEST": a ConsumerStartMode or its name, metadata="": of a queue that it creates, on_error as for
    sharedmem_producer. Those of a producer are passed over; the in_ names come first.

    Raises InvalidConfigError (one is missing, unknown or out of range), TypeError (of the wrong type).
    """
    given = _given(CONSUMER, params, keywords)
    source = Input(**_queue(CONSUMER, given))
    # In a dict for both, the metadata is that of the output.
    if not any(name.startswith("out_") for name in given):
        source.metadata = _text(given, "metadata", "")
    source.batch_size = _whole(given, "batch_size", 1)
    source.timeout_ms = _timeout(given)
    source.start_mode = start_mode_of(given.get("start_mode", ConsumerStartMode.FROM_LATEST))
    on_error = _on_error(given)

    def decorate(function: Function) -> Function:
        stage = _stage(CONSUMER, function)
        if stage.input:
            raise InvalidConfigError(f"'{stage.name}' has a sharedmem_consumer already")
        stage.input = source
        return _complete(stage, function, on_error)

    return decorate


def _given(side: int, params: object, keywords: dict[str, Any]) -> dict[str, Any]:
    if params is None:
        params = {}
    if not isinstance(params, collections.abc.Mapping):
        raise TypeError(f"{WHO[side]} takes its parameters in a dict or as keywords, not {type(params).__name__}")
    for name in [*params, *keywords]:
        if name not in KNOWN:
            near = difflib.get_close_matches(str(name), KNOWN, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(KNOWN)}"
            raise InvalidConfigError(f"{WHO[side]}: unknown parameter '{name}'; {hint}")
        if name in params and name in keywords:
            raise InvalidConfigError(f"{WHO[side]}: '{name}' is given twice")
    return {**params, **keywords}


def _queue(side: int, given: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for meaning, sides in NAMES.items():
        name = next((name for name in sides[side] if name in given), None)
        if name is None:
            raise InvalidConfigError(f"{WHO[side]}: missing parameter {' or '.join(sorted(sides[side], reverse=True))}")
        found[meaning] = _text(given, name, "") if meaning == "shm_name" else _whole(given, name, 0)
    return found


def _of(given: dict[str, Any], name: str, default: Any, kinds: type | tuple[type, ...], what: str) -> Any:
    value = given.get(name, default)
    if isinstance(value, kinds) and not isinstance(value, bool):
        return value
    raise TypeError(f"{name} is {type(value).__name__}, not {what}")


def _text(given: dict[str, Any], name: str, default: str) -> str:
    return str(_of(given, name, default, str, "str"))


def _whole(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {type(value).__name__}, not int")
    value = value.__index__()
    if 1 <= value <= 1 << 30:
        return int(value)
    raise InvalidConfigError(f"{name} is {value}, not 1..{1 << 30}")


def _timeout(given: dict[str, Any]) -> int:
    value = given.get("timeout_ms", 100)
    return -1 if value is None or value == -1 else 0 if value == 0 else _whole(given, "timeout_ms", 100)


def _seconds(given: dict[str, Any], name: str, default: float) -> float:
    value = float(_of(given, name, default, (int, float), "a number of seconds"))
    if 0 <= value <= 1e6 and not math.isnan(value):
        return value
    raise InvalidConfigError(f"{name} is {value}, not 0 or more seconds, at most 1e6")


def _on_error(given: dict[str, Any]) -> str | None:
    value = given.get("on_error")
    if value is None or value in ON_ERROR:
        return value
    raise InvalidConfigError(f"on_error is {value!r}, not one of {', '.join(ON_ERROR)}")


def _stage(side: int, function: Callable[..., Any]) -> Stage:
    """The stage that function has already: a chain, or a new one."""
    if not callable(function):
        raise TypeError(f"{WHO[side]} decorates functions, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{WHO[side]} can't decorate an async function: it calls it from a thread")
    stage = _running.find(function)
    if stage and stage.started:
        raise InvalidConfigError(f"'{stage.name}' has been started already")
    return stage or Stage(function, WHO[side])


def _complete(stage: Stage, function: Function, on_error: str | None) -> Function:
    chain = stage.input is not None and stage.output is not None
    if chain:
        stage.what = "chain"
    if on_error:
        stage.on_error = on_error
    if not chain:
        _running.add(stage)
    try:
        function.stage = stage  # type: ignore[attr-defined]
    except AttributeError:
        pass  # a method, a builtin
    return function
