#!/usr/bin/env python3
"""Makes a Redis server of its own and lets penstock's redis_store share queues with BullMQ 6 in Node on it.

    run_store.py STORE_TEST STORE_PROGRAM [FOLDER] [PART...]

STORE_TEST needs the server only, the others Node, too. FOLDER keeps the packages from npm (bullmq 6.7.0); with PENSTOCK_NODE_MODULES they are looked
for there. What cannot be had is skipped by its name, and nothing has failed. The server lives in a temporary directory and listens on a socket there only.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
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

    listener = cpp.begin("t", "events", 3)
    listener.stdout.readline()
    cpp("t", "add", 1, job_id="logs", do="log")
    cpp("t", "add", 1, attempts=2, backoff=1, do="fail", remove_on_fail=1)
    cpp("t", "add", 1, attempts=3, do="never")
    said = node("t", "work", 4, concurrency=1, progress="0.5")
    told = lines(Side.end(listener), "event")
    found = cpp("t", "find", id="logs")
    check("penstock sees Node's progress and logs", "progress 0.5 stalled 0" in found and lines(found, "log") == ["half way"], found)
    expected = ["added logs", "started logs", "progress logs half", 'completed logs {"n":0}', "delayed 2", "failed 2 told to fail", "failed 3 never"]
    check("penstock is told what happens in Node", all(e in told for e in expected), told)
    check("penstock to Node: removeOnFail", s.job("t", 2) == {}, s.job("t", 2))
    check("penstock to Node: what is unrecoverable has no further attempt", s.job("t", 3).get("atm") == "1", s.job("t", 3))
    cpp("t", "add", 1, priority=5, delay=100)
    time.sleep(0.15)
    cpp("t", "add", 1)
    cpp("t", "add", 1, lifo=1)
    first = [id_ for id_, _ in runs(node("t", "work", 3, concurrency=1))]
    check("penstock to Node: a delay first, then the priority; lifo", first == ["6", "5", "4"], first)
    cpp("next", "add", 1, do="next")
    said = cpp("next", "work", 2, concurrency=1)
    check("what a run of penstock's enqueues is added when it completes", [id_ for id_, _ in runs(said)] == ["1", "2"] and s.job("next", 2).get("name") == "next", said)


def from_node(cpp, node, s):
    worker = cpp.begin("b", "work", 8, idle=60000, worker="ann")  # as many runs as there will be
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
    cpp("b", "work", 6, idle=20000)
    check("Node to penstock: keeps so many", s.count("b", "completed") == 2, s.count("b", "completed"))

    for name, opts in (("one", {"priority": 3}), ("two", {}), ("three", {"priority": 1}), ("four", {"lifo": True}), ("five", {"delay": 60000})):
        node("u", "add", 1, opts=json.dumps({"jobId": name, **opts}))
    node("u", "promote")
    first = [id_ for id_, _ in runs(cpp("u", "work", 5, concurrency=1))]
    check("Node to penstock: by priority, lifo, promoted", first == ["four", "two", "five", "three", "one"], first)
    old = s.cli("zrange", "bull:u:completed", "0", "-1").split()
    for name in old[:3]:
        s.cli("zadd", "bull:u:completed", str(int(time.time() * 1000) - 900000), name)
    node("u", "add", 1, opts=json.dumps({"removeOnComplete": {"age": 600}}))
    node("u", "add", 2, do="fail", opts=json.dumps({"removeOnFail": True}))
    cpp("u", "work", 3, concurrency=1)
    check("Node to penstock: keeps so long", s.count("u", "completed") == 3 and s.job("u", old[0]) == {}, s.count("u", "completed"))
    check("Node to penstock: removeOnFail", s.count("u", "failed") == 0 and s.job("u", 8) == {})
    worker = cpp.begin("u", "work", 4, idle=60000)
    check("Node to penstock: the value", lines(node("u", "ask", 1, do="value"), "value") == ['{"from":"penstock"}'])
    said = node("u", "ask", 1, do="never", opts=json.dumps({"attempts": 5}))
    check("Node to penstock: unrecoverable", lines(said, "failed") == ["never"] and '"made":1' in said, said)
    cpp("u", "pause"), cpp("u", "resume")
    said = node("u", "ask", 1, do="fail", opts=json.dumps({"attempts": 2, "backoff": 20}))
    check("Node to penstock: a fixed backoff", lines(said, "failed") == ["told to fail"] and '"made":2' in said, said)
    check("Node is told of penstock's pause", "event paused" in said and "event resumed" in said, said)
    Side.end(worker)
    s.cli("hset", "bull:u:meta", "opts.maxLenEvents", "10")
    cpp("u", "add", 500)
    cpp("u", "add", 1)  # a script may make room first, and then add
    check("the stream of events is cut", int(s.cli("xlen", "bull:u:events")) < 300, s.cli("xlen", "bull:u:events"))


def mixed(cpp, node, s):
    def waiting():
        return s.cli("client", "list").upper().count("BZPOPMIN")

    sides = [node.begin("c", "work", 10**6, idle=6000, concurrency=8)]  # on a busy machine Node takes a while to begin
    until(lambda: waiting() >= 1)
    sides.append(cpp.begin("c", "work", 10**6, idle=6000, concurrency=8))
    until(lambda: waiting() >= 2)
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
    for queue, worker, producer, how in (("ra", node, cpp, {"delay": 300}), ("rb", cpp, node, {"opts": json.dumps({"delay": 300})})):
        idle = worker.begin(queue, "work", 1, poll=100000, idle=100000)
        until(lambda: "BZPOPMIN" in s.cli("client", "list").upper())
        producer(queue, "add", 1, **how)
        check(f"an idle worker {'of penstock' if worker is cpp else 'in Node'} is woken when a job of the other's is due", until(lambda q=queue: s.count(q, "completed") == 1))
        idle.kill()
        Side.end(idle)


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


def stand_still(cpp, node, s):
    """Who is stopped past his lease and goes on is refused; who works for long keeps it, whoever looks."""
    fast = {"lock": 800, "stalled": 200, "poll": 200}
    for queue, frozen, heir, refusal in (("fa", cpp, node, "lost 1"), ("fb", node, cpp, "lock")):
        cpp(queue, "add", 1, do="sleep", job_id="x")
        victim = frozen.begin(queue, "work", 1, sleep=300, **fast)
        until(lambda q=queue: s.count(q, "active") == 1)
        victim.send_signal(signal.SIGSTOP)
        heir(queue, "work", 1, sleep=1, idle=10000, **fast)
        before = s.job(queue, "x")
        victim.send_signal(signal.SIGCONT)
        said = Side.end(victim)
        name = "penstock" if frozen is cpp else "Node"
        check(f"{name} stood still past its lease: what it says then is refused", refusal in said, said)
        check(f"{name} stood still past its lease: and changes nothing", "returnvalue" in before and s.job(queue, "x") == before, (before, s.job(queue, "x")))
    sides = {}
    for queue, worker, watcher in (("fc", cpp, node), ("fd", node, cpp)):
        cpp(queue, "add", 1, do="sleep")
        sides[queue] = [worker.begin(queue, "work", 1, sleep=2500, lock=1000, stalled=100)]
        until(lambda q=queue: s.count(q, "active") == 1)
        sides[queue].append(watcher.begin(queue, "work", 1, idle=2700, lock=1000, stalled=100, poll=100))
    for queue, both in sides.items():
        all_runs = [r for side in both for r in runs(Side.end(side))]
        check(f"{'penstock' if queue == 'fc' else 'Node'} renews its lease while a job runs", len(all_runs) == 1 and s.count(queue, "completed") == 1, all_runs)


def given_up(cpp, node, s):
    """A job stalls once too often: whoever finds that out marks it, whoever fetches it fails it unrun."""
    reason = "job stalled more than allowable limit"
    for queue, finder, other in (("ga", cpp, node), ("gb", node, cpp)):
        cpp(queue, "add", 1, job_id="x", attempts=5, do="hang")
        victim = other.begin(queue, "work", 1, lock=600, stalled=60000)
        until(lambda q=queue: s.count(q, "active") == 1)
        victim.kill()
        Side.end(victim)
        s.cli("hset", f"bull:{queue}:x", "stc", "1")
        cpp(queue, "pause")  # looks at stalled jobs go on
        looking = None if finder is cpp else node.begin(queue, "work", 1, lock=600, stalled=100, poll=100, idle=10000)

        def marked(q=queue, look=finder is cpp):
            if look:
                s.cli("del", f"bull:{q}:stalled-check")
                cpp(q, "stalled")
            return s.job(q, "x").get("defa") == reason

        check(f"{'penstock' if finder is cpp else 'Node'} gives up a job that stalls too often", until(marked), s.job(queue, "x"))
        if looking is not None:
            looking.kill()
            Side.end(looking)
        cpp(queue, "resume")
        said = other(queue, "work", 1, idle=1200)
        check(f"{'Node' if finder is cpp else 'penstock'} fails it unrun", runs(said) == [] and s.job(queue, "x").get("failedReason") == reason, said)


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

    node("ia", "concurrency", 2)
    node("ia", "limit", 4, duration=200)
    cpp("ia", "add", 12, do="sleep")
    begin, most = time.monotonic(), 0
    sides = [side.begin("ia", "work", 12, sleep=40, concurrency=6, threads=8, poll=100, idle=1500) for side in (cpp, node)]
    while s.count("ia", "completed") < 12 and time.monotonic() - begin < PATIENCE:
        most = max(most, s.count("ia", "active"))
    took = time.monotonic() - begin
    ran = [len(runs(Side.end(side))) for side in sides]
    check("the global concurrency and rate are kept by both together", 0 < most <= 2 and took > 0.35 and sum(ran) == 12, (most, took, ran))
    # What a queue of version 5 has left behind when it was paused.
    cpp("ib", "add", 3)
    cpp("ib", "pause")
    s.cli("rename", "bull:ib:wait", "bull:ib:paused")
    cpp("ib", "resume")
    check("resuming brings back what BullMQ 5 paused", runs(cpp("ib", "work", 3, concurrency=1)) == [(str(n), "1") for n in (1, 2, 3)])


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
    first = lines(cpp("ka", "add", 1, deduplicate="t", ttl=60000), "id")
    cpp("ka", "work", 1)
    again = lines(node("ka", "add", 1, opts=json.dumps({"deduplication": {"id": "t", "ttl": 60000}})), "id")
    check("for a time, whatever becomes of it", again == first and s.count("ka", "wait") == 0, (first, again))
    s.cli("pexpire", "bull:ka:de:t", "5000")
    cpp("ka", "add", 1, deduplicate="t", ttl=60000, extend=1)
    check("a time that is extended", int(s.cli("pttl", "bull:ka:de:t")) > 50000, s.cli("pttl", "bull:ka:de:t"))
    replace = json.dumps({"jobId": "node", "delay": 60000, "deduplication": {"id": "r", "replace": True}})
    cpp("ka", "add", 1, job_id="mine", delay=60000, deduplicate="r", replace=1)
    node("ka", "add", 1, opts=replace)
    replaced = [s.cli("zrange", "bull:ka:delayed", "0", "-1"), s.job("ka", "mine")]
    cpp("ka", "add", 1, job_id="mine", delay=60000, deduplicate="r", replace=1)
    replaced += [s.cli("zrange", "bull:ka:delayed", "0", "-1"), s.job("ka", "node")]
    check("each side replaces what the other delayed", replaced == ["node", {}, "mine", {}], replaced)


def refusals(cpp, node, s):
    node("l", "flow")
    said = cpp("l", "work", 1, idle=700)
    check("a job of a flow is left alone, and said so", runs(said) == [] and "belongs to a flow" in said and s.count("l", "wait") == 1, said)
    said = cpp("l", "obliterate") + cpp("l-parents", "obliterate")
    check("nor is it obliterated", said.count("in Node") == 2 and s.count("l", "wait") == 1 and s.count("l-parents", "waiting-children") == 1, said)
    check("Node runs it", len(runs(node("l", "work", 1))) == 1)
    check("and its parent", len(runs(node("l-parents", "work", 1))) == 1)
    node("la", "flow", do="fail")
    node("la", "work", 1)
    said = cpp("la", "clean") + cpp("la", "obliterate")
    check("a child that has failed stays for its parent", lines(said, "cleaned") == ["0"] and s.count("la", "failed") == 1, said)
    node("la", "retry")
    node("la", "work", 1, kind="well")
    check("which waits for it still", s.count("la-parents", "waiting-children") == 1 and s.count("la", "failed") == 1)
    node("m", "schedule")
    check("a scheduler's job is not obliterated", "in Node" in cpp("m", "obliterate") and s.count("m", "delayed") + s.count("m", "wait") == 1)
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
    worker = cpp.begin("p", "work", 1)
    time.sleep(0.3)
    s.cli("script", "kill")
    long_one.wait()
    said = Side.end(adder)
    check("BUSY: tried again", len(lines(said, "id")) == 1, said)
    said = Side.end(worker)
    check("BUSY: who works goes on", len(runs(said)) == 1, said)
    cpp("p", "add", 1)

    s.cli("config", "set", "maxmemory", "1")
    said = cpp("p", "add", 3)
    worked = cpp("p", "work", 1, idle=1000)
    s.cli("config", "set", "maxmemory", "0")
    check("OOM: nothing is added, and it is said", "error the server is out of memory" in said and s.cli("get", "bull:p:id") == "2", said)
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
    said = cpp("q", "work", 800, idle=20000)
    check("LOADING: tried again", seen and len(runs(said)) == 800, (seen, said))
    s.kill()
    s.start()


# The first ones wait most of the time, each on queues of its own: several at a time. The others look at all of the server, or disturb it.
TOGETHER = [from_node, crash, limits, stand_still, given_up, to_node, refusals, deduplication]
PARTS = [*TOGETHER, mixed, waking, faults]


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
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                for done in [pool.submit(part, cpp, node, server) for part in TOGETHER if part.__name__ in wanted]:
                    done.result()
            for part in PARTS[len(TOGETHER) :]:
                if part.__name__ in wanted:
                    part(cpp, node, server)
        finally:
            server.kill()
    return verdict(skipped=True)


if __name__ == "__main__":
    sys.exit(main())
