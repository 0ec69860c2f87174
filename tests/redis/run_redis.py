#!/usr/bin/env python3
"""Makes a Redis server of its own and runs clients on it, also while it is killed, halted and started again.

    run_redis.py FOLDER REDIS_CLIENTS [CELERY_CLIENT]

The server lives in FOLDER, keeps nothing on disk, and listens on a socket there only. CELERY_CLIENT is run beside a worker of Celery. Where the server, or
Celery, is not installed it says so, and nothing has failed.
"""

import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402

PATIENCE = 60  # seconds for anything that should take one


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.socket = str(folder / "socket")
        self.process = None

    def start(self):
        settings = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        with open(self.folder / "server.log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(["redis-server", *settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(self.socket)
                    return True
                except OSError:
                    time.sleep(0.01)
        return False

    def send(self, which):
        self.process.send_signal(which)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def command(self, *words):
        """Sends one command and gives the beginning of the answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(x).encode() for x in words)))
            return s.recv(65536)


class Client:
    """A program with which one talks line by line."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("the end\n")

    def line(self):
        """The next line that is no verdict."""
        while True:
            try:
                line = self.lines.get(timeout=PATIENCE)
            except queue.Empty:
                return "nothing"
            if line.startswith(("ok ", "FAILED ")):
                verdict, _, what = line.strip().partition(" ")
                check(what, verdict == "ok")
            else:
                return line.strip()

    def say(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def ask(self, what):
        self.say(what)
        return self.line()

    def end(self):
        try:
            self.say("end")
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        while self.line() not in ("the end", "nothing"):
            pass
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Misbehaving:
    """Answers the next connection in the way that it is told."""

    def __init__(self, path):
        self.path = str(path)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.listening.settimeout(PATIENCE)

    def serve(self, behaviour):
        thread = threading.Thread(target=self.serve_now, args=(behaviour,))
        thread.start()
        return thread

    def serve_now(self, behaviour):
        connections = 4 if behaviour == "loading" else 1
        for left in range(connections, 0, -1):
            connection, _ = self.listening.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.recv(65536)  # PING
                if behaviour == "loading" and left > 1:
                    connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
                    connection.recv(1)
                    continue
                connection.sendall(b"+PONG\r\n")
                connection.recv(65536)
                if behaviour == "nonsense":
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                elif behaviour == "half":
                    connection.sendall(b"$10\r\nhal")
                elif behaviour == "drips":
                    # Each piece comes in time; the whole does not.
                    try:
                        for byte in b"$100\r\n" + 100 * b"a":
                            connection.sendall(bytes([byte]))
                            time.sleep(0.02)
                    except OSError:
                        pass
                elif behaviour == "pieces":
                    for byte in b"$5\r\nhello\r\n":
                        connection.sendall(bytes([byte]))
                elif behaviour == "loading":
                    connection.sendall(b"$5\r\nready\r\n")
                elif behaviour == "silence":
                    connection.recv(1)


def misbehaviour(folder, clients):
    with tempfile.TemporaryDirectory(dir=folder) as place:
        server = Misbehaving(pathlib.Path(place) / "s")
        client = Client(clients, "fake", server.path)
        client.line()
        lost = "the connection was lost, and the command may have been executed"
        late = "no reply in time, and the command may have been executed"
        for behaviour, seen, what in (
            ("pieces", "hello", "a reply that comes byte by byte"),
            ("nonsense", "what came is no Redis protocol", "what is no Redis protocol"),
            ("half", lost, "half a reply, and the end"),
            ("closes", lost, "the end in place of a reply"),
            ("silence", late, "no reply"),
            ("drips", late, "a reply that would take too long as a whole"),
            ("loading", "ready", "a server that loads is waited for"),
        ):
            thread = server.serve(behaviour)
            answer = client.ask(behaviour)
            thread.join(PATIENCE)
            check(what, answer == seen, answer)
        check("its client ends well", client.end() == 0)


def outages(server, clients):
    client = Client(clients, "outage", server.socket)
    client.line()
    check("both clients are answered", client.ask("up") == "up")
    server.kill()
    check("the server is killed", client.ask("down") == "down")
    again = threading.Timer(1, server.start)
    again.start()
    check("it is started again while they ask", client.ask("up") == "up")
    again.join()
    server.command("CLIENT", "KILL", "TYPE", "normal")
    check("their connections are killed", client.ask("up") == "up")
    server.command("SCRIPT", "FLUSH")
    check("their scripts are forgotten", client.ask("up") == "up")
    server.send(signal.SIGSTOP)
    try:
        check("the server stands still", client.ask("down") == "down")
    finally:
        server.send(signal.SIGCONT)
    check("it goes on", client.ask("up") == "up")
    check("the clients end well", client.end() == 0)


class Two:
    """Two processes at the same thing, and what they print as rows of numbers."""

    def __init__(self, clients, mode, server, name, seconds):
        command = [clients, mode, server.socket, name.replace(" ", "-"), str(seconds)]
        self.mode = mode
        self.processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    def rows(self):
        rows = []
        for process in self.processes:
            try:
                out, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
            check(f"a {self.mode} process ends well", process.returncode == 0)
            rows.append([tuple(int(n) for n in line.split()) for line in out.splitlines()])
        return rows


def exceeds(rows, rate, burst):
    """Where the law of the bucket was broken: a token was taken between the beginning and the end of its call, so whatever lies within a span was."""
    calls = sorted(rows)
    for first in range(len(calls)):
        start = calls[first][0]
        sums = 0
        for began, ended, n in sorted(calls[first:], key=lambda row: row[1]):
            sums += n
            if sums > burst + rate * (ended - start) / 1e9 + 1e-3:
                return f"{sums} tokens in {(ended - start) / 1e6} ms"
    return ""


def overlaps(rows):
    """How many were held at once at the most."""
    edges = sorted([(since, 1) for since, _, _ in rows] + [(until, -1) for _, until, _ in rows], key=lambda e: (e[0], e[1]))
    held = most = 0
    for _, change in edges:
        held += change
        most = max(most, held)
    return most


def disturb(server):
    time.sleep(0.2)
    server.command("CLIENT", "KILL", "TYPE", "normal")
    server.command("SCRIPT", "FLUSH")


def restart(server):
    time.sleep(1 + (0.8 - time.time()) % 1)  # towards the end of a second: of its age it knows whole seconds, and soon says one too many
    server.kill()
    server.start()


def shared_by_two(server, clients):
    for what, seconds, meanwhile in (
        ("", 3, lambda: None),
        (" while connections are killed and scripts forgotten", 2, lambda: [disturb(server) for _ in range(6)]),
        (" while the server is killed and starts again with nothing", 6, lambda: restart(server)),
    ):
        tokens = Two(clients, "bucket", server, f"tokens{what}", seconds)
        permits = Two(clients, "semaphore", server, f"permits{what}", seconds)
        meanwhile()
        check_bucket(tokens.rows(), seconds, what)
        check_semaphore(permits.rows(), what)


def check_bucket(rows, seconds, what):
    together = [row for of_one in rows for row in of_one]
    taken = sum(row[2] for row in together)
    broken = exceeds(together, 100, 5)
    check(f"two processes never take more than the bucket gives{what} ({taken} tokens)", not broken, broken)
    check(f"and both get some{what}", all(rows) and taken > 20)
    if not what:
        check("most of what it gives, when more are wanted", taken >= 0.5 * 100 * seconds, f"{taken} in {seconds} s")


def check_semaphore(rows, what):
    together = [row for of_one in rows for row in of_one]
    most = overlaps(together)
    check(f"two processes never hold more than the permits{what} (at most {most}, {len(together)} times)", 0 < most <= 2)
    fences = [row[2] for row in together]
    check(f"no fencing token is given twice{what}", len(set(fences)) == len(fences))
    # Of two permits of which one ended before the other began, the later one has the greater token.
    wrong = [(a, b) for a in together for b in together if a[1] < b[0] and a[2] >= b[2]]
    check(f"the tokens grow{what}", not wrong, str(wrong[:1]))
    if not what:
        check("and all permits are used", most == 2)


def losses(server, clients):
    name = "lost"
    client = Client(clients, "lose", server.socket, name)
    check("a permit is held", client.line() == "held")
    time.sleep(2.5)
    check("and renewed", server.command("ZCARD", name) == b":1\r\n")
    other = Client(clients, "lose", server.socket, name)
    client.process.kill()
    client.process.wait()
    check("its process is killed: the lease ends, and somebody else has the permit", other.line() == "held")
    server.send(signal.SIGSTOP)
    try:
        check("the server stands still: the loss is told before the server would forget", other.line() == "lost in time")
    finally:
        server.send(signal.SIGCONT)
    check("and the holder ends well", other.end() == 0)


def celery(server, program):
    if program is None:
        return print("skipped: Celery's producer was not built", flush=True)
    python = shutil.which("python3", path="/usr/bin") or sys.executable  # Debian's packages are for Debian's python
    if subprocess.run([python, "-c", "import celery, redis"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        return print("skipped: python3-celery and python3-redis are not installed", flush=True)
    here = pathlib.Path(__file__).resolve().parent
    broker = f"redis+socket://{server.socket}"
    with open(server.folder / "celery.log", "w", encoding="utf-8") as log:
        options = ["-A", "celery_tasks", "worker", "--pool", "solo", "--loglevel", "INFO", "--without-gossip", "--without-mingle", "-Q", "celery,other"]
        environment = os.environ | {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker, "PYTHONDONTWRITEBYTECODE": "1"}
        worker = subprocess.Popen([python, "-m", "celery", *options], cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        client = Client(program, server.socket)
        client.line()
        check("the producer ends well", client.end() == 0, (server.folder / "celery.log").read_text(encoding="utf-8")[-1500:])
    finally:
        worker.terminate()
        try:
            worker.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and take the server along
    folder, clients, producer = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
    if shutil.which("redis-server") is None:
        print("skipped: redis-server is not installed")
        return 0
    os.makedirs(folder, exist_ok=True)
    # The path of a socket has at most 107 characters.
    base = folder if len(os.path.abspath(folder)) < 60 else None
    with tempfile.TemporaryDirectory(prefix="redis-", dir=base, ignore_cleanup_errors=True) as place:
        place = pathlib.Path(place).resolve()
        server = Server(place)
        try:
            check("a server starts", server.start())
            done = Client(clients, "connection", server.socket)
            check("a connection, by itself", done.end() == 0)
            misbehaviour(place, clients)
            outages(server, clients)
            shared_by_two(server, clients)
            losses(server, clients)
            celery(server, producer)
        finally:
            server.kill()
    return verdict(skipped=True)


if __name__ == "__main__":
    sys.exit(main())
