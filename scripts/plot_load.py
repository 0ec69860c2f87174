#!/usr/bin/env python3
"""Draws docs/images/coordinated_omission.svg: what a server that stalls for a second looks like in the open loop, in the closed loop, and to wrk
(a closed loop, too; from each long answer it computes those that it would have had meanwhile, at its mean rate, and counts them).

usage: plot_load.py PENSTOCK_LOAD LOAD_SERVER [FOLDER]

    cmake --preset release -DPENSTOCK_TESTS=ON && cmake --build --preset release --target penstock-load penstock_load_server
    scripts/plot_load.py build/release/examples/penstock-load build/release/tests/penstock_load_server

Runs for a minute. Writes to FOLDER (docs/images if not given). Needs matplotlib (python3-matplotlib in Debian), and wrk, which is left out where it is not.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import command_line

command_line.usage(__doc__, wrong=not 3 <= len(sys.argv) <= 4)
command_line.need_modules("--pictures", matplotlib="python3-matplotlib")
import matplotlib  # noqa: E402
import matplotlib.ticker  # noqa: E402

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen before)

SECONDS, STALL, RATE, CONNECTIONS = 20, 1000, 500, 10
PATH = f"/stall?us=1000&after=10000&for={STALL}"
SHARES = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999]
OPEN, CLOSED, WRK = "#b5482a", "#1f5c99", "#2e7d4f"


def with_server(binary, run):
    server = subprocess.Popen([binary], stdout=subprocess.PIPE, text=True)
    try:
        return run(f"http://127.0.0.1:{int(server.stdout.readline())}{PATH}")
    finally:
        server.kill()
        server.wait()


def load(binary, *arguments):
    def run(url):
        command = [binary, "--json", "--quiet", "--connections", str(CONNECTIONS), "--duration", f"{SECONDS}s", *arguments, url]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return run


def wrk(url):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        shares = ",".join(str(s * 100) for s in SHARES if s > 0)
        script.write(f"done = function(s, l, r) for _, p in ipairs({{{shares}}}) do io.write(string.format('POINT %f %f\\n', p, l:percentile(p))) end end\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script.name, url]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(float(p) / 100, float(us) * 1e-3) for p, us in re.findall(r"POINT (\S+) (\S+)", out)]


def points(report):
    return [(share, seconds * 1e3) for share, seconds in report["spectrum"] if share < 0.99995]


def main():
    penstock_load, load_server = (str(pathlib.Path(p).resolve()) for p in sys.argv[1:3])
    folder = pathlib.Path(sys.argv[3] if len(sys.argv) == 4 else pathlib.Path(__file__).resolve().parent.parent / "docs/images")
    opened = with_server(load_server, load(penstock_load, "--rate", str(RATE), "--connections", "600"))
    closed = with_server(load_server, load(penstock_load))
    series = [(f"penstock-load --rate {RATE}: latency from the intended start", OPEN, points(opened), "-"),
              ("penstock-load, closed loop", CLOSED, points(closed), "-")]
    if shutil.which("wrk"):
        series.append(("wrk, which adds answers that it has not seen", WRK, with_server(load_server, wrk), "--"))

    plt.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 9})
    figure, (axes, times) = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    for name, colour, line, style in series:
        axes.plot([1 / (1 - share) for share, _ in line], [ms for _, ms in line], style, color=colour, lw=1.6, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, 20_000)
    axes.set_ylim(0.8, 2000)
    axes.set_xticks([2, 10, 100, 1000, 10_000])
    axes.set_xticklabels(["P50", "P90", "P99", "P99.9", "P99.99"])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g} ms"))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.set_title("latency by percentile", loc="left", fontsize=10)
    for report, colour in ((opened, OPEN), (closed, CLOSED)):
        rows = report["timeline"]
        times.step([r["at_seconds"] for r in rows], [r["sent"] / r["seconds"] for r in rows], where="pre", color=colour, lw=1.6)
    times.set_xlim(0, SECONDS)
    times.set_ylim(0, 1150)
    times.set_xlabel("seconds")
    times.set_title("requests sent a second: the closed loop waits with the server", loc="left", fontsize=10)
    for a in (axes, times):
        a.grid(color="#dddddd", lw=0.5)
        for side in ("top", "right"):
            a.spines[side].set_visible(False)
    figure.suptitle(f"coordinated omission: a server that takes 1 ms for each request stands still for {STALL / 1000:g} s of {SECONDS} s", fontsize=11)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "coordinated_omission.svg", metadata={"Date": None})
    for name, _, line, _ in series:
        at = {share: min((ms for s, ms in line if s >= share), default=float("nan")) for share in (0.5, 0.9, 0.95, 0.99, 0.999)}
        print(name, {f"P{share * 100:g}": f"{ms:.2f} ms" for share, ms in at.items()})


if __name__ == "__main__":
    main()
