#!/usr/bin/env python3
"""Looks at the syntax of the documentation's blocks of other languages, as far as their tools are there. C++: check_code.py.

    check_other_code.py CHECKOUT

A block may be a part of a program, statements that wait among them; nothing is run, and names need mean nothing. A line "skipped: …" says what was not looked at, and
why. Ends with "N passed, N failed", where each block is one, and each tool: it has to refuse a parenthesis that nothing closes.
"""

import argparse
import ast
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from check_code import PAGES

FENCE = re.compile(r"^( *)```(\S+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = {"cpp": "check_code.py", "c++": "others' C++ needs their headers", "sql": "which names are parameters is the store's to say"}


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


# Language: the tool, and what it says against a block. What is left out of the compilation (cfg), or in a function that nobody calls, is read all the same.
CHECKS = {
    "python": (sys.executable, python),
    "sh": ("sh", by_tool(["sh", "-n"], ".sh")),
    "cmake": ("cmake", by_tool(["cmake", "-P"], ".cmake", "function(nobody_calls_this)\n", "endfunction()\n")),
    "js": ("node", by_tool(["node", "--check"], ".mjs")),
    "go": ("gofmt", by_tool(["gofmt", "-e"], ".go", "package p\nfunc f() error {\n", "}\n")),
    "rust": ("rustc", by_tool(["rustc", "--edition=2021", "--crate-type=lib", "--emit=metadata"], ".rs", "#[cfg(any())]\nasync fn f() {\n", "}\n")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=pathlib.Path)
    root = parser.parse_args().checkout.resolve()
    blocks = {}  # language: (where, code)
    for page in (path for pattern in PAGES for path in sorted(root.glob(pattern))):
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            where = f"{page.relative_to(root)}:{text.count(chr(10), 0, found.start(3)) + 1}"
            blocks.setdefault(found[2], []).append((where, re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)))
    passed = failed = 0
    for language, of_it in sorted(blocks.items()):
        if language in ELSEWHERE:
            continue
        tool, check = CHECKS.get(language, (None, None))
        if tool and not shutil.which(tool):
            print(f"skipped: {len(of_it)} blocks of {language}, for there is no {tool}")
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
