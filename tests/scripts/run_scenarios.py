#!/usr/bin/env python3
"""Runs scripts/scenarios in the smallest size, so that the scripts of the scenarios and of their pictures do what they say: exit status, JSON, table, pictures; and
that the goals of a neighbour in Node that cannot be had are told as not measured, and no others; that Node can read the programs that are compared with.

    run_scenarios.py EXAMPLES_FOLDER

No figure and no goal is judged here: scripts/scenarios has them, of programs that are optimised, on a quiet machine.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "scripts")]
import scenario_api  # noqa: E402
import scenario_websocket  # noqa: E402
from checks import check, verdict  # noqa: E402
from scenario_common import Goals, NotToBeHad, node_modules, start  # noqa: E402

FIELDS = {"goal": str, "wanted": str, "figure": str, "met": bool}
NOT_MEASURED = FIELDS | {"met": types.NoneType}
PACKAGES = scenario_api.PACKAGES + scenario_websocket.PACKAGES


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    path.chmod(0o755)
    return path


def packages(folder):
    for name in (p.rpartition("@")[0] for p in PACKAGES):
        (folder / name).mkdir(parents=True)
        (folder / name / "package.json").write_text("{}", encoding="utf-8")
    return folder


@contextlib.contextmanager
def environment(**words):
    before = dict(os.environ)
    os.environ.update({name: str(word) for name, word in words.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def why_not(call, *arguments):
    try:
        call(*arguments)
        return ""
    except NotToBeHad as why:
        return str(why)


def neighbours(folder):
    """What is wrong with them is said in words."""
    os.environ.pop("PENSTOCK_NODE_MODULES", None)
    empty, work = folder / "empty", folder / "npm-work"
    empty.mkdir()
    work.mkdir()
    for name, node, npm, wanted in (
        ("no node", None, None, "there is no node"),
        ("a node that is too old", "echo v18.19.0", None, "need Node 20 or later, and this is v18.19.0"),
        ("a node of an odd version", "echo v21.7.0", None, "need an even version of Node, and this is v21.7.0"),
        ("a node that does not run", "echo broken >&2; exit 1", None, "'broken'"),
        ("no npm", "echo v20.1.0", None, "there is no npm"),
        ("npm that fails", "echo v22.1.0", "echo 'no network' >&2; exit 7", "npm install ended with 7: no network"),
        ("npm that installs nothing", "echo v22.1.0", "exit 0", "there is no fastify@"),
    ):
        path = folder / name.replace(" ", "-")
        path.mkdir()
        if node:
            script(path / "node", node)
        if npm:
            script(path / "npm", npm)
        with environment(PATH=path):
            why = why_not(node_modules, work, PACKAGES, 20)
        check(f"{name} is said", wanted in why, why)
    with environment(PATH=folder / "no-npm", PENSTOCK_NODE_MODULES=empty):
        check("a folder without the packages is said", "there is no fastify@" in (why := why_not(node_modules, work, PACKAGES, 20)), why)
    with environment(PATH=folder / "no-npm", PENSTOCK_NODE_MODULES=packages(folder / "given")):
        check("a folder that has them is taken", node_modules(work, PACKAGES, 20) == folder / "given")

    why = why_not(start, [script(folder / "dies", "echo reason >&2; exit 4")])
    check("a server that ends without an address: with what status, and what it said", why == "dies ended with 4: reason", why)
    why = why_not(start, [script(folder / "silent", "sleep 100")], 0.2)
    check("a server that prints no address is not waited for", why == "silent printed no address in 0.2 s: it said nothing", why)
    process, url = start([script(folder / "good", "echo http://here and more; exec sleep 100")])
    process.kill()
    process.wait()
    process.stdout.close()
    check("one that prints its address is taken", url == "http://here", url)


def optional_parts():
    """What is wrong with them costs their own goals, and no row."""
    rows, said = [], io.StringIO()
    goal = Goals(rows)

    def half(first, _):
        goal(*first, "5", True)
        raise NotToBeHad("a long\n   story")

    with contextlib.redirect_stderr(said):
        goal.optional("it", [("a", "1"), ("b", "2")], half)
        goal.optional("her", [("c", "3")], lambda _: [][0])
        goal.optional("him", [("d", "4")], lambda d: goal(*d, "6", 0))
    check("it is said what a part lacks", "without it: a long" in said.getvalue() and "without her: IndexError(" in said.getvalue(), said.getvalue())
    told = [(row["goal"], row["wanted"], row["figure"].partition("(")[0], row["met"]) for row in rows]
    wanted = [("a", "1", "5", True), ("b", "2", "not measured: a long story", None), ("c", "3", "not measured: IndexError", None), ("d", "4", "6", False)]
    check("a goal that a part has not come to has its row, too", told == wanted, told)


def read_by_node():
    if shutil.which("node") is None:
        return print("SKIPPED: whether Node can read its programs, for there is no node")
    for program in ("tests/api/node/server.mjs", "tests/websocket/node/hub.mjs", "benchmarks/peers/dataloader.mjs"):
        done = subprocess.run(["node", "--check", ROOT / program], capture_output=True, text=True, check=False)
        check(f"Node can read {program}", done.returncode == 0, done.stderr)


def load_scenarios():
    loader = importlib.machinery.SourceFileLoader("scenarios", str(ROOT / "scripts/scenarios"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("scenarios", loader))
    loader.exec_module(module)
    return module


def verdicts(folder, scenarios):
    """The end of a table, and the exit status, of a scenario that is made up."""
    goals = {met: {"goal": "what", "wanted": "much", "figure": "some", "met": met} for met in (True, False, None)}
    for name, mets, status, status_if_small, end in (
        ("all is well", [True, True], 0, 0, "2 goals reached, 0 missed, 0 not measured"),
        ("one is missed", [True, False], 1, 0, "1 goals reached, 1 missed, 0 not measured"),
        ("one is not measured", [True, None], 1, 0, "1 goals reached, 0 missed, 1 not measured"),
    ):
        told = json.dumps({"machine": "a machine", "goals": [goals[met] for met in mets]})
        scenarios.SCENARIOS = {"it": {"what": "made up", "targets": [], "command": [str(script(folder / "made-up", f"echo '{told}'"))], "small": []}}
        for small_, expected in (([], status), (["--small"], status_if_small)):
            out = io.StringIO()
            sys.argv[1:] = ["--build", str(folder), "--to", str(folder / "made-up-out"), "--no-pictures", *small_]
            with contextlib.redirect_stdout(out):
                got = scenarios.main()
            what = f"{name}{', in a small size' if small_ else ''}: the status is {expected}, and the table ends with the counts"
            check(what, got == expected and out.getvalue().endswith(f" |\n\n{end}\n\n"), (got, out.getvalue()))


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def ends(folder, scenarios):
    """Whatever a scenario has started in a group of its own ends with it, also if it does not end by itself, and if somebody presses Ctrl-C."""
    told = folder / "server"  # its number, before it sleeps
    server = f"{sys.executable} -c 'import os, time; os.setpgid(0, 0); print(os.getpid(), flush=True); time.sleep(100)' >{told}"
    starts = f"{server} & while ! [ -s {told} ]; do sleep 0.01; done\n"
    for name, then, expected in (
        ("that ends well", "echo done", ("done\n", "")),
        ("that fails", "exit 3", ("", "with status 3")),
        ("that does not end", "sleep 100", ("", "for it did not end in 5 s")),
    ):
        got = scenarios.run([str(script(folder / "starts", starts + then))], 5)
        check(f"a scenario {name}: what it said, and why it failed", got == expected, got)
        check(f"a scenario {name}: what it has started is gone", gone(int(told.read_text(encoding="utf-8"))))
        told.unlink()
    hangs = script(folder / "hangs/penstock_batch_million", starts + "sleep 100").parent
    command = [sys.executable, ROOT / "scripts/scenarios", "--build", hangs, "batch", "--small", "--to", folder / "hangs-out"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (told.is_file() and told.read_text(encoding="utf-8").endswith("\n")) and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=60)[1]
    check("Ctrl-C: it ends, without a traceback, and what it has started is gone", running.returncode == 130 and "Traceback" not in said and gone(int(told.read_text(encoding="utf-8"))), said)


def small(folder, build, scenarios):
    # Node is there, and its packages; one server dies at once, the other one when it has told its address.
    node = 'case "$1" in --version) echo v22.1.0 ;; *hub.mjs) echo ws://127.0.0.1:1/ ;; *) echo "it is broken" >&2; exit 3 ;; esac'
    fake = script(folder / "bin/node", node).parent
    env = os.environ | {"PATH": f"{fake}:{os.environ['PATH']}", "PENSTOCK_NODE_MODULES": str(packages(folder / "modules"))}
    command = [sys.executable, ROOT / "scripts/scenarios", "--build"]

    def run(folder_of_programs, *arguments):
        words = [str(word) for word in (*command, folder_of_programs, *arguments)]
        process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            told, said = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.terminate()  # and so it ends what it has started
            told, said = process.communicate(timeout=60)
        return process.returncode, told, said

    check("a scenario that there is not", run(build, "x")[0] == 2)
    check("programs that there are not", run(folder, "batch")[0] == 2)
    broken = script(folder / "broken/penstock_batch_million", "exit 5").parent
    status, told, _ = run(broken, "batch", "--small", "--to", folder / "broken-out")
    check("a program that fails is no result", status == 1 and "### batch: it failed" in told, told)

    names = []
    for name, scenario in scenarios.SCENARIOS.items():
        if lacking := [t for t in scenario["targets"] if not (build / t).is_file()]:
            print(f"SKIPPED: {name}, for there is no {lacking[0]}")
        else:
            names.append(name)
    if not names:
        return
    to = folder / "out"
    status, told, said = run(build, *names, "--small", "--to", to)
    check("all of them in a small size end with 0, whatever the figures are", status == 0, f"{status} {told} {said}")
    draws = subprocess.run([sys.executable, ROOT / "scripts/plot_scenarios.py", to / "batch.json", "--to", folder], capture_output=True, check=False).returncode == 0
    if not draws:
        check("pictures that cannot be drawn are for want of matplotlib", "needs python3-matplotlib" in said, said)
        print("SKIPPED: no pictures without matplotlib")
    tables = dict(zip(names, told.split("### ")[1:]))
    for name in names:
        result = json.loads((to / f"{name}.json").read_text(encoding="utf-8")) if (to / f"{name}.json").is_file() else {"goals": []}
        goals = result["goals"]
        check(f"{name}: goals, each with its four fields", goals and all({f: type(v) for f, v in g.items()} in (FIELDS, NOT_MEASURED) for g in goals), goals)
        check(f"{name}: the machine", "processors, Linux" in result.get("machine", ""), result.get("machine"))
        rows = [line for line in tables.get(name, "").splitlines() if line.startswith("|")]
        cells = [row.replace(r"\|", "").count("|") for row in rows]
        check(f"{name}: a table with a row for each", tables.get(name, "").startswith(f"{name}: ") and cells == [5] * (2 + len(goals)), rows)
        if draws:
            picture = to / f"scenario_{name}.svg"
            check(f"{name}: a picture", picture.is_file() and xml.etree.ElementTree.parse(picture).getroot().tag.endswith("svg"), said)
    redis = [] if shutil.which("redis-server") else ["two hubs joined by Redis: messages", "... until all of the first hub's"]
    for name, why, without in (
        ("api", "node ended with 3: it is broken", ["reads beside Node with Fastify", "... for a second of the servers' processors"]),
        ("websocket", "", [*redis, "memory for each of 100 beside Node with ws", "until all of them have a message, P50, beside Node"]),
    ):
        if name in names:
            result = json.loads((to / f"{name}.json").read_text(encoding="utf-8"))
            check(f"{name}: without its neighbour, and says why", f"without Node: {why}" in said and "Node" not in json.dumps(result.get("curves")) and "beside" not in result, said)
            unknown = [g for g in result["goals"] if g["met"] is None]
            rows = [g for g in unknown if "in the 0 of" not in g["goal"]]  # that the machine is slow is nobody's fault
            check(f"{name}: the goals that need it have their rows", len(rows) == len(without) and all(row["goal"].startswith(goal) for row, goal in zip(rows, without)), rows)
            check(f"{name}: which say why", all(row["figure"].startswith("not measured: ") for row in rows) and f"not measured: {why}" in rows[-1]["figure"], rows)
            check(f"{name}: its table counts them", f"{len(unknown)} not measured\n" in tables[name], tables[name])
    if "api" in names:
        run_kept = sorted((ROOT / "benchmarks/results").glob("*.json"))[-1]
        picture = folder / "penstock.svg"
        done = subprocess.run([sys.executable, ROOT / "scripts/plot_readme.py", run_kept, to / "api.json", "--to", picture], capture_output=True, text=True, check=False)
        check("the README's picture", done.returncode == 0 and xml.etree.ElementTree.parse(picture).getroot().tag.endswith("svg"), done.stderr)


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-scenarios-") as name:
        folder, build, scenarios = pathlib.Path(name), pathlib.Path(sys.argv[1]).resolve(), load_scenarios()
        read_by_node()
        optional_parts()
        neighbours(folder)
        small(folder, build, scenarios)
        verdicts(folder, scenarios)
        ends(folder, scenarios)
    print(f"   {time.monotonic() - began:.1f} s")
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
