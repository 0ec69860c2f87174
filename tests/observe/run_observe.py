#!/usr/bin/env python3
"""Looks at what every component of penstock tells a registry, as JSON by Python's parser and as text by Prometheus' own.

    run_observe.py EVERY_COMPONENT
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))
from checks import check, verdict  # noqa: E402

# component: kind, and what its metrics are in the state that every_component.cpp brings about. A metric with a label is {label's value: number}.
EXPECTED = {
    "pool": ("worker_pool", {"depth": 2, "capacity": 2, "limit": 1, "accepted_total": 3, "completed_total": 1, "failed_total": 0}),
    "helper": ("worker_pool", {"depth": 0, "limit": 1}),
    "serial": ("strand", {"depth": 0, "waiters": 0, "accepted_total": 1, "completed_total": 1, "rejected_total": {"full": 0, "closed": 1}}),
    "places": ("semaphore", {"depth": 0, "in_flight": 2, "limit": 5}),
    "counted": ("semaphore", {"in_flight": 3, "accepted_total": 1, "taken_total": 3, "rejected_total": {"empty": 1, "timeout": 0}}),
    "numbers": ("channel", {"depth": 1, "capacity": 2, "accepted_total": 2, "completed_total": 1, "rejected_total": {"full": 1}}),
    "news": ("broadcast", {"capacity": 4, "subscribers": 1, "accepted_total": 3, "rejected_total": {"full": 0}, "dropped_total": {"unheard": 1}, "lost_total": 0}),
    "connections": ("resource_pool", {"in_flight": 1, "limit": 1, "idle": 0, "created_total": 1, "rejected_total": {"full": 0},
                                      "discarded_total": {"idle": 0, "broken": 0}}),  # fmt: skip
    "shards": ("keyed_resource_pool", {"keys": 1, "idle": 1, "limit": 10, "accepted_total": 1, "created_total": 1, "rejected_total": {"full": 0}}),
    "tokens": ("token_bucket", {"available": 1}),
    "leaky": ("leaky_bucket", {"available": 5}),
    "window": ("fixed_window", {"available": 6}),
    "sliding": ("sliding_window", {"available": 7}),
    "jobs": ("limiter", {"depth": 0, "in_flight": 0, "limit": 2, "accepted_total": 0}),
    "adaptive": ("adaptive_limit", {"limit": 1, "probing": 0, "in_flight": 1, "accepted_total": 1, "rejected_total": {"full": 1, "timeout": 0}}),
    "users": ("keyed_limiter", {"keys": 1, "overflowed_total": 0, "accepted_total": 1, "rejected_total": {"empty": 1, "closed": 0}}),
    "delay": ("codel", {"shedding": 0, "rejected_total": {"waited": 0}}),
    "save": ("debounce", {"depth": 1, "in_flight": 0}),
    "notify": ("throttle_by_key", {"keys": 0, "failed_total": 0}),
    "squares": ("batcher", {"accepted_total": 1, "completed_total": 1, "batches_total": 1, "hits_total": 0}),
    "writes": ("accumulator", {"accepted_total": 1, "completed_total": 1, "batches_total": 1, "depth": 0, "rejected_total": {"full": 0, "closed": 0}}),
    "backends": ("balancer", {"endpoints": {"listed": 1, "ejected": 0, "draining": 0}}),
    "ring": ("hash_ring", {"nodes": 1}),
    "moving_ring": ("concurrent_hash_ring", {"nodes": 1}),
    "breaker": ("circuit_breaker", {"state": {"closed": 1, "half_open": 0, "open": 0}, "opened_total": 0}),
    "budget": ("retry_budget", {"available": 10}),
    "queue": ("job_queue", {"depth": 1, "jobs": {"waiting": 1, "failed": 0}, "paused": 0, "head_wait_seconds": 0}),
    "worker": ("job_worker", {"in_flight": 0, "limit": 1, "completed_total": 0, "store_errors_total": 0}),
    "sum": ("pipeline", {}),
    "begun": ("event", {"depth": 0, "set": 1}),
    "signal": ("auto_reset_event", {"depth": 0, "set": 0}),
    "door": ("mutex", {"depth": 0, "in_flight": 1, "limit": 1}),
    "table": ("shared_mutex", {"depth": 0, "in_flight": 1, "writing": 0, "waiting_writers": 0}),
    "parts": ("wait_group", {"depth": 0, "in_flight": 3}),
    "children": ("task_group", {"in_flight": 0, "stopping": 0}),
    "settings": ("watch", {"depth": 0, "changes_total": 1, "closed": 0}),
}
WITH_TIMES = {"pool": ["queue_wait_seconds", "run_seconds"], "squares": ["batch_size"], "writes": ["batch_size", "queue_wait_seconds", "run_seconds"],
              "connections": ["run_seconds"]}  # fmt: skip
# Kinds that are not in the program: what needs a package, a server or processes is joined by the tests of its own; of a family one stands for the others.
ELSEWHERE = {
    "redis_connection": "tests/redis/redis_clients.cpp",
    "redis_semaphore": "tests/redis/redis_clients.cpp",
    "redis_store": "tests/redis/redis_store_test.cpp",
    "redis_token_bucket": "tests/redis/redis_clients.cpp",
    "sqlite_store": "tests/unit/ext/sqlite_store_test.cpp",
    "supervisor": "tests/supervisor/supervisor_program.cpp",
}
FAMILY = {"throttle": "throttle_by_key", "debounce_by_key": "debounce"}
# Reports of what is over; what others are made of, and describe under a kind of their own; a part of a balancer; values that are formatted; examples in
# comments.
NO_COMPONENT = {"retry", "stage", "measured", "paced", "paced_by_key", "endpoint", "gauge", "busy_time", "mailer", "orders"}


def lacks(expected, found, where):
    """What of `expected` is not in `found`."""
    for name, value in expected.items():
        if isinstance(value, dict):
            yield from lacks(value, found.get(name, {}), f"{where} {name}")
        elif found.get(name) != value:
            yield f"{where} {name} is {found.get(name)}, not {value}"


def check_all_kinds():
    """Every header that describes something is joined by a test."""
    kinds = {}
    for header in sorted((ROOT / "include").rglob("*.hpp")):
        for kind in re.findall(r'\bto\.kind\("(\w+)"\)', header.read_text(encoding="utf-8")):
            kinds.setdefault(kind, header.name)
    here = {kind for kind, _ in EXPECTED.values()}
    unseen = []
    for kind, header in kinds.items():
        if kind in here | NO_COMPONENT or FAMILY.get(kind) in here:
            continue
        test = ELSEWHERE.get(kind)
        text = (ROOT / test).read_text(encoding="utf-8") if test else ""
        if not re.search(r"\bjoin\(", text) or f'"{kind}"' not in text:
            unseen.append(f"{kind} of {header}")
    check("every kind that a header describes is joined by a test", len(kinds) > 40 and not unseen, unseen or sorted(kinds))
    check("what is said to be joined elsewhere exists", ELSEWHERE.keys() | FAMILY.keys() <= kinds.keys(), sorted((ELSEWHERE.keys() | FAMILY.keys()) - kinds.keys()))


def check_json(text):
    snapshot, interval = (json.loads(line) for line in text.splitlines())
    components = {c["name"]: c for c in snapshot["components"]}
    problems = []
    for name, (kind, metrics) in EXPECTED.items():
        c = components.get(name, {"kind": None, "metrics": {}})
        problems += lacks({**metrics, "up": 1}, c["metrics"], name)
        if c["kind"] != kind or "error" in c:
            problems.append(f"{name} is a {c['kind']}: {c.get('error')}")
        for times in WITH_TIMES.get(name, []):
            if c["metrics"].get(times, {}).get("count") != 1:
                problems.append(f"{name} has no {times}")
    check("every component tells what it should", not problems, problems)
    check("a pool without metrics tells no times", "queue_wait_seconds" not in components["helper"]["metrics"], components["helper"])
    stages = components["sum"]["metrics"]["items_out_total"]
    check("a pipeline tells its stages", len(stages) == 3 and list(stages.values())[0] == 3, stages)
    odd = snapshot["components"][-1]
    check("any text is a name", odd["name"] == 'a "name"\\ of\nt\u00f6rk and \ufffd', odd["name"])
    check("a component that throws has an error", odd["error"] == "it threw: half way" and odd["metrics"]["up"] == 0, odd)
    check("what it had said is there", odd["metrics"]["shipped_total"] == {'a "b"\\\n': 7}, odd)
    check("an interval knows its length", interval["elapsed_seconds"] == 2, interval["elapsed_seconds"])
    pool = next(c for c in interval["components"] if c["name"] == "pool")
    check("the interval of a pool has rates and the law", {"rates", "values", "queue", "run"} <= pool.keys(), pool)
    check("nothing was submitted in it", pool["rates"]["accepted_total"] == 0, pool["rates"])


def check_text(text):
    families = {}
    twice = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            twice += [name] if name in families else []
            families[name] = kind
    check("each of many families stands in one place", not twice and len(families) > 80, twice)
    check("names say units and types", all(name.endswith("_total") == (kind == "counter") for name, kind in families.items()), families)
    labels = r'\{component="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\}'
    odd = [l for l in text.splitlines() if not l.startswith("#") and not re.fullmatch(rf"[a-z_]+{labels} [-+0-9.e]+", l)]
    check("each line is one of the format", not odd, odd)
    promtool = shutil.which("promtool")
    if promtool is None:
        print("skipped: promtool is not installed (Debian: prometheus), so Prometheus was not asked")
        return
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False)
    check("promtool has nothing to say", done.returncode == 0 and not done.stdout and not done.stderr, done.stdout + done.stderr)
    broken = subprocess.run([promtool, "check", "metrics"], input=text.replace('="', "=", 1), capture_output=True, text=True, timeout=60, check=False)
    check("promtool would see what is wrong", broken.returncode != 0, broken.stdout)


SERIES = re.compile(r'penstock_(\w+)\{component="((?:[^"\\]|\\.)*)"(?:,kind="\w+")?(?:,\w+="((?:[^"\\]|\\.)*)")?\} (\S+)')


def check_same(text, table):
    """What JSON says is what Prometheus and people at a terminal see."""
    series = {(m[2], m[1], m[3]): float(m[4]) for m in SERIES.finditer(text)}
    lines = {cells[0]: cells for cells in (re.split(r" {2,}", line) for line in table)}
    problems = []
    for component, (kind, metrics) in EXPECTED.items():
        for name, values in metrics.items():
            for label, value in values.items() if isinstance(values, dict) else [(None, values)]:
                told = [series[key] for key in ((component, name, label), (component, f"{kind}_{name}", label)) if key in series]
                if told != [value]:
                    problems.append(f"{component} {name} {label} is {told} in Prometheus' text, not {value}")
        waits, runs = str(metrics.get("depth", "")), str(metrics.get("in_flight", ""))
        seen = lines.get(component, [""] * 4)
        if seen[1] != kind or (waits and seen[2].split("+")[0] != waits) or (runs and seen[3].split("/")[0] != runs):
            problems.append(f"{component} is {seen} in the table")
    check("Prometheus and the table have the same numbers", len(series) > 200 and not problems, problems or len(series))


def main(binary):
    def say(form):
        return subprocess.run([binary, form], capture_output=True, text=True, timeout=60, check=True).stdout

    check_all_kinds()
    check_json(say("json"))
    text = say("prometheus")
    check_text(text)
    table = say("table").splitlines()
    check_same(text, table)
    check("the table has a line for each", len(table) == len(EXPECTED) + 2, table)
    return verdict()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
