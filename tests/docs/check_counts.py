#!/usr/bin/env python3
"""Every count of instructions that a page of docs/ takes from the table of the fast paths is that of the table (benchmarks/results/fast_paths.txt).

    check_counts.py CHECKOUT

A comment right behind the number, which is not shown, names the path: `269<!-- fast_path: future --> instructions`. Rounded as the page likes. "At a glance" counts no instructions
without it, unless it says how many more. Ends with "N passed, N failed", where each such number is one.
"""

import argparse
import pathlib
import re
import sys

MARKED = re.compile(r"(\d[\d,]*(?:\.\d+)?)<!-- fast_path: (\w+) -->")
MARKER = re.compile(r"<!--\s*fast_path")
UNMARKED = re.compile(r"\d[\d,.]* instructions(?! more)")


def problems_of(text, table):
    """The problem of each number of a page, or "" where it has none."""
    for found in MARKED.finditer(text):
        told, path = found[1].replace(",", ""), found[2]
        step = 10.0 ** -len(told.partition(".")[2])
        if path not in table:
            yield f"the table has no {path}"
        elif abs(float(told) - table[path]) > step / 2 + 1e-9:
            yield f"{path} takes {table[path]} instructions, and not {found[1]}"
        else:
            yield ""
    if len(MARKER.findall(text)) != len(MARKED.findall(text)):
        yield "a comment fast_path does not stand right behind a number, or names no path"
    for found in UNMARKED.finditer(glance_of(text)):
        yield f'"At a glance" says {found[0]}, without a comment that says of which path'


def glance_of(text):
    found = re.search(r"^## At a glance\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=pathlib.Path)
    root = parser.parse_args().checkout.resolve()
    lines = (root / "benchmarks/results/fast_paths.txt").read_text(encoding="utf-8").splitlines()
    table = {path: float(count) for path, count in (line.split() for line in lines if line and not line.startswith("#"))}
    passed = failed = 0
    for page in sorted(root.glob("docs/*.md")):
        for problem in problems_of(page.read_text(encoding="utf-8"), table):
            passed += not problem
            failed += bool(problem)
            if problem:
                print(f"{page.relative_to(root)}: {problem}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
