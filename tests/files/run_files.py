#!/usr/bin/env python3
"""Runs examples/file_pipeline (penstock-files) on a corpus: what it finds is what is there, broken files and only they are dead letters, memory and
concurrency stay within their bounds, and a run that is killed goes on where it was.

    run_files.py PENSTOCK_FILES [PENSTOCK_JOBS]
"""

import gzip
import io
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
sys.path.insert(0, str(HERE.parent / "support"))
from checks import check, verdict  # noqa: E402
from small_disk import SmallDisk  # noqa: E402


class Pipeline:
    binary = None

    def __init__(self, folder, *roots):
        self.folder = folder
        self.roots = roots

    def command(self, *more):
        return [Pipeline.binary, "run", *map(str, self.roots), "--out", str(self.folder), "--json", *map(str, more)]

    def run(self, *more, status=(0, 1)):
        done = subprocess.run(self.command(*more), capture_output=True, text=True, timeout=120, check=False)
        if done.returncode not in status:
            raise RuntimeError(f"{more} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def rows(self, sql, *values, file="results.db"):
        connection = sqlite3.connect(f"file:{self.folder / file}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


def make(folder, **numbers):
    words = [word for name, n in numbers.items() for word in (f"--{name}", str(n))]
    return json.loads(subprocess.run([sys.executable, HERE / "corpus.py", folder, *words], capture_output=True, text=True, check=True).stdout)


def dead_letters(tool, folder):
    done = subprocess.run([tool, "failed", "--db", folder / "jobs.db", "--json"], capture_output=True, text=True, timeout=60, check=True)
    return {letter["text"]: letter for letter in map(json.loads, done.stdout.splitlines())}


def check_corpus(folder, tool):
    made = make(folder / "corpus", images=20, texts=40, archives=20, broken=4, big=1)
    all_ = Pipeline(folder / "out", folder / "corpus")
    report = all_.run("--images", 2, "--texts", 1, "--archives", 3, "--max-memory", "120MiB")
    kinds = {name: k for name, k in report["kinds"].items() if k["can_be_read"]}
    of_kind = lambda path: pathlib.Path(path).parent.parent.name.removesuffix("s")
    known = {path: what for path, what in made["known"].items() if of_kind(path) in kinds}
    broken = {path for path in made["broken"] if of_kind(path) in kinds}

    rows = dict(all_.rows("SELECT path, written FROM file"))
    check("what is not broken is in the output, once", set(rows) == set(known) and set(rows.values()) == {1}, sorted(set(known) ^ set(rows))[:5])
    check("what is broken is counted", report["dead_letters"] == len(broken) and sum(k["broken"] for k in kinds.values()) == len(broken), report)
    if tool:
        letters = dead_letters(tool, all_.folder)
        check("broken files, and only they, are dead letters", set(letters) == broken, set(letters) ^ broken)
        check("each has a reason, and was not tried twice", all(l["why"] and l["attempts"] == 1 for l in letters.values()), letters)
    if "image" in kinds:
        sizes = {path: [w, h] for path, w, h in all_.rows("SELECT path, width, height FROM file JOIN image ON file = id")}
        check("images have the right sizes", sizes == {p: w for p, w in known.items() if of_kind(p) == "image"}, sizes)
        thumbnails = [t for (t,) in all_.rows("SELECT thumbnail FROM image")]
        check("thumbnails are JPEGs", all(t.startswith(b"\xff\xd8") and t.endswith(b"\xff\xd9") for t in thumbnails))
    else:
        print("without images: this program was built without ImageMagick")
    if "archive" in kinds:
        members = {path: [] for path in known if of_kind(path) == "archive"}
        for path, *member in all_.rows("SELECT path, name, member.bytes, crc32 FROM file JOIN member ON file = id ORDER BY id, ordinal"):
            members[path].append(member)
        check("members have the right names, sizes and checksums", members == {p: w for p, w in known.items() if of_kind(p) == "archive"})
    else:
        print("without archives: this program was built without libarchive")
    texts = {path: what for path, *what in all_.rows("SELECT path, lines, words, characters, language FROM file JOIN text ON file = id")}
    expected = {p: w for p, w in known.items() if of_kind(p) == "text"}
    check("lines, words and characters of texts", {p: t[:3] for p, t in texts.items()} == {p: w[:3] for p, w in expected.items()})
    check("languages", all(texts[p][3] == w[3] for p, w in expected.items()))
    limits = {"image": 2, "text": 1, "archive": 3}
    check("no kind has more at a time than it may", all(1 <= k["most_at_a_time"] <= limits[name] and k["most_in_hand"] <= 2 * limits[name] for name, k in kinds.items()), kinds)
    check("memory in flight is within its bound", 0 < report["most_in_flight_bytes"] <= report["max_memory_bytes"] == 120 * MIB, report)

    again = all_.run()
    check("another run has nothing to do", again["unchanged"] == len(known) and sum(k["files"] + k["broken"] for k in again["kinds"].values()) == 0, again)
    check("and broken files are not tried again", again["dead_letters"] == len(broken), again)
    changed = next(p for p in known if of_kind(p) == "text")
    pathlib.Path(changed).write_text("three words more\n", encoding="utf-8")
    third = all_.run()
    check("a file that has changed is read again", third["kinds"]["text"]["files"] == 1 and all_.rows("SELECT written, words FROM file JOIN text ON file = id WHERE path = ?", changed) == [(2, 3)], third)
    mended = next(p for p in made["broken"] if of_kind(p) == "text")
    pathlib.Path(mended).write_text("it was mended\n", encoding="utf-8")
    check("one that was mended is read", all_.run()["kinds"]["text"]["files"] == 1 and len(all_.rows("SELECT 1 FROM file WHERE path = ?", mended)) == 1)
    if tool:
        redriven = all_.run("--redrive")
        check("redriven: what is mended completes, what is broken fails again", redriven["dead_letters"] == len(broken) - 1, redriven)
    if "image" in kinds:
        small = Pipeline(folder / "small", folder / "corpus/images")
        report = small.run("--max-memory", "16MiB")
        letters = dead_letters(tool, small.folder) if tool else {}
        big = {p for p in known if "/big-" in p and p.endswith(".png")}
        too_big = {p for p, l in letters.items() if "allowed" in l["why"]}
        check("an image that would take more memory than there is fails, and says so", report["most_in_flight_bytes"] <= 16 * MIB and (not tool or big <= too_big), letters)


def check_killed(folder):
    made = make(folder / "corpus", images=40, texts=300, archives=60, broken=3, big=0)
    killed = Pipeline(folder / "out", folder / "corpus")
    times = 0
    for n in range(1, 4):
        running = subprocess.Popen(killed.command("--texts", 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < until:
            try:
                if killed.rows("SELECT count(*) FROM file")[0][0] >= n * 80:
                    break
            except sqlite3.Error:
                pass  # it has not begun
            time.sleep(0.002)
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            times += 1
        running.wait()
    report = killed.run()
    left_out = sum(not k["can_be_read"] for k in report["kinds"].values())
    check("it was killed, more than once", times >= 2, times)
    rows = dict(killed.rows("SELECT path, written FROM file"))
    expected = {p for p in made["known"] if left_out == 0 or "/texts/" in p}
    check("killed and begun again: every file is in the output", expected <= set(rows) <= set(made["known"]), len(rows))
    check("... and was written exactly once", set(rows.values()) == {1}, [p for p, n in rows.items() if n != 1][:5])
    check("... and only broken files are dead letters", report["dead_letters"] == (len(made["broken"]) if left_out == 0 else report["dead_letters"]), report)


def check_interrupted(folder):
    make(folder / "corpus", images=60, texts=100, archives=30, broken=0, big=0)
    all_ = Pipeline(folder / "out", folder / "corpus")
    running = subprocess.Popen(all_.command("--watch", "--images", 1), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < until:
        try:
            if all_.rows("SELECT count(*) FROM file")[0][0] >= 20:
                break
        except sqlite3.Error:
            pass  # it has not begun
        time.sleep(0.002)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    report = json.loads(out)
    done = sum(k["files"] for k in report["kinds"].values())
    check("an interrupt ends it, and it says so", running.returncode == 130 and report["interrupted"] and 0 < done < 190, out)
    second = subprocess.run(all_.command("--watch"), capture_output=True, text=True, timeout=120, check=False)
    check("what runs then does the rest", second.returncode == 0 and all_.rows("SELECT count(*), max(written) FROM file") == [(sum(k["can_be_read"] * n for k, n in zip(json.loads(second.stdout)["kinds"].values(), (60, 100, 30))), 1)], second)


def check_bombs(folder, tool):
    """Archives of a few KB that say they are more than anybody has: time and memory stay bounded. And holes that are just that."""
    bombs = folder / "bombs"
    bombs.mkdir()

    def sparse_tar(name, size):
        with (folder / "hole").open("wb") as hole:
            hole.truncate(size)
        return subprocess.run(["tar", "-S", "-C", folder, "-cf", bombs / name, "hole"], capture_output=True, check=False).returncode == 0

    small = sparse_tar("small.tar", 3 << 20)
    with tarfile.open(bombs / "names.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as names:
        for i in range(19):
            names.addfile(tarfile.TarInfo("a" * 900_000 + str(i)))
    all_ = Pipeline(folder / "out", bombs)
    report = all_.run()
    if not report["kinds"]["archive"]["can_be_read"]:
        return
    check("names that would fill the memory are a dead letter", report["dead_letters"] == 1, report)
    if tool:
        why = [letter["why"] for letter in dead_letters(tool, all_.folder).values()]
        check("... and its reason says so", len(why) == 1 and "names" in why[0], why)
    zeros = [(3 << 20, zlib.crc32(bytes(3 << 20)))]
    check("a hole at the end of a file is zeros", not small or all_.rows("SELECT bytes, crc32 FROM member") == zeros, all_.rows("SELECT * FROM member"))
    huge = sparse_tar("huge.tar", 1 << 43)  # 8 TiB
    report = all_.run("--timeout", "200ms", "--attempts", 1)
    check("a hole without an end takes no longer than it may", report["dead_letters"] == 1 + huge, report)


def check_results(folder):
    """What was found out counts as memory, from when it is read until it is written."""
    members, length = 20_000, 90

    def make_archive(path, n):
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            for i in range(n):
                tar.addfile(tarfile.TarInfo(f"{path.name} {i} ".ljust(length, "x")))

    for n in range(2):
        make_archive(folder / f"corpus/{n}.tar.gz", members)
    make_archive(folder / "large/3.tar.gz", 40_000)
    known = members * (length + 48)  # at the least
    first = Pipeline(folder / "one", folder / "corpus")
    report = first.run("--archives", 1)
    if not report["kinds"]["archive"]["can_be_read"]:
        return
    check("the members of an archive count as memory", report["kinds"]["archive"]["files"] == 2 and first.rows("SELECT count(*) FROM member") == [(2 * members,)] and report["most_in_flight_bytes"] > known, report)
    little = Pipeline(folder / "little", folder / "corpus")
    report = little.run("--archives", 2, "--max-memory", "8MiB")
    check("what does not fit beside another is read when that is written", report["kinds"]["archive"]["files"] == 2 and known < report["most_in_flight_bytes"] <= 8 * MIB, report)
    report = Pipeline(folder / "large-out", folder / "large").run("--max-memory", "8MiB")
    check("what never fits is a dead letter", report["dead_letters"] == 1 and report["most_in_flight_bytes"] <= 8 * MIB, report)

    waiting = Pipeline(folder / "waiting", folder / "corpus")
    waiting.run("--archives", 0)  # makes the files
    writer = sqlite3.connect(waiting.folder / "results.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    running = subprocess.Popen(waiting.command("--archives", 1), stdout=subprocess.PIPE, text=True)
    time.sleep(3)  # it waits for five
    writer.execute("ROLLBACK")
    writer.close()
    report = json.loads(running.communicate(timeout=60)[0])
    check("what waits to be written counts as memory", report["kinds"]["archive"]["files"] == 2 and report["most_in_flight_bytes"] > 2 * known, report)


def check_full_disk(folder):
    made = make(folder / "corpus", images=40, texts=200, archives=60, broken=1, big=0)
    with SmallDisk(folder / "disk", "1m") as disk:
        if not disk:
            return
        all_ = Pipeline(folder / "disk", folder / "corpus")
        run = lambda: subprocess.run(disk.inside(*all_.command()), capture_output=True, text=True, timeout=60, check=False)
        written = {}
        for size in ("1m", "1500k", "2m", "2500k"):
            disk.resize(size)
            try:
                full = run()
            except subprocess.TimeoutExpired:
                return check("a full disk ends it", False)
            check(f"a disk of {size} that is full ends it, and it says so", full.returncode == 2 and "full" in full.stderr and full.stderr.count("\n") < 5, full)
            copy = Pipeline(shutil.copytree(disk.outside(), folder / f"copy-{size}"), folder / "corpus")
            now = dict(copy.rows("SELECT path, written FROM file"))
            check("... what was written is still there", written.items() <= now.items() and set(now.values()) <= {1}, sorted(set(written) - set(now))[:5])
            written = now
        check("... and that is something", 0 < len(written) < len(made["known"]), len(written))
        disk.resize("64m")
        report = json.loads(run().stdout)
        left_out = sum(not k["can_be_read"] for k in report["kinds"].values())
        copy = Pipeline(shutil.copytree(disk.outside(), folder / "copy"), folder / "corpus")
        rows = dict(copy.rows("SELECT path, written FROM file"))
        expected = {p for p in made["known"] if left_out == 0 or "/texts/" in p}
        check("when there is room, the rest is done", expected <= set(rows) <= set(made["known"]) and set(rows.values()) == {1}, (len(rows), len(expected)))
        check("... and no file was blamed for the disk", left_out != 0 or report["dead_letters"] == len(made["broken"]), report)


def check_errors(folder):
    run = lambda *a: subprocess.run([Pipeline.binary, *a], capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    for wrong in ([], ["dance"], ["run"], ["run", "."], ["run", "--out", "x"], ["run", ".", "--out", "x", "--images", "-1"], ["one"], ["run", ".", "--out", "x", "--what"]):
        done = run(*wrong)
        check(f"wrong: {' '.join(wrong)}", done.returncode == 2 and "penstock-files run" in done.stderr, done)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    stored = bytearray(gzip.compress(plain.getvalue(), 0))
    (folder / "stored.tar.gz").write_bytes(stored)
    whole = run("one", "stored.tar.gz")
    stored[50_000] ^= 0x55  # what was compressed is well-formed still, only gzip's checksum tells
    (folder / "stored.tar.gz").write_bytes(stored)
    if whole.returncode == 0:  # archives can be read
        check("a byte that only gzip's checksum tells is noticed", run("one", "stored.tar.gz").returncode == 1)
    check("a folder that is not there", run("run", "nowhere", "--out", "x").returncode == 2)
    check("help", run("--help").returncode == 0 and run("run", "--help").returncode == 0)
    (folder / "few").mkdir()
    (folder / "few/a.txt").write_text("the end of the river and the night\n", encoding="utf-8")
    (folder / "few/a.dat").write_text("of no kind\n", encoding="utf-8")
    (folder / "few/secret.txt").write_text("closed\n", encoding="utf-8")
    (folder / "few/secret.txt").chmod(0)
    one = run("one", "few/a.txt", "few/a.dat", "few/not-there.txt")
    lines = [json.loads(line) for line in one.stdout.splitlines()]
    check("one: a line for each", one.returncode == 1 and lines[0]["found"]["language"] == "en" and "error" in lines[1] and "error" in lines[2], one)
    os.mkfifo(folder / "few/pipe.txt")
    check("one: what is no file is not waited for", run("one", "few/pipe.txt").returncode == 1)
    (folder / "few/pipe.txt").unlink()
    if os.geteuid() != 0:  # root reads everything
        few = Pipeline(folder / "few-out", folder / "few")
        report = few.run("--attempts", 3, "--backoff", "10ms")
        check("what cannot be opened is tried three times", report["kinds"]["text"]["failed_attempts"] == 3 and report["dead_letters"] == 1, report)
        (folder / "few/secret.txt").chmod(0o600)
        check("... and again when it is redriven", few.run("--redrive")["dead_letters"] == 0)


def main():
    Pipeline.binary = os.path.abspath(sys.argv[1])
    tool = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-files-"))
    try:
        for part, name in ((lambda f: check_corpus(f, tool), "corpus"), (check_killed, "killed"), (check_interrupted, "interrupted"), (lambda f: check_bombs(f, tool), "bombs"), (check_results, "results"), (check_full_disk, "full_disk"), (check_errors, "errors")):
            (folder / name).mkdir()
            part(folder / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
