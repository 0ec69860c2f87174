#!/usr/bin/env python3
"""Checks that each row of the documents' tables against other systems names a test that is there.

usage: check_parity.py DOC TESTS_DIR

A table counts if its last column is headed `test`. What its rows have there in backticks is (a part of) the name of a test: a string of a TEST_CASE, or of
a check() of the Python programs that run servers. A row without a test says why it has none: its last cell begins with a dash.
"""

import pathlib
import re
import sys
import tempfile


def rows_of(text):
    """(feature, last cell) of each row of the tables whose last column is headed `test`."""
    rows, counts = [], False
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")] if line.lstrip().startswith("|") else None
        if cells is None:
            counts = False
        elif cells[-1] == "test":
            counts = True
        elif counts and not set(line) <= set("|-: "):
            rows.append((cells[0], cells[-1]))
    return rows


def strings_of(tests):
    """The names of tests, one a line, and with adjacent literals joined."""
    names = []
    for file in tests.rglob("*.cpp"):
        text = file.read_text(encoding="utf-8")
        for match in re.finditer(r'\bTEST_CASE\(\s*((?:"(?:\\.|[^"\\\n])*"\s*)+)', text):
            names.append("".join(re.findall(r'"((?:\\.|[^"\\\n])*)"', match[1])))
    for file in tests.rglob("*.py"):
        names += re.findall(r'\b(?:check|need)\(\s*f?"((?:\\.|[^"\\\n])*)"', file.read_text(encoding="utf-8"))
    return "\n".join(names)


def problems_of(doc, tests):
    names = strings_of(tests)
    rows = rows_of(doc.read_text(encoding="utf-8"))
    problems = []
    for feature, cell in rows:
        wanted = re.findall(r"`([^`]+)`", cell)
        if not wanted and not re.match(r"[–—-]", cell):
            problems.append(f"{feature}: no test")
        problems += [f"{feature}: there is no test `{name}`" for name in wanted if name not in names]
    return problems, len(rows)


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "a_test.cpp").write_text('TEST_CASE("queue: is "\n "one", "[x]") {}\n// "queue: no"\n', encoding="utf-8")
        (root / "run.py").write_text('check("a crash is recovered", 1 == 1)\n', encoding="utf-8")
        doc = root / "d.md"
        head = "| a | b | test |\n|---|---|---|\n"
        doc.write_text(head + "| p | x | `queue: is one` |\n| q | x | `a crash is` |\n| r | x | – none yet |\n\n| not | counted |\n|---|---|\n| s | |\n", encoding="utf-8")
        assert problems_of(doc, root) == ([], 3), problems_of(doc, root)
        doc.write_text(head + "| p | x | `queue: no` |\n| q | x | |\n", encoding="utf-8")
        assert problems_of(doc, root)[0] == ["p: there is no test `queue: no`", "q: no test"], problems_of(doc, root)


def main():
    self_test()
    problems, count = problems_of(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
    for problem in problems:
        print(problem)
    if problems or count == 0:
        sys.exit(1)
    print(f"parity: ok ({count} rows)")


if __name__ == "__main__":
    main()
