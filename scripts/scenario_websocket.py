#!/usr/bin/env python3
"""The scenario "websocket": examples/websocket_hub with very many connections, some of which do not read; two hubs that Redis joins; and a hub in Node
(tests/websocket/node). scripts/scenarios runs it.

usage: scenario_websocket.py BUILD WORK [--connections N] [--slow N] [--joined N] [--beside N] [--messages N] [--only-penstock]

BUILD has penstock-websocket-hub and penstock-websocket-load. WORK keeps npm's packages, or they are in $PENSTOCK_NODE_MODULES. Where Node, its package or its
hub, or redis-server, cannot be had, the goals that need it are not measured, and say why. Hubs and load share the machine. Prints JSON.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

from scenario_common import PATIENCE, ROOT, Goals, NotToBeHad, free_port, machine, node_modules, say, start

PACKAGES = ["ws@8.23.0"]
OLDEST_NODE = 16  # of what hub.mjs imports; ws itself takes older ones
SIZE = 512  # bytes of a message
SLOW_MESSAGES = 60
BUILD = None


class Hub:
    """One that runs while in `with`."""

    def __init__(self, command):
        self.process, self.url = start(command, stderr=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def metrics(self):
        with urllib.request.urlopen(self.url.replace("ws://", "http://") + "metrics", timeout=10) as answer:
            return answer.read().decode()

    def memory(self):
        """Bytes that it has in memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), None)
        if found is None:
            raise RuntimeError("the hub has ended")
        return 1024 * int(found)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def penstock(connections, *more):
    return Hub([BUILD / "penstock-websocket-hub", "--port", 0, "--connections", connections, "--behind", 16, "--send-buffer", 4096, *more])


def node(modules):
    return Hub(["node", ROOT / "tests/websocket/node/hub.mjs", free_port(), modules])


def kernel_memory():
    """Bytes that all sockets of this machine take, and what belongs to them: as far as the kernel tells."""
    info = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    pages = next(int(line.split()[-1]) for line in pathlib.Path("/proc/net/sockstat").read_text(encoding="utf-8").splitlines() if line.startswith("TCP:"))
    return 1024 * int(info["Slab"].split()[0]) + pages * os.sysconf("SC_PAGE_SIZE")


class Load:
    """penstock-websocket-load, part by part: it waits before each."""

    def __init__(self, hubs, *arguments):
        command = [BUILD / "penstock-websocket-load", "--step", "--size", SIZE, *arguments, *(h.url for h in hubs)]
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def next(self, wanted):
        line = self.process.stdout.readline()
        if not line or json.loads(line)["event"] != wanted:
            raise RuntimeError(f"instead of '{wanted}': '{line}'")
        return json.loads(line)

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def settled_memory(hub):
    """When it changes no more."""
    last = 0
    for _ in range(20):
        now = hub.memory()
        if now == last:
            break
        last = now
        time.sleep(0.25)
    return now


def crowd(connections, slow, messages):
    addresses = max(1, (connections + slow) // 20_000 + 1)
    before_kernel = kernel_memory()
    with penstock(connections + slow) as hub:
        before = hub.memory()
        arguments = ["--connections", connections, "--addresses", addresses, "--messages", messages, "--slow", slow, "--slow-messages", SLOW_MESSAGES]
        with Load([hub], *arguments) as load:
            connected = load.next("connected")
            say(f"   {connected['readers']:,} connected in {connected['seconds']:.1f} s")
            idle, kernel = settled_memory(hub), kernel_memory() - before_kernel
            load.go_on()
            plain = load.next("messages")
            used = hub.memory()
            load.go_on()
            load.next("slow")
            load.go_on()
            beside_slow = load.next("messages")
            load.go_on()
    readers = max(connected["readers"], 1)
    return {"connections": readers, "failed": connected["failed"], "connect_seconds": connected["seconds"], "bytes_each": (idle - before) / readers,
            "bytes_each_used": (used - before) / readers, "kernel_bytes_each": kernel / readers, "messages": plain, "beside_slow": beside_slow}


def joined(connections, messages, redis):
    with penstock(connections, "--redis", redis) as one, penstock(connections, "--redis", redis) as two:
        until = time.monotonic() + PATIENCE
        for hub in (one, two):
            while "websocket_redis_relay_subscribed{component=\"redis\"} 1" not in hub.metrics():
                if time.monotonic() > until:
                    raise RuntimeError(f"a hub has not subscribed to Redis in {PATIENCE} s")
                time.sleep(0.05)
        with Load([one, two], "--connections", connections, "--addresses", connections // 20_000 + 1, "--messages", messages) as load:
            connected = load.next("connected")
            load.go_on()
            result = load.next("messages")
            load.go_on()
    return {"connections": connected["readers"], **result}


def beside(hub, connections, messages):
    with hub:
        before = hub.memory()
        with Load([hub], "--connections", connections, "--messages", messages) as load:
            connected = load.next("connected")
            idle, cpu = settled_memory(hub), hub.cpu_seconds()
            load.go_on()
            result = load.next("messages")
            cpu = hub.cpu_seconds() - cpu
            load.go_on()
    return {"connections": connected["readers"], "bytes_each": (idle - before) / max(connected["readers"], 1), "cpu_each": cpu / messages / connections, **result}


class Redis:
    """A server of its own, at a port of 127.0.0.1 alone: others may be taken on this machine's other addresses."""

    def __init__(self, work):
        if shutil.which("redis-server") is None:
            raise NotToBeHad("there is no redis-server")
        for _ in range(5):
            port = free_port()
            self.address = f"127.0.0.1:{port}"
            command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(work), "--save", "", "--appendonly", "no"]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until = time.monotonic() + PATIENCE
            while self.process.poll() is None and time.monotonic() < until:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
                    return
                except OSError:
                    time.sleep(0.05)
            self.__exit__()
        raise NotToBeHad("redis-server does not start")

    def __enter__(self):
        return self.address

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def main():
    global BUILD
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("build", type=pathlib.Path)
    arguments.add_argument("work", type=pathlib.Path)
    arguments.add_argument("--connections", type=int, default=100_000)
    arguments.add_argument("--slow", type=int, default=1_000)
    arguments.add_argument("--joined", type=int, default=20_000)
    arguments.add_argument("--beside", type=int, default=10_000)
    arguments.add_argument("--messages", type=int, default=20)
    arguments.add_argument("--only-penstock", action="store_true")
    given = arguments.parse_args()
    BUILD, work = given.build.resolve(), given.work.resolve()
    result = {"machine": machine().replace("load generator", "load"), "goals": [], "size": SIZE}

    goal = Goals(result["goals"])

    say("one hub, many connections")
    one = result["crowd"] = crowd(given.connections, given.slow, given.messages)
    plain, slow = one["messages"]["hubs"][0], one["beside_slow"]["hubs"][0]
    n = f"{one['connections']:,}"
    goal("connections to one hub", f"{given.connections:,}", n, one["connections"] == given.connections and one["failed"] == 0)
    goal("memory of the hub for each that is idle", "at most 10 KB", f"{one['bytes_each'] / 1000:.1f} KB", one["bytes_each"] <= 10_000)
    all_told = one["messages"]["told_all"] == given.messages
    goal(f"until all {n} have a message, P50", "at most 1 s", f"{plain['to_all']['p50'] * 1e3:,.0f} ms", all_told and plain["to_all"]["p50"] <= 1)
    goal("... P99", "at most 2 s", f"{plain['to_all']['p99'] * 1e3:,.0f} ms", all_told and plain["to_all"]["p99"] <= 2)
    dropped = one["beside_slow"]["dropped"]
    goal("slow readers that were dropped", f"{given.slow:,}", f"{dropped:,}", dropped == given.slow and one["beside_slow"]["lost"] == 0)
    ratio = slow["each"]["p99"] / max(plain["each"]["p99"], 1e-9)
    goal("P99 of a delivery to the others meanwhile, beside before", "at most 1.5 times", f"{ratio:.2f} times ({slow['each']['p99'] * 1e3:,.0f} ms)",
         ratio <= 1.5 and one["beside_slow"]["told_all"] == SLOW_MESSAGES)

    def two_hubs(messages, until_all_have_one):
        say("two hubs, joined by Redis")
        with Redis(work) as address:
            two = result["joined"] = joined(given.joined, given.messages, address)
        goal(*messages, f"{two['told_all']}, by {two['connections']:,}", two["told_all"] == given.messages and two["connections"] == given.joined)
        figure = " and ".join(f"{hub['to_all']['p50'] * 1e3:,.0f}" for hub in two["hubs"])
        goal(*until_all_have_one, figure + " ms", all(hub["to_all"]["p50"] <= 1 for hub in two["hubs"]))

    def beside_node(memory, until_all_have_one):
        b = beside(node(node_modules(work, PACKAGES, OLDEST_NODE)), given.beside, 2 * given.messages)
        say("the same as that of Node")
        a = beside(penstock(given.beside), given.beside, 2 * given.messages)
        result["beside"] = {"penstock": a, "Node": b}
        goal(*memory, f"{a['bytes_each'] / 1000:.1f} KB, Node {b['bytes_each'] / 1000:.1f} KB", a["bytes_each"] < b["bytes_each"] and a["connections"] == b["connections"])
        took, theirs = (part["hubs"][0]["to_all"]["p50"] * 1e3 for part in (a, b))
        goal(*until_all_have_one, f"{took:,.0f} ms, Node {theirs:,.0f} ms", took <= 1.1 * theirs)

    goal.optional("Redis", [(f"two hubs joined by Redis: messages that all {given.joined:,} got", f"{given.messages}"),
                            ("... until all of the first hub's and all of the second's have one, P50", "at most 1 s")], two_hubs)
    if not given.only_penstock:
        goal.optional("Node", [(f"memory for each of {given.beside:,} beside Node with ws", "less"),
                               ("until all of them have a message, P50, beside Node", "at most 1.1 times as long")], beside_node)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
