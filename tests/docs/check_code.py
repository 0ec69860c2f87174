#!/usr/bin/env python3
"""Compiles every C++ block of the documentation.

    check_code.py [--cxx COMPILER] [--jobs N] [--show] CHECKOUT [PAGE...]

All pages are one source, of which the compiler looks at the syntax; those with adapters another, and those with stdexec, which few systems have as a package, a third
one; each is left out where a package is missing. A page is a namespace, a block
a function, and what the page takes for granted stands before it: tests/docs/PAGE.hpp (docs/pool.md: pool.hpp), of which nothing need be defined (what must
stand outside of the page's namespace comes first, and a line says where that ends). A comment before a
block's fence says what it is, where it is no sequence of statements:

    <!-- code: file -->       declarations, at the scope of a namespace
    <!-- code: class -->      what stands inside a class
    <!-- code: more -->       goes on where the block before ends, with its names
    <!-- code: not ours -->   another library's; not compiled

Ends with "N passed, N failed", where each page is one.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

FENCE = re.compile(r"(?:^<!-- code: ([^>]*?) *-->\n+)?^( *)```cpp\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
INSIDE = "// ---- in the page's namespace\n"
PAGES = ("README.md", "docs/*.md", "examples/*/README.md", "packaging/README.md")


class Page:
    def __init__(self, root, path):
        self.name = str(path.relative_to(root))
        text = path.read_text(encoding="utf-8")
        self.blocks = []  # (line, kind, code)
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start(3)) + 1
            code = re.sub(rf"^{found[2]}", "", found[3], flags=re.MULTILINE)
            self.blocks.append((line, found[1] or "", code))
        name = path.parent.name if path.name == "README.md" and path.parent != root else path.stem
        self.given = root / "tests/docs" / f"{name}.hpp"

    def includes(self, header):
        texts = [code for _, kind, code in self.blocks if kind != "not ours"]
        return any(header in text for text in [*texts, self.given.read_text(encoding="utf-8") if self.given.exists() else ""])

    @property
    def adapters(self):
        return self.includes("penstock/ext/")

    @property
    def part(self):
        return 2 if self.includes("penstock/ext/stdexec.hpp") else int(self.adapters)

    def source(self, includes):
        """The page's namespace; #line makes errors name the page. What it includes is added to the others' includes."""

        def without_includes(text):
            lines = text.splitlines()
            includes.update(dict.fromkeys(line.strip() for line in lines if re.match(r"\s*#\s*include", line)))
            return "\n".join("" if re.match(r"\s*#\s*(include|pragma once)", line) else line for line in lines)

        parts = []
        for number, (line, kind, code) in enumerate(self.blocks):
            body = f'#line {line} "{self.name}"\n{without_includes(code) if kind != "not ours" else ""}'
            if kind == "not ours":
                continue
            if kind == "file":
                parts.append((body, ""))
            elif kind == "class":
                parts.append((f"struct block_{number} {{\n{body}\n", "};"))
            elif kind == "more":
                before, after = parts.pop()
                parts.append((f"{before}\n{body}\n", after))
            elif kind == "":
                # A coroutine if it waits as one; otherwise it may return anything, or nothing.
                result = "penstock::task<void>" if re.search(r"\bco_(await|return)\b", code) else "auto"
                parts.append((f"{result} block_{number}() {{\n{body}\n", "}"))
            else:
                raise SystemExit(f"{self.name}:{line}: what is a block of the kind {kind!r}?")
        outside = given = ""
        if self.given.exists():
            given = f'#line 1 "{self.given.name}"\n{without_includes(self.given.read_text(encoding="utf-8"))}'
        if INSIDE in given:
            outside, given = given.split(INSIDE)
        name = re.sub(r"\W", "_", self.name)
        return "\n".join([outside, f"namespace {name} {{", given, *(before + after for before, after in parts), "}", ""])


def whole(pages):
    includes = {"#include <penstock/penstock.hpp>": None}
    namespaces = [page.source(includes) for page in pages]
    return "\n".join([*includes, "using namespace std::chrono_literals;", "using namespace std::string_literals;", *namespaces])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--show", action="store_true", help="print the sources instead")
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("pages", nargs="*")
    options = parser.parse_args()
    root = options.checkout.resolve()
    pages = [Page(root, path) for pattern in PAGES for path in sorted(root.glob(pattern))]
    pages = [page for page in pages if page.blocks and (not options.pages or page.name in options.pages)]
    sources = [part for part in ([p for p in pages if p.part == number] for number in range(3)) if part]
    if options.show:
        print("\n".join(whole(part) for part in sources))
        return
    if not pages:
        sys.exit(f"no page of {root} has a C++ block")
    command = [options.cxx, "-std=c++20", "-fsyntax-only", "-w", "-DASIO_HAS_CO_AWAIT=1", "-DASIO_HAS_STD_COROUTINE=1", f"-I{root / 'include'}", "-x", "c++", "-"]

    def check(part):
        return subprocess.run(command, input=whole(part), capture_output=True, text=True, check=False)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for part, compiled in zip(sources, pool.map(check, sources)):
            if compiled.returncode == 0:
                continue
            missing = re.search(r"fatal error: ([^\s:]+)", compiled.stderr)
            if missing and part[0].adapters and not missing[1].startswith("penstock/"):
                print(f"left out, for there is no {missing[1]}: {', '.join(page.name for page in part)}", flush=True)
                continue
            named = [page for page in part if f"{page.name}:" in compiled.stderr or f"{page.given.name}:" in compiled.stderr]
            failed += len(named) or len(part)
            print(compiled.stderr[:12000], flush=True)
    print(f"{sum(len(page.blocks) for page in pages)} blocks")
    print(f"{len(pages) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
