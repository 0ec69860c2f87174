#!/usr/bin/env python3
"""What including the large headers costs g++, as the memory that it allocates, compared with the table that is kept.

    check_compile_costs.py [--cxx COMPILER] [--update] CHECKOUT

Memory stands for time: a second of compiling is some 120 MB of it here, and unlike a second it is the same on a busy machine. Fails where a header takes more than 5 %
more than the table says, and where it takes as much less: then the table is to be brought up to date (--update). The table is of one compiler, whose version is in its
first line; with another nothing is compared, and that is said. An adapter whose package is not installed is left out, and keeps its number. Times, and all headers:
scripts/compile_times.
"""

import argparse
import os
import pathlib
import platform
import re
import subprocess
import sys

TOLERANCE = 0.05
HEADERS = [
    "penstock/penstock.hpp",
    "penstock/channel/channel.hpp",
    "penstock/combine/when_all.hpp",
    "penstock/ext/celery_producer.hpp",
    "penstock/ext/redis_store.hpp",
    "penstock/ext/sqlite_store.hpp",
    "penstock/job/job_queue.hpp",
    "penstock/job/job_worker.hpp",
    "penstock/observe/registry.hpp",
    "penstock/pool/worker_pool.hpp",
    "penstock/rate/limiter.hpp",
    "penstock/stream/pipeline.hpp",
    "penstock/sync/semaphore.hpp",
]


def megabytes(cxx, root, header):
    """None: it is an adapter, and its package is not installed"""
    command = [cxx, "-std=c++20", "-O0", "-ftime-report", f"-I{root / 'include'}", "-x", "c++", "-c", "-", "-o", os.devnull]
    done = subprocess.run(command, input=f"#include <{header}>\n", text=True, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
    if done.returncode != 0:
        if header.startswith("penstock/ext/") and "No such file" in done.stderr:
            return None
        sys.exit(f"compile costs: {header} does not compile:\n{done.stderr}")
    found = re.search(r"^ *TOTAL .*?([\d.]+)([kMG])\s*$", done.stderr, re.MULTILINE)
    return float(found[1]) * {"k": 1e-3, "M": 1, "G": 1e3}[found[2]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--update", action="store_true")
    parser.add_argument("checkout", type=pathlib.Path)
    options = parser.parse_args()
    root = options.checkout.resolve()
    table = root / "benchmarks/results/compile_costs.txt"
    version = subprocess.run([options.cxx, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    if "clang" in version:
        print("skipped: compile costs are not compared, for clang does not tell how much memory it allocates")
        return
    version = f"{re.sub(r'^[^ ]+ ', '', version)}, {platform.machine()}"
    kept = table.read_text(encoding="utf-8").splitlines() if table.exists() else [""]
    if not options.update and kept[0] != f"# {version}":
        print(f"skipped: compile costs are not compared, for the table is of another compiler ({kept[0][2:]}) than this one ({version})")
        return
    expected = {header: float(cost) for header, cost in (line.split() for line in kept if line and not line.startswith("#"))}
    measured = {header: megabytes(options.cxx, root, header) for header in HEADERS}
    for header in [h for h, cost in measured.items() if cost is None]:
        print(f"left out, for a package is not installed: {header}")
        measured[header] = expected.get(header)
        if measured[header] is None:
            del measured[header]
    if options.update:
        head = [f"# {version}", "# MB that the compiler allocates for a source that includes this and nothing else, by tests/scripts/check_compile_costs.py --update"]
        table.write_text("\n".join([*head, *(f"{header:<32} {cost:5.0f}" for header, cost in measured.items())]) + "\n", encoding="utf-8")
        print(table.read_text(encoding="utf-8"), end="")
        return
    failed = 0
    for header in sorted({*expected, *measured}):
        old, new = expected.get(header), measured.get(header)
        right = old is not None and new is not None and abs(new - old) <= TOLERANCE * old
        failed += not right
        print(f"{header:<32} {'-' if old is None else round(old):>5} {'-' if new is None else round(new):>5}{'' if right else '   not as the table says'}")
    print(f"{len(measured) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
