#!/usr/bin/env python3
"""Draws the picture of docs/placement.md from what the program route_quality writes.

usage: plot_route.py CSV [FOLDER]

    build/release/benchmarks/penstock_route_quality > quality.csv && scripts/plot_route.py quality.csv

Writes placement_quality.svg to FOLDER (docs/images if not given), and the table's rows for 1,000 nodes to the standard output. Needs matplotlib
(python3-matplotlib in Debian); the same CSV and the same matplotlib give the same file.
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

LOOK = {
    "hash_ring": ("#1f5c99", "o", "-"),
    "rendezvous": ("#2e7d4f", "s", "-"),
    "rendezvous (weights)": ("#2e7d4f", "s", ":"),
    "maglev": ("#b5482a", "^", "-"),
    "maglev (655373 slots)": ("#b5482a", "^", ":"),
    "anchor_hash": ("#6a4c93", "D", "-"),
    "jump": ("#888888", "v", "-"),
    "jump_back": ("#888888", "v", ":"),
}
PANELS = [
    ("find_ns", "a lookup, ns", "log"),
    ("change_us", "one node comes or goes, µs", "log"),
    ("bytes", "memory, bytes", "log"),
    ("moved_remove", "keys that move when a node goes,\nas a multiple of its own", "linear"),
    ("moved_add", "keys that move when a node comes,\nas a multiple of its own", "linear"),
    ("excess", "the fullest node above the average, % (grey: by lot)", "linear"),
]


def read(path):
    """placement -> [row], by the number of nodes"""
    series = collections.defaultdict(list)
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = {name: float(value) for name, value in row.items() if name != "placement"}
            values["excess"] = 100 * (values["peak"] - 1)
            values["lot"] = 100 * (values["chance"] - 1)
            series[row["placement"]].append(values)
    return series


def draw(series, path):
    figure, axes = plt.subplots(2, 3, figsize=(12, 7.2), constrained_layout=True)
    for ax, (column, title, scale) in zip(axes.flat, PANELS):
        for name, rows in series.items():
            if column == "excess":
                rows = [row for row in rows if row["keys_per_node"] >= 1000]  # with fewer, chance is all that one sees
            colour, marker, line = LOOK[name]
            ax.plot([r["nodes"] for r in rows], [r[column] for r in rows], color=colour, marker=marker, ls=line, lw=1.4, ms=4, label=name)
        if column == "excess":
            rows = series["hash_ring"]
            ax.fill_between([r["nodes"] for r in rows], [r["lot"] for r in rows], color="#dddddd", lw=0)
        ax.set_xscale("log")
        ax.set_yscale(scale)
        if scale == "linear":
            ax.set_ylim(bottom=0)
        ax.get_xaxis().set_major_formatter(matplotlib.ticker.FuncFormatter(lambda n, _: f"{n:,.0f}"))
        ax.set_xlabel("nodes")
        ax.set_title(title, loc="left", fontsize=10)
        ax.grid(color="#dddddd", lw=0.5)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    axes[0][0].legend(fontsize=8, frameon=False)
    figure.suptitle("the hash ring and its relatives: what each costs, and how well it places", fontsize=12)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def table(series):
    for name, rows in series.items():
        for r in rows:
            print(
                f"| {r['nodes']:,.0f} | `{name}` | {r['find_ns']:,.1f} ns | {r['bytes'] / 1000:,.1f} kB | {r['change_us']:,.2f} µs | "
                f"{r['moved_add']:.2f} | {r['moved_remove']:.2f} | {r['peak']:.3f} ({r['chance']:.3f}) |"
            )


def main():
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).resolve().parent.parent / "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 9})
    series = read(sys.argv[1])
    draw(series, folder / "placement_quality.svg")
    table(series)


if __name__ == "__main__":
    main()
