#!/usr/bin/env python3
"""Compiles every C++ block of the documentation, and the examples at the top of the public headers.

    check_code.py [--cxx COMPILER] [--jobs N] [--show] CHECKOUT [PAGE...]

All pages are one source, of which the compiler looks at the syntax; those with adapters another, and those with stdexec a third one. A page is a namespace, a block
a function, and what the page takes for granted stands before it: tests/docs/PAGE.hpp (docs/pool.md: pool.hpp), of which nothing need be defined (what must
stand outside of the page's namespace comes first, and a line says where that ends). A comment before a
block's fence says what it is, where it is no sequence of statements, and which header it needs that it does not show:

    <!-- code: file -->       declarations, at the scope of a namespace
    <!-- code: class -->      what stands inside a class
    <!-- code: more -->       goes on where the block before ends, with its names
    <!-- code: with penstock/ext/stdexec.hpp -->, <!-- code: file with penstock/ext/stdexec.hpp -->

A header is a page, too (include/penstock/pool/worker_pool.hpp). Its examples are those paragraphs of the comment at its top of which each line stands three spaces in,
and some line ends in ";" or "{": tables and pictures are none. One that begins with a template, a class or a function is at the scope of a namespace; the others are
one function, so later ones know the names of those before. "…" or "..." in an example is what is left out, and nothing to the compiler. What they take for granted
stands in tests/docs/headers.hpp: what all know comes first, and below "// ---- pool/worker_pool.hpp" what this one knows besides, or instead. A line
"// ---- job/job_codec.hpp: why" leaves that one out.

Where a package is missing, the blocks are left out whose includes need it, and a whole page if what it takes for granted does; a line "skipped: …" tells each page's.
Ends with "N passed, N failed", where each page of which something was compiled is one.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

FENCE = re.compile(r"(?:^<!-- code: ([^>]*?) *-->\n+)?^( *)```cpp\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^\s*#\s*include.*?(?=\s*(?://|$))", re.MULTILINE)
INSIDE = "// ---- in the page's namespace\n"
HEADING = re.compile(r"^// ---- (\S+\.hpp)(?:: (.*))?$", re.MULTILINE)
DEFINITION = re.compile(r"(template|class|struct)\b|(?!(?:co_\w+|return|else|throw)\b)[\w:<>]+[&*]? \w+\([^=]*\{")
PAGES = ("README.md", "docs/*.md", "examples/*/README.md", "packaging/README.md")


class Block:
    def __init__(self, line, said, code):
        self.line = line
        self.code = code
        read = re.fullmatch(r"(file|class|more|)(?:(?:^| )with (\S+))?", said)
        if not read:
            raise ValueError(f"what is a block of the kind {said!r}?")
        self.kind = read[1]
        self.includes = [*includes_of(code), *([f"#include <{read[2]}>"] if read[2] else [])]


class Page:
    given_line, why_not = 1, None

    def __init__(self, root, path):
        self.name = str(path.relative_to(root))
        text = path.read_text(encoding="utf-8")
        self.blocks = []
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start(3)) + 1
            try:
                self.blocks.append(Block(line, found[1] or "", re.sub(rf"^{found[2]}", "", found[3], flags=re.MULTILINE)))
            except ValueError as wrong:
                raise SystemExit(f"{self.name}:{line}: {wrong}") from wrong
        name = path.parent.name if path.name == "README.md" and path.parent != root else path.stem
        self.given_name = f"{name}.hpp"
        given = root / "tests/docs" / self.given_name
        self.given = given.read_text(encoding="utf-8") if given.exists() else ""

    @property
    def includes(self):
        return [*includes_of(self.given), *(line for block in self.blocks for line in block.includes)]

    @property
    def part(self):
        headers = "".join(self.includes)
        return 2 if "penstock/ext/stdexec.hpp" in headers else int("penstock/ext/" in headers)

    def leave_out(self, missing):
        """Drops what needs one of the includes that are missing, and says what that was."""
        of_page = {missing[line] for line in includes_of(self.given) if line in missing}
        lacking, out, left_out, kept = set(), False, [], []
        for block in self.blocks:
            needed = of_page | {missing[line] for line in block.includes if line in missing}
            out = bool(needed) or (out and block.kind == "more")
            (left_out if out else kept).append(block)
            lacking |= needed
        self.blocks = kept
        if left_out:
            where = ", ".join(str(block.line) for block in left_out)
            print(f"skipped: {self.name}, {len(left_out)} of {len(left_out) + len(kept)} blocks (line {where}), for there is no {', '.join(sorted(lacking))}", flush=True)

    def source(self):
        """The page's namespace; #line makes errors name the page."""
        parts = []
        for number, block in enumerate(self.blocks):
            body = f'#line {block.line} "{self.name}"\n{without_includes(block.code)}'
            if block.kind == "file":
                parts.append((body, ""))
            elif block.kind == "class":
                parts.append((f"struct block_{number} {{\n{body}\n", "};"))
            elif block.kind == "more":
                before, after = parts.pop()
                parts.append((f"{before}\n{body}\n", after))
            else:
                # A coroutine if it waits as one; otherwise it may return anything, or nothing.
                coroutine = re.search(r"\bco_(await|return)\b", block.code)
                value = "penstock::result<void>" if re.search(r"\bco_return [^;]", block.code) else "void"
                result = f"penstock::task<{value}>" if coroutine else "auto"
                parts.append((f"{result} block_{number}() {{\n{body}\n", "}"))
        outside, given = "", f'#line {self.given_line} "{self.given_name}"\n{without_includes(self.given)}'
        if INSIDE in given:
            outside, given = given.split(INSIDE)
        name = re.sub(r"\W", "_", self.name)
        return "\n".join([outside, f"namespace {name} {{", given, *(before + after for before, after in parts), "}", ""])


class Header(Page):
    GIVEN_NAME = "headers.hpp"
    SHARED = "for_all_headers"  # names of a page's own hide those of this namespace

    def __init__(self, root, path, sections):
        self.name = str(path.relative_to(root))
        self.given_name = self.GIVEN_NAME
        short = str(path.relative_to(root / "include/penstock"))
        self.given_line, self.why_not, own = sections.pop(short, (1, None, ""))
        self.given = f"using namespace {self.SHARED};  {own}"
        self.blocks = []
        for line, code in examples_of(path.read_text(encoding="utf-8")):
            block = Block(line, f"file with penstock/{short}" if DEFINITION.match(code) else f"with penstock/{short}", code)
            before = self.blocks[-1] if self.blocks else None
            if before and not before.kind and not block.kind:  # one function
                before.code += "\n" * (line - before.line - before.code.count("\n")) + code
            else:
                self.blocks.append(block)


def examples_of(text):
    """The line where each begins, and the example."""
    top = re.match(r"(?://.*\n)*", text)[0]
    for found in re.finditer(r"(?<=^//\n)(?://   .*\n)+(?=//\n|\Z)", top, re.MULTILINE):
        if re.search(r"[;{] *(?://.*)?$", re.sub(r"^//", "", found[0], flags=re.MULTILINE), re.MULTILINE):
            code = re.sub(r"^//   ", "", found[0], flags=re.MULTILINE)
            yield top.count("\n", 0, found.start()) + 1, re.sub(r"…|(?<![\w.>])\.\.\.", "", code).removesuffix("\n")


def headers_of(root):
    """Each public header, and what all of them take for granted."""
    given = (root / "tests/docs" / Header.GIVEN_NAME).read_text(encoding="utf-8")
    headings = list(HEADING.finditer(given))
    ends = [heading.start() for heading in headings] + [len(given)]
    sections = {
        heading[1]: (given.count("\n", 0, heading.start()) + 1, heading[2], given[heading.start() : end]) for heading, end in zip(headings, ends[1:])
    }
    headers = [Header(root, path, sections) for path in sorted((root / "include/penstock").rglob("*.hpp")) if "detail" not in path.parts]
    if sections:
        raise SystemExit(f"{Header.GIVEN_NAME} tells of headers that are not there: {', '.join(sections)}")
    return headers, given[: ends[0]]


def includes_of(text):
    return [line.strip() for line in INCLUDE.findall(text)]


def without_includes(text):
    return "\n".join("" if re.match(r"\s*#\s*(include|pragma once)", line) else line for line in text.splitlines())


def whole(pages, given):
    if any(isinstance(page, Header) for page in pages):
        shared = [f'namespace {Header.SHARED} {{\n#line 1 "{Header.GIVEN_NAME}"\n{without_includes(given)}\n}}']
    else:
        shared, given = [], ""
    includes = dict.fromkeys(["#include <penstock/penstock.hpp>", *includes_of(given), *(line for page in pages for line in page.includes)])
    return "\n".join([*includes, "using namespace std::chrono_literals;", "using namespace std::string_literals;", *shared, *(page.source() for page in pages)])


def missing_of(command, pages):
    """Include → the header that it needs and that is not there. The preprocessor ends at the first one: it is asked again without."""
    includes = list(dict.fromkeys(line for page in pages for line in page.includes if "penstock/ext/" in line or "penstock/" not in line))
    missing = {}
    while True:
        asked = [line for line in includes if line not in missing]
        said = subprocess.run([*command, "-E", "-x", "c++", "-"], input="\n".join(asked) + "\n", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False).stderr
        header = re.search(r"fatal error: '?([^\s:']+)'?(?:: No such file| file not found)", said)
        from_line = re.search(r"<stdin>:(\d+)", said)
        if not header or not from_line or header[1].startswith("penstock/"):
            return missing  # what else is wrong the compiler tells
        missing[asked[int(from_line[1]) - 1]] = header[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--show", action="store_true", help="print the sources instead")
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("pages", nargs="*")
    options = parser.parse_args()
    root = options.checkout.resolve()
    headers, given = headers_of(root)
    pages = [Page(root, path) for pattern in PAGES for path in sorted(root.glob(pattern))] + headers
    pages = [page for page in pages if page.blocks and (not options.pages or page.name in options.pages)]
    if not pages:
        sys.exit(f"no page of {root} has a C++ block")
    for page in pages:
        if page.why_not is not None:
            print(f"skipped: {page.name}: {page.why_not}", flush=True)
    pages = [page for page in pages if page.why_not is None]
    command = [options.cxx, "-std=c++20", "-w", "-DASIO_HAS_CO_AWAIT=1", "-DASIO_HAS_STD_COROUTINE=1", f"-I{root / 'include'}"]
    missing = missing_of(command, pages)
    for page in pages:
        page.leave_out(missing)
    pages = [page for page in pages if page.blocks]
    sources = [part for part in ([p for p in pages if p.part == number] for number in range(3)) if part]
    if options.show:
        print("\n".join(whole(part, given) for part in sources))
        return

    def check(part):
        return subprocess.run([*command, "-fsyntax-only", "-x", "c++", "-"], input=whole(part, given), capture_output=True, text=True, check=False)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for part, compiled in zip(sources, pool.map(check, sources)):
            if compiled.returncode == 0:
                continue
            # At the beginning of a line: a header itself is named with its folder, in notes about its templates, too.
            named = [page for page in part if re.search(rf"^(?:{re.escape(page.name)}|{re.escape(page.given_name)}):", compiled.stderr, re.MULTILINE)]
            failed += len(named) or len(part)
            print(compiled.stderr[:12000], flush=True)
    counts = [sum(len(page.blocks) for page in pages if isinstance(page, Header) == of_header) for of_header in (False, True)]
    print(f"{counts[0]} blocks of pages, {counts[1]} examples of headers")
    print(f"{len(pages) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
