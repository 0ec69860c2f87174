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

    @classmethod
    def start(cls, *arguments):
        return subprocess.Popen([cls.binary, "--quiet", "--json", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @classmethod
    def finish(cls, process, expect=0):
        out, err = process.communicate(timeout=600)
        if process.returncode != expect:
            raise RuntimeError(f"{process.args} ended with {process.returncode}, not {expect}: {err}{out[:500]}")
        return json.loads(out) if out else err

    @classmethod
    def run(cls, *arguments, expect=0):
        return cls.finish(cls.start(*arguments), expect)


def check_answers(server, folder):
    """What a server may say, and what it does when it says nothing. All at once: these runs wait more than they work."""
    options = ["--rate", 100, "--duration", "400ms", "--connections", 5, "--timeout", "400ms"]
    forms = ["every?n=10", "chunked?n=3", "chunked?n=20000", "size?n=300000", "close", "until_close", "notes", "missing", "silent", "cut", "garbage"]
    runs = {form: Load.start(*options, f"{server.url}/{form}") for form in forms}
    closed = {form: Load.start("--duration", "300ms", "--connections", 2, "--timeout", "100ms", f"{server.url}/{form}") for form in ("silent", "cut", "close")}
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
    check("errors by status, and percentiles by class", g["by_status"] == {"200": 36, "503": 4} and g["errors"] == 4 and g["latency_seconds_by_class"]["5xx"]["count"] == 4, g)
    check("404", got["missing"]["by_status"] == {"404": 40} and got["missing"]["errors"] == 40)
    for form, kind in (("silent", "timeout"), ("cut", "closed"), ("garbage", "broken")):
        g = got[form]
        check(f"no answer: {form}", g["unanswered"][kind] == 40 and g["answered"] == 0 and g["latency_seconds"] is None, g)
    # 5 connections of 40 requests; the others wait until it is too late for them, too
    check("what finds no connection is queued", 30 <= got["silent"]["queued"] <= 35, got["silent"])
    for form, run in closed.items():
        g = Load.finish(run)
        good = g["answered"] > 10 and g["errors"] == 0 if form == "close" else g["answered"] == 0 and 4 <= g["errors"] == g["intended"] < 600
        check(f"closed loop: {form}", good, g)
    g = Load.finish(post)
    check("a long body is sent and comes back", g["answered"] == 40 and g["bytes_written"] > 12_000_000 and g["bytes_read"] > 12_000_000, g)
    g = Load.finish(head)
    check("two threads, two paths", g["intended"] == 40 and g["answered"] == 40 and 15 <= g["connects"] <= 20, g)


def check_limits(server, folder):
    brief = ["--duration", "300ms", "--rate", 100]
    check("within the limits", Load.run(*brief, "--max-p99", "1s", "--max-errors", "11%", "--min-rate", 50, f"{server.url}/every?n=10")["exceeded"] == [])
    for limit in (["--max-p99", "1us"], ["--max-errors", "9%"], ["--min-rate", 1000]):
        check(f"exceeds {limit}", len(Load.run(*brief, *limit, f"{server.url}/every?n=10", expect=1)["exceeded"]) == 1)
    check("errors that are accepted", Load.run(*brief, "--ok", "503", "--max-errors", 0, f"{server.url}/every?n=2")["errors"] == 0)
    check("nobody there", "refused" in Load.run("http://127.0.0.1:1/", expect=2))
    check("wrong usage", "--rate" in Load.run("--poisson", f"{server.url}/", expect=2))
    run = Load.start("--rate", 200, "--duration", "60s", "--connections", 3, f"{server.url}/silent")
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    g = Load.finish(run, expect=130)
    check("an interrupt ends it, and it reports", g["interrupted"] and 30 < g["intended"] == g["unfinished"] < 300 and g["seconds"] < 10, g)
    g = Load.run("--rate", "100,400:0,50", "--duration", "600ms", "--warm-up", "100ms", f"{server.url}/fast")
    check("steps and a ramp after the warm-up", [s["answered"] for s in g["steps"]] == [20, 40, 10] and g["answered"] == 70, g["steps"])
    g = Load.run("--rate", 2000, "--duration", "300ms", "--connections", 1, "--queue", 50, f"{server.url}/work?us=10000")
    check("a queue that is full", g["unanswered"]["overflow"] + g["answered"] == g["intended"] == 600 and g["answered"] < 100, g)
    run = subprocess.run([Load.binary, "--rate", "50", "--duration", "1500ms", f"{server.url}/fast"], capture_output=True, text=True, timeout=60, check=False)
    rows = run.stderr.splitlines()
    check("for people: rows and a table", run.returncode == 0 and len(rows) == 3 and "in flight" in rows[0] and "P99.9" in run.stdout, run.stderr + run.stdout)
    server_2 = Server(Load.server)
    run = Load.start("--rate", 100, "--duration", "600ms", "--timeout", "500ms", f"{server_2.url}/fast")
    time.sleep(0.3)
    server_2.__exit__()
    g = Load.finish(run)
    check("a server that dies", g["answered"] >= 1 and g["unanswered"]["connect"] >= 1 and g["answered"] + g["errors"] == 60, g)


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
        print("wrk is not installed: nothing to compare with")
        return
    seconds = 10 if LONG else 1
    # A server whose speed is given: both must find it.
    url = f"{server.url}/work?us=1000"
    rate, p50, *_ = wrk(url, seconds, 10, folder)
    g = Load.run("--connections", 10, "--duration", f"{seconds}s", url)
    print(f"   1,000/s at the most: wrk {rate:.1f}/s, median {p50 * 1e3:.3f} ms; penstock-load {g['rate']:.1f}/s, {g['latency_seconds']['p50'] * 1e3:.3f} ms")
    check("as many requests as wrk", abs(g["rate"] / rate - 1) < 0.05, (g["rate"], rate))
    check("the same median as wrk", abs(g["latency_seconds"]["p50"] / p50 - 1) < 0.1, (g["latency_seconds"]["p50"], p50))
    # One that is as fast as the machine: they share the processors with it, so a half of wrk's would be far off, and twice would be wrong.
    ratios = []
    for _ in range(5 if LONG else 2):
        rate, p50, p99, _ = wrk(f"{server.url}/fast", seconds, 20, folder)
        g = Load.run("--connections", 20, "--duration", f"{seconds}s", f"{server.url}/fast")
        ratios.append(g["rate"] / rate)
        print(f"   as fast as it can: wrk {rate:.0f}/s, median {p50 * 1e6:.0f} us, P99 {p99 * 1e6:.0f} us; penstock-load {g['rate']:.0f}/s, "
              f"{g['latency_seconds']['p50'] * 1e6:.0f} us, {g['latency_seconds']['p99'] * 1e6:.0f} us; "
              f"{g['answers_per_cpu_second']:.0f} answers for a second of its processor")
    check("about as fast as wrk", 0.6 < max(ratios) and min(ratios) < 1.7, ratios)


def check_theory(server):
    """Poisson arrivals at a server that takes a fixed time. In a short run the mean wait scatters widely, so what is compared is the wait that these very
    arrivals have by Lindley's recursion; the unit test shows for a million of them that it is what the theory says."""
    service = 0.002
    seconds = 120 if LONG else 2
    for utilization in (0.5, 0.8):
        arguments = ["--rate", utilization / service, "--poisson", "--seed", 4, "--duration", f"{seconds}s", "--connections", 100, f"{server.url}/work?us=2000"]
        g = Load.run(*arguments)
        times = [float(t) for t in subprocess.run([Load.binary, "--dry-run", *map(str, arguments)], capture_output=True, text=True, check=True).stdout.split()]
        free_at = waited = 0.0
        for at in times:
            waited += max(0.0, free_at - at)
            free_at = max(free_at, at) + service
        exact = waited / len(times)
        formula = utilization * service / (2 * (1 - utilization))
        measured = g["latency_seconds"]["mean"] - service
        print(f"   utilization {utilization}: mean wait {measured * 1e3:.3f} ms; of these arrivals {exact * 1e3:.3f} ms; M/D/1 {formula * 1e3:.3f} ms; "
              f"{g['answered']} requests")
        check(f"M/D/1 at {utilization}: all that was meant is sent", g["intended"] == len(times) == g["answered"] and g["errors"] == 0, g)
        # Sockets, timers and a busy machine take something, too, and never give it back.
        check(f"M/D/1 at {utilization}: the wait of these arrivals", 0.9 * exact < measured < 1.1 * exact + 0.0006, (measured, exact))
        if LONG:
            check(f"M/D/1 at {utilization}: the formula", abs(measured / formula - 1) < 0.15, (measured, formula))


def check_coordinated_omission(folder):
    """A server that does nothing for a third of the time."""
    seconds, stall = (12, 3000) if LONG else (1.5, 500)
    path = f"stall?us=1000&after={int(seconds * 333)}&for={stall}"
    results = []
    for load in (["--rate", 500], []):
        with Server(Load.server) as server:
            results.append(Load.run(*load, "--connections", 10, "--duration", f"{seconds}s", f"{server.url}/{path}"))
    opened, closed = (r["latency_seconds"] for r in results)
    print(f"   open loop P90 {opened['p90'] * 1e3:.1f} ms, P99 {opened['p99'] * 1e3:.1f} ms; closed loop P90 {closed['p90'] * 1e3:.1f} ms, max {closed['max'] * 1e3:.1f} ms")
    check("the open loop shows a stall", opened["p90"] > stall / 1000 * 0.4 and opened["p99"] > stall / 1000 * 0.8, opened)
    check("the closed loop does not, but in its maximum", closed["p90"] < 0.1 and closed["max"] > stall / 1000 * 0.9, closed)
    if shutil.which("wrk") is not None and LONG:
        with Server(Load.server) as server:
            _, p50, p99, _ = wrk(f"{server.url}/{path}", int(seconds), 10, folder)
        check("neither does wrk", p99 < 0.1, (p50, p99))


def main():
    Load.binary, Load.server = map(os.path.abspath, sys.argv[1:3])
    folder = pathlib.Path.cwd() / "load"
    folder.mkdir(exist_ok=True)
    with Server(Load.server) as server:
        check_answers(server, folder)
        check_limits(server, folder)
        check_wrk(server, folder)
        check_theory(server)
    check_coordinated_omission(folder)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
