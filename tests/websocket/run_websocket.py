#!/usr/bin/env python3
"""Runs examples/websocket_hub: its protocol, two hubs that Redis joins and that go on when it goes, what it does with slow readers, how it ends; and
scripts/scenario_websocket.py in a small size.

    run_websocket.py WEBSOCKET_HUB WEBSOCKET_LOAD

Figures are not judged here: scripts/scenarios has them.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))
from checks import check, verdict  # noqa: E402

PATIENCE = 60  # seconds for anything that should take one
HUB = LOAD = None


class Hub:
    def __init__(self, folder, *arguments, name="hub"):
        self.log = (folder / f"{name}.log").open("w+", encoding="utf-8")
        command = [HUB, "--port", 0, "--connections", 2000, *arguments]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.line = self.process.stdout.readline()
        self.port = int(self.line.split(":")[2].split("/")[0]) if self.line else None  # it has ended: text() says why
        self.url = f"ws://127.0.0.1:{self.port}/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def ask(self, target, method="GET", body=""):
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as s:
            s.sendall(f"{method} {target} HTTP/1.1\r\nHost: hub\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            text = b""
            while got := s.recv(65536):
                text += got
        head, _, body = text.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def metric(self, name):
        """The sum of what a metric says."""
        return sum(float(line.split()[-1]) for line in self.ask("/metrics")[1].splitlines() if line.startswith(name))

    def wait_for(self, name, value):
        until = time.monotonic() + PATIENCE
        while (now := self.metric(name)) != value and time.monotonic() < until:
            time.sleep(0.02)
        return now == value

    def text(self):
        return pathlib.Path(self.log.name).read_text(encoding="utf-8")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def frame_of(opcode, data=b"", final=True):
    mask = os.urandom(4)
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data)) if len(data) < 65536 else b"\xff" + struct.pack(">Q", len(data))
    return bytes([(0x80 if final else 0) | opcode]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))


class Client:
    """A WebSocket connection, byte by byte."""

    def __init__(self, hub, receive_buffer=None, early=b"", cut_at=None):
        """`early` comes with the upgrade; `cut_at` bytes of both in a packet by themselves."""
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", hub.port))
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = f"GET /x HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode() + early
        if cut_at:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(upgrade[:cut_at])
            hub.ask("/healthz")  # so that it has seen it
        self.socket.sendall(upgrade[cut_at or 0:])
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.take(1)
        wanted = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        self.accepted = b" 101 " in head and wanted in head

    def take(self, n):
        got = b""
        while len(got) < n:
            part = self.socket.recv(n - len(got))
            if not part:
                raise ConnectionError("it was closed")
            got += part
        return got

    def frame(self, opcode, data=b"", final=True):
        self.socket.sendall(frame_of(opcode, data, final))

    def say(self, text):
        self.frame(1, text.encode())

    def receive(self):
        """(opcode, data) of a frame."""
        first, size = self.take(2)
        if size == 126:
            size = struct.unpack(">H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.take(8))[0]
        return first & 15, self.take(size)

    def hear(self):
        opcode, data = self.receive()
        return data.decode() if opcode == 1 else (opcode, data)

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


def protocol(folder):
    with Hub(folder, "--largest", 10_000) as hub:
        all_of_them = [Client(hub) for _ in range(5)]
        check("the handshake is RFC 6455's", all(c.accepted for c in all_of_them))
        all_of_them[0].say("hello")
        check("what one says all are told, itself included", [c.hear() for c in all_of_them] == ["hello"] * 5)
        check("a message over HTTP", hub.ask("/publish", "POST", "over HTTP")[0] == 202 and {c.hear() for c in all_of_them} == {"over HTTP"})
        no_text = b"\xff\xfe\xed\xa0\x80\0"
        all_of_them[1].frame(2, no_text)
        check("what is no UTF-8 goes out as binary: as text it would have all of them close", [c.receive() for c in all_of_them] == [(2, no_text)] * 5)
        text = "ünïcode " * 500
        all_of_them[1].say(text)
        check("a long message", {c.hear() for c in all_of_them} == {text})
        all_of_them[2].frame(1, b"in ", final=False)
        all_of_them[2].frame(9, b"ping")
        all_of_them[2].frame(0, b"pieces")
        check("a ping between the pieces of a message is answered", all_of_them[2].receive() == (10, b"ping"))
        check("a message in pieces is one", {c.hear() for c in all_of_them} == {"in pieces"})
        for i in range(200):
            all_of_them[i % 5].say(str(i)) if i % 5 == 0 else None
        check("in the order in which one said them", all([c.hear() for _ in range(40)] == [str(i) for i in range(0, 200, 5)] for c in all_of_them))
        all_of_them[3].say("x" * 10_001)
        got = all_of_them[3].receive()
        check("a message that is too long: 1009, and closed", got[0] == 8 and got[1][:2] == b"\x03\xf1", got)
        bad = Client(hub)
        bad.socket.sendall(b"\x81\x01x")  # not masked
        got = bad.receive()
        check("who breaks the protocol: 1002, and closed", got[0] == 8 and got[1][:2] == b"\x03\xea", got)
        leaver = Client(hub)
        leaver.frame(8, b"\x03\xe8")
        check("a close is answered", leaver.receive() == (8, b"\x03\xe8") and leaver.is_closed())
        all_of_them.pop(3).socket.close()
        for c in (bad, leaver):
            c.socket.close()
        check("who has left is forgotten", hub.wait_for("websocket_hub_connections", 4))
        check("the others go on", hub.ask("/publish", "POST", "still")[0] == 202 and {c.hear() for c in all_of_them} == {"still"})
        check("health, metrics, and nothing else", [hub.ask(p)[0] for p in ("/healthz", "/metrics", "/x")] == [200, 200, 404])
        check("it counts what it does", hub.metric("websocket_hub_opened_total") == 7 and hub.metric("websocket_hub_published_total") == 46)
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=hub.ask("/metrics")[1], capture_output=True, text=True, check=False)
            check("promtool has nothing to say", done.returncode == 0 and not done.stderr, done.stderr)
        else:
            print("SKIPPED: there is no promtool")
        hub.ask("/publish", "POST", "the last")
        hub.process.send_signal(signal.SIGTERM)
        got = [[c.receive() for _ in range(2)] for c in all_of_them]
        check("SIGTERM: what was published, then a close frame (1001)", all(g == [(1, b"the last"), (8, b"\x03\xe9")] for g in got), got)
        for c in all_of_them:
            c.frame(8, b"\x03\xe9")
            c.socket.close()
        check("and it ends", hub.process.wait(PATIENCE) == 0, hub.text())


def exchange(hub, *parts):
    """Sends each part when something has been answered to the one before. All that is answered, until the hub closes."""
    answered = []
    with socket.create_connection(("127.0.0.1", hub.port), timeout=PATIENCE) as s:
        try:
            for part in parts:
                s.sendall(part)
                answered.append(s.recv(65536))
            while got := s.recv(65536):
                answered.append(got)
        except ConnectionError as e:
            answered.append(str(e).encode())
    return answered


def requests(folder):
    """What is HTTP's part."""
    with Hub(folder, "--largest", 10_000, name="requests") as hub:
        listener = Client(hub)
        said = [Client(hub, early=frame_of(1, b"with the upgrade")), Client(hub, early=frame_of(1, b"first") + frame_of(1, b"second")),
                Client(hub, early=frame_of(1, b"x" * 9000)), Client(hub, early=frame_of(1, b"in two"), cut_at=60), Client(hub, early=frame_of(1, b"in two as well"), cut_at=-8)]
        listener.socket.settimeout(5)
        heard = []
        try:
            while len(heard) < 6:
                heard.append(listener.hear())
        except TimeoutError:
            pass
        wanted = ["with the upgrade", "first", "second", "x" * 9000, "in two", "in two as well"]
        check("what comes with the upgrade is heard", all(c.accepted for c in said) and sorted(heard) == sorted(wanted) and heard.index("first") < heard.index("second"), heard)

        head = b"POST /publish HTTP/1.1\r\nHost: hub\r\nExpect: 100-continue\r\nContent-Length: "
        listener.socket.settimeout(PATIENCE)
        hear = len(heard) == 6 and listener.hear
        got = exchange(hub, head + b"5\r\n\r\n", b"hello")
        check("who asks whether to go on is told to", got[0] == b"HTTP/1.1 100 Continue\r\n\r\n" and got[1].startswith(b"HTTP/1.1 202 "), got)
        check("and heard", hear and hear() == "hello")
        got = exchange(hub, head + b"5\r\n\r\nhello")
        check("who asks, but has gone on, is not", got[0].startswith(b"HTTP/1.1 202 "), got)
        got = exchange(hub, head + b"20000\r\n\r\n")
        check("nor who would say too much", got[0].startswith(b"HTTP/1.1 413 "), got)

        large, post = b"x" * 8_000_000, b"POST /publish HTTP/1.1\r\nHost: hub\r\n"
        chunks = b"".join(b"1000\r\n" + b"x" * 4096 + b"\r\n" for _ in range(500)) + b"0\r\n\r\n"
        for name, text, status in (("a body that is too long", post + b"Content-Length: 8000000\r\n\r\n" + large, 413), ("... in chunks", post + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, 413),
                                   ("a chunk whose header is too long", post + b"Transfer-Encoding: chunked\r\n\r\n1;" + large, 431),
                                   ("a header that is too long", b"GET / HTTP/1.1\r\nX: " + large, 431), ("no HTTP", b"hello\r\n\r\n" + large, 400),
                                   ("a request behind the last one", b"GET /healthz HTTP/1.1\r\n\r\n" + large, 200)):
            got = b"".join(exchange(hub, text))
            check(f"{name}: {status}, and closed in order", got.startswith(f"HTTP/1.1 {status} ".encode()) and got.count(b"HTTP/1.1") == 1 and b"rror" not in got[-60:].split(b"\r\n\r\n")[-1], got[-300:])
        get, head = (b"".join(exchange(hub, method + b" /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")) for method in (b"GET", b"HEAD"))
        check("HEAD is answered as GET is, without the body", get.endswith(b"\r\n\r\nok\n") and head == get[:-3], head)
        body = b"".join(b"2\r\nab\r\n" for _ in range(3000)) + b"0\r\n\r\n"
        got = exchange(hub, post + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        check("a body in chunks", got[0].startswith(b"HTTP/1.1 202 ") and hear and {hear(), hear()} == {"hello", "ab" * 3000}, got)
        check("it ends in order", hub.end() == 0, hub.text())


def silence(folder):
    with Hub(folder, "--idle", "600ms", name="idle") as hub:
        gone, there = Client(hub), Client(hub)
        check("who is silent is asked whether it is there", gone.receive()[0] == 9)
        answered = 0
        while answered < 4:
            opcode, data = there.receive()
            if opcode == 9:
                there.frame(10, data)
                answered += 1
        check("who does not answer is closed, and who does stays", hub.wait_for("websocket_hub_connections", 1) and gone.is_closed())


def descriptors(folder):
    """As where a process may have few of them: a thread has its own then. The limit that the hub gets cannot be raised again."""
    few = ["/bin/sh", "-c", 'ulimit -n 400; exec "$@"', "sh"]
    if os.geteuid() == 0:  # root may raise the limit, unless it has lost that right
        if shutil.which("setpriv") is None:
            return print("SKIPPED: there is no setpriv")
        few = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", *few]
    process = subprocess.Popen([*few, HUB, "--port", "0", "--connections", "1000"], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        check("few descriptors: threads that have their own", "each with its own descriptors" in line, line)
        done = subprocess.run([*few, LOAD, "--connections", "1000", "--messages", "3", line.split()[0]], capture_output=True, text=True, timeout=PATIENCE, check=False)
        got = [json.loads(l) for l in done.stdout.splitlines()]
        check("1,000 connections between processes whose limit is 400", done.returncode == 0 and got[0]["readers"] == 1000 and got[1]["told_all"] == 3, done.stdout + done.stderr)
        process.send_signal(signal.SIGTERM)
        check("and it ends", process.wait(PATIENCE) == 0)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def no_hub(folder):
    """Where a name, a number or a hub is wrong the load program says so, and ends."""
    for url, status, said in (
        ("ws://localhost:80/", 2, "localhost is no IPv4 address"),
        ("ws://127.0.0.1:http/", 2, "http is not a number"),
        ("http://127.0.0.1/", 2, "is no ws:// URL"),
        ("ws://127.0.0.1:1/", 1, "connecting: "),
    ):
        done = subprocess.run([LOAD, "--connections", "3", "--threads", "2", url], capture_output=True, text=True, timeout=PATIENCE, check=False)
        check(f"load on {url}: status {status}, and why", done.returncode == status and said in done.stderr, (done.returncode, done.stdout, done.stderr))


def whole_frames(folder):
    """Messages and what Beast answers by itself share a connection, whose kernel takes no frame at once while its peer does not read."""
    with Hub(folder, "--when-slow", "lose", "--behind", 64, "--send-buffer", 4096, "--largest", 1_000_000, name="whole") as hub:
        slow, fast = Client(hub, receive_buffer=4096), Client(hub)
        sizes = [100, 125, 126, 65_535, 65_536, 300_000] * 5
        for i, size in enumerate(sizes):
            hub.ask("/publish", "POST", f"{i} ".ljust(size, "x"))
            check(f"{i}: who reads has it", fast.hear() == f"{i} ".ljust(size, "x"))
            slow.frame(9, str(i).encode())
        told, answered = [], 0
        while len(told) < len(sizes):
            opcode, data = slow.receive()
            if opcode == 1:
                told.append(data)
            else:
                check("nothing but messages and pongs", opcode == 10 and data.isdigit(), (opcode, data[:20]))
                answered += 1
        check("who reads late has all, whole and in order", told == [f"{i} ".ljust(size, "x").encode() for i, size in enumerate(sizes)])
        check("and its pings were answered in between", answered > 0, answered)
        for says_more in (True, False):
            stuck = Client(hub, receive_buffer=4096)
            hub.ask("/publish", "POST", "x" * 1_000_000)
            fast.hear()
            stuck.frame(8, b"\x03\xe8")
            if not says_more:
                stuck.socket.shutdown(socket.SHUT_WR)
            check("who closes within a frame has the rest of it before the answer", [stuck.receive()[0], stuck.receive()[0]] == [1, 8] and stuck.is_closed())
        slow.socket.close()
        fast.socket.close()
        check("it ends in order", hub.end() == 0, hub.text())


def cut_within_frames(folder):
    """Whatever it is that ends a connection in the middle of a frame, and that waits for it then."""
    with Hub(folder, "--behind", 2, "--send-buffer", 4096, "--largest", 1_000_000, "--idle", "1s", "--drain", "1s", name="cut") as hub:
        for turn in range(3):
            pinging, closing, silent, leaving, reset = (Client(hub, receive_buffer=4096) for _ in range(5))
            reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hub.ask("/publish", "POST", "x" * 1_000_000)
            for c, opcode, data in ((pinging, 9, b"a pong waits"), (closing, 8, b"\x03\xe8"), (leaving, 9, b"a pong waits"), (reset, 9, b"a pong waits")):
                with contextlib.suppress(ConnectionError):  # on a busy machine it was silent for too long already
                    c.frame(opcode, data)
            leaving.socket.close()
            reset.socket.close()
            time.sleep(0.3 * turn)  # in the last turn pings that nobody asked for wait, too
            for _ in range(4):
                hub.ask("/publish", "POST", "more")
            check("cut within a frame: it is closed", all(drained(c) for c in (pinging, silent)))
            check("... and forgotten", drained(closing) and hub.wait_for("websocket_hub_connections", 0))
        stuck = [Client(hub, receive_buffer=4096) for _ in range(3)]
        hub.ask("/publish", "POST", "x" * 1_000_000)
        with contextlib.suppress(ConnectionError):
            stuck[0].frame(9, b"a pong waits")
        check("it ends in order, with frames that nobody takes", hub.end() == 0, hub.text())


def slow_readers(folder):
    for how in ("drop", "lose"):
        with Hub(folder, "--behind", 8, "--when-slow", how, "--send-buffer", 4096, name=how) as hub:
            slow = [Client(hub, receive_buffer=4096) for _ in range(3)]
            fast = [Client(hub) for _ in range(3)]
            got = []
            for i in range(200):
                hub.ask("/publish", "POST", f"{i} ".ljust(1000, "x"))
                got.append({c.hear().split()[0] for c in fast})
            check(f"{how}: the others have all", got == [{str(i)} for i in range(200)], got)
            if how == "drop":
                check("drop: who does not read is dropped", hub.wait_for("websocket_hub_connections", 3) and hub.metric("websocket_dropped_total") == 3)
                check("drop: and sees it", all(drained(c) for c in slow))
            else:
                lost = 0
                for c in slow:
                    heard = []
                    while not heard or heard[-1] != 199:
                        heard.append(int(c.hear().split()[0]))
                    check("lose: who begins to read has the first and the last, in order, and lost what was between",
                          heard[0] == 0 and heard == sorted(set(heard)) and heard[-8:] == list(range(192, 200)) and len(heard) < 200, heard)
                    lost += 200 - len(heard)
                # Of all of them: the kernel may open the window of one that does not read once more, and so that one moves on by itself.
                check("lose: it counts them", hub.wait_for("websocket_hub_lost_total", lost), (lost, hub.metric("websocket_hub_lost_total")))
                check("lose: nobody is dropped", hub.metric("websocket_hub_connections") == 6 and hub.metric("websocket_dropped_total") == 0)


def drained(client):
    """Reads what is there; whether the connection ends by a reset, or a close frame."""
    try:
        while True:
            if client.receive()[0] == 8:
                return True
    except ConnectionError:
        return True


class Redis:
    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.port = s.getsockname()[1]
        self.folder = folder
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", self.folder, "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()


def joined(folder):
    if shutil.which("redis-server") is None:
        return print("SKIPPED: there is no redis-server")
    redis = Redis(folder)
    try:
        with Hub(folder, "--redis", redis.address, name="one") as one, Hub(folder, "--redis", redis.address, name="two") as two:
            if one.line == "":
                return print("SKIPPED: " + one.text())
            hear = "websocket_redis_relay_subscribed"
            check("both hubs hear each other", one.wait_for(hear, 1) and two.wait_for(hear, 1))
            a, b = Client(one), Client(two)
            a.say("from one")
            check("what is said at one hub is heard at both, once", [a.hear(), b.hear()] == ["from one", "from one"])
            b.say("from two")
            check("and the other way", [a.hear(), b.hear()] == ["from two", "from two"])
            redis.kill()
            check("Redis goes: both notice", one.wait_for(hear, 0) and two.wait_for(hear, 0))
            a.say("alone")
            b.say("alone, too")
            check("each goes on", [a.hear(), b.hear()] == ["alone", "alone, too"])
            redis.start()
            check("Redis is back: both hear each other", one.wait_for(hear, 1) and two.wait_for(hear, 1))
            a.say("again")
            heard = []
            while not heard or heard[-1] != "again":
                heard.append(b.hear())
            check("and what is said from now on is heard at both", a.hear() in ("again", "alone, too") and heard[-1] == "again" and set(heard) <= {"alone", "again"}, heard)
            check("they end in order", [one.end(), two.end()] == [0, 0], one.text() + two.text())
    finally:
        redis.kill()


def scenario(folder):
    command = [sys.executable, ROOT / "scripts/scenario_websocket.py", pathlib.Path(HUB).parent, folder, "--connections", 500, "--slow", 20, "--joined", 200, "--messages", 5,
               "--only-penstock"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=180, check=False)
    check("the scenario, in a small size, ends well", done.returncode == 0, done.stderr)
    if done.returncode == 0:
        goals = {g["goal"]: g for g in json.loads(done.stdout)["goals"]}
        for g in goals.values():
            print(f"   {g['goal']}: {g['figure']} (wanted: {g['wanted']})")
        # What does not depend on how busy the machine is.
        exact = [g for name, g in goals.items() if name.startswith(("connections", "slow readers", "two hubs")) and g["figure"] != "not measured: there is no redis-server"]
        check("all connections were made, all slow readers dropped, two hubs joined", len(exact) >= 2 and all(g["met"] for g in exact), exact)


def main():
    global HUB, LOAD
    HUB, LOAD = map(os.path.abspath, sys.argv[1:3])
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-websocket-") as name:
        for part in (protocol, requests, silence, descriptors, no_hub, whole_frames, cut_within_frames, slow_readers, joined, scenario):
            if len(sys.argv) < 4 or part.__name__ in sys.argv[3:]:
                part(pathlib.Path(name))
    print(f"   {time.monotonic() - began:.1f} s")
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
