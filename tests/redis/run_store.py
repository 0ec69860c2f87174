#!/usr/bin/env python3
"""Makes a Redis server of its own and lets penstock's redis_store share queues with BullMQ 6 in Node on it.

    run_store.py STORE_TEST STORE_PROGRAM [FOLDER] [PART...]

STORE_TEST needs the server only, the others Node, too. FOLDER keeps the packages from npm (bullmq 6.7.0); with PENSTOCK_NODE_MODULES they are looked
for there. What cannot be had is skipped by its name, and nothing has failed. The server lives in a temporary directory and listens on a socket there only.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 60  # seconds for anything that should take few
PACKAGES = ["bullmq@6.7.0", "ioredis@5"]


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.process = None

    def start(self, *settings, ready=True):
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "no", "--enable-debug-command", "yes", "--logfile", self.folder / "redis.log", *settings]
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while ready and self.cli("ping") != "PONG":
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError("redis-server does not start: " + (self.folder / "redis.log").read_text()[-1000:])
            time.sleep(0.02)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def cli(self, *words):
        command = ["redis-cli", "-s", self.socket, *words]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.stdout.strip()

    def job(self, queue, id_):
        lines = self.cli("--raw", "hgetall", f"bull:{queue}:{id_}").split("\n")
        return dict(zip(lines[::2], lines[1::2]))

    def count(self, queue, state):
        command = "llen" if state in ("wait", "active") else "zcard"
        return int(self.cli(command, f"bull:{queue}:{state}") or 0)


class Side:
    """A program: penstock's, or BullMQ's in Node."""

    def __init__(self, command, folder, server):
        self.command, self.folder, self.server = command, folder, server

    def begin(self, queue, what, count=0, **settings):
        words = [*self.command, self.server.socket, queue, what, count, *(f"{name}={value}" for name, value in settings.items())]
        process = subprocess.Popen(
            [str(word) for word in words], cwd=self.folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return process

    @staticmethod
    def end(process):
        try:
            return process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0] + "\n(it did not end)"

    def __call__(self, queue, what, count=0, **settings):
        return self.end(self.begin(queue, what, count, **settings))


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def lines(text, word):
    return [line[len(word) + 1 :] for line in text.splitlines() if line.startswith(word + " ")]


def runs(text):
    return [tuple(line.split(" ")[:2]) for line in lines(text, "run")]


# ---- the parts; `cpp` and `node` are sides, `s` is the server ----


def to_node(cpp, node, s):
    cpp("a", "add", 3, name="mail")
    cpp("a", "add", 1, priority=3)
    cpp("a", "add", 1, priority=1)
    cpp("a", "add", 1, delay=200, attempts=3, backoff=50, type="exponential", do="fail")
    cpp("a", "add", 1, remove_on_complete=1)
    said = node("a", "work", 9, concurrency=1)
    first = [id_ for id_, _ in runs(said) if id_ != "6"]
    check("penstock to Node: in order, and by priority", first == ["1", "2", "3", "7", "5", "4"], said)
    check("penstock to Node: delayed, tried again with backoff", [a for i, a in runs(said) if i == "6"] == ["1", "2", "3"], said)
    check("penstock to Node: has failed", s.count("a", "failed") == 1 and s.job("a", 6).get("failedReason") == "told to fail", s.job("a", 6))
    check("penstock to Node: removeOnComplete", s.job("a", 7) == {} and s.count("a", "completed") == 5)
    worker = node.begin("a", "work", 3, concurrency=2)
    check("penstock waits for what Node completes", "ended" in cpp("a", "submit", 1, do="x", remove_on_complete=1).splitlines())
    said = cpp("a", "submit", 1, do="fail", attempts=2)
    check("penstock waits for what fails in Node", lines(said, "failed") == ["told to fail"], said)
    Side.end(worker)
    check("penstock finds what Node gave", 'value {"n":1}' in cpp("a", "find", id="2"))


def from_node(cpp, node, s):
    worker = cpp.begin("b", "work", 100, idle=6000, worker="ann")
    said = node("b", "ask", 2)
    check("Node to penstock: waitUntilFinished", lines(said, "value") == ["null", "null"], said)
    check("Node to penstock: the worker's name", s.job("b", 1).get("pb") == "ann")
    said = node("b", "ask", 1, do="log")
    check("Node to penstock: progress and logs", '"logs":["half way"],"progress":0.5' in said and "event progress" in said, said)
    said = node("b", "ask", 1, do="fail", opts=json.dumps({"attempts": 3, "backoff": {"type": "exponential", "delay": 50}}))
    check("Node to penstock: tried again, and failed", lines(said, "failed") == ["told to fail"] and '"made":3,"started":3,"state":"failed"' in said, said)
    check("Node to penstock: events", all(f"event {e}" in said for e in ("active", "delayed", "failed", "retries-exhausted", "drained")), said)
    said = node("b", "ask", 1, opts=json.dumps({"delay": 150, "removeOnComplete": True}))
    check("Node to penstock: delayed, removed", lines(said, "value") == ["null"] and s.job("b", 5) == {}, said)
    said = node("b", "ask", 1, do="fail", opts=json.dumps({"attempts": 3, "backoff": {"type": "odd"}}))
    check("Node to penstock: a backoff that is unknown is a failure that says so", 'backoff type "odd"' in str(lines(said, "failed")), said)
    Side.end(worker)
    node("b", "add", 6, opts=json.dumps({"removeOnComplete": {"count": 2}}))
    cpp("b", "work", 6, idle=2000)
    check("Node to penstock: keeps so many", s.count("b", "completed") == 2, s.count("b", "completed"))


def mixed(cpp, node, s):
    sides = [node.begin("c", "work", 10**6, idle=3000, concurrency=8), cpp.begin("c", "work", 10**6, idle=3000, concurrency=8)]
    until(lambda: s.cli("client", "list").upper().count("BZPOPMIN") >= 2)  # both wait for work
    adders = [cpp.begin("c", "add", 300), node.begin("c", "add", 300)]
    for adder in adders:
        Side.end(adder)
    said = [Side.end(p) for p in sides]
    all_runs = runs(said[0]) + runs(said[1])
    check("mixed: each job is run once", len(all_runs) == 600 and len(set(all_runs)) == 600, len(all_runs))
    check("mixed: both sides work", runs(said[0]) and runs(said[1]), (len(runs(said[0])), len(runs(said[1]))))
    check("mixed: all have completed", s.count("c", "completed") == 600)


def waking(cpp, node, s):
    """Without anybody's polling."""
    busy = cpp.begin("r", "work", 100, sleep=100000, poll=100000, concurrency=3, idle=100000)
    until(lambda: "BZPOPMIN" in s.cli("client", "list").upper())
    for n in range(3):
        cpp("r", "add", 1, do="sleep")
        check(f"an idle runner is woken while {n} are busy", until(lambda n=n: s.count("r", "active") == n + 1))
    idle = node.begin("r", "work", 1, poll=100000, idle=100000)
    until(lambda: s.cli("client", "list").upper().count("BZPOPMIN") >= 2)
    cpp("r", "add", 1)
    check("who is busy leaves the news to idle neighbours", until(lambda: s.count("r", "completed") == 1))
    Side.end(idle)
    busy.kill()
    Side.end(busy)


def crash(cpp, node, s):
    fast = {"lock": 1000, "stalled": 300}
    for queue, dead, heir in (("d", cpp, node), ("e", node, cpp), ("f", cpp, cpp)):
        cpp(queue, "add", 2, do="sleep")
        victim = dead.begin(queue, "work", 100, sleep=100000, **fast)
        until(lambda q=queue: s.count(q, "active") == 2)
        victim.kill()
        Side.end(victim)
        said = heir(queue, "work", 2, sleep=1, poll=300, **fast)
        names = {cpp: "penstock", node: "Node"}
        check(f"{names[dead]} is killed, {names[heir]} takes over", sorted(i for i, _ in runs(said)) == ["1", "2"], said)
        check(f"{names[dead]} is killed: the stalls are counted", s.job(queue, 1).get("stc") == "1", s.job(queue, 1))
    cpp("g", "add", 1, job_id="late", attempts=5)
    s.cli("hset", "bull:g:late", "defa", "job stalled more than allowable limit")
    said = cpp("g", "work", 1, idle=500)
    check("a deferred failure is not run", runs(said) == [] and s.count("g", "failed") == 1, said)
    check("a deferred failure has its reason", s.job("g", "late").get("failedReason") == "job stalled more than allowable limit", s.job("g", "late"))


def limits(cpp, node, s):
    node("h", "pause")
    cpp("h", "add", 2)
    check("a queue that Node paused rests", runs(cpp("h", "work", 2, idle=700)) == [])
    worker = cpp.begin("h", "work", 2)
    node("h", "resume")
    check("and goes on when Node resumes it", len(runs(Side.end(worker))) == 2)
    check("a queue that penstock paused rests", cpp("h", "pause").strip() == "ok" and len(lines(cpp("h", "add", 1), "id")) == 1)
    check("in Node, too", runs(node("h", "work", 1, idle=700)) == [])
    worker = node.begin("h", "work", 1)
    cpp("h", "resume")
    check("and goes on when penstock resumes it", len(runs(Side.end(worker))) == 1)
    node("i", "concurrency", 2)
    cpp("i", "add", 12, do="sleep")
    said = cpp("i", "work", 12, sleep=20, concurrency=6, batch=3, threads=8, poll=300)
    check("global concurrency is kept", len(runs(said)) == 12 and int(lines(said, "at once")[0]) <= 2, said)
    node("j", "limit", 3, duration=400)
    cpp("j", "add", 7)
    begin = time.monotonic()
    said = cpp("j", "work", 7, concurrency=4, batch=4)
    check("the global rate is kept", len(runs(said)) == 7 and time.monotonic() - begin > 0.75, said)


def deduplication(cpp, node, s):
    ids = lines(cpp("k", "add", 1, deduplicate="key"), "id") + lines(cpp("k", "add", 1, deduplicate="key"), "id")
    ids += lines(node("k", "add", 1, opts=json.dumps({"deduplication": {"id": "key"}})), "id")
    check("deduplication holds over both", ids == ["1"] * 3, ids)
    cpp("k", "work", 1)
    check("until it is over", lines(node("k", "add", 1, opts=json.dumps({"deduplication": {"id": "key"}})), "id") != ["1"])
    check("and the other way round", lines(cpp("k", "add", 1, deduplicate="key"), "id") == [s.cli("get", "bull:k:de:key")])
    cpp("k", "add", 1, job_id="own")
    node("k", "add", 1, opts=json.dumps({"jobId": "own"}))
    check("so do ids of one's own", s.count("k", "wait") == 2, s.cli("lrange", "bull:k:wait", "0", "-1"))
    node("k", "work", 2)
    check("Node ends what penstock guards", s.cli("exists", "bull:k:de:key") == "0")


def refusals(cpp, node, s):
    node("l", "flow")
    said = cpp("l", "work", 1, idle=700)
    check("a job of a flow is left alone, and said so", runs(said) == [] and "belongs to a flow" in said and s.count("l", "wait") == 1, said)
    check("Node runs it", len(runs(node("l", "work", 1))) == 1)
    node("m", "schedule")
    said = cpp("m", "work", 1, idle=700)
    check("so is one of a scheduler", runs(said) == [] and "belongs to a flow" in said, said)
    cpp("n", "add", 1)
    s.cli("hset", "bull:n:meta", "version", "bullmq:5.81.5")
    said = cpp("n", "work", 1, idle=700) + cpp("n", "add", 1)
    check("another major is refused with advice", runs(said) == [] and "upgrade all that use it" in said and s.count("n", "wait") == 1, said)


def faults(cpp, node, s):
    worker = cpp.begin("o", "work", 10**6, idle=4000, do="x", lock=2000, stalled=500, poll=500, concurrency=4)
    added = 0
    for i in range(6):
        added += len(lines(cpp("o", "add", 50), "id"))
        if i % 3 == 0:
            s.cli("client", "kill", "type", "normal", "skipme", "yes")
        elif i % 3 == 1:
            s.cli("script", "flush")
        else:
            s.kill()
            s.start()
    said = Side.end(worker)
    check("connections killed, scripts flushed, the server killed: all are done", s.count("o", "completed") == added == 300, (added, s.count("o", "completed"), said))
    check("and none is left behind", s.count("o", "active") == s.count("o", "wait") == 0)

    s.cli("config", "set", "busy-reply-threshold", "50")
    long_one = subprocess.Popen(["redis-cli", "-s", s.socket, "eval", "while true do end", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: "BUSY" in s.cli("ping"))
    adder = cpp.begin("p", "add", 1)
    time.sleep(0.3)
    s.cli("script", "kill")
    long_one.wait()
    said = Side.end(adder)
    check("BUSY: tried again", len(lines(said, "id")) == 1, said)

    s.cli("config", "set", "maxmemory", "1")
    said = cpp("p", "add", 3)
    worked = cpp("p", "work", 1, idle=1000)
    s.cli("config", "set", "maxmemory", "0")
    check("OOM: nothing is added, and it is said", "error the server is out of memory" in said and s.cli("get", "bull:p:id") == "1", said)
    check("OOM: what is there is worked off", len(runs(worked)) == 1, worked)

    cpp("p", "add", 1)
    s.cli("replicaof", "127.0.0.1", "1")
    said = cpp("p", "add", 1) + cpp("p", "work", 1, idle=500)
    check("READONLY: reported, and nothing is lost", runs(said) == [] and said.count("takes no writes") >= 2 and s.count("p", "wait") == 1, said)
    s.cli("replicaof", "no", "one")
    check("READONLY: goes on afterwards", len(runs(cpp("p", "work", 1))) == 1)

    s.kill()
    shutil.rmtree(s.folder / "appendonlydir")
    s.start()
    cpp("q", "add", 800)
    s.kill()
    s.start("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024", ready=False)
    seen = until(lambda: "LOADING" in s.cli("ping"))
    said = cpp("q", "work", 800, idle=6000)
    check("LOADING: tried again", seen and len(runs(said)) == 800, (seen, said))
    s.kill()
    s.start()


PARTS = [to_node, from_node, mixed, waking, crash, limits, deduplication, refusals, faults]


def modules(folder):
    """Where the packages are."""
    if found := os.environ.get("PENSTOCK_NODE_MODULES"):
        return pathlib.Path(found)
    if shutil.which("npm") is None:
        return None
    if not (folder / "node_modules/bullmq/package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, *PACKAGES]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            print("npm: " + done.stderr[-500:])
            return None
    return folder / "node_modules"


def main():
    test, program = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    wanted = sys.argv[4:] or ["alone", *(part.__name__ for part in PARTS)]
    if shutil.which("redis-server") is None:
        print("SKIPPED: there is no redis-server")
        return 0
    with tempfile.TemporaryDirectory(prefix="penstock-redis-") as name:
        folder = pathlib.Path(name)
        server = Server(folder)
        try:
            server.start()
            if "alone" in wanted:
                environment = {**os.environ, "PENSTOCK_REDIS_SOCKET": str(server.socket)}
                done = subprocess.run([str(test)], env=environment, capture_output=True, text=True, check=False, timeout=5 * PATIENCE)
                check("the store's own test", done.returncode == 0, done.stdout + done.stderr)
            packages = modules(pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else folder / "npm") if shutil.which("node") else None
            if packages is None:
                print("SKIPPED: Node or bullmq is not to be had, so nothing was tested beside it")
                return verdict()
            (folder / "node_modules").symlink_to(packages.resolve())
            shutil.copy(HERE / "bull.mjs", folder)
            cpp = Side([program], folder, server)
            node = Side(["node", "bull.mjs"], folder, server)
            for part in PARTS:
                if part.__name__ in wanted:
                    part(cpp, node, server)
        finally:
            server.kill()
    return verdict(skipped=True)


if __name__ == "__main__":
    sys.exit(main())
