#!/usr/bin/env python3
"""Runs examples/batch_million on 20,000 records, kills it half way, and lets it go on; with PENSTOCK_TIER=long a million, killed five times.

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


def main():
    binary = os.path.abspath(sys.argv[1])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-batch-"))
    command = [binary, folder, "--records", str(RECORDS), "--per-job", str(PER_JOB), "--json"]
    wrong = []
    try:
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
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in wrong:
        print(f"FAILED {line}")
    print("1 passed, 0 failed" if not wrong else "0 passed, 1 failed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
