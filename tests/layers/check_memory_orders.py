#!/usr/bin/env python3
"""Checks that penstock's headers say of every memory order but seq_cst what it pairs with, or why it is enough.

usage: check_memory_orders.py INCLUDE_DIR | --self-test

Rule: each use of relaxed, acquire, release and acq_rel is named, by that word, in a comment on its line, on one of the 6 lines above or on the one below.
For acq_rel "acquire" or "release" will do. What a compare-exchange uses when it fails, relaxed after another order, needs no word: it learns a value, and
tries again or gives up. Whether what the comment says is true is for readers, and for the model checker's mutants.
"""

import pathlib
import re
import sys
import tempfile

ABOVE, BELOW = 6, 1
ORDER = re.compile(r"\bmemory_order(?:_|::)(relaxed|acquire|release|acq_rel|consume)\b")
ON_FAILURE = re.compile(r"(\bmemory_order(?:_|::)\w+,\s*)std::memory_order(?:_|::)relaxed\b")


def split(text):
    """The code and the comment of every line. No string of these headers has // in it besides a memory order."""
    code, comments = [], []
    for line in text.splitlines():
        before, _, after = line.partition("//")
        code.append(before)
        comments.append(after)
    # Across lines; line breaks stay.
    joined = ON_FAILURE.sub(lambda m: m[1] + "relaxed", "\n".join(code))
    return joined.split("\n"), comments


def check(include_dir):
    """The orders below include_dir that no comment names, as sentences."""
    root = pathlib.Path(include_dir)
    problems, orders = [], 0
    for path in sorted((root / "penstock").rglob("*.hpp")):
        code, comments = split(path.read_text(encoding="utf-8"))
        for n, line in enumerate(code):
            near = " ".join(comments[max(0, n - ABOVE) : n + BELOW + 1])
            for order in ORDER.findall(line):
                orders += 1
                words = "acq_rel|acquire|release" if order == "acq_rel" else order
                if not re.search(rf"\b(?:{words})", near, re.IGNORECASE):
                    problems.append(f"{path.relative_to(root).as_posix()}:{n + 1}: no comment near says why {order}")
    return problems if orders != 0 else [f"{root}: no memory orders found"]


def self_test():
    """What is said passes, and each way not to say it is reported."""
    load, store = "x.load(std::memory_order_acquire);", "x.store(1, std::memory_order::release);"
    exchange = "x.compare_exchange_weak(a, b, std::memory_order_acq_rel,\n  std::memory_order_relaxed);"
    right = {
        "on the line": f"{load}  // acquire: pairs with the release in set()\n",
        "above": f"// release: pairs with the acquire in get()\n{store}\n",
        "six lines above": "// release: pairs\n" + "f();\n" * 5 + f"{store}\n",
        "below, where a long line ends": f"{store[:-1]},\n f());  // release: pairs with the acquire in get()\n",
        "one comment for two": f"// acquire and release: a lock\n{load}\n{store}\n",
        "a failure's order": f"// acquire: pairs with the release of the one before\n{exchange}\n",
        "seq_cst": f"{load}  // acquire: pairs\n" + "f();\n" * 9 + "x.store(1, std::memory_order_seq_cst);\n",
    }
    wrong = {
        "no comment": f"{load}\n",
        "a comment on something else": f"{load}  // the first\n",
        "another order's comment": f"{load}  // release: pairs with the acquirer\n".replace("acquirer", "reader"),
        "seven lines above": "// release: pairs\n" + "f();\n" * 6 + f"{store}\n",
        "two lines below": f"{store}\nf();\n// release: pairs\n",
        "in the code only": f"acquire(); {load}\n",
        "an exchange": f"{exchange}\n",
        "relaxed": "x.load(std::memory_order_relaxed);\n",
        "relaxed, not after another order": "x.store(y.load(std::memory_order_acquire),  // acquire: pairs\n std::memory_order_relaxed);\n",
    }

    def problems_of(text):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "penstock", "core", "a.hpp")
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            return check(directory)

    failed = [f"rejected: {what}: {problems_of(text)}" for what, text in right.items() if problems_of(text)]
    failed += [f"not reported exactly once: {what}: {problems_of(text)}" for what, text in wrong.items() if len(problems_of(text)) != 1]
    if len(problems_of("int x;\n")) != 1:
        failed.append("not reported: a tree without memory orders")
    return failed


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    problems = self_test() if sys.argv[1] == "--self-test" else check(sys.argv[1])
    for problem in problems:
        print(problem)
    print("memory orders: " + ("ok" if not problems else f"{len(problems)} problems"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
