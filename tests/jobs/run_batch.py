#!/usr/bin/env python3
"""Runs examples/batch_million on 20,000 records, kills it half way, and lets it go on; with PENSTOCK_TIER=long a million, killed five times. And on a disk
that gets full.

    run_batch.py BATCH_MILLION
"""

import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from small_disk import SmallDisk  # noqa: E402

LONG = os.environ.get("PENSTOCK_TIER") == "long"
RECORDS = 1_000_000 if LONG else 20_000
PER_JOB = 100 if LONG else 2
KILLS = 5 if LONG else 1


def done(folder):
    try:
        connection = sqlite3.connect(f"file:{folder}/records.db?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute("SELECT count(result) FROM record").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return 0  # it has not begun


def killed(binary, folder, wrong):
    command = [binary, folder, "--records", str(RECORDS), "--per-job", str(PER_JOB), "--json"]
    kills = 0
    for n in range(1, KILLS + 1):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while running.poll() is None and done(folder) < n * RECORDS // (KILLS + 2):
            time.sleep(0.005)
        if running.poll() is None:
            running.kill()
            kills += 1
        elif running.returncode != 0:
            wrong.append(f"it ended with {running.returncode}")
        running.communicate()
    at_the_kill = done(folder)
    last = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(last.stdout)
    print(f"killed {kills} times, at {at_the_kill} of {RECORDS}; then {last.stdout.strip()}")
    if last.returncode != 0 or report["wrong"] != 0 or report["dead_letters"] != 0 or report["records"] != RECORDS:
        wrong.append("records are missing, or wrong")
    if report["done_before"] != at_the_kill:
        wrong.append("it did not go on where it was")
    if kills == 0:
        wrong.append("it was too quick to be killed")


def full_disk(binary, folder, wrong):
    with SmallDisk(folder / "disk", "300k") as disk:
        if not disk:
            return
        run = lambda: subprocess.run(disk.inside(binary, folder / "disk", "--records", 20_000, "--per-job", 10, "--json"), capture_output=True, text=True, timeout=100, check=False)
        for size in ("300k", "2m", "3m"):  # for making the records, for making the jobs, for doing them
            disk.resize(size)
            full = run()
            why = full.stderr.splitlines()[-1] if full.stderr else ""
            if full.returncode != 2 or not ("full" in why or "disk I/O error" in why):  # the latter of the memory that SQLite shares in a file
                wrong.append(f"on a full disk of {size} it ended with {full.returncode}: {full.stderr[-300:]}")
        at_the_end = done(shutil.copytree(disk.outside(), folder / "copy"))
        disk.resize("64m")
        last = run()
        print(f"on a full disk {at_the_end} of 20000 were done; then {last.stdout.strip()}")
        report = json.loads(last.stdout)
        if last.returncode != 0 or report["wrong"] != 0 or report["dead_letters"] != 0 or report["done_before"] != at_the_end:
            wrong.append("after a full disk records are missing, or wrong")


def main():
    binary = os.path.abspath(sys.argv[1])
    wrong = []
    for part in (killed, full_disk):
        with tempfile.TemporaryDirectory(prefix="penstock-batch-") as name:
            part(binary, pathlib.Path(name), wrong)
    for line in wrong:
        print(f"FAILED {line}")
    print("1 passed, 0 failed" if not wrong else "0 passed, 1 failed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
