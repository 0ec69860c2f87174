#!/usr/bin/env python3
"""The scenario "files": examples/file_pipeline on a corpus that is much larger than the memory that it may use, killed and begun again, and beside the same
reading by find and xargs. scripts/scenarios runs it.

usage: scenario_files.py BUILD WORK [--scale N] [--rounds N]

BUILD has penstock-files and penstock-jobs. WORK keeps the corpus (tests/files/corpus.py). --scale 0.05: a twentieth of the files (below 0.04 no big ones). Each of those that are compared
runs --rounds times (2), and its best time counts. Prints JSON.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

from scenario_common import Goals, machine, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20
BOUND = 128 * MIB  # a big image takes 96 MiB
PROGRAM = 64 * MIB  # what the process may have besides: itself, SQLite's caches, results that are not written yet, what the allocator keeps
FILES = {"images": 600, "texts": 3000, "archives": 600, "broken": 20, "big": 12}
KILLS = 3


def corpus(work, scale):
    """Its folder, and what is true of it; made when it is not there."""
    wanted = {name: round(n * scale) if name == "big" else max(2, round(n * scale)) for name, n in FILES.items()}
    folder, told = work / "corpus", work / "corpus.json"
    if told.exists():
        made = json.loads(told.read_text(encoding="utf-8"))
        if made["wanted"] == wanted and folder.exists():
            return folder, made
    say("makes a corpus")
    shutil.rmtree(folder, ignore_errors=True)
    words = [word for name, n in wanted.items() for word in (f"--{name}", str(n))]
    done = subprocess.run([sys.executable, ROOT / "tests/files/corpus.py", folder, *words], stdout=subprocess.PIPE, text=True, check=True)
    made = json.loads(done.stdout) | {"wanted": wanted}
    told.write_text(json.dumps(made), encoding="utf-8")
    return folder, made


class Memory(threading.Thread):
    """What the processes of a group have in memory, ten times a second; what they share is shared among them (Pss)."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.group, self.began, self.points, self.over = process.pid, time.monotonic(), [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            total = 0
            for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    if int(stat.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[2]) == self.group:
                        rollup = (stat.parent / "smaps_rollup").read_text(encoding="utf-8")
                        total += 1024 * next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            self.points.append((round(time.monotonic() - self.began, 2), total))

    def stop(self):
        self.over.set()
        self.join()
        return self.points


def timed(command, **more):
    """Seconds, those of processors, standard output, and memory over time."""
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    began, before = time.monotonic(), used()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, process_group=0, **more)
    memory = Memory(process)
    out, _ = process.communicate()
    return time.monotonic() - began, used() - before, out, memory.stop(), process.returncode


def rows(folder, sql):
    connection = sqlite3.connect(f"file:{folder}/results.db?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def written(folder):
    with contextlib.suppress(sqlite3.Error):
        return rows(folder, "SELECT count(*) FROM file")[0][0]
    return 0


class Pipeline:
    def __init__(self, build, corpus_, out):
        self.out = out
        shutil.rmtree(out, ignore_errors=True)
        self.command = [build / "penstock-files", "run", corpus_, "--out", out, "--max-memory", f"{BOUND // MIB}MiB", "--json"]

    def run(self):
        seconds, processors, out, memory, status = timed(self.command)
        if status not in (0, 1):
            raise RuntimeError(f"penstock-files ended with {status}")
        return seconds, processors, json.loads(out), memory


def dead_letters(build, out):
    command = [build / "penstock-jobs", "failed", "--db", out / "jobs.db", "--json", "--count", "100000"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {json.loads(line)["text"] for line in done.stdout.splitlines()}


def killed(pipeline, files):
    """Kills it, and lets it go on, and so again. The number of files in the output over time, the moments of the kills, and its last report."""
    points, kills, began = [], [], time.monotonic()
    for n in range(1, KILLS + 2):
        process = subprocess.Popen([str(word) for word in pipeline.command], stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            done = written(pipeline.out)
            points.append((round(time.monotonic() - began, 2), done))
            if n <= KILLS and done >= n * files // (KILLS + 1):
                process.kill()
                kills.append(points[-1])
                break
            time.sleep(0.1)
        out = process.communicate()[0]
    points.append((round(time.monotonic() - began, 2), written(pipeline.out)))
    return points, kills, json.loads(out)


def plain(build, corpus_, processes):
    """The same reading, without limits, and without keeping what was found."""
    command = f"find '{corpus_}' -type f -print0 | xargs -0 -P{processes} -n {32 if processes > 1 else 1_000_000} '{build}/penstock-files' one"
    seconds, processors, _, memory, _ = timed(["sh", "-c", command + " > /dev/null"])
    return seconds, processors, memory


def main():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("build", type=pathlib.Path)
    arguments.add_argument("work", type=pathlib.Path)
    arguments.add_argument("--scale", type=float, default=1)
    arguments.add_argument("--rounds", type=int, default=2)
    given = arguments.parse_args()
    build, work = given.build.resolve(), given.work.resolve()
    result = {"machine": machine(f"load {os.getloadavg()[0]:.1f} when it began"), "goals": [], "bound": BOUND, "program": PROGRAM}
    folder, made = corpus(work, given.scale)
    result |= {"files": made["files"], "bytes": made["bytes"]}

    goal = Goals(result["goals"])

    cores = os.cpu_count()
    names = [("penstock", lambda: Pipeline(build, folder, work / "out").run()), (f"xargs -P{cores}", lambda: plain(build, folder, cores))]
    runs = {name: [] for name, _ in names}
    for _ in range(given.rounds):  # in turn, and the better one of each: the first of all also reads the files from the disk
        for name, run in names:
            say(name)
            runs[name].append(run())
    best = {name: min(r, key=lambda one: one[0]) for name, r in runs.items()}
    say("one process")
    best["one process"] = plain(build, folder, 1)
    seconds, processors, report, _ = best["penstock"]
    result["processor_seconds"] = {name: b[1] for name, b in best.items()}
    result["seconds"] = {name: b[0] for name, b in best.items()}
    result["memory"] = {name: b[-1] for name, b in best.items()}
    result["report"] = report

    read = {name for name, k in report["kinds"].items() if k["can_be_read"]}
    of_kind = lambda path: path[len(str(folder)) + 1:].split("/")[0].removesuffix("s")
    whole = {path for path in made["known"] if of_kind(path) in read}
    broken = {path for path in made["broken"] if of_kind(path) in read}
    goal("memory of files that are read at a time", f"at most {BOUND // MIB} MiB", f"{report['most_in_flight_bytes'] / MIB:.0f} MiB", 0 < report["most_in_flight_bytes"] <= BOUND)
    peak = max(r[2]["peak_resident_bytes"] for r in runs["penstock"])
    goal(f"memory of the whole process, for a corpus of {made['bytes'] / MIB:,.0f} MiB", f"at most {(BOUND + PROGRAM) // MIB} MiB", f"{peak / MIB:.0f} MiB", 0 < peak <= BOUND + PROGRAM)
    most = {name: (k["most_at_a_time"], k["concurrency"]) for name, k in report["kinds"].items() if k["can_be_read"]}
    goal("files of each kind at a time", f"at most {cores}", ", ".join(f"{n} {name}s" for name, (n, _) in most.items()), all(n <= c for n, c in most.values()))
    letters = dead_letters(build, work / "out")
    goal("dead letters", f"the {len(broken)} broken files, and no other", f"{len(letters & broken)}, and {len(letters - broken)} others", letters == broken)
    say("killed, and begun again")
    again = Pipeline(build, folder, work / "killed")
    points, kills, _ = killed(again, len(whole))
    result |= {"progress": points, "kills": kills}
    once = rows(again.out, "SELECT path, written FROM file")
    goal(f"killed (SIGKILL) {len(kills)} times and begun again: files that are in the output, exactly once", f"{len(whole):,}",
         f"{sum(n == 1 for _, n in once):,}", len(kills) == KILLS and {p for p, _ in once} == whole and all(n == 1 for _, n in once))
    goal("... and dead letters", f"{len(broken)}", f"{len(dead_letters(build, again.out))}", dead_letters(build, again.out) == broken)
    xargs = best[f"xargs -P{cores}"][0]
    goal(f"time beside find | xargs -P{cores}, which keeps nothing ({xargs:.1f} s)", "no longer", f"{seconds:.1f} s, {xargs / seconds:.2f} times as fast", seconds <= xargs)
    plain_processors = best[f"xargs -P{cores}"][1]
    goal(f"... and processors' time ({plain_processors:.1f} s)", "at most 1.1 times as much", f"{processors:.1f} s, {processors / plain_processors:.2f} times", processors <= 1.1 * plain_processors)
    alone = best["one process"][0]
    goal(f"time beside one process ({alone:.1f} s)", "at least 1.6 times as fast", f"{alone / seconds:.2f} times", alone >= 1.6 * seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
