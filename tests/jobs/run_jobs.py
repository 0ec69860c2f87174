#!/usr/bin/env python3
"""Runs penstock-jobs as people would: several processes on one file, commands that fail, workers that are interrupted and killed.

    run_jobs.py PENSTOCK_JOBS
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402


class Queue:
    binary = None

    def __init__(self, folder, name):
        self.folder = folder
        self.db = folder / name

    def command(self, what, *arguments):
        return [self.binary, what, "--db", self.db, *arguments]

    def run(self, what, *arguments, text=None, expect=0):
        done = subprocess.run(self.command(what, *arguments), input=text, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != expect:
            raise RuntimeError(f"{what} {arguments} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def json(self, what, *arguments, **more):
        return [json.loads(line) for line in self.run(what, "--json", *arguments, **more).splitlines()]

    def start(self, command, *arguments):
        return subprocess.Popen(self.command("work", "--json", "--exec", command, *arguments), stdout=subprocess.PIPE, text=True, cwd=self.folder)

    def counts(self):
        return self.json("counts")[0]


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def lines(path):
    return path.read_text().split() if path.exists() else []


def check_a_life(folder):
    """From adding to redriving, and what is told of it."""
    q = Queue(folder, "life.db")
    added = q.json("add", "--attempts", "2", "1", "it's $HOME \"quoted\"", "bad")[0]
    check("add tells the ids", added["added"] == 3 and len(set(added["ids"])) == 3, str(added))
    q.run("add", "-", text="".join(f"line {n}\n" for n in range(100)))
    named = [q.json("add", "--id", "once", "x")[0]["ids"] for _ in range(2)]
    check("a job of a name is one job", named == [["once"], ["once"]] and q.counts()["waiting"] == 104, str(named))
    q.run("add", "--delay", "1h", "later")
    q.run("add", "--priority", "5", "last")
    order = folder / "order"
    work = [f'printf "%s/%s\\n" "$1" "$PENSTOCK_JOB_ATTEMPT" >> {order}; case "$1" in bad) exit 3;; x) exit 65;; esac', "--concurrency", "1"]
    worker = q.start(*work)
    check("work runs all but what is delayed", until(lambda: q.counts()["waiting"] + q.counts()["active"] == 0), str(q.counts()))
    watch = q.json("watch", "--times", "1", "--every", "100ms", "--concurrency", "1")[0]
    worker.send_signal(signal.SIGTERM)
    said = json.loads(worker.communicate()[0])
    check("an interrupt ends it", worker.returncode == 130 and said["completed"] == 103 and said["failed"] == 2, str(said))
    ran = order.read_text().splitlines()
    check("texts arrive as they are", 'it\'s $HOME "quoted"/1' in ran)
    check("jobs are tried as often as they may be", ran.count("bad/1") == ran.count("bad/2") == 1 and ran.count("x/1") == 1)
    check("and in their order", ran[0] == "1/1" and ran[-1] == "last/1" and len(ran) == 106, str(ran[-3:]))
    w = watch["wait_seconds"]
    check("watch tells how long they took", 0 <= w["p50"] <= w["p95"] <= w["p99"] < 60 and watch["run_seconds"]["p50"] > 0, str(watch))
    dead = {d["text"]: d for d in q.json("failed")}
    check("failed tells why", dead["bad"]["why"] == "exit status 3" and dead["bad"]["attempts"] == 2 and dead["x"]["attempts"] == 1, str(dead))
    check("redrive of those that failed of something else", q.json("redrive", "--why", "status 9")[0]["redriven"] == 0 and q.counts()["failed"] == 2)
    q.run("redrive", "1", "--why", "status", expect=2)
    check("redrive of one", q.json("redrive", dead["bad"]["id"])[0]["redriven"] == 1 and q.counts()["waiting"] == 1)
    check("redrive of those that failed of it", q.json("redrive", "--why", dead["x"]["why"])[0]["redriven"] == 1 and q.counts()["waiting"] == 2)
    q.run("redrive", "once", expect=2)
    check("counts for people", q.run("counts").split()[:3] == ["waiting", "delayed", "active"])
    check("redrive of all", q.json("redrive")[0]["redriven"] == 0)


def check_kills(folder):
    """A worker that is killed loses nothing; one that is interrupted hands back what it does not finish."""
    q = Queue(folder, "kills.db")
    done = folder / "done"
    q.run("add", "-", text="".join(f"{n}\n" for n in range(30)))
    victim = q.start(f'echo "$1" >> {folder}/begun; sleep 10', "--concurrency", "3", "--lease", "1s")
    check("the victim has begun", until(lambda: len(lines(folder / "begun")) == 3))
    impatient = q.start(f'echo "$1" >> {folder}/handed; sleep 30', "--concurrency", "2", "--lease", "1h", "--grace", "0ms")
    check("the impatient one has begun", until(lambda: len(lines(folder / "handed")) == 2))
    victim.kill()
    victim.wait()
    impatient.send_signal(signal.SIGINT)
    began = time.monotonic()
    impatient.communicate()
    check("who has no time terminates its commands", impatient.returncode == 130 and time.monotonic() - began < 10)
    workers = [q.start(f'echo "$1" >> {done}', "--until-empty", "--concurrency", "2", "--lease", "1s") for _ in range(2)]
    for w in workers:
        w.communicate(timeout=60)
    check("two workers did all that was left", all(w.returncode == 0 for w in workers) and q.counts()["completed"] == 30, str(q.counts()))
    check("each job once", sorted(map(int, lines(done))) == list(range(30)), str(lines(done)))


def check_memory(folder):
    """Without a file: the lines of standard input."""
    out = folder / "out"
    done = subprocess.run(
        [Queue.binary, "work", "--memory", "--json", "--concurrency", "2", "--attempts", "2", "--exec", f'echo "$1" >> {out}; test "$1" != 5'],
        input="".join(f"{n}\n" for n in range(20)), capture_output=True, text=True, timeout=60, check=False,
    )
    said = json.loads(done.stdout)
    check("work --memory", done.returncode == 1 and said["completed"] == 19 and said["failed"] == 1 and len(lines(out)) == 21, done.stdout)


def check_outage(folder):
    """On a server that goes and comes again: who works and watches goes on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--redis", f"127.0.0.1:{port}/outage"]

    def call(what, *arguments):
        return subprocess.run([Queue.binary, what, *where, *arguments], capture_output=True, text=True, timeout=60, check=False)

    if shutil.which("redis-server") is None or "built without" in call("counts").stderr:
        print("SKIPPED: no server, or penstock-jobs without Redis", flush=True)
        return
    started = []

    def start():
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))

    said = folder / "outage"
    try:
        start()
        check("a server to work with", until(lambda: call("add", "1").returncode == 0))
        with said.open("w") as text:
            worker = subprocess.Popen([Queue.binary, "work", *where, "--exec", "true", "--watch"], stdout=text, stderr=text)
            started.append(worker)
            check("work --watch shows a table", until(lambda: "last minute" in said.read_text()))
            started[0].kill()
            started[0].wait()
            check("and says so if the server is gone", until(lambda: said.read_text().count("penstock-jobs: ") > 1))
            start()
            check("goes on afterwards", until(lambda: call("add", "2").returncode == 0) and until(lambda: '"completed":2' in call("counts", "--json").stdout.replace(" ", "")))
            worker.send_signal(signal.SIGTERM)
            check("and ends when it is told to", worker.wait(60) == 130, said.read_text()[-500:])
    finally:
        for process in started:
            process.kill()
            process.wait()


def check_errors(folder):
    q = Queue(folder, "no/such/folder.db")
    done = subprocess.run(q.command("counts"), capture_output=True, text=True, timeout=60, check=False)
    check("a file that cannot be made", done.returncode == 2 and "folder.db" in done.stderr, done.stderr)
    (folder / "text.db").write_text("this is no database " * 100)
    done = subprocess.run(Queue(folder, "text.db").command("counts"), capture_output=True, text=True, timeout=60, check=False)
    check("a file that is no queue", done.returncode == 2 and "text.db" in done.stderr, done.stderr)
    for wrong in (["add", "--db", "x"], ["work", "--db", "x"], ["work", "--exec", "x"], ["add", "--db", "x", "--delay", "5", "y"], ["dance"], []):
        done = subprocess.run([q.binary, *wrong], capture_output=True, text=True, timeout=60, cwd=folder, check=False)
        check(f"wrong: {' '.join(wrong)}", done.returncode == 2 and "penstock-jobs add" in done.stderr)


def main():
    Queue.binary = os.path.abspath(sys.argv[1])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-jobs-"))
    try:
        for part in (check_a_life, check_kills, check_memory, check_outage, check_errors):
            try:
                part(folder)
            except Exception:  # pylint: disable=broad-except
                check(part.__name__, False, traceback.format_exc())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
