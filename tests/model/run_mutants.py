#!/usr/bin/env python3
"""Breaks the headers on purpose, one place at a time, and requires the model to notice.

Each mutant of mutants.txt is compiled against a copy of its header with one piece of text replaced; the suite that is named there must fail.
Prints "mutant NAME: killed" or "mutant NAME: SURVIVED" for each, and exits with 1 unless all were killed. Text that is not found, or
found twice, is an error: whoever changes a line that a mutant names looks after the mutant.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RUN_LIMIT = 300  # seconds; a mutant may hang outside the model's sight


class Mutant:
    def __init__(self, name):
        self.name = name
        self.header = self.model = self.suite = ""
        self.quick = False
        self.tier = "ci"
        self.old = []
        self.new = []


def parse(path):
    mutants = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "mutant":
            mutants.append(Mutant(value.strip()))
            continue
        if not mutants:
            sys.exit(f"{path}:{number}: expected 'mutant NAME'")
        m = mutants[-1]
        if key == "-":
            m.old.append(value)
        elif key == "+":
            m.new.append(value)
        elif key == "quick":
            m.quick = True
        elif key in ("header", "model", "suite", "tier"):
            setattr(m, key, value.strip())
        else:
            sys.exit(f"{path}:{number}: what is '{key}'?")
    for m in mutants:
        if not (m.header and m.model and m.suite and m.old):
            sys.exit(f"{path}: mutant {m.name} lacks a header, a model, a suite or the text to replace")
    if len({m.name for m in mutants}) != len(mutants):
        sys.exit(f"{path}: two mutants have the same name")
    return mutants


def mutate(m):
    """The header's text with the piece replaced; white space in the piece matches any white space."""
    text = (ROOT / "include/penstock" / m.header).read_text(encoding="utf-8")
    pattern = r"\s+".join(re.escape(token) for token in " ".join(m.old).split())
    found = list(re.finditer(pattern, text))
    if len(found) != 1:
        raise LookupError(f"the text was found {len(found)} times in {m.header}, expected once")
    return text[: found[0].start()] + "\n".join(m.new) + text[found[0].end() :]


def compile_command(cxx):
    # Compiling costs more than running here.
    return [cxx, "-std=c++20", "-w", "-O0", f"-I{ROOT / 'include'}", f"-I{ROOT / 'tests'}", "-pthread"]


def precompile(cxx, build):
    """What every model includes first and no mutant touches; where it cannot be precompiled it is included as it is."""
    header = build / "first.hpp"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(f'#include "{HERE / "support/relacy.hpp"}"\n', encoding="utf-8")
    subprocess.run([*compile_command(cxx), "-x", "c++-header", header, "-o", f"{header}.gch"], capture_output=True, check=False)
    return header


SUITE = re.compile(r'^ *session\.\w+<[^;"]*>\("([^"]*)"\);\n', re.MULTILINE)


def only_its_suites(m):
    """The model's text without the suites that its run would leave out: they are most of what there is to compile."""
    text = (HERE / f"{m.model}_model.cpp").read_text(encoding="utf-8")
    return SUITE.sub(lambda found: found[0] if m.suite in found[1] else "", text)


def judge(m, cxx, build, first):
    """(killed, what there is to say)"""
    folder = build / m.name
    header = folder / "penstock" / m.header
    header.parent.mkdir(parents=True, exist_ok=True)
    try:
        header.write_text(mutate(m), encoding="utf-8")
    except LookupError as error:
        return False, f"ERROR: {error}"
    # The mutated header lies in a folder that is searched before the others, which come from the real one.
    command = compile_command(cxx)
    source = folder / f"{m.model}_model.cpp"
    source.write_text(only_its_suites(m), encoding="utf-8")
    command[1:1] = [f"-I{folder}", f"-I{HERE}"]
    command += ["-include", str(first), str(source), "-o", str(folder / "model")]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode != 0:
        return False, f"ERROR: does not compile\n{compiled.stderr[:2000]}"
    try:
        run = subprocess.run([folder / "model", m.suite], capture_output=True, text=True, check=False, timeout=RUN_LIMIT,
                             errors="replace", env=os.environ | {"PENSTOCK_TIER": m.tier})
    except subprocess.TimeoutExpired:
        return True, "killed (it hung)"
    finally:
        (folder / "model").unlink(missing_ok=True)
    if run.returncode < 0:
        return True, f"killed (signal {-run.returncode})"
    if verdict := re.search(r"FAILED: (.*) \(execution", run.stdout):
        return True, f"killed ({verdict[1].lower()})"
    if run.returncode != 0:
        return False, f"ERROR: exit code {run.returncode} without a failed suite\n{run.stdout[-2000:]}"
    return False, "SURVIVED"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tier = parser.add_mutually_exclusive_group()
    tier.add_argument("--quick", action="store_true", help="only the mutants marked quick (the default)")
    tier.add_argument("--long", action="store_true", help="all of them")
    parser.add_argument("--cxx", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--build-dir", type=pathlib.Path, default=ROOT / "build/mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("name", nargs="*", help="only mutants whose name contains one of these")
    options = parser.parse_args()

    mutants = parse(HERE / "mutants.txt")
    if options.name:
        mutants = [m for m in mutants if any(n in m.name for n in options.name)]
    elif not options.long:
        mutants = [m for m in mutants if m.quick]
    shutil.rmtree(options.build_dir, ignore_errors=True)
    survived = 0
    first = precompile(options.cxx, options.build_dir)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for m, (killed, text) in zip(mutants, pool.map(lambda m: judge(m, options.cxx, options.build_dir, first), mutants)):
            # The verdict is a word of its own at the end of the line, the details are on the next one.
            word, _, rest = text.partition(" ")
            print(f"mutant {m.name}: {word.rstrip(':')}", flush=True)
            if rest:
                print(f"    {rest}", flush=True)
            survived += not killed
    if not mutants:
        sys.exit("no such mutant")
    print(f"{len(mutants) - survived} passed, {survived} failed")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
