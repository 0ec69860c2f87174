"""What the scenarios have in common: the machine that they name, the rows of their tables, and the neighbours that they compare with, which may fail without taking
penstock's figures along."""

import contextlib
import datetime
import os
import pathlib
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds for a server to be ready


class NotToBeHad(Exception):
    """Why a neighbour cannot be compared with."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def machine(besides="load generator on the same machine"):
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}, commit {commit}, {datetime.date.today()}; {besides}"


def start(command, patience=PATIENCE, **more):
    """A server as a process of a group of its own, and its address, which is the first word that it prints. If it prints none, what it said on standard error is
    why."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen([str(word) for word in command], **{"stdout": subprocess.PIPE, "stderr": log, "text": True, "process_group": 0} | more)
        ready = select.select([process.stdout], [], [], patience)[0]
        words = process.stdout.readline().split() if ready else []
        if words:
            return process, words[0]
        if ready:  # it has closed its output, so it is about to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        status = f"printed no address in {patience} s" if process.poll() is None else f"ended with {process.returncode}"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        log.seek(0)
        raise NotToBeHad(f"{pathlib.Path(command[0]).name} {status}: {log.read().strip()[-500:] or 'it said nothing'}")


def node_modules(work, packages, oldest):
    """Where npm's packages (name@version) are: in $PENSTOCK_NODE_MODULES, or installed in `work`. They need that major version of Node or a later one,
    and an even one: only those are maintained, and packages with native parts have nothing for the others."""
    if shutil.which("node") is None:
        raise NotToBeHad("there is no node")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", said.stdout)
    if version is None:
        raise NotToBeHad(f"node --version says '{(said.stdout + said.stderr).strip()[-200:]}'")
    if int(version[1]) < oldest:
        raise NotToBeHad(f"its packages need Node {oldest} or later, and this is {said.stdout.strip()}")
    if int(version[1]) % 2:
        raise NotToBeHad(f"its packages need an even version of Node, and this is {said.stdout.strip()}")
    given = os.environ.get("PENSTOCK_NODE_MODULES")
    folder = pathlib.Path(given) if given else work / "npm/node_modules"

    def missing():
        return [p for p in packages if not (folder / p.rpartition("@")[0] / "package.json").exists()]

    if missing() and not given:
        if shutil.which("npm") is None:
            raise NotToBeHad("there is no npm")
        (work / "npm").mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", work / "npm", *packages]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode != 0:
            raise NotToBeHad(f"npm install ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    if lacking := missing():
        raise NotToBeHad(f"there is no {lacking[0]} in {folder}")
    return folder


class Goals:
    """The rows of a scenario's table: one for each goal, whether it could be measured or not."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, what, wanted, figure, met):
        self.add(what, wanted, figure, bool(met))

    def not_measured(self, what, wanted, why):
        self.add(what, wanted, textwrap.shorten(f"not measured: {why}", 300), None)  # in one line, for `why` may be what another program said

    def add(self, what, wanted, figure, met):
        self.rows.append({"goal": what, "wanted": wanted, "figure": figure, "met": met})
        say(f"   {what}: {figure} (wanted: {wanted})")

    def optional(self, neighbour, goals, part):
        """Runs a part that needs a neighbour. `goals`: (what, wanted) of each that it measures, in that order; it is called with them. Whatever goes wrong in it costs
        that part alone: the goals that it has not come to say why, and penstock's figures stay."""
        before = len(self.rows)
        try:
            part(*goals)
        except Exception as error:  # pylint: disable=broad-exception-caught
            why = error if isinstance(error, (NotToBeHad, RuntimeError)) else repr(error)
            say(f"without {neighbour}: {why}")
            for goal in goals[len(self.rows) - before:]:
                self.not_measured(*goal, why)
