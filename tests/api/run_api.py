#!/usr/bin/env python3
"""Runs examples/api_server: its answers, its limits, what it does under overload, and that nothing is lost when it drains, loses a process, or replaces all.

    run_api.py API_SERVER PENSTOCK_LOAD

Each part has a server of its own, on a free port, with a database in a temporary folder. Figures are not judged here: scripts/scenarios has them.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402
from small_disk import SmallDisk  # noqa: E402

PATIENCE = 60  # seconds for anything that should take one
SERVER = LOAD = None


class Server:
    def __init__(self, folder, *arguments, processes=1, name="api", inside=lambda *command: command):
        self.log = (folder / f"{name}.log").open("w+", encoding="utf-8")
        command = inside(SERVER, "--port", "0", "--processes", processes, "--database", folder / f"{name}.db", *arguments)
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        self.port = int(line.split(":")[2].split("/")[0])
        self.url = f"http://127.0.0.1:{self.port}"
        self.wait_for("serves", processes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()  # its processes notice
        self.process.wait()
        self.process.stdout.close()

    def text(self):
        return pathlib.Path(self.log.name).read_text(encoding="utf-8")

    def wait_for(self, words, times=1):
        until = time.monotonic() + PATIENCE
        while self.text().count(words) < times:
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(f"not {times} times '{words}': {self.text()}")
            time.sleep(0.01)

    def workers(self):
        """The pids of those that serve now, by their place."""
        now = {}
        for line in self.text().splitlines():
            if line.startswith("process ") and line.endswith("serves"):
                now[line.split()[1]] = int(line.split("(")[1].split(")")[0])
        return now

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


class Client:
    """A connection that is kept, with the answers as (status, headers, body)."""

    def __init__(self, port, source=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=source and (source, 0))
        self.rest = b""

    def close(self):
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text.encode())

    def receive(self, head=False):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        top, self.rest = self.rest.split(b"\r\n\r\n", 1)
        first, *fields = top.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        length = 0 if head else int(headers["content-length"])
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(first.split()[1]), headers, body.decode()

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise ConnectionError("it was closed")
        self.rest += got

    def ask(self, target, method="GET", body="", headers=""):
        length = f"Content-Length: {len(body.encode())}\r\n" if body else ""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{length}{headers}\r\n{body}")
        return self.receive(method == "HEAD")


def load(*arguments):
    command = [LOAD, "--json", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def metric(text, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def answers(folder):
    port = free_port()
    with Server(folder, "--users", 100, "--posts", 1000, "--metrics-port", port, name="answers") as s:
        c = Client(s.port)
        status, headers, body = c.ask("/users/7")
        check("a user", (status, json.loads(body)) == (200, {"id": 7, "name": "user 7"}) and headers["content-type"] == "application/json", body)
        again = c.ask("/users/7")
        check("the same from the cache", again[2] == body, again)
        bad = [("GET", "/users/101", "", 404), ("GET", "/users/101", "", 404), ("GET", "/users/x", "", 404), ("GET", "/users/7/x", "", 404), ("GET", "/", "", 404), ("GET", "/debug/waits", "", 404),
               ("GET", "/search", "", 400), ("PUT", "/users/7", "x", 405), ("POST", "/users/7/posts", "", 400), ("POST", "/users/101/posts", "x", 404)]
        for method, target, text, wanted in bad:
            got = c.ask(target, method, text)
            check(f"{method} {target}: {wanted}", got[0] == wanted and "error" in json.loads(got[2]), got)
        before = json.loads(c.ask("/users/7/posts")[2])
        title = 'a "title" \\ with ünïcode'
        status, _, body = c.ask("/users/7/posts", "POST", title)
        made = json.loads(body)
        check("a new post", (status, made) == (201, {"id": 1001, "author": 7, "title": title}), body)
        after = json.loads(c.ask("/users/7/posts")[2])
        check("it is seen at once, for what was remembered is forgotten", after == [{"id": 1001, "title": title}, *before], after)
        page = json.loads(c.ask("/posts?after=10&limit=5")[2])
        check("a page", [p["id"] for p in page] == [11, 12, 13, 14, 15] and all(p["author"]["name"] == f"user {p['author']['id']}" for p in page), page)
        found = json.loads(c.ask("/search?q=%C3%BCn%C3%AFcode")[2])
        check("a search", found == {"found": 1, "posts": [{"id": 1001, "author": 7, "title": title}]}, found)
        status, headers, _ = c.ask("/users/7", "HEAD")
        check("HEAD", status == 200 and headers["content-length"] == "27", headers)
        c.send("GET /users/1 HTTP/1.1\r\n\r\nGET /posts?limit=1 HTTP/1.1\r\n\r\nGET /users/2 HTTP/1.1\r\n\r\n")
        got = [c.receive() for _ in range(3)]
        check("pipelined requests are answered in their order", [g[0] for g in got] == [200] * 3 and "user 1" in got[0][2] and got[1][2][0] == "[" and "user 2" in got[2][2], got)
        c.send("GET /users/1 HTTP/1.1\r\nX: ")
        c.send("y\r\n\r\n")
        check("a request in two pieces", c.receive()[0] == 200)
        c.send("GET /users/1 HTTP/1.0\r\n\r\n")
        status, headers, _ = c.receive()
        check("HTTP/1.0: closed", status == 200 and headers["connection"] == "close" and c.socket.recv(1) == b"", headers)
        c = Client(s.port)
        post = "POST /users/8/posts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
        c.send(f"GET /users/1 HTTP/1.1\r\n\r\n{post}5\r\n\r\n")
        first = c.receive()
        while not c.rest.endswith(b"\r\n\r\n"):
            c.more()
        go_on, c.rest = c.rest, b""
        c.send("hello")
        check("who asks whether to go on is told to, in its turn", first[0] == 200 and go_on == b"HTTP/1.1 100 Continue\r\n\r\n" and c.receive()[0] == 201, (first, go_on))
        c.send(f"{post}5\r\n\r\nhello")
        check("who asks, but has gone on, is not", c.receive()[0] == 201)
        c.send(f"{post}100000\r\n\r\n")
        check("nor who would send too much", c.receive()[0] == 413)
        large, chunked = "x" * 8_000_000, "POST /users/8/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for name, text, wanted in (("no HTTP", "hello\r\n\r\n", 400), ("a long header", f"GET / HTTP/1.1\r\nX: {'x' * 9000}\r\n\r\n", 431),
                                   ("a long body", "POST / HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n" + large, 413), ("a long body in chunks", f"{chunked}7A1200\r\n{large}\r\n0\r\n\r\n", 413),
                                   ("a chunk whose header is long", f"{chunked}1;{large}", 431)):
            c = Client(s.port)
            c.send(text)
            got = c.receive()
            check(f"{name}: {wanted}, and closed", got[0] == wanted and c.socket.recv(1) == b"", got)
        c = Client(port)
        check("health and readiness", [c.ask(p)[0] for p in ("/healthz", "/readyz")] == [200, 200])
        old = c.ask("/metrics")[2]
        c.ask("/posts?after=500&limit=100")
        text = c.ask("/metrics")[2]
        users, queries = (metric(text, n) - metric(old, n) for n in ('api_completed_total{component="users"', 'api_batcher_batches_total{component="users"'))
        check("the authors of a page are one query", users > 30 and queries == 1, (users, queries))
        check("metrics of what a process does", metric(text, 'api_http_server_answers_total{component="server",status="2xx"') > 10 and metric(text, "api_up") == 14, text)
        told = {n: metric(text, f'api_supervisor_{n}{{component="processes"') for n in ("running", "ready", "started_total", "restarts_total", "starts_failed_total")}
        check("and of the supervisor", told["running"] == told["started_total"] >= told["ready"] >= 1 and told["restarts_total"] == told["starts_failed_total"] == 0, told)
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
            check("promtool has nothing to say", done.returncode == 0 and not done.stderr, done.stderr)
        else:
            print("SKIPPED: there is no promtool")
        check("it ends in order", s.end() == 0, s.text())


def own_address():
    """One of this machine that is not loopback; None: it has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(("192.0.2.1", 9))  # sends nothing
            address = s.getsockname()[0]
    except OSError:
        return None
    return None if address.startswith("127.") else address


def waits(folder):
    """Who waits where: a post, behind another program's transaction, is on the page for as long as that lasts."""
    span = "b7ad6b7169203331"
    with Server(folder, "--watch-waits", "--users", 10, "--posts", 10, name="waits") as s:
        c, poster = Client(s.port), Client(s.port)

        def lines():
            return [line for line in c.ask("/debug/waits")[2].splitlines() if span in line]

        status, headers, body = c.ask("/debug/waits")
        check("who waits: nobody", (status, headers["content-type"]) == (200, "text/plain") and body.startswith("for ") and span not in body, body)
        with contextlib.closing(sqlite3.connect(folder / "waits.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            poster.send(f"POST /users/1/posts HTTP/1.1\r\nHost: x\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-{span}-01\r\nContent-Length: 5\r\n\r\nhello")
            until = time.monotonic() + PATIENCE
            while metric(c.ask("/metrics")[2], 'api_in_flight{component="new_posts"') == 0 and time.monotonic() < until:
                time.sleep(0.01)
            held = lines()  # its second wait: the author was looked up before
            check("who waits: a post whose transaction is held up, with the span of who asked", len(held) == 1 and "coroutine" in held[0] and "future" in held[0], held)
            first = float(held[0].split()[0]) if held else 0
            still = lines()
            check("... for longer and longer", len(still) == 1 and float(still[0].split()[0]) >= first, (held, still))
            other.execute("ROLLBACK")
        check("... and is answered then", poster.receive()[0] == 201, s.text())
        check("... and waits no more", lines() == [], lines())
        if (address := own_address()) is None:
            print("SKIPPED: this machine has no address but loopback's")
        else:
            check("who waits: nobody else's business", Client(s.port, address).ask("/debug/waits")[0] == 404)


def limits(folder):
    arguments = ["--client-rate", 1, "--client-burst", 5, "--client-header", "X-Client", "--users", 10, "--posts", 10]
    with Server(folder, *arguments, name="limits") as s:
        c = Client(s.port)
        got = [c.ask("/users/1", headers="X-Client: greedy\r\n") for _ in range(30)]
        refused = [headers for status, headers, _ in got if status == 429]
        check("who asks for too much is refused", 20 <= len(refused) <= 25 and [g[0] for g in got[:5]] == [200] * 5, [g[0] for g in got])
        check("and told when to come again", all(1 <= int(headers["retry-after"]) <= 2 for headers in refused), refused)
        check("others do not notice", c.ask("/users/1", headers="X-Client: modest\r\n")[0] == 200)
        check("nor does who asks for health", [c.ask("/healthz", headers="X-Client: greedy\r\n")[0] for _ in range(10)] == [200] * 10)


def overload(folder):
    arguments = ["--client-rate", 1_000_000, "--client-burst", 1_000_000]
    how = ["--connections", 100, "--rate", 4000, "--duration", "1s", "--timeout", "30s"]
    with Server(folder, *arguments, name="overload") as s:
        stop = threading.Event()
        reads = []

        def read():
            c = Client(s.port)
            while not stop.is_set():
                reads.append(c.ask("/users/1")[0])

        reader = threading.Thread(target=read)
        reader.start()
        g = load(*how, f"{s.url}/search?q=water")
        stop.set()
        reader.join()
        by = g["by_status"]
        print(f"   of {g['intended']} searches in a second {by.get('200')} were answered, {by.get('503')} refused; P99 of the answered {g['latency_seconds_by_class']['2xx']['p99'] * 1e3:.1f} ms;"
              f" {len(reads)} reads meanwhile")
        check("overload: what is too much is refused, and the rest answered", set(by) == {"200", "503"} and by["200"] > 4 and by["503"] > 100 and g["answered"] == 4000, by)
        check("a queue does not build up: nobody waits for more than a few others", g["latency_seconds_by_class"]["2xx"]["p50"] < 0.2, g["latency_seconds_by_class"])
        check("reads go on meanwhile", set(reads) == {200} and len(reads) > 20, len(reads))
    with Server(folder, *arguments, "--no-shedding", name="overload") as s:
        how[3] = 1000
        how[5] = "300ms"
        g = load(*how, f"{s.url}/search?q=water")
        check("without shedding nobody is refused", g["by_status"] == {"200": 300}, g["by_status"])


class Crowd:
    """Clients that ask one thing after the other, each over a connection of its own, until they are told that it ends. Whatever was sent has to be answered."""

    def __init__(self, port, number, target, reconnect):
        self.port, self.target, self.reconnect = port, target, reconnect
        self.lock = threading.Lock()
        self.answered, self.connections, self.lost, self.stop = 0, 0, [], False
        self.threads = [threading.Thread(target=self.run) for _ in range(number)]
        for t in self.threads:
            t.start()

    def run(self):
        while not self.stop:
            try:
                c = Client(self.port)
                with self.lock:
                    self.connections += 1
                last = False
                while not last and not self.stop:
                    status, headers, _ = c.ask(self.target)
                    last = headers.get("connection") == "close"
                    with self.lock:
                        self.answered += 1
                        if status != 200:
                            self.lost.append(status)
                c.close()
                if not self.reconnect:
                    return
            except OSError as e:
                with self.lock:
                    self.lost.append(str(e))
                if not self.reconnect:
                    return

    def wait_for(self, more):
        until, goal = time.monotonic() + PATIENCE, self.answered + more
        while self.answered < goal and time.monotonic() < until:
            time.sleep(0.005)

    def join(self, stop=True):
        self.stop = self.stop or stop
        for t in self.threads:
            t.join(PATIENCE)


def drain(folder):
    """All that was sent over connections that were there is answered, a slow search among it, and the last answer says so."""
    arguments = ["--client-rate", 1_000_000, "--client-burst", 1_000_000, "--posts", 200_000, "--no-shedding"]
    with Server(folder, *arguments, processes=2, name="drain") as s:
        fast = Crowd(s.port, 6, "/users/{}".format(3), reconnect=False)
        slow = Crowd(s.port, 4, "/search?q=water", reconnect=False)
        fast.wait_for(200)
        slow.wait_for(4)
        resting = Client(s.port)
        check("before", resting.ask("/readyz")[0] == 200)
        status = s.end()
        fast.join(stop=False)
        slow.join(stop=False)
        check("a drain ends by itself, within its time", status == 0 and "killed" not in s.text(), s.text())
        check("a drain loses no request", fast.lost + slow.lost == [] and fast.answered > 200, (fast.lost, slow.lost))
        check("a connection that rests is closed", resting.socket.recv(1) == b"")
    with Server(folder, "--lame-duck", "600ms", name="lame") as s:
        c = Client(s.port)
        s.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while (got := c.ask("/readyz"))[0] == 200 and time.monotonic() < until:
            time.sleep(0.01)
        others = [Client(s.port) for _ in range(3)]  # accepted still
        check("a lame duck says that it is not ready, and serves", [got[0], c.ask("/healthz")[0], *(o.ask("/users/1")[0] for o in others)] == [503, 200, 200, 200, 200], got)
        for o in (c, *others):
            o.close()
        check("and ends", s.process.wait(PATIENCE) == 0, s.text())


def replacements(folder):
    arguments = ["--client-rate", 1_000_000, "--client-burst", 1_000_000]
    with Server(folder, *arguments, processes=2, name="roll") as s:
        crowd = Crowd(s.port, 6, "/users/5", reconnect=True)
        brief = threading.Thread(target=lambda: brief_ones.append(load("--connections", 4, "--duration", "1500ms", f"{s.url}/users/6")))
        brief_ones = []
        brief.start()
        crowd.wait_for(100)
        first = s.workers()
        s.process.send_signal(signal.SIGHUP)
        s.wait_for("all processes were replaced")
        s.wait_for("ended with status 0", 2)
        crowd.wait_for(100)
        second = s.workers()
        brief.join()
        crowd.join()
        g = brief_ones[0]
        check("a rolling restart replaces every process", len(first) == len(second) == 2 and not set(first.values()) & set(second.values()), (first, second))
        check("a rolling restart loses no request", crowd.lost == [] and g["errors"] == 0 and g["answered"] == g["intended"], (crowd.lost, g.get("unanswered")))

        crowd = Crowd(s.port, 6, "/users/5", reconnect=True)
        crowd.wait_for(100)
        victim = next(iter(second.values()))
        os.kill(victim, signal.SIGKILL)
        s.wait_for("ended by signal 9")
        s.wait_for("serves", 5)
        crowd.wait_for(200)
        crowd.join()
        check("a process that is killed costs what it had in hand, and is replaced", len(crowd.lost) <= 6 and victim not in s.workers().values(), (crowd.lost, s.text()))
        check("the server ends in order", s.end() == 0, s.text())


def full_disk(folder):
    arguments = ["--client-rate", 1_000_000, "--client-burst", 1_000_000, "--users", 10, "--posts", 100, "--database", folder / "disk/api.db"]
    with SmallDisk(folder / "disk", "1m") as disk:
        if not disk:
            return
        with Server(folder, *arguments, name="full", inside=disk.inside) as s:
            c = Client(s.port)
            title = "x" * 1000
            made, refused = [], []
            while len(refused) < 20 and len(made) < 5000:
                status, _, body = c.ask("/users/1/posts", "POST", title)
                made.append(json.loads(body)["id"]) if status == 201 else refused.append(status)
            check("a post that does not fit on the disk is refused", set(refused) == {500} and 0 < len(made) < 5000, (refused, len(made)))
            check("... and the log says why", "full" in s.text(), s.text())
            check("what is there is read all the same", c.ask("/users/2/posts")[0] == 200)
            disk.resize("64m")
            status, _, body = c.ask("/users/1/posts", "POST", title)
            made.append(json.loads(body).get("id"))
            check("when there is room, posts are taken again", status == 201, body)
            check("it ends in order", s.end() == 0, s.text())
        with Server(folder, *arguments, name="full", inside=disk.inside) as s:
            there = {p["id"] for p in json.loads(Client(s.port).ask("/users/1/posts")[2])}
            check("every post that was confirmed is there", set(made) <= there, sorted(set(made) - there)[:5])


def main():
    global SERVER, LOAD
    SERVER, LOAD = map(os.path.abspath, sys.argv[1:3])
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-api-") as name:
        for part in (answers, waits, limits, overload, full_disk, drain, replacements):
            if len(sys.argv) < 4 or part.__name__ in sys.argv[3:]:
                part(pathlib.Path(name))
    print(f"   {time.monotonic() - began:.1f} s")
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
