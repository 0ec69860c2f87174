#!/usr/bin/env python3
"""The scenario "batch": examples/batch_million, a million records, each processed once, in jobs of different sizes; killed and begun again. scripts/scenarios
runs it.

usage: scenario_batch.py BUILD WORK [--records N]

BUILD has penstock_batch_million. Prints JSON.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

from scenario_common import Goals, machine, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20
MOST_MEMORY = 128 * MIB
WANTED = {1000: 500_000, 100: 200_000, 10: 50_000}  # records a second, by how many a job has
BAR = re.compile(rb"(\d+) of \d+, (\d+)/s, ([0-9.]+) s left")


def resident(process):
    """Now, and at the most so far; in bytes. None: it has ended."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        return tuple(1024 * int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "VmHWM"))
    except (OSError, TypeError):
        return None


class Run:
    """Runs it, and looks at its bar and its memory. `kill_at`: a share of the records; then it is killed."""

    def __init__(self, binary, folder, records, per_job, kill_at=None):
        command = [binary, folder, "--records", str(records), "--per-job", str(per_job), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.progress, self.memory, self.most, self.killed = [], [], 0, False
        began = time.monotonic()
        over = threading.Event()

        def watch():
            while not over.wait(0.02):
                if now := resident(process):
                    self.memory.append((round(time.monotonic() - began, 3), now[0]))
                    self.most = max(self.most, now[1])

        watching = threading.Thread(target=watch)
        watching.start()
        text = b""
        while piece := process.stderr.read1(4096):
            text += piece
            for bar in BAR.finditer(text):
                self.progress.append((round(time.monotonic() - began, 3), int(bar[1]), float(bar[3])))
                text = text[bar.end():]
            if kill_at is not None and self.progress and self.progress[-1][1] >= kill_at * records and not self.killed:
                process.kill()
                self.killed = True
        out = process.stdout.read()
        process.wait()
        over.set()
        watching.join()
        process.stdout.close()
        process.stderr.close()
        self.report = json.loads(out) if out else None
        if self.report is None and not self.killed:
            raise RuntimeError(f"batch_million ended with {process.returncode}")

    def estimate(self):
        """Half way: what the bar said was left, as a share of what was. None: it went too fast to tell."""
        end = self.progress[-1][0]
        half = min(self.progress, key=lambda p: abs(p[1] - self.progress[-1][1] / 2))
        left = end - half[0]
        return half[2] / left if left > 0.5 else None


def main():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("build", type=pathlib.Path)
    arguments.add_argument("work", type=pathlib.Path)
    arguments.add_argument("--records", type=int, default=1_000_000)
    given = arguments.parse_args()
    binary, work, records = given.build.resolve() / "penstock_batch_million", given.work.resolve(), given.records
    result = {"machine": machine(f"load {os.getloadavg()[0]:.1f} when it began"), "goals": [], "records": records, "most_memory": MOST_MEMORY, "runs": {}}

    goal = Goals(result["goals"])

    def fresh(name):
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    most = 0
    for per_job, wanted in WANTED.items():
        say(f"{per_job} records a job")
        run = Run(binary, fresh(f"by-{per_job}"), records, per_job)
        report = run.report
        most = max(most, run.most)
        rate = records / report["seconds"]
        result["runs"][str(per_job)] = {"rate": rate, "report": report, "memory": run.memory, "progress": run.progress, "most_memory": run.most, "estimate": run.estimate()}
        right = report["wrong"] == report["dead_letters"] == 0 and report["records"] == records
        goal(f"{records:,} records, {per_job:,} a job, a hundred jobs at a time, all durable", f"at least {wanted:,}/s, all of them right",
             f"{rate:,.0f}/s, {report['wrong']} wrong", right and rate >= wanted)
    goal("memory", f"at most {MOST_MEMORY // MIB} MiB", f"{most / MIB:.0f} MiB", 0 < most <= MOST_MEMORY)
    estimate = ("the time that is left, as the bar says half way (10 a job)", "wrong by a third at the most")
    if (said := result["runs"]["10"]["estimate"]) is not None:
        goal(*estimate, f"{said:.2f} of what it was", 2 / 3 <= said <= 4 / 3)
    else:
        goal.not_measured(*estimate, "less than half a second was left")
    say("killed, and begun again")
    folder = fresh("killed")
    first = Run(binary, folder, records, 10, kill_at=0.4)
    second = Run(binary, folder, records, 10)
    result["killed"] = {"progress": [first.progress, second.progress], "report": second.report}
    r = second.report
    goal("killed (SIGKILL) at 40 % and begun again", "it goes on there; none is wrong, lost or a dead letter",
         f"it went on at {100 * r['done_before'] / records:.0f} %, {r['wrong']} wrong, {r['dead_letters']} dead letters",
         first.killed and r["done_before"] >= 0.4 * records and r["wrong"] == r["dead_letters"] == 0)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
