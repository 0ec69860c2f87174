#!/usr/bin/env python3
"""Draws the pictures of docs/pacing.md from what the example pacing_plot writes.

usage: plot_pacing.py CSV [FOLDER]

    build/dev/examples/penstock_example_pacing_plot pacing.csv && scripts/plot_pacing.py pacing.csv

Writes pacing_shapes.svg and pacing_adaptive.svg to FOLDER (docs/images if not given). Needs matplotlib (python3-matplotlib in Debian); the same CSV and
the same matplotlib give the same files.
"""

import collections
import csv
import pathlib
import sys

import command_line

command_line.usage(__doc__, wrong=not 2 <= len(sys.argv) <= 3)
command_line.need_modules("--pictures", matplotlib="python3-matplotlib")
import matplotlib  # noqa: E402
import matplotlib.ticker  # noqa: E402

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen before)

ADMITTED, LOAD, SECOND = "#1f5c99", "#e8e4da", "#b5482a"
PAUSES = [(0, 0.5), (2.75, 4.6)]  # of the callers, as in the example
STEPS = [(0, "enough servers"), (15, "load × 3"), (50, "half the servers lost"), (85, "servers back"), (120, "load as before")]


def read(path):
    """picture -> series -> [(seconds, value)]"""
    pictures = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pictures[row["picture"]][row["series"]].append((float(row["seconds"]), float(row["value"])))
    return pictures


def plain(axes):
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def shapes(series, path):
    figure, rows = plt.subplots(len(series), 1, sharex=True, figsize=(9, 1.45 * len(series)), constrained_layout=True)
    for axes, (name, points) in zip(rows, series.items()):
        seconds = [s for s, _ in points]
        admitted = [v for _, v in points]
        axes.axvspan(0, 7, color=LOAD, lw=0)
        for begin, end in PAUSES:
            axes.axvspan(begin, end, color="white", lw=0)
        axes.step(seconds, admitted, where="post", color=ADMITTED, lw=1.6)
        calls = collections.Counter(s for (s, v), (_, before) in zip(points[1:], points) if v > before)
        axes.vlines(list(calls), -15, [-13 + n for n in calls.values()], color=SECOND, lw=1)
        axes.set_ylim(-16, 75)
        axes.set_xlim(0, 7)
        axes.set_yticks([0, 20, 40, 60])
        axes.set_title(name, loc="left", fontsize=10, family="monospace")
        axes.grid(axis="y", color="#cccccc", lw=0.5)
        plain(axes)
    rows[-1].set_xlabel("seconds; shaded: callers want more than they get. Line: admitted so far. Ticks: admissions, as high as there were many at once")
    figure.suptitle("ten a second: what each shape admits", fontsize=12)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def adaptive(series, path):
    names = list(dict.fromkeys(s.split("/")[0] for s in series))
    colours = dict(zip(names, ["#888888", "#c08a1e", "#1f5c99", "#2e7d4f"]))
    figure, (limits, waits) = plt.subplots(2, 1, sharex=True, figsize=(9, 6.2), constrained_layout=True)
    servers = series[f"{names[0]}/servers"]
    limits.step(*zip(*servers), where="post", color="black", lw=1.2, ls=":", label="servers")
    for name in names:
        for axes, what in ((limits, "limit"), (waits, "wait_ms")):
            axes.step(*zip(*series[f"{name}/{what}"]), where="post", color=colours[name], lw=1.3, label=name)
    limits.set_ylim(0, 72)
    limits.set_ylabel("limit (calls in flight)")
    waits.set_yscale("symlog", linthresh=10)
    waits.set_ylim(0, 1000)
    waits.set_yticks([0, 5, 10, 50, 100, 500])
    waits.get_yaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
    waits.set_ylabel("wait in the service's queue, ms")
    waits.set_xlabel("seconds; each call takes 50 ms. The short dips are probes: half the limit, to measure the latency without a queue")
    for axes in (limits, waits):
        axes.set_xlim(0, servers[-1][0])
        for begin, _ in STEPS[1:]:
            axes.axvline(begin, color="#999999", lw=0.7)
        axes.grid(axis="y", color="#dddddd", lw=0.5)
        plain(axes)
    for begin, what in STEPS:
        limits.text(begin + 0.7, 71, what, fontsize=8, va="top")
    limits.legend(loc="upper right", bbox_to_anchor=(1, 0.82), ncols=1, fontsize=8, frameon=False)
    figure.suptitle("adaptive_limit: the load exceeds what the service does, which changes", fontsize=12)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).resolve().parent.parent / "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 9})
    pictures = read(sys.argv[1])
    shapes(pictures["shapes"], folder / "pacing_shapes.svg")
    adaptive(pictures["adaptive"], folder / "pacing_adaptive.svg")


if __name__ == "__main__":
    main()
