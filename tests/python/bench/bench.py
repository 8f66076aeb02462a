# SPDX-License-Identifier: MIT
"""
`make bench-python`: messages/s from one process to another, each on its own processor, by multiqueue_shm, by what else Python
has, and by the C library. All cases in turn, five times; medians, with the least and the most. Before each run a probe: how
long a cache line takes there and back, which says in what state the machine was.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time

import numpy as np

import multiqueue_shm as mq

NODES = 1024
BATCH = 256
C_BATCH = 32  # as in mqshm bench: faster for it than 256
SIZES = 64, 12800


def pinned(cpu):
    os.sched_setaffinity(0, {cpu})


# Each way: (send, receive), called in two processes with (name, size, count, ready). receive gives its time in s from the first
# message to the last; ready() tells the other side that it may begin.


def single_send(name, size, count, wait):
    data = bytes(size)
    with mq.Producer(name, NODES, size) as producer:
        wait()
        push = producer.push
        for _ in range(count):
            push(data, -1)


def single_receive(name, size, count, ready):
    with mq.Consumer(name, NODES, size) as consumer:
        ready()
        pop = consumer.pop
        pop(-1)
        began = time.perf_counter()
        for _ in range(count - 1):
            pop(-1)
        return time.perf_counter() - began


def batch_send(name, size, count, wait):
    data = [bytes(size)] * BATCH
    with mq.Producer(name, NODES, size) as producer:
        wait()
        for _ in range(count // BATCH):
            producer.push_batch(data, -1)


def batch_receive(name, size, count, ready):
    count -= count % BATCH
    with mq.Consumer(name, NODES, size) as consumer:
        ready()
        got = len(consumer.pop_batch(1, -1))
        began = time.perf_counter()
        while got < count:
            got += len(consumer.pop_batch(BATCH, -1))
        return time.perf_counter() - began


def zero_copy_send(name, size, count, wait):
    with mq.Producer(name, NODES, size) as producer:
        wait()
        reserve, frombuffer, float32 = producer.reserve, np.frombuffer, np.float32
        for i in range(count):
            with reserve(size) as view:
                frombuffer(view, float32).fill(i & 255)


def zero_copy_receive(name, size, count, ready):
    with mq.Consumer(name, NODES, size) as consumer:
        ready()
        began = None
        peek, frombuffer, float32, add, items = consumer.peek, np.frombuffer, np.float32, np.add.reduce, size // 4
        for i in range(count):
            with peek(-1) as view:
                if add(frombuffer(view, float32)) != (i & 255) * items:
                    raise SystemExit("a wrong sum")
            if began is None:
                began = time.perf_counter()
        return time.perf_counter() - began


def queue_send(queue, size, count, wait):
    data = bytes(size)
    wait()
    for _ in range(count):
        queue.put(data)
    queue.close()
    queue.join_thread()


def queue_receive(queue, size, count, ready):
    ready()
    queue.get()
    began = time.perf_counter()
    for _ in range(count - 1):
        queue.get()
    return time.perf_counter() - began


def pipe_send(pipe, size, count, wait):
    data = bytes(size)
    wait()
    for _ in range(count):
        pipe[1].send_bytes(data)


def pipe_receive(pipe, size, count, ready):
    ready()
    pipe[0].recv_bytes()
    began = time.perf_counter()
    for _ in range(count - 1):
        pipe[0].recv_bytes()
    return time.perf_counter() - began


def zmq_send(address, size, count, wait):
    import zmq

    data = bytes(size)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(address)
        wait()
        for _ in range(count):
            socket.send(data)


def zmq_receive(address, size, count, ready):
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind(address)
        ready()
        socket.recv()
        began = time.perf_counter()
        for _ in range(count - 1):
            socket.recv()
        return time.perf_counter() - began


def python_run(send, receive, subject, size, count, cpus):
    """messages/s"""
    context = multiprocessing.get_context("fork")
    go_out, go_in = os.pipe()
    result_out, result_in = context.Pipe(False)

    def sender():
        pinned(cpus[0])
        send(subject, size, count, lambda: os.read(go_out, 1))

    def receiver():
        pinned(cpus[1])
        result_in.send(receive(subject, size, count, lambda: os.write(go_in, b"x")))

    children = [context.Process(target=f) for f in (receiver, sender)]
    for child in children:
        child.start()
    result_in.close()
    seconds = result_out.recv()
    for child in children:
        child.join()
        if child.exitcode:
            raise SystemExit(f"a process ended with {child.exitcode}")
    os.close(go_out)
    os.close(go_in)
    return count / seconds


class Bench:
    def __init__(self, options):
        self.options = options
        self.cpus = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cpus) < 2:
            raise SystemExit("two processors are needed")
        self.name = f"bench-python-{os.getpid()}"

    def c_side(self, *arguments):
        return float(subprocess.run([self.options.c_side, *map(str, arguments)], stdout=subprocess.PIPE, check=True).stdout)

    def run(self, way, size, count):
        if way.startswith("C "):
            return self.c_side(way[2:], self.name, size, count, C_BATCH, *self.cpus)
        subject = self.name
        if way == "multiprocessing.Queue":
            send, receive, subject = queue_send, queue_receive, multiprocessing.get_context("fork").Queue(NODES)
        elif way == "multiprocessing.Pipe":
            send, receive, subject = pipe_send, pipe_receive, multiprocessing.get_context("fork").Pipe(False)
        elif way == "pyzmq ipc":
            send, receive, subject = zmq_send, zmq_receive, f"ipc://@{self.name}-{time.monotonic_ns()}"
        else:
            send, receive = {"single": (single_send, single_receive), "batch": (batch_send, batch_receive),
                             "zero-copy": (zero_copy_send, zero_copy_receive)}[way]  # fmt: skip
        return python_run(send, receive, subject, size, count, self.cpus)

    def all(self):
        ways = ["single", "batch", "zero-copy", "multiprocessing.Queue", "multiprocessing.Pipe", "pyzmq ipc", "C single", "C batch", "C zero-copy", "C zero-copy-plain"]
        try:
            import zmq  # noqa: F401
        except ImportError:
            print("without pyzmq: python3-zmq is not installed", file=sys.stderr)
            ways.remove("pyzmq ipc")
        cases = [(way, size) for size in SIZES for way in ways if self.options.only in way]
        counts, rates, probes = {}, {case: [] for case in cases}, {case: [] for case in cases}
        for case in cases:  # how many take about as long as asked
            rate = self.run(*case, 4096)
            rate = self.run(*case, max(4096, int(rate * 0.05)))
            counts[case] = max(4096, int(rate * self.options.seconds)) // BATCH * BATCH
        for _ in range(self.options.reps):
            for case in cases:
                probes[case].append(self.c_side("probe", *self.cpus))
                rates[case].append(self.run(*case, counts[case]))
        return cases, counts, rates, probes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--c-side", required=True, help="the program of c_side.c")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="about how long a run takes")
    parser.add_argument("--only", default="", help="the ways whose name has this in it")
    parser.add_argument("--json", action="store_true", help="every run, as JSON on stdout")
    options = parser.parse_args()
    cases, counts, rates, probes = Bench(options).all()
    if options.json:
        print(json.dumps([{"way": w, "size": s, "count": counts[w, s], "rates": rates[w, s], "probes": probes[w, s]} for w, s in cases]))
        return
    every = sorted(p for case in cases for p in probes[case])
    print(f"Python {platform.python_version()}, numpy {np.__version__}, multiqueue_shm {mq.__version__}, {os.cpu_count()} processors, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"cache line there and back: median {statistics.median(every):.0f} ns, 10-90 %: {every[len(every) // 10]:.0f}-{every[-1 - len(every) // 10]:.0f} ns, "
          f"{every[0]:.0f}-{every[-1]:.0f} ns")  # fmt: skip
    print(f"\n{'':24}{'bytes':>6}{'k messages/s':>16}{'least':>10}{'most':>10}{'probe ns':>10}")
    for way, size in cases:
        r = rates[way, size]
        print(f"{way:24}{size:6}{statistics.median(r) / 1e3:16.1f}{min(r) / 1e3:10.1f}{max(r) / 1e3:10.1f}{statistics.median(probes[way, size]):10.0f}")
    print()
    for what, a, b, size, target in [
        ("single push+pop beside multiprocessing.Queue", "single", "multiprocessing.Queue", 64, 10),
        ("push_batch/pop_batch beside the C library's", "batch", "C batch", 64, 0.3),
        ("zero-copy beside the C library's, summed by vectors", "zero-copy", "C zero-copy", 12800, 0.7),
        ("zero-copy beside the C library's, summed by a plain loop", "zero-copy", "C zero-copy-plain", 12800, 0.7),
    ]:
        if (a, size) not in rates or (b, size) not in rates:
            continue
        ratio = statistics.median(rates[a, size]) / statistics.median(rates[b, size])
        print(f"{what}, {size} bytes: {ratio:.2f} (target {target}: {'met' if ratio >= target else 'missed'})")


if __name__ == "__main__":
    main()
