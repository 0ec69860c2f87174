#!/usr/bin/env python3
"""Tests scripts/bench_report.py, bench_page.py, bench_compare.py and steadiness.py with runs that are made up, scripts/example where nothing is built, that whatever draws
finds the Python that can, what scripts/test counts, and what all scripts make of wrong arguments."""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"
KEPT = sorted(SCRIPTS.parent.glob("benchmarks/results/*.json"))
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))
import bench_compare  # noqa: E402
import bench_page  # noqa: E402
import bench_report  # noqa: E402
import run_tests  # noqa: E402
import steadiness  # noqa: E402


def benchmark(name, times, **more):
    return [{"name": name, "run_name": name, "run_type": "iteration", "real_time": t, "time_unit": "ns", **more} for t in times]


def kept(ours, peer=None):
    workload = {"penstock": {"item": ours}}
    if peer:
        workload["other"] = {"item": peer}
    return {"machine": "", "command": "", "programs": {"some": {"load": workload}}}


class Names(unittest.TestCase):
    def test_workload_and_implementation(self):
        self.assertEqual(bench_report.split_name("BM_load<penstock::channel>/8/real_time"), ("load/8", "penstock::channel"))
        self.assertEqual(bench_report.split_name("BM_load/asio/threads:4"), ("load/threads:4", "asio"))

    def test_whose_it_is(self):
        for name, ours, reference, peer in (
            ("penstock::channel spsc", True, False, False),
            ("penstock_pool", True, False, False),
            ("reference: the clock", False, True, False),
            ("reference_semaphore_fifo", False, True, False),
            ("mutex and vector", False, False, True),
            ("", False, False, False),
        ):
            with self.subTest(name):
                self.assertEqual((bench_report.is_ours(name), bench_report.is_reference(name), bench_report.is_peer(name)), (ours, reference, peer))

    def test_a_reference_is_no_peer(self):
        rows = bench_report.summarise({"load": {"penstock": {"item": [2.0]}, "other": {"item": [4.0]}, "reference: a loop": {"item": [1.0]}}})
        self.assertEqual({name: ratio for _, name, _, _, _, ratio in rows}, {"penstock": 0.5, "other": 1.0, "reference: a loop": None})

    def test_a_histogram_is_of_all_repetitions_and_not_compared(self):
        runs = benchmark("BM_wait<penstock>", [1.0], **{"P50": 9.0, "8..9 ns": 3.0, "256..319 ns": 1.0}) + benchmark("BM_wait<penstock>", [1.0], **{"P50": 8.0, "8..9 ns": 4.0})
        runs += benchmark("BM_wait<other>", [1.0], P50=9.0) + [{**runs[0], "run_type": "aggregate"}, {**runs[0], "error_occurred": True}]
        with tempfile.TemporaryDirectory() as folder:
            raw = pathlib.Path(folder, "raw.json")
            raw.write_text(json.dumps({"benchmarks": runs}), encoding="utf-8")
            self.assertEqual(bench_report.read_histograms([raw]), {"wait": {"penstock": [[8, 9, 7], [256, 319, 1]]}})
            self.assertEqual(list(bench_report.read([raw])[0]), ["wait P50"])

    def test_one_without_a_name_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            raw = pathlib.Path(folder, "raw.json")
            raw.write_text(json.dumps({"benchmarks": benchmark("BM_load/8", [10.0]) + benchmark("BM_load<penstock>/8", [10.0])}), encoding="utf-8")
            workloads, errors = bench_report.read([raw])
        self.assertEqual(workloads, {"load/8": {"penstock": {"iteration": [10.0]}}})
        self.assertEqual([error.split(":")[0] for error in errors], ["BM_load/8"])


class Comparing(unittest.TestCase):
    def change(self, before, after):
        (change,) = bench_compare.compare(before, after).changes
        return change.times, change.chance

    def test_slower(self):
        change, chance = self.change(kept([10, 11, 10, 10, 12]), kept([15, 14, 15, 16, 15]))
        self.assertAlmostEqual(change, 1.5)
        self.assertLess(chance, 0.05)

    def test_one_slow_repetition_is_none(self):
        change, chance = self.change(kept([10, 11, 10, 10, 12]), kept([10, 10, 10, 50, 11]))
        self.assertLess(change, 1.2)
        self.assertGreater(chance, 0.05)

    def test_a_slower_machine_is_none(self):
        change, _ = self.change(kept([10] * 5, [20] * 5), kept([20] * 5, [40] * 5))
        self.assertAlmostEqual(change, 1)

    def test_slower_than_the_machine(self):
        change, chance = self.change(kept([10] * 5, [20] * 5), kept([30] * 5, [40] * 5))
        self.assertAlmostEqual(change, 1.5)
        self.assertLess(chance, 0.05)

    def test_without_a_peer_the_machine_is_what_others_changed(self):
        before, after = kept([10] * 5), kept([30] * 5)
        before["programs"]["other"], after["programs"]["other"] = kept([10] * 5, [20] * 5)["programs"]["some"], kept([20] * 5, [40] * 5)["programs"]["some"]
        found = {change.program: change.times for change in bench_compare.compare(before, after).changes}
        self.assertAlmostEqual(found["some"], 1.5)
        self.assertAlmostEqual(found["other"], 1)

    def test_own_variants_and_references_hide_nothing(self):
        before, after = kept([10] * 5, [20] * 5), kept([20] * 5, [20] * 5)
        for run, value in ((before, 10), (after, 20)):
            run["programs"]["some"]["load"]["reference: a semaphore"] = {"item": [value] * 5}
            run["programs"]["some"]["load"]["penstock in another way"] = {"item": [value] * 5}
        self.assertEqual([change.times for change in bench_compare.compare(before, after).changes], [2.0, 2.0])

    def test_three_repetitions_say_too_little(self):
        found = bench_compare.compare(kept([10] * 3), kept([20] * 3))
        self.assertEqual(found.changes, [])
        self.assertIn("3 repetitions", found.left_out["some", "load"])

    def test_runs_from_before_the_names(self):
        before = kept([10] * 5)
        before["programs"]["some"]["load"] = {"": {"item": [10] * 5}}
        self.assertIn("names no implementation", bench_compare.compare(before, before).left_out["some", "load"])

    def test_exit_code(self):
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder, name) for name in ("before.json", "after.json")]
            files[0].write_text(json.dumps(kept([10] * 5, [20] * 5)), encoding="utf-8")
            without_program, without_workload, without_ours, without_peer = (kept([10] * 5, [20] * 5) for _ in range(4))
            del without_program["programs"]["some"]
            without_workload["programs"]["some"] = {"more": without_workload["programs"]["some"]["load"]}
            del without_ours["programs"]["some"]["load"]["penstock"]
            del without_peer["programs"]["some"]["load"]["other"]
            for after, code, told in (
                (kept([11] * 5), 0, "1 workloads compared"),
                (kept([13] * 5), 1, "slower: load, penstock: 1.30 times"),
                (without_program, 1, "missing: the program some"),
                (without_workload, 1, "missing: some: load"),
                (without_ours, 1, "missing: some: load, penstock"),
                (without_peer, 0, "0 missing"),
                (kept([10] * 3), 2, "not compared: some: load has 3 repetitions"),
            ):
                with self.subTest(told):
                    files[1].write_text(json.dumps(after), encoding="utf-8")
                    ran = subprocess.run([sys.executable, SCRIPTS / "bench_compare.py", *files], capture_output=True, text=True, check=False)
                    self.assertEqual(ran.returncode, code, ran.stdout + ran.stderr)
                    self.assertIn(told, ran.stdout)


class Kept(unittest.TestCase):
    """The runs in benchmarks/results: nothing of penstock's goes without being compared."""

    def test_each_workload_is_compared_or_a_reference(self):
        self.assertTrue(KEPT)
        for file in KEPT:
            run = bench_compare.read_kept(file)
            found = bench_compare.compare(run, run)
            self.assertEqual({why for why in found.left_out.values()}, {"a reference"})
            self.assertEqual(found.missing, [])
            self.assertEqual({change.times for change in found.changes}, {1.0})
            compared = {(change.program, change.workload) for change in found.changes}
            self.assertEqual(compared | found.left_out.keys(), {(program, workload) for program, workloads in run["programs"].items() for workload in workloads})
            self.assertFalse(compared & found.left_out.keys())

    def test_what_takes_three_times_as_long_is_slower(self):
        for file in KEPT:
            before = bench_compare.read_kept(file)
            after = copy.deepcopy(before)
            ours = set()
            for program, workloads in after["programs"].items():
                for workload, implementations in workloads.items():
                    for name, units in implementations.items():
                        if name.startswith("penstock"):
                            ours.add((program, workload, name))
                            units.update({unit: [3 * value or 1.0 for value in values] for unit, values in units.items()})
            slower = bench_compare.slower_than(bench_compare.compare(before, after).changes, 20)
            self.assertEqual({change[:3] for change in slower}, ours)


class Keeping(unittest.TestCase):
    def test_a_kept_run_reads_as_it_was(self):
        bars = {"8..9 ns": 3.0, "10..11 ns": 12345.0}
        runs = benchmark("BM_load<penstock>/threads:1", [10.0, 11.0, 12.0], **bars) + benchmark("BM_load<other>/threads:1", [20.0, 21.0, 22.0])
        with tempfile.TemporaryDirectory() as folder:
            raw, brief = pathlib.Path(folder, "penstock_some_bench.json"), pathlib.Path(folder, "kept.json")
            raw.write_text(json.dumps({"benchmarks": runs}), encoding="utf-8")
            raw.with_suffix(".command").write_text("some_bench --once\n", encoding="utf-8")
            subprocess.run([sys.executable, SCRIPTS / "bench_page.py", "--keep", brief, "--command", "scripts/bench", raw], check=True)
            run = bench_page.read_run([brief], None, "")
        self.assertEqual(run["programs"]["some"]["load/threads:1"]["penstock"]["iteration"], [10.0, 11.0, 12.0])
        self.assertEqual(run["command"], "scripts/bench")
        self.assertEqual(run["commands"], {"some": ["some_bench --once"]})
        self.assertEqual(run["histograms"], {"some": {"load/threads:1": {"penstock": [[8, 9, 9], [10, 11, 37035]]}}})
        self.assertIn("in 1 of them penstock is as quick", bench_page.summary_of(run))


class Drawing(unittest.TestCase):
    def test_a_page_has_each_picture_and_every_figure(self):
        if subprocess.run(["/usr/bin/python3", "-c", "import matplotlib"], capture_output=True, check=False).returncode != 0:
            self.skipTest("python3-matplotlib is not installed")
        runs = []
        for threads in (1, 2, 4):
            for name in ("penstock", "other"):
                runs += benchmark(f"BM_load<{name}>/threads:{threads}", [10.0 * threads, 12.0 * threads])
        for name in ("penstock", "other"):
            runs += benchmark(f"BM_wait<{name}>", [1.0, 1.0], P50=100.0, P99=1000.0)
            runs += benchmark(f"BM_pass<{name}>", [1.0, 1.0], **{"0..0 ns": 1.0, "96..111 ns": 9_000.0, "256..319 ns": 990.0, "1024..1279 ns": 10.0})
        with tempfile.TemporaryDirectory() as folder:
            raw, page = pathlib.Path(folder, "penstock_some_bench.json"), pathlib.Path(folder, "page.html")
            raw.write_text(json.dumps({"benchmarks": runs}), encoding="utf-8")
            raw.with_suffix(".command").write_text("some_bench --benchmark_filter='a|b'\n", encoding="utf-8")
            subprocess.run(["/usr/bin/python3", SCRIPTS / "bench_page.py", "--page", page, raw], check=True)
            text = page.read_text(encoding="utf-8")
        self.assertEqual(text.count("<svg"), 4)  # ratios, scaling, latencies, histograms
        self.assertEqual(text.count("<title>other: 1.00, "), 6)  # each with its spread
        self.assertEqual(text.count(f"stroke: {bench_page.FAINT}"), 6)
        for expected in ("load, by threads", "wait P99", "load/threads:4", "99 %", "99.99 %", "of all, %", "some_bench --benchmark_filter=&#x27;a|b&#x27;"):
            self.assertIn(expected, text)

    def test_round_numbers(self):
        for low, high, most, expected in ((95, 1100, 6, [100, 200, 500, 1000]), (0.9, 1.3, 9, [1, 1.2]), (1, 1e8, 5, [1, 100, 1e4, 1e6, 1e8])):
            with self.subTest(low):
                self.assertEqual(bench_page.round_numbers(low, high, most), expected)

    def test_the_end_says_what_has_no_peer_and_what_is_not_measured(self):
        ours, both = ["penstock"], ["penstock", "other"]
        names = {"retry/2": ours, "retry P99": ours, "load": ours, "beside/2": both, "beside/1": ours, "with": both, "alone": ["reference: a loop"]}
        run = {"programs": {"some": {workload: {name: {"item": [1.0]} for name in of_it} for workload, of_it in names.items()}}}
        end = bench_page.without_peer(run)
        self.assertIn(f'<li>{bench_page.NO_PEER[0][1]}<br><span class="quiet">retry</span></li>', end)
        self.assertIn(f'<li>{bench_page.NOT_HERE}<br><span class="quiet">beside/1, load</span></li>', end)
        self.assertNotIn(">with<", end)
        self.assertNotIn("alone", end)
        self.assertIn("hedge, supervise", end)

    def test_what_is_not_measured_is_there_and_in_no_benchmark(self):
        measured = "".join(f.read_text(encoding="utf-8") for f in SCRIPTS.parent.glob("benchmarks/*_bench.cpp"))
        for name in ", ".join(headers for headers, _ in bench_page.NOT_MEASURED).split(", "):
            with self.subTest(name):
                self.assertTrue(list(SCRIPTS.parent.glob(f"include/penstock/*/{name}.hpp")))
                self.assertNotIn(f"penstock::{name}", measured)

    def test_the_line_of_a_histogram(self):
        line = bench_page.line_of([[1, 1, 90], [2, 2, 9], [8, 9, 1]])
        self.assertEqual([ns for _, ns in line], [1, 2, 9])
        for (nines, _), expected in zip(line, (1, 2, 2.301)):  # 90 % took no longer than 1 ns, 99 % no longer than 2
            self.assertAlmostEqual(nines, expected, 3)


class Commands(unittest.TestCase):
    """scripts/bench where shell scripts stand for the one program and for the peers in other languages, and nothing has to be installed or built."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in ("bench", "bench_page.py", "bench_report.py", "command_line.py"):
            self.write(f"scripts/{name}", (SCRIPTS / name).read_text(encoding="utf-8"))
        self.write("scripts/steadiness.py", "print('steady')")
        to_the_file = f"""for a; do case $a in --benchmark_out=*) echo '{self.result("penstock")}' >"${{a#*=}}" ;; esac; echo "$a"; done"""
        for script, text in (("scripts/setup", "exit 0"), ("bin/cmake", "exit 0"), ("bin/go", "exit 1"), ("bin/node", "exit 1")):
            self.write(script, f"#!/bin/sh\n{text}")
        self.write("build/release/benchmarks/penstock_some_bench", f"#!/bin/sh\n{to_the_file}")

    def result(self, implementation):
        return json.dumps({"benchmarks": benchmark(f"BM_load<{implementation}>", [10.0])})

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(f"{text}\n", encoding="utf-8")
        (self.root / name).chmod(0o755)

    def bench(self, *arguments):
        environment = {**os.environ, "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "PENSTOCK_BENCH_PROCESSORS": "4", "PENSTOCK_NODE_MODULES": ""}
        command = [self.root / "scripts/bench", *arguments]
        ran = subprocess.run(command, cwd=self.root / "bin", capture_output=True, text=True, check=False, timeout=60, env=environment)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        return ran.stdout.splitlines()

    def kept(self):
        (kept_run,) = self.root.glob("benchmarks/results/*.json")
        return bench_page.read_run([kept_run], None, "")

    def test_the_command_that_is_told_writes_what_the_page_has(self):
        told = next(line for line in self.bench("--filter", "lo.*d<|x", "--repetitions", "1", "--keep") if line.startswith("== "))[3:]
        self.assertEqual(self.kept()["commands"], {"some": [told]})
        self.assertTrue(told.startswith("PENSTOCK_BENCH_PROCESSORS=4 "))
        done = (self.root / "build/bench/penstock_some_bench.log").read_text(encoding="utf-8").splitlines()
        repeated = subprocess.run(["sh", "-c", told], cwd=self.root, capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertEqual(repeated, [argument for argument in done if not argument.startswith("--benchmark_out")])

    def test_peers_in_other_languages_stand_beside_ours(self):
        for name, language in (("channel", "go"), ("select", "go"), ("batcher", "node")):
            shutil.copy(self.root / "build/release/benchmarks/penstock_some_bench", self.root / f"build/release/benchmarks/penstock_{name}_bench")
            self.write(f"bin/{language}", f"#!/bin/sh\necho '{self.result(language)}'")
        self.write("build/npm/node_modules/dataloader/package.json", "{}")
        told = self.bench("--filter", "lo|x", "--repetitions", "2", "--keep")
        self.assertFalse([line for line in told if "skipped" in line])
        run = self.kept()
        for name, command in (
            ("channel", "go run benchmarks/peers/channel.go benchmarks/peers/measure.go 2 'lo|x'"),
            ("select", "go run benchmarks/peers/select.go benchmarks/peers/measure.go 2 'lo|x'"),
            ("batcher", "node benchmarks/peers/dataloader.mjs 2 'lo|x'"),
        ):
            with self.subTest(name):
                self.assertEqual(set(run["programs"][name]["load"]), {command.split()[0], "penstock"})
                self.assertIn(command, run["commands"][name])
                self.assertIn(f"== {command}", told)

    def test_a_peer_that_fails_or_is_not_there_is_skipped(self):
        told = self.bench("--keep")
        for skipped in ("Go's channel (benchmark peer): it failed", "Go's select (benchmark peer): it failed", "Node's dataloader (benchmark peer)"):
            self.assertIn(f"penstock: skipped {skipped}", told)
        self.assertEqual(list(self.kept()["programs"]), ["some"])

    def test_a_report_without_a_name(self):
        self.write("scripts/bench_page.py", "import sys\nprint(*sys.argv[1:])")
        default = self.root / "build/bench/report.html"
        for arguments, page in ((["--report"], default), (["--report", "--repetitions", "2"], default), (["--report", "my.html"], self.root / "bin/my.html")):
            with self.subTest(arguments):
                told = self.bench(*arguments)
                self.assertTrue([line for line in told if line.startswith(f"--page {page} ")], told)
                self.assertIn(f"page: {page}", told)


class Examples(unittest.TestCase):
    """scripts/example where nothing is installed or built: scripts/setup finds no Debian and says what it would install, and a shell script stands for cmake, which
    makes one of each program."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = root = pathlib.Path(folder.name)
        for name in ("scripts", "bin", "build/release/examples"):
            (root / name).mkdir(parents=True)
        for name in ("example", "setup"):
            shutil.copy(SCRIPTS / name, root / "scripts" / name)
        (root / "examples").symlink_to(SCRIPTS.parent / "examples")
        for tool in ("basename", "chmod", "dirname", "grep", "mkdir", "sed", "tail"):
            (root / "bin" / tool).symlink_to(shutil.which(tool))
        program = """for a; do file=build/release/examples/$a; done; echo '#!/bin/sh
echo "${0##*/} $*"' >"$file" && chmod +x "$file" """
        for tool, text in {"c++": "", "ninja": "", "git": "", "python3": 'echo "python3 $*"', "cmake": program}.items():
            (root / "bin" / tool).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (root / "bin" / tool).chmod(0o755)

    def example(self, *arguments):
        environment = {"PATH": str(self.root / "bin")}
        ran = subprocess.run([self.root / "scripts/example", *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        return ran

    def test_its_list_is_what_is_built(self):
        """By examples/CMakeLists.txt: a program for each file but those that a pattern leaves out, and what has a name of its own."""
        text = (SCRIPTS.parent / "examples/CMakeLists.txt").read_text(encoding="utf-8")
        left_out = re.search(r'EXCLUDE REGEX "(.*)"\)', text)[1].replace("\\\\", "\\")
        targets = {f"penstock_example_{file.stem}" for file in SCRIPTS.parent.glob("examples/*.cpp") if not re.search(left_out, str(file))}
        targets |= set(re.findall(r"add_executable\((\S+)", text)) - {"penstock_example_${name}"}
        names = self.example().stdout.split()
        self.assertEqual(len(names), len(targets))
        self.assertEqual({self.example(name, "a", "b").stdout for name in names}, {f"{target} a b\n" for target in targets})

    def test_postgres_without_a_server_has_one_of_its_own(self):
        runner, program = self.root / "tests/postgres/run_postgres.py", self.root / "build/release/examples/penstock_postgres_api"
        self.assertEqual(self.example("postgres_api").stdout, f"python3 {runner} {program}\n")
        self.assertTrue((SCRIPTS.parent / runner.relative_to(self.root)).is_file())

    def test_what_an_optional_part_needs_is_installed(self):
        for name, packages in {"penstock-jobs": {"libhiredis-dev", "nlohmann-json3-dev"}, "penstock-websocket-hub": {"libhiredis-dev"}, "postgres_api": {"libpq-dev", "postgresql"}}.items():
            with self.subTest(name):
                self.assertEqual(packages - set(self.example(name).stderr.split()), set())


class SlowMachines(unittest.TestCase):
    def slow(self, *slow_at):
        return steadiness.slow_times([(k * 0.002, 90_000 if k in slow_at else 20_000) for k in range(1000)])

    def test_one_speed(self):
        self.assertEqual(self.slow(), [])

    def test_some_that_are_slow_by_themselves(self):
        self.assertEqual(self.slow(100, 101, 300, 500), [])

    def test_slow_times(self):
        ((begin, end), (begin2, end2)) = self.slow(*range(100, 120), 121, 123, *range(400, 403))
        self.assertAlmostEqual(begin, 0.2)
        self.assertAlmostEqual(end, 0.246)
        self.assertAlmostEqual(end2 - begin2, 0.004)

    def test_watching(self):
        with steadiness.Steadiness() as watch:
            pass
        self.assertGreaterEqual(watch.watched, 0)  # it may have ended before its first look
        watch.slow, watch.watched = [(1.0, 1.5), (3.0, 3.5)], 10
        self.assertAlmostEqual(watch.share(), 0.1)
        self.assertTrue(watch.is_steady(1.6, 2.9))
        self.assertFalse(watch.is_steady(1.4, 1.6))
        self.assertFalse(watch.is_steady(3.1, 3.2))


class Python(unittest.TestCase):
    def test_what_draws_finds_a_python_that_can(self):
        if subprocess.run(["/usr/bin/python3", "-c", "import matplotlib, venv"], capture_output=True, check=False).returncode != 0:
            self.skipTest("python3-matplotlib is not installed")
        drawing = [f for f in SCRIPTS.iterdir() if f.is_file() and "import matplotlib" in f.read_text(encoding="utf-8")]
        self.assertGreater(len(drawing), 5)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", folder], check=True)
            for script in drawing:
                with self.subTest(script.name):
                    arguments = ["--page", pathlib.Path(folder, "page.html"), "/dev/null"] if script.name == "bench_page.py" else []
                    ran = subprocess.run([pathlib.Path(folder, "bin/python3"), script, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
                    self.assertNotIn("No module named", ran.stderr)


class Counting(unittest.TestCase):
    """(passed, failed, skipped) of what a program prints; what was left out is never counted as passed."""

    def test_each_form(self):
        for output, succeeded, counted in (
            ("All tests passed (7 assertions in 3 test cases)", True, (3, 0, 0)),
            ("test cases: 5 | 3 passed | 2 failed", False, (3, 2, 0)),
            ("All tests passed (7 assertions in 3 test cases)\nLeakSanitizer: detected memory leaks", False, (3, 1, 0)),
            ("No tests ran", True, (0, 1, 0)),
            ("", False, (0, 1, 0)),
            ("", True, (1, 0, 0)),
            ("ok one\n4 passed, 1 failed", False, (4, 1, 0)),
            ("skipped: redis-server is not installed", True, (0, 0, 1)),
            ("SKIPPED: there is no setpriv\n0 passed, 0 failed", True, (0, 0, 1)),
            ("skipped: wrk is not installed\n6 passed, 0 failed", True, (6, 0, 1)),
            ("skipped: wrk is not installed", False, (0, 1, 1)),
            ("Ran 4 tests in 0.1s\n\nOK (skipped=1)", True, (3, 0, 1)),
            ("Ran 4 tests in 0.1s\n\nFAILED (failures=1, errors=1)", False, (2, 2, 0)),
            ("mutant a: killed\nmutant b: SURVIVED", False, (1, 1, 0)),
        ):
            with self.subTest(output):
                self.assertEqual(run_tests.count_checks(output, succeeded), counted)


class Arguments(unittest.TestCase):
    """A script says what is wrong, in a line of its own, before it installs, builds or measures anything."""

    def run_script(self, *arguments):
        return subprocess.run([SCRIPTS / arguments[0], *arguments[1:]], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)

    def test_wrong_ones(self):
        no_run = str(SCRIPTS.parent / "README.md")
        for arguments, told in {
            ("amalgamate", "sync/semaphore.hpp"): "there is no sync/semaphore.hpp",
            ("amalgamate", "-o", "/proc/none/x.hpp"): "/proc/none",
            ("bench", "--compare", no_run): "needs two files",
            ("bench", "--compare", no_run, no_run): "is not JSON",
            ("bench", "--filter"): "--filter needs a value",
            ("bench", "--quick"): "there is no --quick",
            ("bench", "--repetitions", "many"): "needs a number",
            ("bench_page.py", "nowhere.json"): "No such file",
            ("bench_report.py", no_run): "is not JSON",
            ("compile_times", "--cxx", "no-compiler"): "there is no compiler no-compiler",
            ("compile_times", "nowhere.hpp"): "there is no nowhere.hpp",
            ("demo", "/nowhere"): "there is no /nowhere",
            ("example", "nothing"): "there is no nothing",
            ("plot_scenarios.py",): "usage",
            ("scenarios", "api", "--build", "/nowhere"): "there is no penstock-api-server",
            ("scenarios", "nothing"): "there is no scenario nothing",
            ("setup", "--all"): "there is no --all",
            ("test", "--all"): "there is no --all",
            ("test", "--ci", "--long"): "there is no --long after --ci",
        }.items():
            with self.subTest(arguments):
                done = self.run_script(*arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(told, done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_help(self):
        for script in ("amalgamate", "bench", "bench_compare.py", "compile_times", "demo", "example", "plot_load.py", "scenarios", "setup", "test", "trace_picture.py"):
            with self.subTest(script):
                done = self.run_script(script, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(script.removesuffix(".py"), done.stdout)


if __name__ == "__main__":
    unittest.main()
