#!/usr/bin/env python3
"""Draws docs/images/scenario_NAME.svg from what scripts/scenarios has kept.

usage: plot_scenarios.py RESULT.json... [--to FOLDER]

Each scenario has a function here that is called by its name. Needs matplotlib (python3-matplotlib in Debian).
"""

import json
import pathlib
import sys

import command_line

command_line.usage(__doc__, wrong=len(sys.argv) < 2)
command_line.need_modules("--pictures", matplotlib="python3-matplotlib")
import matplotlib  # noqa: E402
import matplotlib.ticker  # noqa: E402

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen before)

OURS, PLAIN, OTHER, GOAL = "#1f5c99", "#8a8a8a", "#b5482a", "#2e7d4f"
STYLES = {"penstock": (OURS, "-", "o"), "penstock, without shedding": (PLAIN, "--", "s"), "Node": (OTHER, "-", "^")}


def api(result):
    figure, (bars, goodput, waits) = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True, width_ratios=[1, 1.4, 1.4])
    rates = [("penstock", OURS, result["reads"]["rate"])]
    if "node_reads" in result:
        rates.append(("Node", OTHER, result["node_reads"]["rate"]))
    for i, (name, colour, rate) in enumerate(rates):
        bars.bar(i, rate, color=colour, width=0.6)
        bars.text(i, rate, f"{rate:,.0f}", ha="center", va="bottom")
    bars.axhline(40_000, color=GOAL, lw=1, ls=":")
    bars.text(len(rates) - 0.5, 40_000, "goal", color=GOAL, ha="right", va="bottom")
    bars.set_xticks(range(len(rates)), [name for name, _, _ in rates])
    bars.set_xlim(-0.6, len(rates) - 0.4)
    bars.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    bars.set_title("reads a second", loc="left")

    peak = result["search_peak"]
    for name, curve in result["curves"].items():
        colour, style, mark = STYLES[name]
        goodput.plot([p["of_peak"] for p in curve], [p["in_time"] / peak * 100 for p in curve], style, marker=mark, ms=4, color=colour, label=name)
        waits.plot([p["of_peak"] for p in curve if p["p99"]], [p["p99"] * 1e3 for p in curve if p["p99"]], style, marker=mark, ms=4, color=colour, label=name)
    goodput.axhline(90, color=GOAL, lw=1, ls=":")
    goodput.set_title("searches answered within 50 ms, in % of penstock's peak", loc="left")
    goodput.set_xlabel("searches offered, times the peak")
    goodput.set_ylim(0, 150)
    waits.axhline(50, color=GOAL, lw=1, ls=":")
    waits.set_yscale("log")
    waits.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g} ms" if v < 1000 else f"{v / 1000:g} s"))
    waits.set_title("P99 of those that are answered", loc="left")
    waits.set_xlabel("searches offered, times the peak")
    goodput.legend(frameon=False, loc="upper left")
    return figure


def mib(axes, most):
    """Of a scale of bytes up to about `most`: full steps of a power of two."""
    step = 1 << 20
    while most / step > 6:
        step *= 2
    axes.yaxis.set_major_locator(matplotlib.ticker.MultipleLocator(step))
    axes.set_ylim(0, 1.15 * most)
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v / (1 << 20):,.0f} MiB"))


def batch(result):
    figure, (rates, progress, memory) = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True, width_ratios=[1, 1.4, 1.4])
    colours = {"1000": OURS, "100": GOAL, "10": OTHER}
    for i, (per_job, run) in enumerate(result["runs"].items()):
        rates.bar(i, run["rate"], color=colours[per_job], width=0.6)
        rates.text(i, run["rate"], f"{run['rate']:,.0f}", ha="center", va="bottom")
        begin = next((t for t, bytes_ in run["memory"]), 0)
        memory.plot([t - begin for t, _ in run["memory"]], [m for _, m in run["memory"]], color=colours[per_job], label=f"{int(per_job):,} records a job")
    rates.set_xticks(range(len(result["runs"])), [f"{int(n):,} a job" for n in result["runs"]])
    rates.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v / 1e6:g} M"))
    rates.set_title("records a second", loc="left")
    at = 0
    for i, part in enumerate(result["killed"]["progress"]):
        progress.plot([at + t for t, _, _ in part], [n for _, n, _ in part], color=OURS, marker="o", ms=2.5)
        at += part[-1][0]
        if i == 0:
            progress.axvline(at, color=OTHER, lw=1, ls=":")
            progress.text(at, result["records"], " killed, and begun again", color=OTHER, va="top")
    progress.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v / 1e6:g} M"))
    progress.set_title("records done, 10 a job", loc="left")
    progress.set_xlabel("seconds")
    memory.axhline(result["most_memory"], color=GOAL, lw=1, ls=":")
    memory.text(0, result["most_memory"], "goal", color=GOAL, va="bottom")
    mib(memory, result["most_memory"])
    memory.set_title("memory, the making of the table included", loc="left")
    memory.set_xlabel("seconds")
    memory.legend(frameon=False, loc="center left")
    return figure


def files(result):
    figure, (memory, progress, times) = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True, width_ratios=[1.6, 1.3, 1])
    colours = dict(zip(result["seconds"], (OURS, OTHER, PLAIN)))
    for name, points in result["memory"].items():
        memory.plot([t for t, _ in points], [m for _, m in points], color=colours[name], label=name, lw=1.2)
    memory.axhline(result["bound"] + result["program"], color=GOAL, lw=1, ls=":")
    memory.text(0, result["bound"] + result["program"], "goal", color=GOAL, va="bottom")
    mib(memory, max(result["bound"] + result["program"], *(m for points in result["memory"].values() for _, m in points)))
    memory.set_xlabel("seconds")
    memory.set_title(f"memory, for {result['bytes'] / 1e6:,.0f} MB in {result['files']:,} files", loc="left")
    memory.legend(frameon=False)
    progress.plot([t for t, _ in result["progress"]], [n for _, n in result["progress"]], color=OURS)
    for i, (t, n) in enumerate(result["kills"]):
        progress.axvline(t, color=OTHER, lw=1, ls=":")
        progress.text(t, n, " killed", color=OTHER, va="top")
    progress.set_xlabel("seconds")
    progress.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    progress.set_title("files in the output", loc="left")
    for i, (name, seconds) in enumerate(result["seconds"].items()):
        times.bar(i, seconds, color=colours[name], width=0.6)
        times.text(i, seconds, f"{seconds:.1f} s", ha="center", va="bottom")
    times.set_xticks(range(len(result["seconds"])), result["seconds"])
    times.set_title("seconds for all of it", loc="left")
    return figure


def websocket(result):
    figure, (line, memory, times) = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True, width_ratios=[2, 1.1, 1.1])
    crowd = result["crowd"]
    before, beside = crowd["messages"]["hubs"][0]["to_all_seconds"], crowd["beside_slow"]["hubs"][0]["to_all_seconds"]
    slow = crowd["beside_slow"]["slow"]
    line.plot(range(1, len(before) + 1), [1e3 * t for t in before], "o-", ms=3, lw=1, color=OURS, label="all read")
    line.plot(range(len(before) + 1, len(before) + len(beside) + 1), [1e3 * t for t in beside], "o-", ms=3, lw=1, color=OTHER,
              label=f"and {slow:,} that do not, until they are dropped")
    line.axhline(1000, color=GOAL, lw=1, ls=":")
    line.set_ylim(0, max(1100, *(1.1e3 * t for t in before + beside)))
    line.set_title(f"ms until all {crowd['connections']:,} connections have a message", loc="left")
    line.set_xlabel("messages, one after the other")
    line.legend(frameon=False, loc="lower left")

    bars = [(f"penstock\n{crowd['connections']:,}", OURS, crowd["bytes_each"])]
    if "beside" in result:
        bars += [(f"{name}\n{b['connections']:,}", {"penstock": OURS, "Node": OTHER}[name], b["bytes_each"]) for name, b in result["beside"].items()]
    for i, (_, colour, size) in enumerate(bars):
        memory.bar(i, size / 1e3, color=colour, width=0.6)
        memory.text(i, size / 1e3, f"{size / 1e3:.1f}", ha="center", va="bottom")
    memory.axhline(10, color=GOAL, lw=1, ls=":")
    memory.set_xticks(range(len(bars)), [name for name, _, _ in bars])
    memory.set_title("KB of the hub's memory for a connection", loc="left")
    if "beside" in result:
        for i, (name, b) in enumerate(result["beside"].items()):
            took = 1e3 * b["hubs"][0]["to_all"]["p50"]
            times.bar(i, took, color={"penstock": OURS, "Node": OTHER}[name], width=0.6)
            times.text(i, took, f"{took:,.0f}", ha="center", va="bottom")
        times.set_xticks(range(len(result["beside"])), list(result["beside"]))
        times.set_title(f"ms until all of {b['connections']:,} have a message", loc="left")
    else:
        times.set_axis_off()
    return figure


def main():
    arguments = sys.argv[1:]
    folder = pathlib.Path(__file__).resolve().parent.parent / "docs/images"
    if "--to" in arguments:
        at = arguments.index("--to")
        folder = pathlib.Path(arguments[at + 1])
        del arguments[at:at + 2]
    command_line.usage(__doc__, wrong=not arguments)
    plt.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9.5})
    for name in arguments:
        path = pathlib.Path(name)
        figure = {"api": api, "batch": batch, "files": files, "websocket": websocket}[path.stem](json.loads(path.read_text(encoding="utf-8")))
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25, lw=0.5)
            axes.set_axisbelow(True)
        figure.savefig(folder / f"scenario_{path.stem}.svg", metadata={"Date": None})
        print(f"wrote {folder / f'scenario_{path.stem}.svg'}", file=sys.stderr)


if __name__ == "__main__":
    main()
