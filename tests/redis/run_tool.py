#!/usr/bin/env python3
"""Makes a Redis server of its own and runs penstock-jobs on it, alone and beside BullMQ 6 in Node.

    run_tool.py PENSTOCK_JOBS [FOLDER]

FOLDER keeps the packages from npm, as for run_store.py; what cannot be had is skipped by its name.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from run_store import HERE, PATIENCE, Server, Side, check, lines, modules, runs, until, verdict


class Tool:
    def __init__(self, program, folder, port):
        self.program, self.folder, self.port = program, folder, port

    def command(self, queue, what, *arguments):
        return [str(word) for word in (self.program, what, "--redis", f"127.0.0.1:{self.port}/{queue}", *arguments)]

    def __call__(self, queue, what, *arguments, text=None):
        command = self.command(queue, what, *arguments)
        return subprocess.run(command, input=text, capture_output=True, text=True, cwd=self.folder, timeout=PATIENCE, check=False)

    def json(self, queue, what, *arguments, **more):
        done = self(queue, what, "--json", *arguments, **more)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{what} {arguments}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def counts(self, queue):
        return self.json(queue, "counts")[0]


def alone(tool):
    odd = 'it\'s $HOME "quoted" \\ ü\t'
    added = tool.json("life", "add", "--attempts", "2", "1", odd, "bad")[0]
    check("tool: add tells the ids", added == {"added": 3, "ids": ["1", "2", "3"]}, added)
    named = [tool.json("life", "add", "--id", "once", "x")[0]["ids"] for _ in range(2)]
    check("tool: a job of a name is one job", named == [["once"], ["once"]], named)
    lined = tool.json("life", "add", "--priority", "5", "-", text="".join(f"line {n}\n" for n in range(50)))
    check("tool: jobs from lines", lined == [{"added": 50, "ids": []}] and tool.counts("life")["waiting"] == 54, lined)
    tool("life", "add", "--delay", "300ms", "later")
    order = tool.folder / "order"
    run = f'printf "%s/%s\\n" "$1" "$PENSTOCK_JOB_ATTEMPT" >> {order}; case "$1" in bad) exit 3;; x) exit 65;; esac'
    worked = tool.json("life", "work", "--until-empty", "--concurrency", "1", "--exec", run)[0]
    check("tool: work runs all, and then ends", worked["completed"] == 53 and worked["failed"] == 2 and worked["retried"] == 1, worked)
    ran = order.read_text(encoding="utf-8").splitlines()
    check("tool: texts arrive as they are, in their order", f"{odd}/1" in ran and ran[0] == "1/1" and len(ran) == 56, ran)
    check("tool: as often as they may be tried", ran.count("bad/1") == ran.count("bad/2") == ran.count("x/1") == 1, ran)
    seen = tool.json("life", "watch", "--times", "1", "--every", "50ms", "--concurrency", "1")[0]
    check("tool: watch tells states, rates and times", seen["completed"] == 53 and seen["run_seconds"]["p99"] > 0 and seen["wait_seconds"]["p50"] >= 0, seen)
    table = tool("life", "counts").stdout.split()
    check("tool: counts for people", table[:3] == ["waiting", "delayed", "active"] and table[-2:] == ["53", "2"], table)
    dead = {d["text"]: d for d in tool.json("life", "failed")}
    check("tool: failed tells why", dead["bad"]["why"] == "exit status 3" and dead["bad"]["attempts"] == 2 and dead["x"]["id"] == "once", dead)
    check("tool: redrive of one", tool.json("life", "redrive", "3") == [{"redriven": 1}] and tool.counts("life")["waiting"] == 1)
    check("tool: of one by its name, once", [tool("life", "redrive", "once").returncode for _ in range(2)] == [0, 2])
    tool("life", "work", "--until-empty", "--exec", "exit 65")
    check("tool: redrive of all", tool.json("life", "redrive") == [{"redriven": 2}] and tool.counts("life")["failed"] == 0)
    done = subprocess.run([*map(os.fsencode, tool.command("life", "add")), b"\xff.png"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    check("tool: a text that is no UTF-8 is refused", done.returncode == 2 and "UTF-8" in done.stderr, done.stderr)


def outage(tool, server):
    """While a command runs the server is killed, for longer than a call is tried again."""
    begun, go = tool.folder / "begun", tool.folder / "go"
    tool("out", "add", "1", "2")
    run = f'echo "$1" >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done'
    command = tool.command("out", "work", "--json", "--until-empty", "--concurrency", "1", "--exec", run)
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        check("tool: a command runs", until(begun.exists))
        server.kill()
        said = worker.stderr.readline()
        check("tool: a server that is gone is told of, and is not the end", "penstock-jobs: " in said and worker.poll() is None, said)
        server.start("--port", str(tool.port))
        go.touch()
        out = worker.communicate(timeout=PATIENCE)[0]
        check("tool: until it is empty, whatever the server did", worker.returncode == 0 and tool.counts("out")["completed"] == 2, out)
        check("tool: each was run once", begun.read_text(encoding="utf-8").split() == ["1", "2"])
    finally:
        worker.kill()
        worker.communicate()


def beside_node(tool, node, server):
    texts = ["plain", 'it\'s "quoted" ü', "17", '{"n":1}']
    tool("node", "add", *texts)
    said = node("node", "work", 4, concurrency=1)
    check("tool to Node: texts are strings there", [json.loads(line.split(" ", 2)[2]) for line in lines(said, "run")] == texts, said)
    asking = node.begin("node", "ask", 1)
    worked = tool.json("node", "work", "--exec", f'printf %s "$1" > {tool.folder}/got', "--until-empty") if until(lambda: tool.counts("node")["waiting"]) else []
    said = Side.end(asking)
    check("Node to tool: the JSON is the text", (tool.folder / "got").read_text(encoding="utf-8") == '{"n":0}', worked)
    check("Node to tool: waitUntilFinished", lines(said, "value") == ["null"], said)
    node("node", "add", 2, do="fail")
    tool("node", "add", "--delay", "1h", "later")
    node("node", "work", 2)
    there, here = json.loads(node("node", "counts")), tool.counts("node")
    same = all(there[s] == here[s] for s in ("delayed", "active", "completed", "failed")) and there["waiting"] == here["waiting"]
    check("tool and Node count the same", same and here["failed"] == 2 and here["completed"] == 5, (there, here))
    dead = tool.json("node", "failed")
    check("tool: what failed in Node", [d["why"] for d in dead] == ["told to fail"] * 2 and '"do":"fail"' in dead[0]["text"], dead)
    check("tool: redrives it", tool.json("node", "redrive", dead[0]["id"]) == [{"redriven": 1}] and len(runs(node("node", "work", 1))) == 1)
    node("node", "pause")
    check("tool: sees Node's pause", tool.counts("node")["paused"] and "paused" in tool("node", "counts").stdout)
    seen = tool.json("node", "watch", "--times", "1", "--every", "20ms")[0]
    check("tool: watch counts Node's runs", seen["paused"] and seen["run_seconds"] is not None, seen)
    node("flows", "flow")
    done = tool("flows-parents", "counts", "--json").stdout
    check("tool: sees who waits for children", json.loads(done)["waiting_children"] == 1, done)
    worker = subprocess.Popen(tool.command("flows", "work", "--exec", "true"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = worker.stderr.readline()
        check("tool: says what it cannot run, and leaves it there", "belongs to a flow" in said and server.count("flows", "wait") == 1, said)
        worker.terminate()
        worker.communicate(timeout=PATIENCE)
        check("tool: and ends when it is told to", worker.returncode == 130, worker.returncode)
    finally:
        worker.kill()
        worker.communicate()


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    if shutil.which("redis-server") is None:
        print("SKIPPED: there is no redis-server")
        return 0
    with tempfile.TemporaryDirectory(prefix="penstock-tool-") as name, socket.socket() as probe:
        folder = pathlib.Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server, tool = Server(folder), Tool(program, folder, port)
        try:
            server.start("--port", str(port))
            if "built without" in tool("x", "counts").stderr:
                print("SKIPPED: penstock-jobs was built without Redis")
                return 0
            alone(tool)
            outage(tool, server)
            packages = modules(pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "npm") if shutil.which("node") else None
            if packages is None:
                print("SKIPPED: Node or bullmq is not to be had, so nothing was tested beside it")
                return verdict()
            (folder / "node_modules").symlink_to(packages.resolve())
            shutil.copy(HERE / "bull.mjs", folder)
            beside_node(tool, Side(["node", "bull.mjs"], folder, server), server)
        finally:
            server.kill()
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
