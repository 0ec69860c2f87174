#!/usr/bin/env python3
"""Has scripts/amalgamate write single headers of a part and of an adapter, and the compiler look at programs that have nothing else of penstock. (The whole one has a unit test of its own.)

    check_amalgamate.py [--cxx COMPILER] CHECKOUT

A line "skipped: …" says what was not looked at, for its package is missing. Ends with "N passed, N failed".
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

PROGRAMS = {  # header: what a program does with it
    "penstock/channel/channel.hpp": 'int main() { penstock::channel<int> numbers{1}; return numbers.push(1) ? 0 : 1; }',
    "penstock/ext/fmt.hpp": 'int main() { return fmt::format("{}", penstock::result<int>{1}) == "1" ? 0 : 1; }',
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("checkout", type=pathlib.Path)
    options = parser.parse_args()
    passed = failed = 0
    for header, program in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([options.checkout / "scripts/amalgamate", "-o", f"{folder}/single.hpp", header], check=True)
            command = [options.cxx, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{folder}", "-x", "c++", "-"]
            compiled = subprocess.run(command, input=f'#include "single.hpp"\n{program}\n', capture_output=True, text=True, check=False)
        if missing := re.search(r"fatal error: '?((?!penstock/)[^\s:']+)(?:: No such file|' file not found)", compiled.stderr):
            print(f"skipped: {header}, for there is no {missing[1]}")
            continue
        passed += compiled.returncode == 0
        failed += compiled.returncode != 0
        print(f"{header}: not as a single header\n{compiled.stderr[:4000]}" if compiled.returncode != 0 else f"{header}: well")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
