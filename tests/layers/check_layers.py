#!/usr/bin/env python3
"""Checks that the include graph of penstock's headers keeps the order of its folders.

usage: check_layers.py INCLUDE_DIR | --self-test

Rules: a folder includes itself and what is below it, never a sibling; outside ext/ a header includes penstock, the C++ standard
library and the system headers named here, nothing else; penstock.hpp includes every public header of the core, and no header includes it.
"""

import pathlib
import re
import sys
import tempfile

# Each folder with the folders that it may include besides itself.
CORE, OBSERVE, SYNC = ["core"], ["core", "observe"], ["core", "observe", "sync"]
MIDDLE = SYNC + ["channel", "rate", "pool"]
UPPER = MIDDLE + ["stream", "combine", "batch"]
MAY_INCLUDE = {
    "core": [],
    "observe": CORE,
    "sync": OBSERVE,
    "channel": SYNC,
    "rate": SYNC,
    "pool": SYNC,
    "stream": MIDDLE,
    "combine": MIDDLE,
    "batch": MIDDLE,
    "route": OBSERVE,
    "job": UPPER,
    "testing": SYNC,
    "ext": UPPER + ["job", "route"],
}
NOT_IN_UMBRELLA = {"ext", "testing"}

STANDARD = set(
    """algorithm any array atomic barrier bit bitset cassert cerrno cfenv cfloat charconv chrono cinttypes climits clocale cmath codecvt
    compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio cstdlib cstring ctime cuchar cwchar
    cwctype deque exception execution expected filesystem format forward_list fstream functional future generator initializer_list iomanip
    ios iosfwd iostream istream iterator latch limits list locale map mdspan memory memory_resource mutex new numbers numeric optional
    ostream print queue random ranges ratio regex scoped_allocator semaphore set shared_mutex source_location span spanstream sstream stack
    stacktrace stdexcept stdfloat stop_token streambuf string string_view strstream syncstream system_error thread tuple type_traits typeindex
    typeinfo unordered_map unordered_set utility valarray variant vector version""".split()
)
SYSTEM = set(
    """linux/futex.h sys/syscall.h sys/prctl.h sys/types.h sys/mman.h sys/resource.h sys/sysctl.h unistd.h sched.h pthread.h time.h errno.h fcntl.h immintrin.h
    emmintrin.h intrin.h windows.h synchapi.h sanitizer/tsan_interface.h sanitizer/asan_interface.h""".split()
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def folder_of(path):
    """The folder that decides the layer; None for headers that lie directly in penstock/."""
    parts = pathlib.PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 else None


def check(include_dir):
    """The violations below include_dir, as sentences."""
    root = pathlib.Path(include_dir)
    problems = []
    headers = {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in sorted((root / "penstock").rglob("*.hpp"))}
    if not headers:
        return [f"{root}: no headers found"]
    for name, text in headers.items():
        folder = folder_of(name)
        if folder is not None and folder not in MAY_INCLUDE:
            problems.append(f"{name}: the folder {folder}/ has no place in the order")
            continue
        if not re.search(r"^#pragma once$", text, re.MULTILINE):
            problems.append(f"{name}: lacks #pragma once")
        for quote, target in INCLUDE.findall(text):
            if quote == '"':
                problems.append(f'{name}: includes "{target}" in quotes; write <penstock/...>')
            elif target == "penstock/penstock.hpp":
                problems.append(f"{name}: includes the umbrella header")
            elif target.startswith("penstock/"):
                if target not in headers:
                    problems.append(f"{name}: includes <{target}>, which does not exist")
                elif folder is None:
                    if folder_of(target) in NOT_IN_UMBRELLA:
                        problems.append(f"{name}: includes <{target}>, which is not part of the core")
                elif folder_of(target) != folder and folder_of(target) not in MAY_INCLUDE[folder] and folder_of(target) is not None:
                    problems.append(f"{name}: includes <{target}>, but {folder}/ may not include {folder_of(target)}/")
            elif folder != "ext" and target not in STANDARD and target not in SYSTEM:
                problems.append(f"{name}: includes <{target}>, which is neither standard C++ nor an allowed system header")
    umbrella = headers.get("penstock/penstock.hpp")
    if umbrella is None:
        problems.append("penstock/penstock.hpp is missing")
    else:
        included = {target for _, target in INCLUDE.findall(umbrella)}
        for name in headers:
            public = folder_of(name) in MAY_INCLUDE.keys() - NOT_IN_UMBRELLA and "/detail/" not in name
            if public and name not in included:
                problems.append(f"penstock/penstock.hpp: does not include <{name}>")
    return problems


def self_test():
    """A clean tree passes, and each way to break it is reported."""
    clean = {
        "penstock.hpp": "#include <penstock/core/a.hpp>\n#include <penstock/sync/s.hpp>\n#include <penstock/channel/c.hpp>\n#include <penstock/pool/p.hpp>\n",
        "core/a.hpp": "#include <atomic>\n#include <penstock/core/detail/d.hpp>\n",
        "core/detail/d.hpp": "#include <linux/futex.h>\n",
        "sync/s.hpp": "#include <penstock/core/a.hpp>\n",
        "channel/c.hpp": "#include <penstock/sync/s.hpp>\n",
        "pool/p.hpp": "#include <penstock/core/detail/d.hpp>\n",
        "testing/t.hpp": "#include <penstock/sync/s.hpp>\n",
        "ext/x.hpp": "#include <sqlite3.h>\n#include <penstock/pool/p.hpp>\n",
    }
    violations = {
        "an upward include": ("core/a.hpp", "#include <penstock/sync/s.hpp>\n"),
        "a sibling": ("pool/p.hpp", "#include <penstock/channel/c.hpp>\n"),
        "an include with spaces": ("pool/p.hpp", "  #  include <penstock/channel/c.hpp>\n"),
        "an adapter from below": ("channel/c.hpp", "#include <penstock/ext/x.hpp>\n"),
        "testing from above": ("testing/t.hpp", "#include <penstock/pool/p.hpp>\n"),
        "a dependency in the core": ("sync/s.hpp", "#include <boost/config.hpp>\n"),
        "quotes": ("sync/s.hpp", '#include "event.hpp"\n'),
        "a missing header": ("sync/s.hpp", "#include <penstock/core/none.hpp>\n"),
        "the umbrella from inside": ("channel/c.hpp", "#include <penstock/penstock.hpp>\n"),
        "an adapter in the umbrella": ("penstock.hpp", clean["penstock.hpp"] + "#include <penstock/ext/x.hpp>\n"),
        "a header that the umbrella forgot": ("sync/forgotten.hpp", "#include <atomic>\n"),
        "an unknown folder": ("misc/m.hpp", "#include <atomic>\n"),
    }

    def problems_of(tree, raw=None):
        with tempfile.TemporaryDirectory() as directory:
            for name, text in tree.items():
                path = pathlib.Path(directory, "penstock", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text if name == raw else "#pragma once\n" + text, encoding="utf-8")
            return check(directory)

    failed = [f"the clean tree is rejected: {problem}" for problem in problems_of(clean)]
    for what, (name, text) in violations.items():
        if len(problems_of(clean | {name: text})) != 1:
            failed.append(f"not reported exactly once: {what}: {problems_of(clean | {name: text})}")
    if len(problems_of(clean, raw="sync/s.hpp")) != 1:
        failed.append("not reported: a header without #pragma once")
    return failed


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    problems = self_test() if sys.argv[1] == "--self-test" else check(sys.argv[1])
    for problem in problems:
        print(problem)
    print("layers: " + ("ok" if not problems else f"{len(problems)} problems"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
