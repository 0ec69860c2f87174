#!/usr/bin/env python3
"""Divides indexes of penstock-index among several files, again and again, and compares them with one that is not divided.

    run_shards.py PENSTOCK_INDEX [--keep]

PENSTOCK_TIER=ci or long kills it more often.
"""

import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
import run_index  # noqa: E402
from run_index import MIB, SEED, TIER, Index, check, text_files, verdict, write  # noqa: E402


class Divided(Index):
    """An index of several files."""

    def shards(self):
        return [self.db] + sorted((f for f in self.folder.glob(self.db.name + ".*") if f.suffix[1:].isdigit()), key=lambda f: int(f.suffix[1:]))

    def reshard(self, shards, *arguments, expect=0):
        done = self.run("reshard", str(shards), "--json", *arguments)
        if done.returncode != expect:
            raise RuntimeError(f"reshard {shards} {arguments} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return json.loads(done.stdout)

    def places(self):
        """{path: the shards that it is in}"""
        places = {}
        for number, file in enumerate(self.shards()):
            connection = sqlite3.connect(file, timeout=10)  # which ends what was killed in a commit
            for (path,) in connection.execute("SELECT path FROM file"):
                places.setdefault(path, []).append(number)
            connection.close()
        return places

    def answers(self, queries):
        done = subprocess.run(self.command("search", "--json", "--queries", "-"), input="\n".join(queries).encode(), capture_output=True, check=False, timeout=300)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"search ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout.splitlines()

    def remove(self):
        for file in self.folder.glob(self.db.name + "*"):
            file.unlink()


def vocabulary(rng, size):
    return sorted({"".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(size)})


def text(rng, words, lines):
    return "\n".join(" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(lines)) + "\n"


def make_tree(tree, rng, words, files):
    for i in range(files):
        write(tree / f"d{i % 7}" / f"file {i}", text(rng, words, rng.randint(1, 120)))
    write(tree / "large", text(rng, words, 12_000))  # of several pieces
    write(tree / "gaps", "\n\nfirst\n\n\n" + text(rng, words, 3) + "\n\nlast\n\n")
    write(tree / "accents", "Ein Müller im Café; ÅNGSTRÖM\nи Слово\n")
    write(tree / "empty", "")
    write(tree / "picture", b"\x89PNG\0\0")
    write(pathlib.Path(os.fsdecode(os.fsencode(tree) + b"/name-\xff")), text(rng, words, 9))


def check_same_answers(folder, tree, whole, queries, want):
    texts = text_files(tree)
    for shards in (2, 5):
        index = Divided(folder, f"fresh{shards}.db")
        report = index.build("--shards", str(shards), tree)
        counts = report["files_indexed"], report["shards"]
        check(f"{shards} shards: all files are indexed, in as many databases", counts == (len(texts), shards) and len(index.shards()) == shards, str(counts))
        check(f"{shards} shards: the answers are those of an index that is not divided, to the last digit", index.answers(queries) == want)
        places = index.places()
        used = {n for p in places.values() for n in p}
        check(f"{shards} shards: each file is in one of them, and none is empty", all(len(p) == 1 for p in places.values()) and used == set(range(shards)), str(used))
        again = index.build(tree)
        check(f"{shards} shards: a second run finds them, and reads nothing again", (again["shards"], again["files_indexed"], again["files_unchanged"]) == (shards, 0, len(texts)), str(again))
    return texts


def check_growth(folder, tree, queries, want):
    index = Divided(folder, "grows.db")
    index.build("--shards", "2", tree)
    before = index.places()
    planned = index.reshard(3, "--dry-run")
    check("grow: --dry-run moves nothing", index.places() == before and len(index.shards()) == 2)
    report = index.reshard(3, "--batch", "64KiB")
    after = index.places()
    moved = {path for path in before if before[path] != after[path]}
    fresh = Divided(folder, "fresh3.db")
    fresh.build("--shards", "3", tree)
    check("grow: everything is where a new index of as many shards has it", after == fresh.places())
    check("grow: whatever moved went to the new shard", moved and all(after[path] == [2] for path in moved))
    told = [(r["files"], r["files_moved"], sorted((m["from"], m["to"], m["files"]) for m in r["moves"])) for r in (planned, report)]
    check("grow: the report, and --dry-run before, tell what moved", told[0] == told[1] and report["files_moved"] == len(moved) and report["files"] == len(before), str(told))
    share, expected = len(moved) / len(before), report["share_expected"]
    deviation = (expected * (1 - expected) / len(before)) ** 0.5
    check(f"grow: about the share that the plan has moved ({share:.3f}, {expected:.3f})", abs(share - expected) < 5 * deviation and 0.28 < expected < 0.39)
    check("grow: the answers stay the same", index.answers(queries) == want)
    counts = [s["files"] for s in report["shards"]]
    check("grow: the counts are right", counts == [sum(p == [n] for p in after.values()) for n in range(3)], str(counts))
    again = index.reshard(3)
    check("grow: once more moves nothing", (again["files_moved"], again["files"]) == (0, len(before)), str(again))
    check("grow: the next build finds nothing to do", index.build(tree)["files_indexed"] == 0 and index.places() == after)
    table = index.run("reshard", "2", "--dry-run").stdout.decode()
    check("grow: the table says it, too", "would move" in table and "ranges" in table, table)
    return index


def check_shrinking(folder, tree, index, whole, queries, want):
    before = index.places()
    report = index.reshard(2)
    after = index.places()
    moved = {path for path in before if before[path] != after[path]}
    check("shrink: only what was in the shard that goes has moved", moved == {path for path in before if before[path] == [2]} and report["files_moved"] == len(moved))
    check("shrink: its file is gone, and the answers stay the same", len(index.shards()) == 2 and index.answers(queries) == want)
    index.reshard(1)
    check("shrink: one shard is an index like any other", [f.name for f in index.folder.glob(index.db.name + "*")] == [index.db.name] and index.rows("PRAGMA user_version") == [(2,)])
    check("shrink: with all that one has", index.answers(queries) == want and index.content([])[0] == whole.content([])[0] and index.is_sound())
    index.reshard(4)
    check("grow: an index that was not divided can be", len(index.shards()) == 4 and index.answers(queries) == want)
    report = index.reshard(2)
    check("shrink: two shards at once", index.answers(queries) == want and {(m["from"], m["to"]) for m in report["moves"]} == {(2, 0), (2, 1), (3, 0), (3, 1)})


def check_changes(folder, tree, rng, words, queries):
    """The same changes to the same files, here and there."""
    copy = folder / "changing"
    shutil.copytree(tree, copy)
    pair = [Divided(folder, "changing-whole.db"), Divided(folder, "changing-divided.db")]
    pair[0].build(copy)
    pair[1].build(copy, "--shards", "3")
    for i in range(0, 40, 2):
        write(copy / f"d{i % 7}" / f"file {i}", text(rng, words, 20))
        (copy / f"d{(i + 1) % 7}" / f"file {i + 1}").unlink()
        write(copy / "new" / f"{i}", text(rng, words, 20))
    write(copy / "large", (copy / "large").read_text() + "appended\n")
    reports = [index.build(copy) for index in pair]
    counts = [(r["files_indexed"], r["files_unchanged"], r["files_removed"]) for r in reports]
    check("changes: are found in every shard", counts[0] == counts[1] and counts[0][0] == 41 and counts[0][2] == 20, str(counts))
    answers = [index.answers(queries + ["appended"]) for index in pair]
    check("changes: and the answers are those of one that is not divided", answers[0] == answers[1])
    pair[1].reshard(4)
    went = [path for path, shards in pair[1].places().items() if shards == [3]]
    for path in went[:3]:
        os.unlink(path)
    reports = [index.build(copy) for index in pair]
    check("changes: what vanishes after a reshard is removed from where it went", [r["files_removed"] for r in reports] == [3, 3])
    answers = [index.answers(queries) for index in pair]
    check("changes: and the answers are still the same", answers[0] == answers[1])
    for _ in range(4):
        for file in text_files(copy):
            write(pathlib.Path(os.fsdecode(file)), text(rng, words, 5))
        pair[1].build(copy)
    pair[0].remove()
    pair[0].build(copy)
    sizes = [sqlite3.connect(file).execute("SELECT count(*) FROM words_docsize").fetchone()[0] for file in pair[1].shards()]
    check("changes: shards that start afresh stay shards", pair[1].build(copy)["shards"] == 4 and sum(sizes) <= 3 * len(text_files(copy)), str(sizes))  # of six times as many
    paths = [{json.dumps(h["path"]) for h in index.search("a*", limit=1000)["hits"]} for index in pair]
    check("changes: and find the same files", paths[0] == paths[1])
    pair[1].db.unlink()
    report = pair[1].build(copy)
    check("changes: without FILE the others are known by their names", report["shards"] == 4 and 0 < report["files_indexed"] < len(text_files(copy)), str(report["shards"]))


def check_searches_meanwhile(folder, tree, queries, want):
    """One search after the other, by one program that has its connections open, while files move."""
    index = Divided(folder, "searched.db")
    index.build("--shards", "2", tree)
    states = set()
    wrong = []
    ended = threading.Event()

    def ask():
        with subprocess.Popen(index.command("search", "--json", "--queries", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dialogue:
            for round_ in range(100_000):
                last = ended.is_set()
                at = round_ % len(queries)
                dialogue.stdin.write(queries[at].encode() + b"\n")
                dialogue.stdin.flush()
                if dialogue.stdout.readline().rstrip(b"\n") != want[at]:
                    wrong.append(queries[at])
                states.add(len(index.shards()))
                if last:
                    break
            dialogue.stdin.close()

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for shards in (3, 5, 2):
        index.reshard(shards, "--batch", "48KiB")
    ended.set()
    for thread in asking:
        thread.join()
    check("meanwhile: every answer while files move is the right one", not wrong and len(states) > 1, f"{wrong[:5]} {states}")


def start_reshard(index, shards):
    """Gives it when it has moved something, or has ended."""

    def counts():
        try:
            return [Index(index.folder, file.name).rows("SELECT count(*) FROM file") for file in index.shards()]
        except sqlite3.Error:  # a shard that is being made or has gone
            return None

    before = counts()
    process = subprocess.Popen(index.command("reshard", "--batch", "8KiB", "--json", str(shards)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None:
        now = counts()
        if now is not None and before is not None and now[: len(before)] != before:
            break
        time.sleep(0.001)
    return process


def check_kills(folder, tree, rng, queries, want):
    fresh = {}
    for shards in (2, 3, 4):
        index = Divided(folder, "placed.db")
        index.build("--shards", str(shards), tree)
        fresh[shards] = index.places()
        index.remove()
    index = Divided(folder, "killed.db")
    index.build("--shards", "2", tree)
    began = time.monotonic()
    index.reshard(3, "--batch", "8KiB")
    seconds = time.monotonic() - began
    at = 3
    partial = 0
    good = True
    for round_ in range({"quick": 4, "ci": 12}.get(TIER, 200)):
        to = rng.choice([n for n in fresh if n != at])
        process = start_reshard(index, to)
        time.sleep(rng.uniform(0, 0.4) * seconds)
        process.kill()
        process.communicate()
        good = good and index.answers(queries) == want  # whatever was being done
        places = index.places()
        good = good and all(len(p) == 1 for p in places.values()) and places.keys() == fresh[to].keys()
        partial += places not in (fresh[at], fresh[to])
        if round_ % 3 == 2:
            to = rng.choice(list(fresh))  # somebody changed their mind
        if round_ % 3 == 1:
            index.build(tree)  # which goes on with it
        else:
            index.reshard(to)
        good = good and index.places() == fresh[to] and len(index.shards()) == to and index.answers(queries) == want
        at = to
    check(f"SIGKILL: each file is in one shard, and found, whenever it comes ({partial} times in the middle), and the next run ends it", good and partial > 0, str(partial))

    stopped = False
    to = 4 if at != 4 else 2
    for _ in range(20):
        process = start_reshard(index, to)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        if process.returncode == 130:
            stopped = json.loads(output)["interrupted"] and index.answers(queries) == want
            break
        index.reshard(at)
    check("Ctrl-C: it stops, says so, and every file is found", stopped)
    report = index.reshard(to)
    check("Ctrl-C: the next one goes on", report["resumed"] and index.places() == fresh[to])


def check_memory(folder, rng):
    tree = folder / "unique"
    for i in range(6):
        write(tree / str(i), "\n".join(" ".join(f"{rng.getrandbits(32):08x}" for _ in range(12)) for _ in range(12_500)))
    for shards in (4,) if TIER == "quick" else (2, 8, 32):
        index = Divided(folder, f"memory{shards}.db")
        report = index.build(tree, "--max-memory", "32MiB", "--shards", str(shards))
        allowed, peak = report["max_memory_bytes"] + report["cache_bytes"], report["peak_memory_bytes"]
        check(f"memory: {shards} shards have no more than one has: {peak / MIB:.0f} MiB, {allowed / MIB:.0f} MiB are allowed", 0 < peak <= allowed)


def check_errors(folder, tree):
    index = Divided(folder, "errors.db")
    index.build("--shards", "2", tree)
    wrong = [("reshard",), ("reshard", "0"), ("reshard", "33"), ("reshard", "x"), ("reshard", "2", "3"), ("build", tree, "--shards", "0"), ("build", tree, "--shards", "33")]
    check("errors: wrong command lines have exit status 2", all(index.run(*w).returncode == 2 for w in wrong))
    done = index.run("build", tree, "--shards", "3")
    check("errors: another number of shards is for reshard", done.returncode == 2 and b"reshard 3" in done.stderr, str(done))
    part = Divided(folder, "errors.db.1")
    done = [part.run("search", "a"), part.run("build", tree), part.run("reshard", "2")]
    check("errors: a part of an index is not one", all(d.returncode == 2 and b"part of an index" in d.stderr for d in done), str(done))
    check("errors: an index that is not there", Divided(folder, "absent.db").run("reshard", "2").returncode == 2 and not (folder / "absent.db").exists())
    with open(index.db, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = index.run("reshard", "3")
    check("errors: nothing moves while a build is at work", done.returncode == 2 and b"another build" in done.stderr, str(done))
    hidden = folder / "hidden"
    index.shards()[1].rename(hidden)
    done = index.run("search", "a")
    check("errors: a part that is missing is missed", done.returncode == 2 and b"errors.db.1" in done.stderr, str(done))
    write(index.db.with_name("errors.db.1"), "something else")
    done = [index.run("search", "a"), index.run("build", tree)]
    check("errors: nor may it be something else", all(d.returncode == 2 and b"errors.db.1" in d.stderr for d in done), str(done))
    hidden.rename(index.db.with_name("errors.db.1"))
    check("errors: it is only its place that was taken", index.build(tree)["files_indexed"] == 0)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    folder = pathlib.Path(os.path.realpath(tempfile.mkdtemp(prefix="penstock-shards-")))
    Index.binary = sys.argv[1]
    program = pathlib.Path(sys.argv[1]).read_bytes()
    sanitized = b"__asan_init" in program or b"__tsan_init" in program
    words = vocabulary(rng, 2_000)
    tree = folder / "tree"
    make_tree(tree, rng, words, 120 if sanitized else 300)
    queries = [" ".join(rng.sample(words, n)) for n in (1, 1, 2, 2, 3)] + ["a*", f"b* {rng.choice(words)}", "a* b* c* d*", "cafe", "first last", "nowhere"]
    try:
        whole = Divided(folder, "whole.db")
        whole.build(tree)
        want = whole.answers(queries)
        tests = [
            lambda: check_same_answers(folder, tree, whole, queries, want),
            lambda: check_shrinking(folder, tree, check_growth(folder, tree, queries, want), whole, queries, want),
            lambda: check_changes(folder, tree, rng, words, queries),
            lambda: check_searches_meanwhile(folder, tree, queries, want),
            lambda: check_kills(folder, tree, rng, queries, want),
            lambda: check_errors(folder, tree),
        ]
        if not sanitized:
            tests.append(lambda: check_memory(folder, rng))
        for test in tests:
            begin = time.monotonic()
            try:
                test()
            except Exception as error:  # the other checks still say something
                check("shards: a test ran to its end", False, repr(error))
            print(f"   {time.monotonic() - begin:.1f} s")
    finally:
        if "--keep" in sys.argv:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
