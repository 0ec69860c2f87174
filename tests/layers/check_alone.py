#!/usr/bin/env python3
"""Compiles each header alone, as the first and only thing that a source includes: it includes what it needs.

    check_alone.py [--cxx COMPILER] [--jobs N] INCLUDE_FOLDER

Of ext/, headers are left out whose package is not installed; they are named. It looks at the syntax only. That what the headers define compiles without a warning, and may be in several sources, is penstock_every_header's affair.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    headers = sorted(str(h.relative_to(options.folder)) for h in options.folder.rglob("*.hpp"))
    command = [options.cxx, "-std=c++20", "-fsyntax-only", f"-I{options.folder}", "-x", "c++", "-"]

    def compile_alone(header):
        return subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True, check=False)

    failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for header, compiled in zip(headers, pool.map(compile_alone, headers)):
            if compiled.returncode == 0:
                continue
            missing = re.search(r"fatal error: '?([^\s':]+)|#error \"penstock: this standard library has no (\w+)", compiled.stderr)
            if header.startswith("penstock/ext/") and missing and not (missing[1] or "").startswith("penstock/"):
                skipped += 1
                print(f"{header} is left out: there is no {missing[1] or missing[2]}", flush=True)
            else:
                failed += 1
                print(f"{header} does not compile alone:\n{compiled.stderr[:2000]}", flush=True)
    if not headers:
        sys.exit(f"no headers below {options.folder}")
    print(f"{len(headers) - failed - skipped} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
