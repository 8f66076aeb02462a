# SPDX-License-Identifier: MIT
"""
When decorated functions start and stop.

They start DELAY_S after the last decoration or when the main module has come to its end, whichever is first; or by start()
and run(). They stop by a signal, by sys.exit() or an exception in the main module, at stop(), or when all have ended. If the
main module has ended well, the process stays until then.

Nothing here starts while multiprocessing imports the main module again for a child, and a forked child has none of it.
"""

import atexit
import opcode
import os
import queue
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Callable

from ._errors import MultiQueueError, QueueTimeoutError
from ._stage import GRACE_S, Stage, say, start_all

DELAY_S = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Process:
    """All of it in this process. A forked child has a new one."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.lock = threading.RLock()  # of stages and of starting; never taken by the signal handler
        # A signal handler may only put into this: it may have interrupted anything.
        self.commands: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.main_frame: FrameType | None = None
        self.signals = 0  # how many came that ask us to stop
        self.stopped = False  # asked to stop: what is not started yet never is, unless by hand
        self.alone = False  # the main thread does nothing but wait for us


_process = Process()
_previous: dict[int, Any] = {}  # the handlers before ours
_hooked = False


def add(stage: Stage) -> None:
    """A function was decorated."""
    process = _process
    with process.lock:
        stage.on_exit = lambda: process.commands.put("stop")
        process.stages.append(stage)
        if importing_for_a_child():
            return
        process.main_frame = process.main_frame or _main_frame()
        _hook()
        process.commands.put("decorated")


def find(function: Any) -> Stage | None:
    """The stage of a function, if it was decorated."""
    with _process.lock:
        return next((stage for stage in _process.stages if stage.function == function), None)


def start() -> None:
    """
    Start all decorated functions that were not started yet, now. Consumers attach first. If a queue can't be opened, none
    is started and its exception raised. While multiprocessing imports the main module for a child, it does nothing.
    """
    if importing_for_a_child():
        return
    process = _process
    process.stopped, process.signals = False, 0
    _start(process)


def _start(process: Process) -> None:
    with process.lock:
        _hook()
        start_all([stage for stage in process.stages if not stage.started])


def run() -> None:
    """
    start(), and wait until all have ended: by themselves, by stop(), or by Ctrl-C and SIGTERM, after which it returns.
    Raises MultiQueueError if one was stopped by an error.
    """
    if importing_for_a_child():
        return
    process = _process
    process.stopped, process.signals = False, 0
    process.alone = threading.current_thread() is threading.main_thread()
    try:
        _start(process)
        if process.stopped:  # a signal, when there was nothing to stop yet
            process.commands.put("stop")
        _wait(process)
    finally:
        process.alone = False
        if any(stage.running for stage in process.stages):
            stop()
    for stage in process.stages:
        if stage.failed:
            raise MultiQueueError(f"{stage} was stopped by {type(stage.error).__name__}: {stage.error}") from stage.error


def stop() -> None:
    """
    Stop all, and wait for them; from a decorated function: without waiting. What was not started yet is not any more, but
    by start(). Raises QueueTimeoutError if a function hangs: it is left behind.
    """
    process = _process
    process.stopped = True
    if any(threading.current_thread() in stage.threads() for stage in process.stages):
        process.commands.put("stop")
        return
    hanging = _stop_all(process)
    if hanging:
        raise QueueTimeoutError("; ".join(map(str, hanging)))


def importing_for_a_child() -> bool:
    """Does multiprocessing import the main module, or what a child needs, in a process it has spawned?"""
    module = sys.modules.get("multiprocessing.process")
    return bool(module and getattr(module.current_process(), "_inheriting", False))


# ---- the thread that starts and stops


def _manage(process: Process) -> None:
    due: float | None = None
    while True:
        try:
            command = process.commands.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
        except queue.Empty:
            command, due = "start", None
        if command == "decorated":
            due = time.monotonic() + DELAY_S
        elif command == "start":
            _start_reporting(process)
        else:
            due, process.stopped = None, True
            _stop_all(process, tell=say)


def _start_reporting(process: Process) -> None:
    """Start each that can be, and say which cannot."""
    with process.lock:
        waiting = [stage for stage in process.stages if not stage.started and not process.stopped]
        while waiting:
            try:
                start_all(waiting)
                return
            except Exception as error:
                bad = next(stage for stage in waiting if stage.error is error)
                say(f"{bad} can't start: {type(error).__name__}: {error}")
                bad.give_up()
                waiting.remove(bad)


def _stop_all(process: Process, tell: Callable[[str], None] | None = None) -> list[QueueTimeoutError]:
    with process.lock:
        stages = [stage for stage in process.stages if stage.running]
    hanging = []
    for stage in stages:
        stage.request_stop()
    deadline = time.monotonic() + GRACE_S
    for stage in stages:
        try:
            stage.finish(deadline, tell)
        except QueueTimeoutError as error:
            hanging.append(error)
    return hanging


def _wait(process: Process) -> None:
    """Until none runs. A signal handler of ours that interrupts this only puts a command."""
    while True:
        with process.lock:
            stage = next((stage for stage in process.stages if stage.running), None)
        if not stage:
            return
        stage.wait()


# ---- signals


def _hook() -> None:
    """Our thread; the end of the main module; and the signals, if this is the main thread: others can't set handlers."""
    global _hooked
    process = _process
    if not process.thread:
        process.thread = threading.Thread(target=_manage, args=(process,), name="multiqueue_shm", daemon=True)
        process.thread.start()
    if not _hooked:
        # Called when the main module has ended, before threads are joined; atexit would be after that.
        threading._register_atexit(_main_has_ended)  # type: ignore[attr-defined]
        os.register_at_fork(after_in_child=_forked)
        _hooked = True
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        # Who ignores a signal, or has a handler that is not Python's (None), goes on so.
        if handler is not _on_signal and handler is not signal.SIG_IGN and handler is not None:
            _previous[number] = handler
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    process = _process
    process.signals += 1
    process.stopped = True
    process.commands.put("stop")
    previous = _previous.get(number, signal.SIG_DFL)
    default = previous in (signal.default_int_handler, signal.SIG_DFL)
    # Between the end of the main module and _main_has_ended(), too: nobody would catch what we raise there.
    alone = process.alone or _ended_well(process.main_frame)
    if default and alone and process.signals == 1:
        return  # it ends when all have stopped
    if callable(previous):
        previous(number, frame)
    else:
        sys.exit(0 if process.stages else 128 + number)


# ---- the end of the main module


def _main_frame() -> FrameType | None:
    """The frame of the main module. None in an interactive session, where each line would be one."""
    if sys.flags.interactive or hasattr(sys, "ps1"):
        return None
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame and not (frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__"):
        frame = frame.f_back
    return frame


def _ended_well(frame: FrameType | None) -> bool:
    """
    Has this module come to its end? What left it, an exception or SystemExit, is known to nobody any more. But a frame keeps
    its last instruction, and a module returns only at its end.
    """
    if frame is None or frame.f_lasti < 0:
        return False
    return opcode.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN_")


def _main_has_ended() -> None:
    process = _process
    if not process.stages:
        return
    good = _ended_well(process.main_frame)
    try:
        process.alone = True
        if good and not process.stopped:
            _hook()  # again: the main module may have set handlers of its own, which go on as previous ones
            _start_reporting(process)
        else:
            _stop_all(process, tell=say)
        _wait(process)
    except (KeyboardInterrupt, SystemExit):  # the second signal: who doesn't want to wait shall not
        say("interrupted")
        _end(130)
    if good and any(stage.failed for stage in process.stages):
        _end(1)


def _end(status: int) -> None:
    """End with this status, which is decided otherwise once the main module has ended."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(status)


def _forked() -> None:
    """A child has the functions, not what runs them, nor the handlers."""
    global _process
    _process = Process()
    for number, handler in _previous.items():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, handler)
    _previous.clear()
