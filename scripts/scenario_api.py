#!/usr/bin/env python3
"""The scenario "api": examples/api_server under load, beside the same API in Node (tests/api/node). scripts/scenarios runs it.

usage: scenario_api.py BUILD WORK [--seconds N] [--only-penstock]

BUILD has penstock-api-server and penstock-load. WORK keeps the database and npm's packages, or they are in $PENSTOCK_NODE_MODULES. Where Node, its packages or its
server cannot be had, its goals are not measured, and say why. Generator and servers share the machine. Prints JSON.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess

from scenario_common import ROOT, Goals, free_port, machine, node_modules, say, start
from steadiness import Steadiness

PACKAGES = ["fastify@5.12.8", "@fastify/rate-limit@11.2.0", "@fastify/under-pressure@9.2.0", "better-sqlite3@12.11.1", "lru-cache@11.5.3"]
OLDEST_NODE = 20  # of Fastify and better-sqlite3
USERS, POSTS = 10_000, 20_000
READS = [f"/users/{{1-{USERS}}}", f"/users/{{1-{USERS}}}/posts", f"/posts?after={{1-{POSTS - 100}}}&limit=20"]
SEARCH = "/search?q=water"
SEARCHERS = ["--connections", 1000, "--timeout", "60s"]
LOADS = [0.5, 0.75, 1, 1.5, 2, 3]  # of the peak of searches
IN_TIME = 0.050  # seconds


class Server:
    """One that runs while in `with`, in as many processes as there are processors."""

    def __init__(self, command):
        self.process, url = start(command)
        self.url = url.rstrip("/")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()

    def cpu_seconds(self):
        """What all its processes have used."""
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.pid:  # its group
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def penstock(build, work, *more):
    return Server([build / "penstock-api-server", "--port", 0, "--database", work / "api.db", "--users", USERS, "--posts", POSTS, "--client-rate", 10**9,
                   "--client-burst", 10**9, *more])


def node(work, modules):
    return Server(["node", ROOT / "tests/api/node/server.mjs", free_port(), os.cpu_count(), work / "api.db", modules])


class Load:
    binary = None

    def __init__(self, server, paths, *arguments):
        urls = [server.url + path for path in paths]
        before = server.cpu_seconds()
        command = [Load.binary, "--json", "--quiet", *map(str, arguments), *urls]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        self.all = json.loads(done.stdout)
        self.cpu = server.cpu_seconds() - before

    def of(self, quantile, status="2xx", step=None):
        """Seconds; None: there was no such answer."""
        latency = (self.all if step is None else self.all["steps"][step])["latency_seconds_by_class"].get(status)
        return latency[quantile] if latency else None


def paced(server, paths, rate, step, seconds, *arguments):
    """An open loop at one rate. With it, [of each step that long (in seconds), its latencies] for those in which the machine itself was not slow, nor in the
    two before, so that nothing of that is still queued."""
    steps = round(seconds / step)
    with Steadiness() as watch:
        load = Load(server, paths, "--rate", ",".join([str(rate)] * steps), "--poisson", "--duration", f"{seconds}s", *arguments)
    begin = load.all["began_at"]
    load.steady = [part["latency_seconds_by_class"]["2xx"] for i, part in enumerate(load.all["steps"])
                   if watch.is_steady(begin + (i - 2) * step, begin + (i + 1) * step) and "2xx" in part["latency_seconds_by_class"]]
    load.steps = steps
    load.slow = watch.share()
    return load


def reads(server, seconds):
    load = Load(server, READS, "--connections", 64, "--warm-up", f"{min(2.0, seconds / 3)}s", "--duration", f"{seconds}s")
    answered, refused = load.all["by_status"].get("200", 0), load.all["by_status"].get("503", 0)
    if load.all["errors"] != refused or not answered:
        raise RuntimeError(f"reads failed: {load.all['by_status']} {load.all['unanswered']}")
    if refused:  # on a machine that is busy with other things a server may take itself for overloaded
        say(f"   {refused} of {answered + refused} reads were refused, and are not counted")
    load.good = {"rate": load.all["goodput"], "p50": load.of("p50"), "p99": load.of("p99"), "cpu_per_request": load.cpu / answered, "refused": refused}
    return load


def share_within(latency, limit):
    """Which part took no longer: between two percentiles that are known, by a straight line."""
    known = [(0, "min"), (0.5, "p50"), (0.75, "p75"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99_9"), (1, "max")]
    below = (0, 0)
    for share, name in known:
        if latency[name] > limit:
            return below[0] + (share - below[0]) * (limit - below[1]) / (latency[name] - below[1])
        below = (share, latency[name])
    return 1


def searches(server, rate, seconds, loads):
    """Searches at these multiples of a rate, one after the other."""
    steps = ",".join(f"{rate * l:.0f}" for l in loads)
    load = Load(server, [SEARCH], "--rate", steps, "--poisson", *SEARCHERS, "--duration", f"{seconds * len(loads)}s")
    return [searched(step, of_peak) for step, of_peak in zip(load.all["steps"], loads)]


def searched(step, of_peak):
    latency = step.get("latency_seconds_by_class", {}).get("2xx") or {}
    goodput = step["by_status"].get("200", 0) / step["seconds"]
    return {"offered": step["intended"] / step["seconds"], "goodput": goodput, "in_time": goodput * (share_within(latency, IN_TIME) if latency else 0),
            "refused": step["by_status"].get("503", 0) / step["seconds"], "p50": latency.get("p50"), "p99": latency.get("p99"), "of_peak": of_peak,
            "unanswered": step["unanswered"]}


def milliseconds(value, digits=1):
    return "no answer" if value is None else f"{value * 1e3:,.{digits}f} ms"


def measure(given, result):
    seconds, work = given.seconds, given.work.resolve()

    goal = Goals(result["goals"])

    def p99(what, name, load, limit, unanswered=""):
        """Of the whole; and if the machine itself was slow for a while, of the rest alone, too."""
        wanted = f"at most {limit * 1e3:.0f} ms"
        result[name] |= {"machine_slow": load.slow, "steps": load.steps, "steady_p99": [part["p99"] for part in load.steady]}
        goal(what, wanted, milliseconds(load.of("p99")) + unanswered, load.of("p99") is not None and load.of("p99") <= limit and not unanswered)
        if load.slow:
            rest = f"... in the {len(load.steady)} of {load.steps} parts of that time in which the machine did not get slow, which it was for {100 * load.slow:.0f} % of it; the worst"
            if load.steady:
                worst = max(part["p99"] for part in load.steady)
                goal(rest, wanted, milliseconds(worst), worst <= limit)
            else:
                goal.not_measured(rest, wanted, "there was no such part")

    with penstock(given.build, work) as s:
        say("reads, closed loop")
        ours = reads(s, seconds)
        result["reads"] = ours.good
        goal("reads, keep-alive", "at least 40,000/s", f"{ours.good['rate']:,.0f}/s", ours.good["rate"] >= 40_000)
        say("reads, open loop")
        for name, what, rate in (("reads_at_28000", "28,000/s, 70 % of the goal", 28_000),
                                 ("reads_at_70", f"{0.7 * ours.good['rate']:,.0f}/s, 70 % of what was reached", round(0.7 * ours.good["rate"]))):
            part = paced(s, READS, rate, 0.25, seconds, "--connections", 200, "--warm-up", f"{min(2.0, seconds)}s")
            result[name] = {"rate": part.all["rate"], "p50": part.of("p50"), "p99": part.of("p99"), "p99_9": part.of("p99_9"), "errors": part.all["errors"]}
            failed = f"; {part.all['errors']:,} failed: {part.all['by_status']} {part.all['unanswered']}" if part.all["errors"] else ""
            p99(f"P99 of reads at {what}, Poisson arrivals", name, part, 0.010, failed)
        part = Load(s, READS, "--connections", 200, "--rate", 10_000, "--poisson", "--duration", f"{seconds / 2}s")
        result["reads_at_10000"] = {"p50": part.of("p50"), "p95": part.of("p95"), "p99": part.of("p99"), "errors": part.all["errors"]}
        goal("P95 of reads at 10,000/s", "less than 100 ms", milliseconds(part.of("p95"), 2), part.of("p95") is not None and part.of("p95") < 0.1 and part.all["errors"] == 0)
        say("searches, closed loop")
        peak = Load(s, [SEARCH], "--connections", 2 * os.cpu_count(), "--duration", f"{seconds}s").all["goodput"]
        result["search_peak"] = peak
        say("searches, three times as many as can be answered")
        three = paced(s, [SEARCH], round(3 * peak), 0.5, seconds, *SEARCHERS)
        result["overload"] = searched(three.all, 3)
        goodput = result["overload"]["goodput"]
        goal(f"overload, of {SEARCH} alone, for reads from the cache are never refused: goodput at 3 times the peak ({peak:,.0f}/s)", "at least 90 %", f"{100 * goodput / peak:.0f} %", goodput >= 0.9 * peak)
        p99("P99 of the searches that are answered then", "overload", three, 0.050)
        say("searches, more and more")
        result["curves"] = {"penstock": searches(s, peak, seconds / 3, LOADS)}
    with penstock(given.build, work, "--no-shedding") as s:
        say("the same without shedding")
        result["curves"]["penstock, without shedding"] = searches(s, peak, seconds / 3, LOADS)

    def beside_node(reads_of_both, for_processors):
        with node(work, node_modules(work, PACKAGES, OLDEST_NODE)) as s:
            say("Node: reads, closed loop")
            theirs = reads(s, seconds)
            result["node_reads"] = theirs.good
            ratio = ours.good["rate"] / theirs.good["rate"]
            cpu = result["node_reads"]["cpu_per_request"] / result["reads"]["cpu_per_request"]
            goal(*reads_of_both, f"{ratio:.1f} times its {theirs.good['rate']:,.0f}/s", ratio >= 3)
            goal(*for_processors, f"{cpu:.1f} times", cpu >= 3)
            say("Node: searches")
            result["curves"]["Node"] = searches(s, peak, seconds / 3, LOADS)

    if not given.only_penstock:
        goal.optional("Node", [("reads beside Node with Fastify", "at least 3 times as many"),
                               ("... for a second of the servers' processors", "at least 3 times as many")], beside_node)


def main():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("build", type=pathlib.Path)
    arguments.add_argument("work", type=pathlib.Path)
    arguments.add_argument("--seconds", type=float, default=8)
    arguments.add_argument("--only-penstock", action="store_true")
    given = arguments.parse_args()
    Load.binary = given.build.resolve() / "penstock-load"
    result = {"machine": machine(), "goals": [], "seconds": given.seconds}
    measure(given, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
