#!/usr/bin/env python3
"""Runs a supervisor with two workers: kills them, restarts them one after another while clients ask, and ends it in every way.

    run_supervisor.py SUPERVISOR_PROGRAM
"""

import errno
import os
import pathlib
import queue
import resource
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


class Event:
    def __init__(self, line):
        self.line = line
        self.what, *rest = line.split()
        self.numbers = [float(n) for n in rest if n.lstrip("-").replace(".", "").isdigit()]
        self.index, self.pid, self.status, self.delay, self.ready = (self.numbers + [0] * 5)[:5]
        self.pid = int(self.pid)

    def __repr__(self):
        return self.line


class Supervisor:
    def __init__(self, binary, *options, behaviour="ok", files=1024, blocked=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-supervisor-"))
        self.behave(behaviour)
        limited = ["sh", "-c", f'ulimit -n {files} && exec "$0" "$@"']
        self.process = subprocess.Popen([*limited, binary, self.folder, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked))
        self.events = queue.Queue()
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.events.put(Event(line.rstrip()))
        self.events.put(None)  # it has ended

    def behave(self, how):
        (self.folder / "behaviour").write_text(how + "\n", encoding="utf-8")

    def until(self, what, times=1, seconds=20):
        """The events up to the times-th of this kind."""
        got = []
        end = time.monotonic() + seconds
        while sum(e.what == what for e in got) < times:
            try:
                event = self.events.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                event = None
            if event is None:
                raise RuntimeError(f"no {what} came after {self.seen + got}")
            got.append(event)
        self.seen += got
        return got

    def signal(self, number):
        self.process.send_signal(number)

    def ask(self, text="now"):
        """The process that answers, and its place."""
        with socket.create_connection(("127.0.0.1", int((self.folder / "port").read_text())), timeout=10) as client:
            client.sendall(text.encode())
            return tuple(map(int, client.makefile().read().split()))

    def finish(self):
        """Its exit status, and the numbers at the end: started, restarts, killed, rolled, rolls failed, starts failed."""
        end = self.until("ended")[-1]
        return self.process.wait(timeout=10), [int(n) for n in end.numbers]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pids, seconds=10):
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(map(alive, pids))


class Clients:
    """Ask all the time, from two threads."""

    def __init__(self, supervisor):
        self.answers, self.errors, self.ends = [], [], False
        self.threads = [threading.Thread(target=self.run, args=(supervisor,)) for _ in range(2)]
        for t in self.threads:
            t.start()

    def run(self, supervisor):
        while not self.ends:
            try:
                self.answers.append(supervisor.ask()[0])
            except (OSError, ValueError) as error:
                self.errors.append(repr(error))
            time.sleep(0.001)

    def finish(self, answers):
        end = time.monotonic() + 10
        while len(self.answers) < answers and time.monotonic() < end:
            time.sleep(0.01)
        self.ends = True
        for t in self.threads:
            t.join()


def check_life(binary):
    """Deaths, rolling restarts that succeed and fail, and an end in good order."""
    with Supervisor(binary) as s:
        first = {int(e.index): e.pid for e in s.until("ready", 2) if e.what == "ready"}
        answers = {s.ask() for _ in range(60)}
        check("both workers serve one port", answers == {(pid, index) for index, pid in first.items()}, answers)

        os.kill(first[0], signal.SIGKILL)
        events = s.until("ready")
        check("one that is killed is replaced after a while", [e.what for e in events] == ["exited", "restarting", "started", "ready"]
              and events[0].status == -9 and events[1].delay == 50 and events[3].index == 0, events)
        second = {0: events[3].pid, 1: first[1]}

        s.behave("fail")
        os.kill(second[1], signal.SIGTERM)
        events = s.until("restarting", 4)
        delays = [e.delay for e in events if e.what == "restarting"]
        check("one that fails again and again is replaced later and later", delays == [50, 100, 200, 200], events)
        check("one that was not told to, but ended well, is replaced, too; an exception is a status", [e.status for e in events if e.what == "exited"] == [0, 70, 70, 70], events)
        check("the other one serves", s.ask() == (second[0], 0))
        s.behave("ok")
        second[1] = s.until("ready")[-1].pid

        clients = Clients(s)
        s.signal(signal.SIGHUP)
        events = s.until("started")
        s.signal(signal.SIGHUP)  # while the first one is at work, or after it: another round
        events += s.until("rolled", 2)
        order = [(e.what, e.index) for e in events if e.what in ("started", "ready", "stopping")]
        check("a rolling restart: a new one is ready before the old one is told to stop, place by place",
              order[:6] == [(w, i) for i in (0, 1) for w in ("started", "ready", "stopping")], events)
        check("it is the old ones that are told", {e.pid for e in events if e.what == "stopping"} >= set(second.values()), events)
        check("the old ones are gone", gone(second.values()))
        check("who was told to stop does not count as ready", all(e.ready == 2 for e in events if e.what == "stopping"), [(e, e.ready) for e in events])
        clients.finish(100)
        refused = [e for e in clients.errors if "refused" in e.lower()]
        # Between its last accept() and close() a listener may be given a connection, which is reset (reuse_port.hpp).
        check("clients are served meanwhile", not refused and len(clients.errors) <= 2 and len(clients.answers) >= 100, (clients.errors, len(clients.answers)))

        for how in ("fail", "hang"):
            s.behave(how)
            before = {s.ask()[0] for _ in range(60)}
            s.signal(signal.SIGHUP)
            events = s.until("roll_failed")
            check(f"a rolling restart whose new one does {how} ends, and the old ones stay", not any(e.what in ("stopping", "restarting") for e in events)
                  and {s.ask()[0] for _ in range(60)} == before and len(before) == 2, events)
        s.behave("ok")

        got = []
        slow = [threading.Thread(target=lambda: got.append(s.ask("slow"))) for _ in range(4)]
        for t in slow:
            t.start()
        time.sleep(0.15)
        s.signal(signal.SIGTERM)
        for t in slow:
            t.join()
        status, numbers = s.finish()
        check("SIGTERM: what was begun is finished", len(got) == 4 and all(len(g) == 2 for g in got) and status == 0, (status, got))
        # 2, a death, 1 + 3 deaths, two rounds of two places, a failure and one that hung
        check("and it has counted", numbers == [2 + 1 + 4 + 4 + 2, 5, 1, 2, 2, 0], numbers)


def check_shortage(binary):
    """No process can be had for a while: that is told, counted, and no restart."""
    with Supervisor(binary) as s:
        first = {int(e.index): e.pid for e in s.until("ready", 2) if e.what == "ready"}
        limits = resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # what is open stays so
        os.kill(first[0], signal.SIGKILL)
        events = s.until("start_failed", 2)
        failed = [e for e in events if e.what == "start_failed"]
        check("who cannot be started is told, with the reason, and tried again later and later",
              [(e.delay, e.status) for e in failed] == [(100, errno.EMFILE), (200, errno.EMFILE)] and not any(e.what == "started" for e in events), events)
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, limits)
        more = s.until("ready")
        attempts = 2 + sum(e.what == "start_failed" for e in more)
        s.signal(signal.SIGTERM)
        status, numbers = s.finish()
        check("attempts that failed are no restarts", status == 0 and numbers == [3, 1, 0, 0, 0, attempts], (numbers, attempts))
    with Supervisor(binary) as s:
        s.until("ready", 2)
        limits = resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        s.signal(signal.SIGHUP)
        events = s.until("roll_failed")
        check("in a rolling restart, too, and it ends", [(e.what, e.delay, e.status) for e in events if e.what == "start_failed"] == [("start_failed", 0, errno.EMFILE)],
              events)
        s.signal(signal.SIGTERM)
        status, numbers = s.finish()
        check("the old ones stay", status == 0 and numbers == [2, 0, 0, 0, 1, 1], numbers)


def check_ends(binary):
    with Supervisor(binary, "--drain", "300", behaviour="stubborn") as s:
        pids = {e.pid for e in s.until("ready", 2)}
        began = time.monotonic()
        s.signal(signal.SIGINT)
        events = s.until("exited", 2)
        status, numbers = s.finish()
        check("who does not stop is killed at the deadline", status == 1 and numbers[2] == 2 and 0.3 <= time.monotonic() - began < 5
              and all(e.status == -9 for e in events if e.what == "exited") and gone(pids), events)
    with Supervisor(binary, "--drain", "60000", behaviour="stubborn") as s:
        s.until("ready", 2)
        s.signal(signal.SIGTERM)
        s.until("stopping", 2)
        s.signal(signal.SIGTERM)
        check("at once, if it is told twice", s.finish()[0] == 1)
    with Supervisor(binary) as s:
        pids = {e.pid for e in s.until("ready", 2)}
        s.process.kill()
        check("workers do not outlive a supervisor that is killed", gone(pids), pids)
    with Supervisor(binary, "--drain", "300", behaviour="stubborn") as s:
        pids = {e.pid for e in s.until("ready", 2)}
        s.process.kill()
        check("nor those that do not stop when they are asked", gone(pids), pids)
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)
    with Supervisor(binary, "--threads") as s:
        s.process.wait(timeout=20)
        check("it does not fork where there are threads", s.process.returncode == 3 and s.until("penstock::supervisor:")[0], s.seen)


    with Supervisor(binary, behaviour="fail") as s:
        s.until("restarting", 3)
        s.signal(signal.SIGTERM)
        check("it ends while it waits to replace somebody", s.finish()[0] == 0)
    with Supervisor(binary, "--throw") as s:
        events = s.until("thrown")
        pids = {e.pid for e in events if e.what == "started"}
        check("what on_event throws comes out of run(), when all workers are gone",
              s.process.wait(timeout=20) == 3 and len(pids) == 2 and not any(map(alive, pids)), events)
    with Supervisor(binary, "--processes", "60", files=40) as s:
        events = s.until("penstock::supervisor:")
        pids = {e.pid for e in events if e.what == "started"}
        check("where not all can be started at the beginning, none stays", s.process.wait(timeout=20) == 3 and 10 < len(pids) < 40 and not any(map(alive, pids)), events)


def unix_sockets(pid):
    """The inodes of those that the process has open."""
    with open("/proc/net/unix", encoding="utf-8") as file:
        known = {line.split()[6] for line in file if line[0] != "N"}
    folder = f"/proc/{pid}/fd"
    links = [os.readlink(f"{folder}/{n}") for n in os.listdir(folder)]
    return {link[8:-1] for link in links if link.startswith("socket:[")} & known


def check_inheritance(binary):
    """What a worker has of its parent, and a worker's child of the worker."""
    for options in ((), ("--exec",)):
        with Supervisor(binary, *options, "--buffered", "--helper", blocked={signal.SIGUSR1}) as s:
            events = s.until("ready", 2)
            how = " executed anew" if options else ""
            pids = [e.pid for e in events if e.what == "ready"]
            masks = []
            for pid in pids:
                with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                    masks.append({n + 1 for line in file if line.startswith("SigBlk:") for n in range(64) if int(line.split()[1], 16) >> n & 1})
            check(f"a worker{how} blocks what its parent did before, and nothing else", masks == [{signal.SIGUSR1}] * 2, masks)
            shared = [unix_sockets(pid) & unix_sockets(s.process.pid) for pid in pids]
            check(f"a worker{how} shares with its parent what tells that that one is gone, and no other socket of the supervisor's", [len(x) for x in shared] == [1, 1], shared)

            helpers = [e.pid for e in events if e.what == "helper"]
            os.kill(helpers[0], signal.SIGTERM)
            check(f"SIGTERM to a child of a worker{how} ends that child", gone(helpers[:1], 3), helpers)
            answers = {s.ask()[0] for _ in range(60)}
            check("and not the worker", answers == set(pids), (answers, pids, s.seen))
            s.signal(signal.SIGTERM)
            end = s.until("ended")
            for pid in filter(alive, helpers):
                os.kill(pid, signal.SIGKILL)
            s.process.wait(timeout=10)
            time.sleep(0.1)
            said = [e.what for e in s.seen]
            while not s.events.empty():
                said.append(str(s.events.get()))
            check(f"what is in std::cout's buffer when a worker{how} is made or ends is written, once",
                  said.count("served") == 2 and said.count("begun") == (3 if options else 1), (end, said))


def check_exec(binary):
    """Workers that are executed anew take a new binary at a rolling restart."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-supervisor-"))
    copy = folder / "program"
    try:
        shutil.copy(binary, copy)
        with Supervisor(copy, "--exec", "--threads") as s:
            pids = {e.pid for e in s.until("ready", 2)}
            old = {os.stat(f"/proc/{pid}/exe").st_ino for pid in pids}
            check("executed anew, also where there are threads", {s.ask()[0] for _ in range(60)} == pids and old == {copy.stat().st_ino})
            shutil.copy(binary, folder / "new")
            os.replace(folder / "new", copy)
            s.signal(signal.SIGHUP)
            events = s.until("rolled")
            pids = {e.pid for e in events if e.what == "ready"}
            check("a rolling restart takes the new binary", {os.stat(f"/proc/{pid}/exe").st_ino for pid in pids} == {copy.stat().st_ino} != old, events)
            check("which serves", gone({e.pid for e in events if e.what == "stopping"}) and {s.ask()[0] for _ in range(60)} == pids)
            s.signal(signal.SIGTERM)
            check("and ends", s.finish() == (0, [4, 0, 0, 1, 0, 0]))
            check("nobody is left", gone(pids))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    binary = os.path.abspath(sys.argv[1])
    check_life(binary)
    check_shortage(binary)
    check_ends(binary)
    check_inheritance(binary)
    check_exec(binary)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
