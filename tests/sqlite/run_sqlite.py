#!/usr/bin/env python3
"""Kills processes that share a file of jobs, again and again, and counts what is left: no job is lost, none is completed twice. And has them run out of
room.

    run_sqlite.py SQLITE_JOBS [KILLS]

Without a number: 20 kills, or 200 where the environment variable PENSTOCK_TIER is long. PENSTOCK_SEED repeats the times at which it kills.
"""

import collections
import contextlib
import os
import pathlib
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402

STATES = ["waiting", "delayed", "active", "completed", "failed"]


def read_ledger(path):
    """The jobs whose addition was answered, how often each one's completion was, and under which lease."""
    added, completed, fences = set(), collections.Counter(), {}
    for line in path.read_text().splitlines() if path.exists() else []:
        words = line.split()
        if words[0] == "added":
            added.add(int(words[1]))
        else:
            completed[int(words[1])] += 1
            fences[int(words[1])] = int(words[2])
    return added, completed, fences


def look(file, ledger, name):
    added, completed, fences = read_ledger(ledger)
    with sqlite3.connect(file) as db:
        whole = db.execute("PRAGMA integrity_check").fetchone()[0]
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:  # killed before it was made
            db.close()
            return not added, 0, 0
        states = dict(db.execute("SELECT id, state FROM jobs"))
        latest = dict(db.execute("SELECT id, fence FROM jobs"))
        counted = db.execute("SELECT waiting, delayed, active, completed, failed FROM meta").fetchone()
    db.close()
    there = collections.Counter(states.values())
    problems = []
    if whole != "ok":
        problems.append(whole)
    if tuple(there[s] for s in range(5)) != counted:
        problems.append(f"{dict(there)} are there, and {counted} counted")
    if lost := added - states.keys():
        problems.append(f"{len(lost)} were added and are lost: {sorted(lost)[:5]}")
    if twice := [job for job, times in completed.items() if times > 1]:
        problems.append(f"{len(twice)} were completed twice: {sorted(twice)[:5]}")
    if undone := [job for job in completed if STATES[states.get(job, 0)] != "completed"]:
        problems.append(f"{len(undone)} were completed and are not: {sorted(undone)[:5]}")
    if stale := [job for job, fence in fences.items() if latest.get(job) != fence]:
        problems.append(f"{len(stale)} were completed under a lease that somebody else's had followed: {sorted(stale)[:5]}")
    if problems:
        check(name, False, "; ".join(problems))
    return not problems, len(states), sum(completed.values())


def kill(program, folder, kills, rng):
    file, ledger = folder / "jobs.db", folder / "ledger"
    processes = []

    def start():
        processes.append(subprocess.Popen([program, "churn", file, ledger, str(rng.randrange(1 << 32))], stderr=subprocess.PIPE))

    start()
    start()
    killed, whole = 0, True
    while killed < kills and whole:
        time.sleep(rng.uniform(0.005, 0.12))
        for _ in range(rng.choice([1, 1, 2])):
            victim = processes.pop(rng.randrange(len(processes)))
            ended = victim.poll()
            if ended is not None:
                check("the processes go on until they are killed", False, f"{ended}, {victim.stderr.read().decode()[-500:]}")
                whole = False
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            victim.stderr.close()
            killed += 1
        if not processes:  # only then the ledger and the file stand still
            whole = whole and look(file, ledger, f"after {killed} kills")[0]
        while len(processes) < 2:
            start()
    for p in processes:
        p.kill()
        p.wait()
        p.stderr.close()
    finished = subprocess.run([program, "finish", file, ledger], timeout=300, check=False)
    check("what is left can be finished", finished.returncode == 0)
    whole_at_end, jobs, completions = look(file, ledger, "at the end")
    check(f"after {killed} kills no job of {jobs} is lost, none of {completions} was completed twice", whole and whole_at_end)
    with sqlite3.connect(file) as db:
        unfinished = db.execute("SELECT count(*) FROM jobs WHERE state <> 3").fetchone()[0]
    db.close()
    check("all are completed in the end", unfinished == 0, f"{unfinished} are not")
    check("there was something to kill", jobs > 20 * killed / 10, jobs)


def open_together(program, folder):
    """Several processes make the same file at the same time."""
    ends = []
    for n in range(60):
        together = [subprocess.Popen([program, "work", folder / f"new{n}.db"], stdin=subprocess.DEVNULL) for _ in range(6)]
        ends += [process.wait(60) for process in together]
    check("a file may be made by several processes at a time", not any(ends), ends)


def share(program, folder):
    file = folder / "shared.db"
    worker = subprocess.Popen([program, "work", file], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    submitter = subprocess.Popen([program, "submit", file, "100"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while submitter.poll() is None and worker.poll() is None and time.monotonic() < until:  # without a worker it waits for ever
        time.sleep(0.01)
    ended = worker.poll()
    if ended is not None or submitter.poll() is None:
        submitter.kill()
    out, said = submitter.communicate()
    check("a process learns how its jobs ended that another one ran", out == "90 good, 10 bad\n",
          f"{out}{said}, the worker {'goes on' if ended is None else 'has ended'}")
    worker.stdin.close()
    check("the worker ends when it is told to", worker.wait(60) == 0, worker.stderr.read().decode()[-500:])
    worker.stderr.close()


@contextlib.contextmanager
def small_disk(folder):
    """A file system of half a megabyte: how a process on it is started, and how room is made. None: it takes root."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "none", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        yield None
        return
    try:
        yield {}, lambda process: subprocess.run(["mount", "-o", "remount,size=16m", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def small_files(folder):
    """The same by a limit of the process, which needs nobody's permission."""
    folder.mkdir()
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))  # noqa: E731
    widen = lambda process: resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (16_000_000, resource.RLIM_INFINITY))  # noqa: E731
    yield {"preexec_fn": limit, "restore_signals": False}, widen  # the signal of the limit stays ignored


def run_full(program, disk, folder, name):
    ledger = folder / f"ledger of {name}"
    where = folder / name
    with disk(where) as means:
        if means is None:
            print(f"skipped: jobs on {name}, for want of the right to mount one", flush=True)
            return
        options, make_room = means
        file = where / "jobs.db"

        def start():
            return subprocess.Popen([program, "fill", file, ledger], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)

        def again(process):
            process.stdin.write("x")
            process.stdin.flush()
            return process.stdout.readline()

        process = start()
        first = process.stdout.readline()
        there = int(first.split()[0] or 0)
        refused = f"{there} there: no space, database or disk is full\n"
        check(f"on {name} jobs are refused when there is no room", there > 5 and first.endswith(refused), first)
        still = again(process)
        check(f"on {name} they are as long as there is none, and those that are there stay", still == "0 added, " + refused, still)
        process.kill()
        process.wait()
        check(f"on {name} none is lost that was added", look(file, ledger, f"{name} is full")[0])
        process = start()
        after_kill = process.stdout.readline()
        added = int(after_kill.split()[0] or 0)  # if that one could write the log back to the file
        check(f"on {name} who starts then finds them", f", {there + added} there: no space, " in after_kill, after_kill)
        make_room(process)
        more = again(process)
        check(f"on {name} it goes on when there is room", more == f"50 added, {there + added + 50} there: , \n", more)
        process.stdin.close()
        check(f"on {name} the process ends well", process.wait(60) == 0)
        subprocess.run([program, "finish", file, ledger], timeout=60, check=True)
        whole, jobs, completed = look(file, ledger, f"{name} has room")
        check(f"on {name} all are run in the end", whole and completed == jobs == there + added + 50, (jobs, completed))


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 200 if os.environ.get("PENSTOCK_TIER") == "long" else 20
    seed = int(os.environ.get("PENSTOCK_SEED", random.randrange(1 << 32)))
    print(f"PENSTOCK_SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="penstock-sqlite-") as folder:
        open_together(program, pathlib.Path(folder))
        share(program, pathlib.Path(folder))
        run_full(program, small_disk, pathlib.Path(folder), "a small disk")
        run_full(program, small_files, pathlib.Path(folder), "limited files")
        kill(program, pathlib.Path(folder), kills, random.Random(seed))
    sys.exit(verdict())


main()
