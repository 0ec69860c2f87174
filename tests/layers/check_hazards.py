#!/usr/bin/env python3
"""Checks that every hazard of this kind of library has a test that names it, where a test names itself.

usage: check_hazards.py TESTS_DIR

A test names a hazard by the tag [hazard-NN] of a TEST_CASE, or by the words hazard-NN in the name of a scenario of a stress program. A
comment is no test. The hazards that must have one are listed here, and the table of tests/README.md says what they are; what else stands in
the table must have a test, too, and what a test names must stand in the table.
"""

import pathlib
import re
import sys
import tempfile

WANTED = {f"{n:02}" for n in [*range(1, 27), *range(28, 36)]}
STRING = r'"(?:\\.|[^"\\\n])*"'


def without_comments(text):
    return re.sub(rf"({STRING})|//[^\n]*|/\*.*?\*/", lambda m: m[1] or " ", text, flags=re.DOTALL)


def names_in(text):
    """The numbers of the hazards that the tests of one source file name."""
    text = without_comments(text)
    strings = rf"(?:\s*{STRING})+"
    tags = [m[1] for m in re.finditer(rf"\bTEST_CASE\({strings}\s*,({strings})\s*\)", text)]
    scenarios = re.findall(r"\.scenario\(([^\[{;]*),", text)
    found = set()
    for tag in tags:
        found |= set(re.findall(r"\[hazard-(\d\d)\]", tag))
    for scenario in scenarios:
        found |= set(re.findall(r"\bhazard-(\d\d)\b", " ".join(re.findall(STRING, scenario))))
    return found


def problems_of(tests):
    table = set(re.findall(r"^\| (\d\d) \|", (tests / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    named = set()
    for folder in ("unit", "model", "stress", "fault"):
        for file in (tests / folder).rglob("*.cpp"):
            named |= names_in(file.read_text(encoding="utf-8"))
    problems = [f"hazard {n} has no test" for n in sorted((WANTED | table) - named)]
    problems += [f"hazard {n} is not in the table" for n in sorted((WANTED | named) - table)]
    return problems, len(table)


def self_test():
    assert names_in('TEST_CASE("a // b", "[x][hazard-01]") {}') == {"01"}
    assert names_in('TEST_CASE("a "\n "b",\n "[hazard-02]"\n "[hazard-03]") {}') == {"02", "03"}
    assert names_in('run.scenario(name + "on one processor (hazard-13)", 5ms, [] { f("hazard-14"); });') == {"13"}
    assert not names_in('// TEST_CASE("a", "[hazard-04]")\n/* run.scenario("hazard-05", */ f("hazard-06"); TEST_CASE("hazard-07", "[x]")')
    with tempfile.TemporaryDirectory() as folder:
        tests = pathlib.Path(folder)
        (tests / "unit").mkdir()
        tags = "".join(f"[hazard-{n}]" for n in WANTED - {"09"})
        (tests / "unit/a_test.cpp").write_text(f'// [hazard-09]\nTEST_CASE("all but one", "{tags}") {{}}\n', encoding="utf-8")
        (tests / "README.md").write_text("".join(f"| {n} | x |\n" for n in WANTED - {"09", "10"}), encoding="utf-8")
        expected = ["hazard 09 has no test", "hazard 09 is not in the table", "hazard 10 is not in the table"]
        assert problems_of(tests)[0] == expected, problems_of(tests)[0]


def main():
    self_test()
    problems, count = problems_of(pathlib.Path(sys.argv[1]))
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(1)
    print(f"hazards: ok ({count} have tests)")


if __name__ == "__main__":
    main()
