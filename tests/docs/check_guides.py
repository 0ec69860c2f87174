#!/usr/bin/env python3
"""Every guide says the same things first, and every public header is on a page of docs/.

    check_guides.py CHECKOUT

The guides are the `guides` of docs/navigation.toml. The first section of each is "## At a glance": a table with the rows of PARTS, in that order, each of a few words at
least. "Not when" says what to take then. Of a page that shows parts of a program (a comment `<!-- from: FILE -->` before a block), every such block stands in that
file, line by line. Ends with "N guides, N passed, N failed".
"""

import argparse
import pathlib
import re
import sys
import tomllib

PARTS = ("What it is", "Take it when", "Not when", "Guarantees", "Pitfalls", "Cost", "Headers")
FEWEST_WORDS = {"Headers": 1}  # of the others: 6
NO_PAGE = {"penstock.hpp", "core/version.hpp"}  # nothing that one takes


def without_blocks(text):
    """C++ has no headings, shell has comments that look like them."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def parts_of(table):
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("|")]
    return [(cells[0].strip(), cells[1].strip()) for cells in rows[2:] if len(cells) == 2]


def problems_of_guide(text):
    sections = re.split(r"^## +(.*)$", without_blocks(text), flags=re.MULTILINE)
    if len(sections) < 3 or sections[1].strip() != "At a glance":
        return ['its first section is not "## At a glance"']
    parts = parts_of(sections[2])
    named = [re.sub(r"\*\*", "", name) for name, _ in parts]
    if named != list(PARTS):
        return [f"its table has the rows {named}, and not {list(PARTS)}"]
    return [f'"{name}" says nothing' for name, (_, said) in zip(named, parts) if len(said.split()) < FEWEST_WORDS.get(name, 6)]


def problems_of_excerpts(root, text):
    problems = []
    for source, block in re.findall(r"^<!-- from: (\S+) -->\n(?:<!-- .*? -->\n)*```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        if not (root / source).is_file():
            problems.append(f"there is no {source}")
        elif block not in (root / source).read_text(encoding="utf-8"):
            problems.append(f"a block is not in {source} as it stands on the page: {block.splitlines()[0]}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=pathlib.Path)
    root = parser.parse_args().checkout.resolve()
    themes = tomllib.loads((root / "docs/navigation.toml").read_text(encoding="utf-8"))["theme"]
    guides = [page for theme in themes for page in theme.get("guides", [])]
    pages = [page for theme in themes for page in [*theme.get("guides", []), *theme.get("pages", [])]]
    texts = {page: (root / page).read_text(encoding="utf-8") if (root / page).is_file() else "" for page in pages}
    found = {page: (problems_of_guide(text) if page in guides else []) + problems_of_excerpts(root, text) for page, text in texts.items()}
    told = "\n".join(text for page, text in texts.items() if page.startswith("docs/"))
    include = root / "include/penstock"
    headers = [str(path.relative_to(include)) for path in sorted(include.rglob("*.hpp")) if "detail" not in path.parts]
    found["include/penstock"] = [f"no page of docs/ names {h}" for h in headers if h not in NO_PAGE and f"`{h}`" not in told]
    for page, problems in found.items():
        for problem in problems:
            print(f"{page}: {problem}")
    failed = sum(bool(problems) for problems in found.values())
    print(f"{len(guides)} guides, {len(found) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
