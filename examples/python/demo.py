# SPDX-License-Identifier: MIT
"""
Runs the examples of this directory as three processes: generate.py -> halve.py -> plot.py, once with decorators and once
with asyncio; `make demo-python` does that. Ends with 1 if what arrived is not half of what was sent, sample for sample.

    python demo.py [--blocks N] [--interval S] [--out DIRECTORY]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = {"plot.py": "demo.png", "plot_asyncio.py": "demo-asyncio.png"}


def begin(environment, script, *arguments):
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True
    )


def pipeline(script, picture, options):
    """Three processes; whether all went well."""
    environment = os.environ | {
        "RAW_QUEUE": f"{options.name}-sine",
        "HALF_QUEUE": f"{options.name}-half",
        "INTERVAL": options.interval,
    }
    print(f"generate.py -> halve.py -> {script}: {options.blocks} blocks of 12,800 bytes", flush=True)
    started = []
    try:
        # What comes last starts first and says when it is there: nothing is missed.
        for last in (script, picture, options.blocks), ("halve.py",):
            started.append(begin(environment, *last))
            if started[-1].stdout.readline() != "ready\n":
                print(f"{last[0]} did not start")
                return False
        started.append(begin(environment, "generate.py"))
        said, _ = started[0].communicate()
        print("".join(f"    {line}\n" for line in said.splitlines()), end="", flush=True)
    finally:
        for process in reversed(started):
            if process.poll() is None:
                process.terminate()
        for process in started:
            process.wait()
    for process in started:
        if process.returncode:
            print(f"{Path(process.args[1]).name} ended with status {process.returncode}")
    return not any(process.returncode for process in started)


def main():
    options = argparse.ArgumentParser(description="three Python processes, two queues, one picture")
    options.add_argument("--blocks", type=int, default=40, help="how many blocks are plotted (default 40: 2 s)")
    options.add_argument("--interval", default="0.05", help="seconds between blocks (default 0.05)")
    options.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()), help="directory of the pictures")
    options.add_argument("--name", default=f"demo-{os.getpid()}", help="what the names of the queues begin with")
    options = options.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return 0 if all(pipeline(script, options.out / picture, options) for script, picture in SCRIPTS.items()) else 1


sys.exit(main())
