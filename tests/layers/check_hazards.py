#!/usr/bin/env python3
"""Checks that every hazard in the table of tests/README.md has a test that names it.

usage: check_hazards.py TESTS_DIR
"""

import pathlib
import re
import sys


def main():
    tests = pathlib.Path(sys.argv[1])
    wanted = set(re.findall(r"^\| (\d\d) \|", (tests / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    named = set()
    for folder in ("unit", "model", "stress", "fault"):
        for file in (tests / folder).rglob("*.cpp"):
            named |= set(re.findall(r"\bhazard-(\d\d)\b", file.read_text(encoding="utf-8")))
    for number in sorted(wanted - named):
        print(f"hazard {number} has no test")
    for number in sorted(named - wanted):
        print(f"hazard {number} is named by a test and not in the table")
    if not wanted or wanted != named:
        sys.exit(1)
    print(f"hazards: ok ({len(wanted)} have tests)")


if __name__ == "__main__":
    main()
