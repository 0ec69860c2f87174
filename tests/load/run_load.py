#!/usr/bin/env python3
"""Runs penstock-load against a small server of its own: all forms of answers and failures, wrk in the same run, an M/D/1 queue against theory, and a
server that stalls. With PENSTOCK_TIER=long for minutes, and with the tolerances that this allows.

    run_load.py PENSTOCK_LOAD LOAD_SERVER
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402

LONG = os.environ.get("PENSTOCK_TIER") == "long"


class Server:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Load:
    binary = None
    started = []

    @classmethod
    def start(cls, *arguments):
        cls.started.append(subprocess.Popen([cls.binary, "--quiet", "--json", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return cls.started[-1]

    @classmethod
    def finish(cls, process, expect=0):
        out, err = process.communicate(timeout=600)
        if process.returncode != expect:
            raise RuntimeError(f"{process.args} ended with {process.returncode}, not {expect}: {err}{out[:500]}")
        report = json.loads(out) if out else err
        if out:
            cls.spectrum = report.pop("spectrum")  # too long to be shown when something fails
        return report

    @classmethod
    def run(cls, *arguments, expect=0):
        return cls.finish(cls.start(*arguments), expect)


def check_answers(server, folder):
    """What a server may say, and what it does when it says nothing. All at once: these runs wait more than they work."""
    options = ["--rate", 100, "--duration", "400ms", "--connections", 5]
    forms = ["every?n=10", "chunked?n=3", "chunked?n=20000", "size?n=300000", "close", "until_close", "notes", "missing", "silent", "cut", "garbage"]
    runs = {form: Load.start(*options, "--timeout", "400ms" if form == "silent" else "10s", f"{server.url}/{form}") for form in forms}
    closed = {form: Load.start("--duration", "300ms", "--connections", 2, "--timeout", limit, f"{server.url}/{form}")
              for form, limit in (("silent", "100ms"), ("cut", "10s"), ("close", "10s"))}
    body = folder / "body"
    body.write_text("x" * 300_000, encoding="utf-8")
    post = Load.start(*options, "--method", "POST", "--body-file", body, f"{server.url}/echo")
    head = Load.start(*options, "--threads", 2, f"{server.url}/fast", f"{server.url}/close")
    got = {form: Load.finish(run) for form, run in runs.items()}
    for form, status in (("chunked?n=3", "200"), ("chunked?n=20000", "200"), ("size?n=300000", "200"), ("close", "200"), ("until_close", "200"), ("notes", "204")):
        g = got[form]
        check(f"answers: {form}", g["by_status"] == {status: 40} and g["errors"] == 0 and g["intended"] == 40, g)
    check("bytes are counted", 40 * 300_000 < got["size?n=300000"]["bytes_read"] < 40 * 300_200, got["size?n=300000"])
    check("connections that are closed are made anew", got["close"]["connects"] >= 35 and got["chunked?n=3"]["connects"] == 0, got["close"])
    g = got["every?n=10"]
    check("errors by status, and percentiles by class", g["by_status"] == {"200": 36, "503": 4} and g["errors"] == 4 and g["latency_seconds_by_class"]["5xx"]["count"] == 4
          and (round(g["rate"]), round(g["goodput"])) == (100, 90), g)
    check("404", got["missing"]["by_status"] == {"404": 40} and got["missing"]["errors"] == 40)
    for form, kind in (("silent", "timeout"), ("cut", "closed"), ("garbage", "broken")):
        g = got[form]
        check(f"no answer: {form}", g["unanswered"][kind] == 40 and g["answered"] == 0 and g["latency_seconds"] is None, g)
    # 5 connections of 40 requests; the others wait until it is too late for them, too
    check("what finds no connection is queued", 30 <= got["silent"]["queued"] <= 35, got["silent"])
    for form, run in closed.items():
        g = Load.finish(run)
        good = g["answered"] >= 3 and g["errors"] == 0 if form == "close" else g["answered"] == 0 and 2 <= g["errors"] == g["intended"] < 600
        check(f"closed loop: {form}", good, g)
    g = Load.finish(post)
    check("a long body is sent and comes back", g["answered"] == 40 and g["bytes_written"] > 12_000_000 and g["bytes_read"] > 12_000_000, g)
    g = Load.finish(head)
    check("two threads, two paths", g["intended"] == 40 and g["answered"] == 40 and 15 <= g["connects"] <= 20, g)


def check_limits(server, folder):
    brief = ["--duration", "300ms", "--rate", 100]
    slow = "30s" if LONG else "5s"  # never reached
    limits = (["--max-p99", "1us"], ["--max-errors", "9%"], ["--min-rate", 1000])
    within = Load.start(*brief, "--max-p99", slow, "--max-errors", "11%", "--min-rate", 50, f"{server.url}/every?n=10&within")
    accepted = Load.start(*brief, "--ok", "503", "--max-errors", 0, f"{server.url}/every?n=2")
    beyond = [(limit, Load.start(*brief, *limit, f"{server.url}/every?n=10&of={limit[0]}")) for limit in limits]
    interrupted = Load.start("--rate", 200, "--duration", "60s", "--connections", 3, f"{server.url}/silent")
    steps = Load.start("--rate", "100,400:0,50", "--duration", "600ms", "--warm-up", "100ms", f"{server.url}/fast")
    shown = subprocess.Popen([Load.binary, "--rate", "50", "--duration", "1500ms", f"{server.url}/fast"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with Server(Load.server) as other:
        full = Load.start("--rate", 2000, "--duration", "300ms", "--connections", 1, "--queue", 50, f"{other.url}/work?us=10000")
        g = Load.finish(full)
        check("a queue that is full", g["unanswered"]["overflow"] + g["answered"] == g["intended"] == 600 and g["answered"] < 100, g)
        dies = Load.start("--rate", 100, "--duration", "800ms", "--timeout", "500ms", f"{other.url}/fast")
        time.sleep(0.4)
    g = Load.finish(dies)
    check("a server that dies", g["answered"] >= 1 and g["unanswered"]["connect"] >= 1 and g["answered"] + g["errors"] == 80, g)
    check("within the limits", Load.finish(within)["exceeded"] == [])
    for limit, run in beyond:
        check(f"exceeds {limit}", len(Load.finish(run, expect=1)["exceeded"]) == 1)
    check("errors that are accepted", Load.finish(accepted)["errors"] == 0)
    interrupted.send_signal(signal.SIGINT)
    g = Load.finish(interrupted, expect=130)
    check("an interrupt ends it, and it reports", g["interrupted"] and 30 < g["intended"] == g["unfinished"] and g["seconds"] < 30, g)
    g = Load.finish(steps)
    check("steps and a ramp after the warm-up", [s["answered"] for s in g["steps"]] == [20, 40, 10] and g["answered"] == 70, g["steps"])
    out, err = shown.communicate(timeout=60)
    rows = err.splitlines()
    check("for people: rows and a table", shown.returncode == 0 and len(rows) >= 2 and "in flight" in rows[0] and "P99.9" in out, err + out)
    check("nobody there", "refused" in Load.run("http://127.0.0.1:1/", expect=2))
    check("wrong usage", "--rate" in Load.run("--poisson", f"{server.url}/", expect=2))


def wrk(url, seconds, connections, folder):
    """Requests a second, and seconds at the median and P99 and P99.9."""
    script = folder / "report.lua"
    script.write_text('done = function(s, l, r) io.write(string.format("RESULT %d %d %f %f %f\\n", s.requests, s.duration, '
                      'l:percentile(50), l:percentile(99), l:percentile(99.9))) end\n', encoding="utf-8")
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url], capture_output=True, text=True, timeout=120, check=True).stdout
    requests, duration, *latencies = map(float, re.search(r"RESULT (.*)", out)[1].split())
    return [requests / duration * 1e6] + [n / 1e6 for n in latencies]


def check_wrk(server, folder):
    if shutil.which("wrk") is None:
        print("skipped: wrk is not installed, so there is nothing to compare with")
        return
    # A server whose speed is given: both must find it. What else the machine does makes both slower, so that another try may show more.
    seconds = 10 if LONG else 1
    url = f"{server.url}/work?us=1000"
    for last in (False, False, True):
        rate, p50, *_ = wrk(url, seconds, 10, folder)
        g = Load.run("--connections", 10, "--duration", f"{seconds}s", url)
        same = abs(g["rate"] / rate - 1) < 0.05 and abs(g["latency_seconds"]["p50"] / p50 - 1) < 0.1
        print(f"   1,000/s at the most: wrk {rate:.1f}/s, median {p50 * 1e3:.3f} ms; penstock-load {g['rate']:.1f}/s, {g['latency_seconds']['p50'] * 1e3:.3f} ms")
        if same or last:
            break
    check("as many requests as wrk, and the same median", same, (g["rate"], rate, g["latency_seconds"]["p50"], p50))
    # One that is as fast as the machine, where all three share the processors: no more than that none is far off.
    ratios = []
    while len(ratios) < (5 if LONG else 1) or (len(ratios) < 5 and not 0.6 < ratios[-1] < 1.7):
        rate, p50, p99, _ = wrk(f"{server.url}/fast", seconds, 20, folder)
        g = Load.run("--connections", 20, "--duration", f"{seconds if LONG else 0.7}s", f"{server.url}/fast")
        ratios.append(g["rate"] / rate)
        print(f"   as fast as it can: wrk {rate:.0f}/s, median {p50 * 1e6:.0f} us, P99 {p99 * 1e6:.0f} us; penstock-load {g['rate']:.0f}/s, "
              f"{g['latency_seconds']['p50'] * 1e6:.0f} us, {g['latency_seconds']['p99'] * 1e6:.0f} us; "
              f"{g['answers_per_cpu_second']:.0f} answers for a second of its processor")
    check("about as fast as wrk", any(0.6 < r < 1.7 for r in ratios), ratios)


SERVICE = 0.002 if LONG else 0.008
SECONDS = 120 if LONG else 2
LATE = 0.0004 if LONG else 0.0015  # what a machine that does other things adds to a wait


def theory_arguments(utilization):
    return ["--rate", utilization / SERVICE, "--poisson", "--seed", 4, "--duration", f"{SECONDS}s", "--connections", 100]


def mean_wait_of(arguments):
    """By Lindley's recursion, of the very arrivals that penstock-load means to make."""
    command = [Load.binary, "--dry-run", *map(str, arguments), "http://x/"]
    times = [float(t) for t in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]
    free_at = waited = 0.0
    for at in times:
        waited += max(0.0, free_at - at)
        free_at = max(free_at, at) + SERVICE
    return waited / len(times), len(times)


class Canary:
    """How late this machine wakes somebody who sleeps: seconds, on average."""

    def __enter__(self):
        self.late, self.number, self.ends = 0.0, 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        while not self.ends:
            due = time.monotonic() + 0.002
            time.sleep(0.002)
            self.late += time.monotonic() - due
            self.number += 1

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()

    def is_busy(self):
        return self.late / max(self.number, 1) > 0.0004


def check_theory_and_omission(attempts=4):
    """Poisson arrivals at a server that takes a fixed time for each; and a server that does nothing for a third of the time, in both loops.

    In a short run the mean wait scatters widely, so that it is compared with that of the same arrivals; the unit test shows for a million of them that it
    is what the theory says. Sockets, timers and a busy machine add to a wait and never take from it: the least of a few attempts counts, and where the machine
    was too busy in all of them, nothing is said."""
    seconds, stall = (12, 3000) if LONG else (1.5, 500)
    path = f"stall?us=1000&after={int(seconds * 333)}&for={stall}"
    stalls = []
    waits = {0.5: [], 0.8: []}
    exact = {u: mean_wait_of(theory_arguments(u)) for u in waits}
    quiet = 0
    for attempt in range(attempts):
        missing = [u for u in waits if not waits[u] or min(waits[u]) > 1.1 * exact[u][0] + LATE]
        if not missing and stalls:
            break
        servers = [Server(Load.server) for _ in range(4)]
        runs = {u: Load.start(*theory_arguments(u), f"{server.url}/work?us={SERVICE * 1e6:.0f}") for u, server in zip(missing, servers)}
        if attempt == 0:
            shape = ["--connections", 10, "--duration", f"{seconds}s"]
            stalls = [Load.start(*load, *shape, f"{server.url}/{path}") for load, server in zip((["--rate", 500], []), servers[2:])]
            stalls = [Load.finish(run) for run in stalls]
        with Canary() as canary:
            reports = {u: Load.finish(run) for u, run in runs.items()}
        quiet += not canary.is_busy()
        for u, g in reports.items():
            waits[u].append(g["latency_seconds"]["mean"] - SERVICE)
            formula = u * SERVICE / (2 * (1 - u))
            print(f"   utilization {u}: mean wait {waits[u][-1] * 1e3:.3f} ms; of these arrivals {exact[u][0] * 1e3:.3f} ms; M/D/1 {formula * 1e3:.3f} ms; "
                  f"{g['answered']} requests, sent {g['late_seconds']['mean'] * 1e3:.3f} ms late")
            check(f"M/D/1 at {u}: all that was meant is sent", g["intended"] == g["answered"] == exact[u][1] and g["errors"] == 0, g)
        for server in servers:
            server.__exit__()
    for u, measured in waits.items():
        if min(measured) > 1.1 * exact[u][0] + LATE and quiet == 0 and not LONG:
            print(f"skipped: the wait at utilization {u} is not judged, for this machine wakes sleepers late: it is busy with other things")
            continue
        check(f"M/D/1 at {u}: the wait of these arrivals", 0.95 * exact[u][0] < min(measured) < 1.1 * exact[u][0] + LATE, (measured, exact[u]))
        if LONG:
            formula = u * SERVICE / (2 * (1 - u))
            check(f"M/D/1 at {u}: the formula", 0.85 * formula < min(measured) < 1.15 * formula + LATE, (measured, formula))
    opened, closed = (r["latency_seconds"] for r in stalls)
    print(f"   a stall of {stall} ms: open loop P90 {opened['p90'] * 1e3:.1f} ms, P99 {opened['p99'] * 1e3:.1f} ms; "
          f"closed loop P90 {closed['p90'] * 1e3:.1f} ms, max {closed['max'] * 1e3:.1f} ms")
    check("the open loop shows a stall", opened["p90"] > stall / 1000 * 0.4 and opened["p99"] > stall / 1000 * 0.8, opened)
    check("the closed loop does not, but in its maximum", closed["p90"] < 0.1 and closed["max"] > stall / 1000 * 0.9, closed)


def main():
    Load.binary, Load.server = map(os.path.abspath, sys.argv[1:3])
    folder = pathlib.Path.cwd() / "load"
    folder.mkdir(exist_ok=True)
    try:
        with Server(Load.server) as server:
            check_answers(server, folder)
            check_limits(server, folder)
            check_wrk(server, folder)
        check_theory_and_omission()
    finally:
        for process in Load.started:
            if process.poll() is None:
                process.kill()
    sys.exit(verdict())


if __name__ == "__main__":
    main()
