#!/usr/bin/env python3
"""The steps behind scripts/test: configure, build and run presets, and count what passed and failed.

Every step's output goes to build/logs/. A step that fails shows the end of its log; the run goes on, so that one run shows all there is.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build/logs"
TAIL = 60  # lines of a failed step's log
CLANG_FORMAT = "clang-format-19"  # versions differ in their taste: this one counts
SKIPPED = re.compile(r"^skipped: *(.*)$", re.MULTILINE | re.IGNORECASE)
LEFT_OUT = re.compile(r"^-- penstock: skipped, because it is not installed: (.*)$", re.MULTILINE)  # cmake/PenstockDependencies.cmake says so
SANITIZED = {"asan", "tsan", "clang-asan", "clang-tsan"}


def sanitizer_prefix():
    """Sanitizers of this generation cannot place their shadow memory when the kernel randomises more than 28 bits of addresses."""
    try:
        bits = int(pathlib.Path("/proc/sys/vm/mmap_rnd_bits").read_text())
    except (OSError, ValueError):
        return []
    prefix = ["setarch", os.uname().machine, "--addr-no-randomize"]
    if bits <= 28 or subprocess.run(prefix + ["true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return []
    return prefix


def count_checks(output, succeeded):
    """(passed, failed, skipped) of one program, from what it printed: Catch2's or unittest's summary, "N passed, N failed", or a line for each check.
    What it left out, since something is not installed, it says in lines that begin with "skipped:"."""
    passed = failed = 0
    skipped = len(SKIPPED.findall(output))
    if summary := re.findall(r"^All tests passed \(.* in (\d+) test cases?\)", output, re.MULTILINE):
        passed = int(summary[-1])
    elif summary := re.findall(r"^test cases: .*", output, re.MULTILINE):
        passed = sum(int(n) for n in re.findall(r"(\d+) passed", summary[-1]))
        failed = sum(int(n) for n in re.findall(r"(\d+) failed(?! as expected)", summary[-1]))
    elif summary := re.findall(r"^(\d+) passed, (\d+) failed$", output, re.MULTILINE):
        passed, failed = (int(n) for n in summary[-1])
    elif summary := re.findall(r"^Ran (\d+) tests? in ", output, re.MULTILINE):  # Python's unittest
        failed = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", output.splitlines()[-1] if output.strip() else ""))
        skipped += sum(int(n) for n in re.findall(r"skipped=(\d+)", output.splitlines()[-1]))
        passed = int(summary[-1]) - failed - skipped
    elif verdicts := re.findall(r"^(?:mutant|consumer) .*: (\w+)$", output, re.MULTILINE):
        passed = sum(verdict in ("killed", "passed") for verdict in verdicts)
        failed = len(verdicts) - passed
    elif succeeded and not skipped and "No tests ran" not in output:
        passed = 1
    if (not succeeded or passed + skipped == 0) and failed == 0:
        failed = 1  # it crashed, leaked or ran nothing
    return passed, failed, skipped


class Session:
    def __init__(self, tier):
        self.tier = tier
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.failures = []
        self.left_out = {}  # in the order of their first mention
        self.began = time.monotonic()
        self.prefix = sanitizer_prefix()
        LOGS.mkdir(parents=True, exist_ok=True)

    def say(self, what, since, verdict):
        print(f"{time.monotonic() - since:7.1f} s  {what:<34} {verdict}", flush=True)

    def fail(self, what, text, n=1):
        self.failed += n
        self.failures.append(what)
        print("\n".join(text.splitlines()[-TAIL:]))

    def step(self, what, command, counted=False, tier=None):
        """Runs a command with its output in a log; a failure always counts, a success only if it is a check of its own."""
        since = time.monotonic()
        log = LOGS / (re.sub(r"\W+", "-", what) + ".log")
        env = os.environ | {"PENSTOCK_TIER": tier or self.tier, "CTEST_OUTPUT_ON_FAILURE": "1"}
        with open(log, "w", encoding="utf-8") as out:
            try:
                code = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
                if code < 0:
                    out.write(f"\nended by signal {-code}\n")
            except OSError as error:
                out.write(f"{error}\n")
                code = 127
        if code != 0 and counted is not None:
            self.fail(what, log.read_text(encoding="utf-8", errors="replace"))
        elif counted:
            self.passed += 1
        if counted is not None:
            self.say(what, since, "ok" if code == 0 else f"FAILED ({log.relative_to(ROOT)})")
        return code == 0

    def tests(self, preset, labels, tier):
        """Runs the tests of a built preset that have one of the labels, and counts their checks."""
        since = time.monotonic()
        report = LOGS / f"{preset}.xml"
        report.unlink(missing_ok=True)
        command = ["ctest", "--preset", preset, "--output-junit", report, "-j", str(os.cpu_count() or 2)]
        command += ["--test-output-size-passed", "1000000", "--test-output-size-failed", "1000000", "--no-tests=error"]
        if labels:
            command += ["-L", f"^({labels})$"]
        if self.tier == "long":
            command += ["-C", "long", "-E", r"^model\.mutants$", "--timeout", "14400"]
        if preset in SANITIZED:
            command = self.prefix + command
        self.step(f"{preset}: tests", command, counted=None, tier=tier)
        if not report.exists():
            log = LOGS / f"{preset}-tests.log"
            self.fail(f"{preset}: tests", log.read_text(encoding="utf-8", errors="replace"))
            self.say(f"{preset}: tests", since, "FAILED")
            return
        passed = failed = skipped = 0
        by_label = {}
        slowest = []
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            name, output = case.get("name"), case.findtext("system-out") or ""
            p, f, s = count_checks(output, case.get("status") == "run")
            self.left_out.update((f"{name}: {what}", preset) for what in SKIPPED.findall(output))
            if f:
                self.fail(f"{preset}: {name}", f"---- {preset}: {name}\n{output}", 0)
            passed, failed, skipped = passed + p, failed + f, skipped + s
            label = name.split(".")[0]
            by_label[label] = by_label.get(label, 0) + p
            slowest.append((float(case.get("time") or 0), name))
        if passed + failed == 0:
            failed = 1
            self.fail(f"{preset}: tests", f"no tests match {labels!r}", 0)
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        self.say(f"{preset}: tests", since, f"{passed} passed, {failed} failed ({', '.join(f'{l} {n}' for l, n in by_label.items())})")
        if slowest and time.monotonic() - since > 20:
            print(11 * " " + "slowest: " + ", ".join(f"{n} {t:.0f} s" for t, n in sorted(slowest, reverse=True)[:4]), flush=True)

    def suite(self, preset, targets=(), labels="", tier=None, run=True, counted=False, options=()):
        """Configures and builds a preset, all of it or some targets, and runs its tests."""
        if not self.step(f"{preset}: configure", ["cmake", "--preset", preset, *options]):
            return
        self.left_out.update((what, preset) for what in LEFT_OUT.findall((LOGS / f"{preset}-configure.log").read_text(encoding="utf-8")))
        # Keep going after an error: the programs that can be built are still run.
        self.step(f"{preset}: build", ["cmake", "--build", "--preset", preset, *(["--target", *targets] if targets else []), "--", "-k", "0"], counted)
        if run:
            self.tests(preset, labels, tier)

    def format_check(self):
        files = [str(f) for folder in ("include", "tests", "benchmarks", "examples") for ext in ("hpp", "cpp") for f in (ROOT / folder).rglob(f"*.{ext}")]
        self.step("clang-format", [CLANG_FORMAT, "--dry-run", "-Werror", *sorted(files)], True)

    def report(self):
        print(f"\nin {time.monotonic() - self.began:.0f} s; logs are in {LOGS.relative_to(ROOT)}/")
        for failure in self.failures:
            print(f"failed: {failure}")
        for what, preset in self.left_out.items():
            print(f"left out, by {preset}: {what}")
        if self.skipped:
            print(f"{self.skipped} skipped")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)  # always the last line, and nothing else in it
        return 1 if self.failed or not self.passed else 0


def main():
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if shutil.which("cmake") is None:
        sys.exit("cmake was not found; scripts/setup says what is needed")
    if mode not in ("", "--ci", "--full", "--long"):
        sys.exit("run_tests.py is what scripts/test runs: scripts/test --help")
    session = Session({"--ci": "ci", "--full": "ci", "--long": "long"}.get(mode, "quick"))
    if mode in ("--ci", "--full"):
        session.format_check()
        session.step("each header alone", [sys.executable, "tests/layers/check_alone.py", "include"], counted=True)
    # Nobody waits for what changes with one test here, so the tests are compiled together.
    session.suite("dev", options=["-DPENSTOCK_UNITY_TESTS=ON"] if mode in ("--ci", "--full") else [])
    if mode in ("--ci", "--full"):
        # Each sanitizer by one compiler, each compiler with one sanitizer, the park with and without the futex, C++20 and C++23.
        for preset in ("asan", "clang-tsan") if mode == "--ci" else ("asan", "tsan", "clang-asan", "clang-tsan"):
            session.suite(preset, tier="quick")
        session.suite("aarch64", targets=["penstock_tests_unit"], labels="unit", tier="quick")
        # That benchmarks compile without assertions; -O3, whose optimiser warns of a little more, takes half as long again.
        session.suite("release-check" if mode == "--ci" else "release", targets=["benchmarks/all", "penstock-index"], run=False, counted=True)
    sys.exit(session.report())


if __name__ == "__main__":
    main()
