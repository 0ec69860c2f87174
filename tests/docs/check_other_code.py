#!/usr/bin/env python3
"""Looks at the syntax of the documentation's blocks of other languages, as far as their tools are there. C++: check_code.py.

    check_other_code.py [--cxx COMPILER] CHECKOUT

A block may be a part of a program, statements that wait among them; nothing is run, and names need mean nothing. Others' C++ (c++) is compiled where its library is there: it
is known by the namespace that it names first. A line "skipped: …" says what was not looked at, and
why. Ends with "N passed, N failed", where each block is one, and each tool: it has to refuse a parenthesis that nothing closes.
"""

import argparse
import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from check_code import PAGES

FENCE = re.compile(r"^( *)```(\S+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
OURS = "cpp"  # check_code.py
ELSEWHERE = {"c++ of folly": "its headers are needed, and few systems have them as a package", "sql": "whether it is right is the database's to say"}
TBB = """#include <functional>
#include <numeric>
#include <vector>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_reduce.h>
std::vector<double> v;
double filter(double);
void f() {
"""


def python(code):
    try:
        compile(code, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return str(error)
    return ""


def by_tool(command, suffix, before="", after=""):
    """A check by a command that gets the block in a file, its last argument."""

    def check(code):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / f"block{suffix}"
            file.write_text(f"{before}{code}{after}", encoding="utf-8")
            ended = subprocess.run([*command, str(file)], cwd=folder, capture_output=True, text=True, check=False)
        return (ended.stderr or ended.stdout or f"status {ended.returncode}") if ended.returncode != 0 else ""

    return check


def checks(cxx):
    """Language: the tool, and what it says against a block. What is left out of the compilation (cfg), or in a function that nobody calls, is read all the same."""
    compiler = [cxx, "-std=c++20", "-fsyntax-only"]
    no_tbb = by_tool([cxx, "-E"], ".cpp")("#include <tbb/parallel_for.h>\n")
    return {
        "python": (sys.executable, python),
        "sh": ("sh", by_tool(["sh", "-n"], ".sh")),
        "cmake": ("cmake", by_tool(["cmake", "-P"], ".cmake", "function(nobody_calls_this)\n", "endfunction()\n")),
        "js": ("node", by_tool(["node", "--check"], ".mjs")),
        "go": ("gofmt", by_tool(["gofmt", "-e"], ".go", "package p\nfunc f() error {\n", "}\n")),
        "rust": ("rustc", by_tool(["rustc", "--edition=2021", "--crate-type=lib", "--emit=metadata"], ".rs", "#[cfg(any())]\nasync fn f() {\n", "}\n")),
        "c++ of tbb": ("oneTBB" if no_tbb else cxx, by_tool(compiler, ".cpp", TBB, "}\n")),
    }


def language_of(fence, code):
    library = re.search(r"\b(\w+)::", code) if fence == "c++" else None
    return f"c++ of {library[1]}" if library else fence


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("checkout", type=pathlib.Path)
    options = parser.parse_args()
    root = options.checkout.resolve()
    blocks = {}  # language: (where, code)
    for page in (path for pattern in PAGES for path in sorted(root.glob(pattern))):
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            where = f"{page.relative_to(root)}:{text.count(chr(10), 0, found.start(3)) + 1}"
            blocks.setdefault(language_of(found[2], found[3]), []).append((where, re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)))
    del blocks[OURS]
    passed = failed = 0
    known = checks(options.cxx)
    for language, of_it in sorted(blocks.items()):
        tool, check = known.get(language, (None, None))
        left_out = ELSEWHERE.get(language) or (tool and not shutil.which(tool) and f"there is no {tool}")
        if left_out:
            print(f"skipped: {len(of_it)} blocks of {language} ({of_it[0][0]}), for {left_out}")
            continue
        problems = [f"{where}: nobody looks at blocks of {language}" for where, _ in of_it]
        if tool:
            said = [(where, check(code)) for where, code in of_it]
            problems = [f"{where}: {text}" for where, text in said if text]
            passed += len(of_it) - len(problems) + 1
            if not check("(\n"):
                problems.append(f"{tool} does not mind a parenthesis that nothing closes")
                passed -= 1
        failed += len(problems)
        print("".join(f"{problem.strip()}\n" for problem in problems), end="")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
