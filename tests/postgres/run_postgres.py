#!/usr/bin/env python3
"""Makes a PostgreSQL server of its own and runs examples/postgres_api.cpp on it, also while the server is killed, halted and started again.

    run_postgres.py POSTGRES_API [ROWS]

The server lives in a temporary directory, listens on a socket there only, and belongs to a user that is not root. Where that cannot be had it says so,
and nothing has failed.
"""

import glob
import os
import pathlib
import pwd
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402

PATIENCE = 60  # seconds for anything that should take one


class Skipped(Exception):
    pass


class Stuck(Exception):
    """What comes next would only wait in vain."""


def need(name, condition, detail=""):
    check(name, condition, detail)
    if not condition:
        raise Stuck


def server_programs():
    """The folder of initdb and pg_ctl, of the newest version that is installed."""
    if found := shutil.which("initdb"):
        return pathlib.Path(found).resolve().parent
    versions = glob.glob("/usr/lib/postgresql/*/bin/initdb") + glob.glob("/usr/pgsql-*/bin/initdb")
    if not versions:
        raise Skipped("PostgreSQL's server is not installed")
    return pathlib.Path(max(versions, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])).parent


def server_user():
    """What to put before a command so that somebody who is not root runs it, and who that is."""
    if os.getuid() != 0:
        return [], None
    if shutil.which("runuser") is None:
        raise Skipped("this is root, and there is no runuser")
    for name in ("postgres", "nobody"):
        try:
            return ["runuser", "-u", name, "--"], pwd.getpwnam(name)
        except KeyError:
            pass
    raise Skipped("this is root, and there is neither a user postgres nor nobody")


class Server:
    def __init__(self, folder):
        self.programs = server_programs()
        self.prefix, user = server_user()
        self.folder = folder
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            folder.chmod(0o755)  # this program, and the clients, are somebody else
        settings = ["--auth=trust", "--username=penstock", "--encoding=UTF8", "--locale=C"]
        done = self.command("initdb", *settings, "--no-sync", "-D", folder / "data")
        if done.returncode != 0:
            raise Skipped(f"initdb failed: {done.stdout.strip()[-500:]}")
        self.connection = f"host={folder} dbname=postgres user=penstock"

    def command(self, program, *arguments):
        command = [*self.prefix, self.programs / program, *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(command, cwd="/", **pipes, text=True, check=False, timeout=PATIENCE)

    def start(self):
        """What a killed server has left may still be in use for a moment."""
        for _ in range(20):
            options = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
            # Not through a pipe, which the server would keep open.
            with open(self.folder / "pg_ctl.log", "w", encoding="utf-8") as log:
                command = [*self.prefix, self.programs / "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "data/server.log"]
                done = subprocess.run(
                    [*command, "-o", options, "-w", "start"],
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=False,
                    timeout=PATIENCE,
                )
                if done.returncode == 0:
                    return True
            time.sleep(0.5)
        return False

    def said(self):
        logs = [self.folder / name for name in ("pg_ctl.log", "data/server.log")]
        return "".join(log.read_text(encoding="utf-8", errors="replace")[-1500:] for log in logs if log.exists())

    def postmaster(self):
        return int((self.folder / "data/postmaster.pid").read_text(encoding="ascii").split()[0])

    def family(self):
        """The postmaster and its children."""
        parent = self.postmaster()
        children = []
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                text = pathlib.Path(stat).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if int(text.rpartition(")")[2].split()[1]) == parent:
                children.append(int(text.split()[0]))
        return [parent, *children]

    def stop(self):
        self.command("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")


def send(which, pids):
    for pid in pids:
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            pass


class Clients:
    """postgres_api --outage, which says what its clients see."""

    def __init__(self, program, *arguments):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([program, "--outage", *arguments], **pipes, text=True, bufsize=1)

    def line(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            return "nothing"
        return self.process.stdout.readline().strip() or "nothing"

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        return self.line()

    def end(self):
        self.process.stdin.write("end\n")
        self.process.stdin.close()
        for line in self.process.stdout:
            if line.startswith(("ok ", "FAILED ")):
                verdict, _, what = line.strip().partition(" ")
                check(what, verdict == "ok")
            else:
                print(line.rstrip(), flush=True)
        return self.process.wait(timeout=PATIENCE)


def outages(program, server, *arguments):
    clients = Clients(program, server.connection, *arguments)
    try:
        need("the clients begin", clients.line() == "ready")
        need("every kind of client is answered", clients.ask("up") == "up")
        send(signal.SIGKILL, [server.postmaster()])
        need("the server is killed (its sessions are not): every kind of client has an error", clients.ask("down") == "down")
        need("it is started again", server.start(), server.said())
        need("every kind of client is answered again", clients.ask("up") == "up")
        send(signal.SIGKILL, server.family())
        need("the server and its sessions are killed: every kind of client has an error", clients.ask("down") == "down")
        need("it is started again", server.start(), server.said())
        need("every kind of client is answered again", clients.ask("up") == "up")
        halted = server.family()
        send(signal.SIGSTOP, halted)
        try:
            need("the server says nothing more: every kind of client has an error", clients.ask("down") == "down")
        finally:
            send(signal.SIGCONT, halted)
        need("it goes on: every kind of client is answered again", clients.ask("up") == "up")
        check("the clients end well", clients.end() == 0)
    finally:
        clients.process.kill()
        clients.process.wait()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and take the server along
    program, rows = sys.argv[1], sys.argv[2:3]
    # The path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="penstock-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            server = Server(pathlib.Path(folder))
        except Skipped as why:
            print(f"skipped: {why}")
            return 0
        try:
            need("a server starts", server.start(), server.said())
            done = subprocess.run([program, server.connection, *rows], check=False, timeout=10 * PATIENCE)
            check("with and without pool, batcher and accumulator", done.returncode == 0)
            for where in ([], ["--background"]):
                print("connects in the background" if where else "connects by who needs one", flush=True)
                outages(program, server, *where)
        except Stuck:
            print("and so the rest was left out", flush=True)
        finally:
            server.stop()
    return verdict(skipped=True)


if __name__ == "__main__":
    sys.exit(main())
