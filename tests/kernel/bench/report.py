# SPDX-License-Identifier: MIT
"""Reads what the guest of bench.sh said, prints a table, and keeps each figure: report.py SAID FIGURES.JSON"""
import collections
import json
import re
import statistics
import sys


def figures(text):
    """{case: {backend: [value of each repetition]}}"""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        backend, case = head.split()
        if case.startswith("throughput"):
            # Every run counts, also those that bench itself calls disturbed: in an emulator all are.
            rates = [run["count"] / run["seconds"] for c in json.loads(body[body.index("{"):body.rindex("}") + 1])["cases"]
                     if not c["timestamps"] for run in c["runs"]]
            found[case + ", messages/s"][backend].append(statistics.median(rates))
            continue
        if case.endswith("_futex"):
            backend, case = "futex", case.removesuffix("_futex")
        for name, value, unit in (line.split() for line in body.splitlines() if re.fullmatch(r"\S+ [\d.]+ \w+", line)):
            found[f"{case} {name}, {unit}"][backend].append(float(value))
    return found


def show(values):
    return f"{statistics.median(values):12,.6g} ({min(values):,.5g}-{max(values):,.5g})" if values else "-"


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as said:
        found = figures(said.read())
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(found, out, indent=1)
    print(f"{'':32}{'futex':>28}{'posix':>34}{'kernel':>34}   kernel/posix, each repetition")
    for case, by in found.items():
        ratios = [k / p for k, p in zip(by["kernel"], by["posix"]) if p]
        spread = f"{statistics.median(ratios):.2f}  ({' '.join(f'{r:.2f}' for r in ratios)})" if ratios else ""
        print(f"{case:32}{show(by['futex']):>28}{show(by['posix']):>34}{show(by['kernel']):>34}   {spread}")
    for case, by in found.items():
        if by["futex"] and "us" in case:
            for backend in ("posix", "kernel"):
                ratios = [b / f for b, f in zip(by[backend], by["futex"])]
                print(f"{case}: {backend}/futex {statistics.median(ratios):.2f}  ({' '.join(f'{r:.2f}' for r in ratios)})")


main()
