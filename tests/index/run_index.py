#!/usr/bin/env python3
"""Runs penstock-index on trees of its own and compares it with an independent walk, with grep, and with itself after kills.

    run_index.py PENSTOCK_INDEX [--keep]

PENSTOCK_TIER=ci or long kills it more often, and walks all of /usr/include.
"""

import fcntl
import json
import math
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from checks import check, verdict  # noqa: E402

TIER = os.environ.get("PENSTOCK_TIER", "quick")
SEED = int(os.environ.get("PENSTOCK_SEED", "20240717"))
MIB = 1 << 20
SANITIZED = False  # found out from the program: it is slower then, and takes memory of its own


class Index:
    """One database, and the commands on it."""

    binary = None
    as_user = {}  # of subprocess

    def __init__(self, folder, name):
        self.folder = folder
        self.db = folder / name

    def command(self, what, *arguments):
        return [self.binary, what, "--db", self.db, *arguments]

    def run(self, what, *arguments):
        return subprocess.run(self.command(what, *arguments), capture_output=True, check=False, timeout=300, **self.as_user)

    def build(self, *arguments, expect=0):
        done = self.run("build", "--json", *arguments)
        if done.returncode != expect:
            raise RuntimeError(f"build {arguments} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return json.loads(done.stdout)

    def search(self, *words, limit=100000):
        done = self.run("search", "--json", "--limit", str(limit), "--", *words)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"search {words} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return json.loads(done.stdout)

    def found(self, *words):
        """{path: line}, paths as bytes"""
        return {os.fsencode(hit["path"]): hit["line"] for hit in self.search(*words)["hits"]}

    def rows(self, sql):
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def complete_files(self):
        try:
            return self.rows("SELECT count(*) FROM file WHERE size >= 0")[0][0]
        except sqlite3.Error:
            return 0

    def is_sound(self):
        connection = sqlite3.connect(self.db, timeout=10)
        try:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()

    def content(self, words):
        """All that a user can tell one index from another by."""
        pieces = self.rows(
            "SELECT path, size, modified, binary, ordinal, offset, first_line, hash "
            "FROM file LEFT JOIN piece ON piece.file = file.id ORDER BY path, ordinal"
        )
        return pieces, [self.search(*w) for w in words]


def skipped(report):
    return {s["reason"]: s["count"] for s in report["skipped"]}


# ---- An independent account of a tree: what is a file, what is binary, which files have a word.


ODD = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\udc80-\udcff]")  # controls but for \b\t\n\v\f\r and escape, and what is not UTF-8


def is_binary(path):
    with open(path, "rb") as file:
        sample = file.read(8192)
    if b"\0" in sample:
        return True
    odd = len(ODD.findall(sample.decode("utf-8", "surrogateescape")))
    return odd * 10 > len(sample) * 3


def regular_files(root):
    """Regular files under the root as bytes, without following links."""
    found = []
    folders = [os.fsencode(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    found.append(entry.path)
    return found


def text_files(root):
    return {path for path in regular_files(root) if not is_binary(path)}


def grep(root, word, locale="C.UTF-8"):
    """Files with the word, as grep sees words; in the C locale, which is quicker, this counts for ASCII files only."""
    done = subprocess.run(
        ["grep", "-rlwaiZF", "--", word, root], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, env=os.environ | {"LC_ALL": locale}
    )
    return set(done.stdout.split(b"\0")) - {b""}


def first_line_with(path, word):
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if re.search(rb"(?<![A-Za-z0-9_])" + re.escape(word.encode()) + rb"(?![A-Za-z0-9_])", line, re.IGNORECASE):
                return number
    return None


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    an_hour_ago = time.time() - 3600  # not so fresh that the next change could have the same time
    os.utime(path, (an_hour_ago, an_hour_ago))


# ---- The checks


def check_small_tree(folder):
    tree = folder / "small"
    write(tree / "plain.txt", "alpha beta\n\n\ngamma ALPHA_ray\nno newline at the end: delta")
    write(tree / "code.cpp", "#include <vector>\nstd::vector<int> make_vector();\n")
    write(tree / "accents.txt", "Ein Müller im Café; ÅNGSTRÖM\nи Слово\n")
    write(tree / "latin1.txt", "un caf\xe9 noir\n".encode("latin-1"))
    write(tree / "empty.txt", "")
    write(tree / "windows.txt", "first\r\nsecond line\r\n")
    write(tree / "picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR alpha")
    write(tree / "noise.bin", bytes(range(128, 256)) * 40)
    write(tree / "escape.txt", "escape \x1b[31mred\x07\n")
    write(tree / "deep" / "/".join("d" * 60), "deepest alpha\n")
    index = Index(folder, "small.db")
    report = index.build(tree)
    texts = text_files(tree)
    check("small: the counts are those of an independent walk", (report["files_indexed"], skipped(report)) == (len(texts), {"binary": 2}), str(report))
    check("small: a word is found in every file that has it", set(index.found("alpha")) == grep(tree, "alpha") & texts)
    check("small: file and line are right", index.found("gamma") == {os.fsencode(tree / "plain.txt"): 4} and list(index.found("delta").values()) == [5])
    check("small: words of one query may be on different lines", list(index.found("beta", "gamma")) == [os.fsencode(tree / "plain.txt")])
    check("small: all words are wanted", index.found("beta", "vector") == {})
    check("small: punctuation separates words", index.found("std::vector") == {os.fsencode(tree / "code.cpp"): 2})
    check("small: an underscore does not", index.found("make") == {} and list(index.found("make_vector").values()) == [2])
    check("small: a star stands for any ending", list(index.found("mak*").values()) == [2])
    check("small: case and accents do not matter", list(index.found("muller", "cafe", "ångström").values()) == [1] and len(index.found("СЛОВО")) == 1)
    check("small: what is not UTF-8 is read as Latin-1", os.fsencode(tree / "latin1.txt") in index.found("café"))
    check("small: Windows line ends", index.search("second")["hits"][0]["text"] == "second line")
    lines = index.run("search", "escape").stdout.decode().splitlines()
    check("small: a hit is path:line: text, and drives no terminal", lines == [f"{tree}/escape.txt:1: escape  [31mred"], str(lines))
    check("small: a search without a hit has exit status 1", index.run("search", "nowhere_to_be_found").returncode == 1)
    again = index.build(tree)
    counts = (again["files_indexed"], again["files_unchanged"], skipped(again))
    check("small: a second run reads nothing again", counts == (0, len(texts), {"binary": 2}), str(counts))
    table = index.run("build", tree)
    wanted = ["files unchanged", "stage", "P99", "greatest", "peak memory"]
    check("small: the table has its parts", all(w in table.stdout.decode() for w in wanted), table.stdout.decode())


def check_changes(folder):
    tree = folder / "changing"
    for i in range(50):
        write(tree / f"{i}.txt", f"common word{i}\nsecond\n" * 5)
    lines = [f"line {i}\n" for i in range(100_000)]
    write(tree / "log", "".join(lines))
    index = Index(folder, "changing.db")
    index.build(tree)
    write(tree / "0.txt", "common changed\n")
    write(tree / "new" / "one.txt", "common fresh\n")
    os.utime(tree / "1.txt")
    os.utime(tree / "1.txt", (1, 1))
    (tree / "2.txt").unlink()
    (tree / "3.txt").rename(tree / "renamed.txt")
    write(tree / "4.txt", b"\0 binary now, common")
    write(tree / "log", "".join(lines) + "appended\n")
    rows = index.rows("SELECT count(*) FROM words_docsize")[0][0]
    report = index.build(tree)
    counts = (report["files_indexed"], report["files_unchanged"], report["files_removed"], skipped(report))
    check("changes: changed, new, touched, renamed, gone and binary files are counted", counts == (5, 45, 2, {"binary": 1}), str(counts))
    check("changes: pieces that are as they were are not written again", index.rows("SELECT count(*) FROM words_docsize")[0][0] - rows == 4)
    check("changes: the search knows what is new", len(index.found("changed")) == 1 and list(index.found("appended").values()) == [100_001])
    gone = [index.found("word0"), index.found("word2"), index.found("word4")]
    check("changes: and forgets what is gone", gone == [{}, {}, {}] and list(index.found("word3")) == [os.fsencode(tree / "renamed.txt")])
    write(tree / "5.txt", "something else\n")
    (tree / "6.txt").unlink()
    stale = index.search("word5")["hits"] + index.search("word6")["hits"]
    check("changes: a hit in a file that changed meanwhile says so", [hit["up_to_date"] for hit in stale] == [False, False])
    (tree / "7.txt").unlink()
    os.mkfifo(tree / "7.txt")
    found = subprocess.run(index.command("search", "--json", "word7"), capture_output=True, check=False, timeout=60)
    check("changes: nor does a search wait for a FIFO that took a file's place", [(h["text"], h["up_to_date"]) for h in json.loads(found.stdout)["hits"]] == [("", False)])
    write(tree / "fresh", "same size A\n")
    ahead, until = 0.02, time.monotonic() + 30
    while index.rows("SELECT count(*) FROM file WHERE young") != [(1,)] and time.monotonic() < until:  # it takes the build to be quick
        now = time.time() + ahead
        os.utime(tree / "fresh", (now, now))
        index.build(tree / "fresh")
        ahead = ahead * 1.1 if ahead < 1 else 0.02  # or the machine
    write(tree / "fresh", "same size B\n")
    stale = [hit["up_to_date"] for hit in index.search("same")["hits"]]
    check("changes: that a file was indexed just after a change hides no later one", stale == [False], str(stale))
    os.utime(tree / "fresh", (now, now))
    time.sleep(max(0, now - time.time()) + 0.1)
    again = index.build(tree / "fresh")["files_indexed"], index.build(tree / "fresh")["files_unchanged"]
    check("changes: but the next run reads it again, once", again == (1, 1), str(again))
    next_hour = time.time() + 3600
    os.utime(tree / "fresh", (next_hour, next_hour))
    again = index.build(tree / "fresh")["files_indexed"], index.build(tree / "fresh")["files_unchanged"]
    check("changes: a time in the future is as good as any other", again == (1, 1), str(again))
    for round_ in range(6):
        for i in range(10, 50):
            write(tree / f"{i}.txt", f"common round{round_}\n")
        write(tree / "log", "".join(lines[round_ + 1 :]))
        index.build(tree)
    rows, live = index.rows("SELECT (SELECT count(*) FROM words_docsize), (SELECT count(*) FROM piece)")[0]
    check("changes: dead rows do not pile up", rows <= 3 * live and len(index.found("round5")) == 40 and index.found("round4") == {}, f"{rows} {live}")
    other = folder / "other"
    write(other / "file.txt", "common in another tree\n")
    before = len(index.found("common"))
    index.build(other)
    check("changes: a run leaves other trees alone", len(index.found("common")) == before + 1)
    shutil.rmtree(other)
    other.mkdir()
    check("changes: a tree that became empty is removed", index.build(other)["files_removed"] == 1 and len(index.found("common")) == before)
    write(other / "deep" / "file.txt", "common in another tree\n")
    index.build(other)
    shutil.rmtree(other)
    report = index.build(f"{other}/deep/")
    check("changes: so is one that is not there any more, and the report says so", (report["files_removed"], skipped(report)) == (1, {"vanished": 1}), str(report))
    check("changes: and then it is no more known than any other", index.run("build", other).returncode == 2 and len(index.found("common")) == before)


def check_odd_trees(folder):
    tree = folder / "odd"
    tree.mkdir()
    tree.chmod(0o777)
    write(tree / "good.txt", "needle\n")
    os.mkdir(os.fsencode(tree) + b"/dir-\xff")
    odd_name = os.fsencode(tree) + b"/dir-\xff/name-\xe4\n.txt"
    with open(odd_name, "wb") as file:
        file.write(b"needle\n")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "self").symlink_to("self")
    (tree / "link-to-file").symlink_to("good.txt")
    (tree / "sub").mkdir()
    (tree / "sub" / "up").symlink_to("..")
    os.mkfifo(tree / "fifo")
    write(tree / "secret.txt", "needle\n")
    (tree / "secret.txt").chmod(0)
    write(tree / "closed" / "inside.txt", "needle\n")
    (tree / "closed").chmod(0)
    if os.geteuid() == 0:  # who can read everything: the tool runs as somebody who cannot
        Index.as_user = {"user": 65534, "group": 65534, "extra_groups": []}
    own = Index(tree, "own.db")
    report = own.build(tree)
    want = {"symbolic_link": 2, "special_file": 1, "own_database": 1, "dangling_link": 1, "link_loop": 1, "unreadable_file": 1, "unreadable_directory": 1}
    got = skipped(report)
    own_files = got.get("own_database", 0)
    want |= {"odd_name": 1, "own_database": own_files}
    check("odd: what cannot be read is reported by reason and ends nothing", got == want and 1 <= own_files <= 4, str(report["skipped"]))
    check("odd: the rest is indexed", report["files_indexed"] == 2)
    examples = {s["reason"]: [os.fsencode(e) for e in s["examples"]] for s in report["skipped"]}
    check("odd: examples name the files", examples["odd_name"] == [odd_name] and examples["unreadable_file"][0].startswith(os.fsencode(tree / "secret.txt")))
    check("odd: a name that is not UTF-8 is found by its bytes", set(own.found("needle")) == {os.fsencode(tree / "good.txt"), odd_name})
    lines = own.run("search", "needle").stdout
    check("odd: and printed on one line", lines.count(b"\n") == 2, str(lines))
    table = own.run("build", tree).stdout
    check("odd: the table has the reasons", b"dangling link" in table and b"secret.txt: Permission denied" in table)

    (folder / "anybody").mkdir()
    (folder / "anybody").chmod(0o777)
    follow = Index(folder / "anybody", "follow.db")
    report = follow.build("--follow", tree)
    found = {os.fsdecode(p) for p in follow.found("needle")}
    check("odd: --follow finds what links lead to", f"{tree}/link-to-file" in found and "symbolic_link" not in skipped(report), str(found))
    check("odd: --follow ends at a loop", skipped(report)["link_loop"] == 2, str(report["skipped"]))
    (tree / "closed").chmod(0o700)
    Index.as_user = {}


def check_searchers(folder):
    """Who may read an index may search it, even where nothing can be written."""
    tree = folder / "shared"
    write(tree / "a", "text\n")
    index = Index(folder / "shared", "index of % all?.db")
    index.build(tree)
    check("searchers: at rest an index is one file", [f.name for f in index.folder.iterdir() if f != index.db] == ["a"])
    for mode in ("delete", "wal"):
        connection = sqlite3.connect(index.db)
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.close()
        index.db.chmod(0o444)
        index.folder.chmod(0o555)
        before = sorted(index.folder.iterdir())
        if os.geteuid() == 0:
            Index.as_user = {"user": 65534, "group": 65534, "extra_groups": []}
        try:
            found = index.run("search", "text")
        finally:
            Index.as_user = {}
            index.folder.chmod(0o755)
            index.db.chmod(0o644)
        check(f"searchers: without a place to write to, in mode {mode}", found.stdout == f"{tree}/a:1: text\n".encode(), str(found))
        check(f"searchers: and they leave nothing behind, in mode {mode}", sorted(index.folder.iterdir()) == before)
    check("searchers: the owner can go on", index.build(tree)["files_unchanged"] == 1 and not index.db.with_name(index.db.name + "-wal").exists())


def check_queries(folder):
    """Many questions in one run get the answers that each one gets alone, in their order."""
    tree = folder / "questions"
    for i in range(20):
        write(tree / f"f{i}", f"word{i} shared\n" * (i + 1))
    index = Index(folder, "questions.db")
    index.build(tree)
    questions = [f"word{i % 20} shared" for i in range(400)] + ["", "nowhere", "Word3 shar*", " word4  shared "]
    asked = subprocess.run(index.command("search", "--json", "--queries", "-"), input="\n".join(questions).encode(), capture_output=True, check=False, timeout=60)
    answers = [json.loads(line) for line in asked.stdout.splitlines()]
    check("queries: they end well", asked.returncode == 0, asked.stderr.decode())
    check("queries: each has its answer", len(answers) == len(questions), str(len(answers)))
    alone = {q: index.search(*q.split(), limit=20) for q in set(questions) if q.split()}
    check("queries: the same as alone", all(a == alone[q] for q, a in zip(questions, answers) if q.split()))
    file, none = folder / "questions.txt", folder / "none.txt"
    write(file, "nowhere\nword1\n")
    write(none, "nowhere\n")
    text = index.run("search", "--queries", file).stdout.decode().splitlines()
    check("queries: as text, under each question", text == ["== nowhere", "== word1", f"{tree}/f1:1: word1 shared"], str(text))
    check("queries: without a hit the exit status is 1", index.run("search", "--queries", none).returncode == 1)
    refused = [index.run("search", "--queries", "-", "word"), index.run("search", "--queries", folder / "absent"), Index(folder, "absent.db").run("search", "--queries", file)]
    check("queries: words beside them, a file that is not there, and no index are errors", [r.returncode for r in refused] == [2, 2, 2])
    with subprocess.Popen(index.command("search", "--json", "--queries", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dialogue:
        for i in (3, 5, 3):
            dialogue.stdin.write(f"word{i}\n".encode())
            dialogue.stdin.flush()
            check(f"queries: an answer comes before the next question, word{i}", json.loads(dialogue.stdout.readline())["files"] == 1)


def check_prefix_speed(folder, rng):
    tree = folder / "prefixes"
    for i in range(200):
        write(tree / str(i), "\n".join(f"a{rng.getrandbits(40):010x}" for _ in range(1000)))
    index = Index(folder, "prefixes.db")
    index.build(tree)
    seconds = []
    for limit in (1, 200):
        began = time.monotonic()
        hits = index.search("a*", limit=limit)["hits"]
        seconds.append(time.monotonic() - began)
    check(f"prefixes: 200 hits take little longer than one ({seconds[1]:.2f} s, {seconds[0]:.2f} s)", len(hits) == 200 and seconds[1] < 20 * seconds[0])


def full_disk():
    """For the child process: no file may grow beyond 1 MiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))


def check_full_disk(folder, rng):
    tree = folder / "too-much"
    for i in range(40):
        write(tree / f"{i}.txt", " ".join(rng.choices(WORDS, k=20_000)))
    index = Index(folder, "full.db")
    done = subprocess.run(index.command("build", tree), capture_output=True, check=False, timeout=60, preexec_fn=full_disk, restore_signals=False)
    check("full disk: the build says so and ends with status 2", done.returncode == 2 and b"SQLite: " in done.stderr, f"{done.returncode} {done.stderr}")
    check("full disk: when there is room, the next run does the rest", index.build(tree)["files_unchanged"] < 40 and index.complete_files() == 40 and index.is_sound())


def check_errors(folder):
    tree = folder / "errors"
    write(tree / "a", "text\n")
    index = Index(folder, "errors.db")
    status = lambda *arguments: subprocess.run([index.binary, *arguments], capture_output=True, check=False, **index.as_user).returncode
    wrong = [[], ["built"], ["build"], ["build", tree], ["build", "--db", index.db], ["build", tree, "--db", index.db, "--what"], ["search", "--db", index.db]]
    wrong += [["build", tree, "--db", index.db, "--max-memory", "1MiB"], ["build", tree, "--db", index.db, "--threads", "x"], ["build", tree, "--db"]]
    check("errors: wrong command lines have exit status 2", all(status(*w) == 2 for w in wrong))
    helpful = [["--help"], ["-h"], ["help"], ["build", "--help"], ["search", "-h"], ["build", tree, "--help"]]
    answers = [subprocess.run([index.binary, *a], capture_output=True, check=False) for a in helpful]
    check("errors: --help is answered, after a command as well", all(a.returncode == 0 and b"--max-memory" in a.stdout for a in answers), str(answers))
    version = subprocess.run([index.binary, "--version"], capture_output=True, check=False)
    check("errors: --version is answered", version.returncode == 0 and re.fullmatch(rb"penstock-index \d+\.\d+\.\d+\n", version.stdout), str(version))
    check("errors: after -- it is a word to be searched", status("search", "--db", index.db, "--", "--help") == 2)
    check("errors: a folder that is not there", index.run("build", folder / "nowhere").returncode == 2 and not index.db.exists())
    check("errors: a database that is not there", index.run("search", "x").returncode == 2)
    other = Index(folder, "text.db")
    other.db.write_text("this is no database, it is a text, and so it must stay\n" * 100)
    before = other.db.read_bytes()
    check("errors: a file that is no database is left alone", other.run("build", tree).returncode == 2 and other.db.read_bytes() == before)
    other = Index(folder, "else.db")
    connection = sqlite3.connect(other.db)
    connection.execute("CREATE TABLE precious(a)")
    connection.close()
    other.db.chmod(0o666)
    check("errors: nor is another program's database", other.run("build", tree).returncode == 2 and other.rows("SELECT count(*) FROM sqlite_schema") == [(1,)])
    os.mkfifo(folder / "fifo.db")
    for name in ("/dev/null", "/dev/full", folder, folder / "fifo.db"):
        other = Index(folder, name)
        for what, argument in (("build", tree), ("search", "text")):
            done = other.run(what, argument)
            check(f"errors: {what} --db {name}: no regular file", done.returncode == 2 and b"is no regular file" in done.stderr, str(done))
    done = Index(folder, "huge.db").run("build", tree, "--max-memory", "64GiB")
    check("errors: --max-memory may be more than there is", done.returncode == 0, str(done))
    index.build(tree)
    for name in (":memory:", "file:odd.db", "file:odd.db?mode=memory"):
        done = subprocess.run([index.binary, "build", tree, "--db", name], capture_output=True, check=False, cwd=folder)
        found = subprocess.run([index.binary, "search", "text", "--db", name], capture_output=True, check=False, cwd=folder)
        check(f"errors: --db {name} is a file of that name", (done.returncode, found.returncode) == (0, 0) and (folder / name).is_file(), f"{done} {found}")
    with open(index.db, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = index.run("build", tree)
        check("errors: two builds do not work on one index", second.returncode == 2 and b"another build" in second.stderr, str(second.stderr))
        check("errors: but a search does meanwhile", len(index.found("text")) == 1)
    with open("/dev/full", "wb") as full:
        status = [subprocess.run(index.command(*c), stdout=full, stderr=subprocess.PIPE, check=False).returncode for c in (("build", tree), ("search", "text"))]
        status.append(subprocess.run([index.binary, "--help"], stdout=full, stderr=subprocess.PIPE, check=False).returncode)
    check("errors: an answer that cannot be written is an error", status == [2, 2, 2], str(status))


def check_large_files(folder, rng):
    tree = folder / "large"
    lines = [" ".join(rng.choices(WORDS, k=8)) for _ in range(60_000)]
    for at in (0, 777, 30_000, 59_999):
        lines[at] += f" marker{at}"
    lines[31_000] = "long " * 200_000 + "marker_in_long_line"
    lines[32_000] = "x" * 700_000 + " marker_after_long_word"
    write(tree / "lines.txt", "\n".join(lines))
    index = Index(folder, "large.db")
    report = index.build(tree)
    pieces = next(s["items"] for s in report["stages"] if s["name"] == "fold")
    check("large: a large file goes through in pieces", pieces >= 15 and report["files_indexed"] == 1, str(pieces))
    got = {at: list(index.found(f"marker{at}").values()) for at in (0, 777, 30_000, 59_999)}
    check("large: line numbers count through the pieces", got == {at: [at + 1] for at in got}, str(got))
    got = [list(index.found(w).values()) for w in ("marker_in_long_line", "marker_after_long_word")]
    check("large: a line may be longer than a piece", got == [[31_001], [32_001]], str(got))
    check("large: words of a query may be in different pieces", len(index.found("marker0", "marker59999")) == 1)
    hit = index.search("marker30000")["hits"][0]
    check("large: the text is that of the line", hit["text"].endswith("marker30000") and hit["text"] == lines[30_000][:240], hit["text"])
    check("large: bounds hold", all(b["greatest"] <= b["allowed"] for b in report["bounds"]), str(report["bounds"]))


def check_real_tree(folder, rng):
    real = pathlib.Path("/usr/include")
    if TIER == "quick":
        real = next((d for d in (real / "c++", real / "linux") if d.is_dir()), real)
    if not real.is_dir():
        real = folder / "changing"
    real = real.resolve()
    index = Index(folder, "real.db")
    report = index.build(real)
    files = regular_files(real)
    texts = {path for path in files if not is_binary(path)}
    counts = (report["files_indexed"], skipped(report).get("binary", 0), report["bytes_indexed"])
    want = (len(texts), len(files) - len(texts), sum(os.lstat(p).st_size for p in texts))
    check(f"{real}: files, binary files and bytes are those of an independent walk", counts == want, f"{counts} {want}")

    # Where text is ASCII, grep and the index agree on what a word is.
    ascii_files = {p for p in texts if pathlib.Path(os.fsdecode(p)).read_bytes().isascii()}
    words = set()
    for path in rng.sample(sorted(ascii_files), min(40, len(ascii_files))):
        words.update(rng.choices(re.findall(r"\w+", pathlib.Path(os.fsdecode(path)).read_text()) or ["the"], k=2))
    words = rng.sample(sorted(w for w in words if len(w) < 200), min(6 if SANITIZED else 24 if TIER == "long" else 16, len(words)))
    wrong = []
    wrong_lines = []
    lines = 0
    hits = {}
    for word in words:
        found = index.found(word)
        hits[word] = set(found) & ascii_files
        if hits[word] != grep(real, word, "C") & ascii_files:
            wrong.append(word)
        for path in rng.sample(sorted(hits[word]), min(20, len(hits[word]))):
            if os.stat(path).st_size <= 1 << 18:  # of several pieces any may be shown
                lines += 1
                if found[path] != first_line_with(path, word):
                    wrong_lines.append((word, path))
    check(f"{real}: {len(words)} words are found in the files where grep -rlw finds them", not wrong and words, str(wrong))
    check(f"{real}: {lines} hits show the first line that has the word", not wrong_lines and lines > 0, str(wrong_lines))
    pairs = [rng.sample(words, 2) for _ in range(10)]
    wrong = [p for p in pairs if set(index.found(*p)) & ascii_files != hits[p[0]] & hits[p[1]]]
    check(f"{real}: two words are found in the files that have both", not wrong, str(wrong))


def start_build(index, tree, *more):
    return subprocess.Popen(index.command("build", "--json", tree, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_progress(index, process, before):
    """Waits until the build has committed some files more than there were before."""
    while process.poll() is None and index.complete_files() <= before:
        time.sleep(0.01)


def wait_until_open(index, process):
    """Waits until the build has opened the index; its signals are in order then."""
    while process.poll() is None and not any(os.path.realpath(fd) == str(index.db) for fd in pathlib.Path(f"/proc/{process.pid}/fd").iterdir()):
        time.sleep(0.01)


def check_read_rate(folder, rng):
    tree = folder / "paced"
    for i in range(10):
        write(tree / f"{i}.txt", " ".join(rng.choices(WORDS, k=100)) + " paced\n")
    write(tree / "empty.txt", "")
    write(tree / "large.txt", ("word another " * 25_000)[:270_000] + " paced\n")
    write(tree / "picture.png", b"\0" * 200_000)
    wanted = sum(8192 if is_binary(p) else os.lstat(p).st_size for p in regular_files(tree))
    rate = 240_000  # a second's bytes are less than a piece of a large file: it is paid for in parts
    report = Index(folder, "paced.db").build(tree, "--max-read-rate", f"{rate}/s")
    told = (report["bytes_read"], report["max_read_rate"], report["files_indexed"], skipped(report))
    check("read rate: all is read, of binary files the beginning", told == (wanted, rate, 12, {"binary": 1}), f"{told} {wanted}")
    check("read rate: it is never exceeded", report["bytes_read"] <= rate * report["read_seconds"], f"{wanted} {report['read_seconds']} s")
    check("read rate: the index is the same", len(Index(folder, "paced.db").found("paced")) == 11)
    table = Index(folder, "table.db").run("build", tree / "0.txt", "--max-read-rate", "50MiB/s").stdout.decode()
    check("read rate: the table tells it", "(allowed: 50.0 MiB/s)" in table, table)
    index = Index(folder, "slow.db")
    process = start_build(index, tree, "--max-read-rate", "1KiB/s")  # five minutes
    wait_until_open(index, process)
    time.sleep(0.1)  # the readers wait by now
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    report = json.loads(output)
    check("read rate: Ctrl-C ends the wait for it", process.returncode == 130 and report["interrupted"] and report["bytes_read"] < wanted, str(errors))


def without_hangup():
    """For the child process, as nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def check_interruptions(folder, rng):
    tree = folder / "bulk"
    for i in range(400):
        lines = 200 if SANITIZED else 400
        write(tree / str(i % 20) / f"{i}.txt", "\n".join(" ".join(rng.choices(WORDS, k=10)) for _ in range(lines)))
    words = [[rng.choice(WORDS)] for _ in range(8)] + [rng.sample(WORDS, 2) for _ in range(8)]

    # As large as it takes for the build to last a while on this machine, so that it is still at work when the signals come: the same files several
    # times over. What else the machine does counts as little as possible.
    seconds = min(Index(folder, f"once{i}.db").build(tree)["seconds"] for i in range(2))
    copies = min(16, math.ceil(LASTS / seconds) + 1)
    tree = folder / "longer"
    for i in range(copies):
        shutil.copytree(folder / "bulk", tree / str(i), copy_function=os.link)

    reference = Index(folder, "reference.db")
    master, slave = pty.openpty()
    process = subprocess.Popen(reference.command("build", tree), stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    process.communicate(timeout=300)
    check("terminal: a bar with share, rate and time left", all(w in shown for w in (b"[#", b" %", b"B/s", b"ETA")), shown[-300:].decode(errors="replace"))
    want = reference.content(words)
    total = reference.complete_files()
    check("bulk: the index is complete", total == 400 * copies and len(want[0]) >= 400, str(total))

    partial = 0
    rounds = {"quick": 2, "ci": 6}.get(TIER, 60)
    same = True
    for round_ in range(rounds):
        index = Index(folder, f"killed{round_}.db")
        for _ in range(1 + round_ % 2):
            before = index.complete_files()
            process = start_build(index, tree)
            wait_for_progress(index, process, before)
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
            process.communicate()
            partial += 0 < index.complete_files() < total
        kept = index.complete_files()
        report = index.build(tree)
        same = same and index.content(words) == want and report["files_unchanged"] >= min(kept, total) and index.is_sound()
        index.db.unlink()
    check(f"SIGKILL: the next run finishes ({rounds} rounds, {partial} kills in the middle), and the result is the same", same and partial > 0, str(partial))

    index = Index(folder, "interrupted.db")
    slowest = 0
    stopped = True
    for number in (signal.SIGINT, signal.SIGTERM):
        before = index.complete_files()
        process = start_build(index, tree)
        wait_for_progress(index, process, before)
        time.sleep(rng.uniform(0, 0.03))
        began = time.monotonic()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        slowest = max(slowest, time.monotonic() - began)
        if process.returncode != 130 or not json.loads(output)["interrupted"] or not index.is_sound():
            stopped = False
            print(process.returncode, output[:200], errors[:1000])
    kept = index.complete_files()
    check("Ctrl-C: it stops, says so and leaves a sound database", stopped and 0 < kept < total, f"{kept} of {total}")
    check(f"Ctrl-C: within a second ({slowest:.2f} s)", slowest < (10 if SANITIZED else 1))
    report = index.build(tree)
    check("Ctrl-C: the next run goes on from there", report["files_unchanged"] == kept and index.content(words) == want)

    index = Index(folder, "locked.db")
    index.build(folder / "bulk")
    connection = sqlite3.connect(index.db, isolation_level=None)
    if TIER == "quick":
        connection.execute("BEGIN IMMEDIATE")  # for what takes its time when a run begins
    else:  # 300 MB that a run which starts afresh gets rid of
        connection.execute("INSERT INTO words_data SELECT value, zeroblob(4000) FROM (WITH n(value) AS (SELECT 1 << 50 UNION ALL SELECT value + 1 FROM n LIMIT 75000) SELECT value FROM n)")
        connection.execute("DELETE FROM piece")
    process = start_build(index, tree)
    wait_until_open(index, process)
    time.sleep(0.1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    seconds = time.monotonic() - began
    connection.close()
    check(f"Ctrl-C: within a second when the run has only begun ({seconds:.2f} s)", process.returncode == 130 and seconds < (10 if SANITIZED else 1), str(process.returncode))
    check("Ctrl-C: and the next run does it all", index.build(folder / "bulk")["interrupted"] is False and index.complete_files() >= 400 and index.is_sound())

    background = Index(folder, "background.db")
    process = subprocess.Popen(background.command("build", "--json", tree), stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=without_hangup)
    wait_for_progress(background, process, 0)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    ignored = process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    check("nohup: SIGHUP stays ignored, and SIGTERM stops", ignored and process.returncode == 130, str(process.returncode))


def check_memory(folder, rng):
    small = folder / "memory" / "small"
    for i in range(20):
        write(small / str(i), "\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(1000)))
    write(small / "one-line", b"word another " * 100_000)
    large = folder / "memory" / "large"
    for i in range(20):
        shutil.copytree(small, large / str(i), copy_function=os.link)
    unique = folder / "memory" / "unique"  # no word twice: what FTS5 collects is largest then
    for i in range(10 if TIER == "quick" else 20):
        write(unique / str(i), "\n".join(" ".join(f"{rng.getrandbits(32):08x}" for _ in range(12)) for _ in range(12_500)))
    peaks = []
    few, many = ("--threads", "4", "--readers", "8"), ("--threads", "256", "--readers", "256")
    for name, tree, threads in (("small", small, few), ("large", large, few), ("unique words", unique, few), ("unique words, many threads", unique, many)):
        index = Index(folder, f"memory-{name}.db")
        report = index.build(tree, "--max-memory", "32MiB", *threads)
        peaks.append(report["peak_memory_bytes"])
        size = sum(os.lstat(p).st_size for p in regular_files(tree))
        if report["bytes_indexed"] != size:
            check(f"memory: {name} is indexed", False)
        allowed = report["max_memory_bytes"] + report["cache_bytes"]
        check(f"memory: {peaks[-1] / MIB:.0f} MiB for {size / 1e6:.0f} MB, {allowed / MIB:.0f} MiB are allowed", 0 < peaks[-1] <= allowed)


WORDS = []
LASTS = 1.6  # seconds a build that is to be interrupted takes at least: it commits every half second, and is killed up to twice after that


def main():
    global SANITIZED
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    WORDS.extend({"".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 10))) for _ in range(20_000)})
    WORDS.sort()
    folder = pathlib.Path(os.path.realpath(tempfile.mkdtemp(prefix="penstock-index-")))
    folder.chmod(0o755)
    Index.binary = folder / "penstock-index"
    shutil.copy(sys.argv[1], Index.binary)
    Index.binary.chmod(0o755)
    program = Index.binary.read_bytes()
    SANITIZED = b"__asan_init" in program or b"__tsan_init" in program

    def run(test, *arguments):
        begin = time.monotonic()
        try:
            test(*arguments)
        except Exception:  # the other checks still say something
            check(f"{test.__name__} ran to its end", False, traceback.format_exc())
        print(f"   {test.__name__}: {time.monotonic() - begin:.1f} s")

    try:
        run(check_small_tree, folder)
        run(check_changes, folder)
        run(check_large_files, folder, rng)
        run(check_prefix_speed, folder, rng)
        run(check_real_tree, folder, rng)
        run(check_read_rate, folder, rng)
        run(check_interruptions, folder, rng)
        if not SANITIZED:
            run(check_memory, folder, rng)
        run(check_full_disk, folder, rng)
        run(check_errors, folder)
        run(check_odd_trees, folder)
        run(check_searchers, folder)
        run(check_queries, folder)
    finally:
        if "--keep" in sys.argv:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
