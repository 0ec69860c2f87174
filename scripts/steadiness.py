#!/usr/bin/env python3
"""Whether the machine runs at one speed: a virtual one may be held up by what its host does, without a word of it in /proc/stat ("steal").

usage: steadiness.py [SECONDS]

Every 2 ms it does 30 us of work and takes the processor time of that. Other programs that want the processor do not count in it, so it can watch while something
is measured, of which it takes some 2 % of one processor. Where the same work takes three times what it mostly takes, several times in a row, the machine was slow. Prints
when that was, for 10 s if nothing is said. Scripts that measure use `Steadiness`.
"""

import gc
import signal
import statistics
import subprocess
import sys
import time

PERIOD = 0.002  # seconds
SLOW = 3  # times what it mostly takes
TOGETHER = 0.020  # seconds between two slow ones of the same time


def probe(until):
    """Prints when it worked and how many ns that took, until SIGTERM or for some time."""
    gc.disable()
    taken = []
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while time.time() < until:
            time.sleep(PERIOD)
            at, before = time.time(), time.thread_time_ns()
            for _ in range(600):
                pass
            taken.append((at, time.thread_time_ns() - before))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stdout.write("".join(f"{at:.6f} {ns}\n" for at, ns in taken))


def slow_times(taken):
    """From when to when the machine was slow; `taken` as probe() prints it."""
    usual = statistics.median(ns for _, ns in taken)
    times = []
    for at, ns in taken:
        if ns < SLOW * usual:
            continue
        if times and at - times[-1][1] < TOGETHER:
            times[-1][1:] = [at, times[-1][2] + 1]
        else:
            times.append([at, at, 1])
    return [(begin, end) for begin, end, count in times if count >= 3]  # one or two: its cache was cold


class Steadiness:
    """Watches while in `with`; then says when the machine was slow."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__, "--probe"], stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        taken = [(float(at), int(ns)) for at, ns in (line.split() for line in self.process.communicate()[0].splitlines())]
        self.slow = slow_times(taken) if taken else []
        self.watched = taken[-1][0] - taken[0][0] if taken else 0

    def share(self):
        return sum(end - begin for begin, end in self.slow) / self.watched if self.watched else 0

    def is_steady(self, begin, end):
        """Whether it was not slow between two times (of time.time())."""
        return all(e < begin or b > end for b, e in self.slow)

    def text(self):
        return f"the machine itself ran at less than a third of its speed for {100 * self.share():.1f} % of the time"


def main():
    if sys.argv[1:] == ["--probe"]:
        probe(float("inf"))
        return 0
    try:
        seconds = float(sys.argv[1]) if len(sys.argv) == 2 else 10.0 if len(sys.argv) == 1 else None
    except ValueError:
        seconds = None
    if seconds is None:
        print(__doc__)
        return 0 if sys.argv[1:] == ["--help"] else 2
    with Steadiness() as watch:
        begin = time.time()
        time.sleep(seconds)
    for b, e in watch.slow:
        print(f"slow after {b - begin:.3f} s, for {1e3 * (e - b):.0f} ms")
    print(watch.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
