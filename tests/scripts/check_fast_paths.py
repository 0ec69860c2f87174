#!/usr/bin/env python3
"""Counts the instructions of the fast paths (benchmarks/fast_paths.cpp) under callgrind, and compares them with the table that is kept.

    check_fast_paths.py [--cxx COMPILER] [--update] CHECKOUT

Fails where a path takes more than 2 % more than the table says, and where it takes as much less: then the table is to be brought up to date (--update). The table is of
one compiler, whose version is in its first line; with another, without valgrind, or on another kind of processor nothing is compared, and that is said.
"""

import argparse
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

TOLERANCE = 0.02
ROUNDS = 1000
ARGUMENT = "((anonymous namespace)::everything&)"  # of the functions to be counted; what is inside them, or a part of them, has longer names


def measure(cxx, root):
    """path -> instructions of one round"""
    with tempfile.TemporaryDirectory() as folder:
        program, counted = f"{folder}/fast_paths", f"{folder}/callgrind.out"
        flags = ["-std=c++20", "-O3", "-DNDEBUG", "-march=x86-64", f"-I{root / 'include'}", "-pthread"]
        subprocess.run([cxx, *flags, str(root / "benchmarks/fast_paths.cpp"), "-o", program], check=True)
        valgrind = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={counted}", "--collect-atstart=no", f"--toggle-collect=path_*{ARGUMENT}", program]
        # The C library has functions for some processors only; here it takes those that all have.
        subprocess.run(valgrind, check=True, env=os.environ | {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-ERMS,-FSRM,-BMI2,-SSE4_2"})
        lines = iter(pathlib.Path(counted).read_text(encoding="utf-8").splitlines())
    names, paths = {}, {}
    called = ""
    for line in lines:
        if found := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
            name = names.setdefault(found[1], found[2] or "")
            if line.startswith("c"):
                called = name
        elif line.startswith("calls="):
            cost = int(next(lines).split()[1])  # all that the call took
            if found := re.match(rf"path_(\w+){re.escape(ARGUMENT)}$", called):
                paths[found[1]] = paths.get(found[1], 0) + cost
    return {path: cost / ROUNDS for path, cost in paths.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--update", action="store_true")
    parser.add_argument("checkout", type=pathlib.Path)
    options = parser.parse_args()
    root = options.checkout.resolve()
    table = root / "benchmarks/results/fast_paths.txt"
    version = subprocess.run([options.cxx, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    version = f"{re.sub(r'^[^ ]+ ', '', version)}, {platform.machine()}"
    kept = table.read_text(encoding="utf-8").splitlines() if table.exists() else [""]
    if shutil.which("valgrind") is None:
        print("skipped: fast paths are not compared, for valgrind is not installed")
        return
    if not options.update and kept[0] != f"# {version}":
        print(f"skipped: fast paths are not compared, for the table is of another compiler ({kept[0][2:]}) than this one ({version})")
        return
    measured = measure(options.cxx, root)
    if options.update:
        head = [f"# {version}", "# Instructions of one round of each path of benchmarks/fast_paths.cpp, by tests/scripts/check_fast_paths.py --update"]
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join([*head, *(f"{path:<24} {cost:8.1f}" for path, cost in sorted(measured.items()))]) + "\n", encoding="utf-8")
        print(table.read_text(encoding="utf-8"), end="")
        return
    expected = {path: float(cost) for path, cost in (line.split() for line in kept if line and not line.startswith("#"))}
    failed = 0
    for path in sorted({*expected, *measured}):
        old, new = expected.get(path), measured.get(path)
        right = old is not None and new is not None and abs(new - old) <= TOLERANCE * old
        failed += not right
        print(f"{path:<24} {'-' if old is None else old:>8} {'-' if new is None else round(new, 1):>8}{'' if right else '   not as the table says'}")
    print(f"{len(measured) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
