#!/usr/bin/env python3
"""Draws docs/images/penstock.svg, the picture at the top of README.md, from figures that were kept.

usage: plot_readme.py BENCH_RUN.json SCENARIO_API.json [--to FILE]

BENCH_RUN is what `scripts/bench --peers --keep` leaves in benchmarks/results, SCENARIO_API what `scripts/scenarios api` leaves in build/scenarios/api.json. Above: a service
under more and more load, with shedding and without. Below: every workload that was measured beside peers, a row a primitive. The text is 17 units high in a picture
of 640, so that it can be read where a phone shows it 360 pixels wide; colours follow the reader's choice of light or dark.
"""

import argparse
import html
import json
import math
import pathlib
import statistics

import bench_report

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH = 640
STYLE = """
svg{font:17px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
.ground{fill:#fff;stroke:#dfe4ea}.text{fill:#1c2430}.quiet{fill:#5a6675;font-size:15px}.title{fill:#1c2430;font-weight:650;font-size:19px}
.axis{stroke:#c3cad3;stroke-width:1}.grid{stroke:#e9edf1;stroke-width:1}.one{stroke:#5a6675;stroke-width:1.5}
.line{fill:none;stroke-width:3.5;stroke-linejoin:round;stroke-linecap:round}
.ours{stroke:#0b62a8}.plain{stroke:#c2571a;stroke-dasharray:2 7}.ours-text{fill:#0b62a8;font-weight:650}.plain-text{fill:#b04a10;font-weight:650}
.dot{fill:#0b62a8;fill-opacity:.38}.median{fill:#0b62a8}
@media (prefers-color-scheme:dark){
.ground{fill:#11161c;stroke:#2b3540}.text,.title{fill:#dbe2ea}.quiet{fill:#9fadbc}.axis{stroke:#48545f}.grid{stroke:#222b34}.one{stroke:#9fadbc}
.ours{stroke:#6db6f2}.plain{stroke:#f09a62}.ours-text{fill:#6db6f2}.plain-text{fill:#f09a62}.dot{fill:#6db6f2;fill-opacity:.45}.median{fill:#6db6f2}}
"""
# What a program of benchmarks/ calls itself, where the primitive has another name.
NAMES = {"pool": "worker_pool", "bulk": "loops and fork-join", "ring": "hash_ring"}


class Picture:
    def __init__(self):
        self.parts = []

    def text(self, x, y, text, kind="text", anchor="start"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html.escape(text)}</text>')

    def line(self, x1, y1, x2, y2, kind):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def path(self, points, kind):
        self.parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="line {kind}"/>')

    def dot(self, x, y, radius, kind):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{kind}"/>')

    def svg(self, height, description):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
                f"<title>{html.escape(description)}</title><style>{STYLE}</style>"
                f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" class="ground"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


def seconds(value):
    return f"{value * 1e3:,.0f} ms" if value < 1 else f"{value:.0f} s"


def overload(picture, result, top):
    """Two charts over what is offered: what is answered in time, and how long the slowest hundredth of what is answered takes. Returns where they end."""
    curves = [(result["curves"]["penstock, without shedding"], "plain", "without"), (result["curves"]["penstock"], "ours", "with shedding")]
    most = max(p["of_peak"] for curve, _, _ in curves for p in curve)
    picture.text(24, top, "A service under more than it can answer", "title")
    bottom, height = top + 238, 150
    peak = result["search_peak"]
    waits = [p["p99"] for curve, _, _ in curves for p in curve if p["p99"]]
    low, high = 10 ** math.floor(math.log10(min(waits))), 10 ** math.ceil(math.log10(max(waits)))
    share = lambda p: min(p["in_time"] / peak, 1.2) / 1.2
    wait = lambda p: math.log(p["p99"] / low) / math.log(high / low)
    for left, width, heading, unit, of, marks in (
        (66, 232, "answered within 50 ms", "of the peak", share, [(v, f"{v * 100:.0f} %") for v in (0, 0.5, 1)]),
        (392, 224, "P99 of what is answered", "", wait, [(low * 10**n, seconds(low * 10**n)) for n in range(round(math.log10(high / low)) + 1)]),
    ):
        picture.text(left - 42, top + 34, heading)
        if unit:
            picture.text(left - 42, top + 54, unit, "quiet")
        at = lambda p, of=of, left=left, width=width: (left + width * p["of_peak"] / most, bottom - height * of(p))
        for value, text in marks:
            y = bottom - height * (value / 1.2 if of is share else math.log(value / low) / math.log(high / low))
            picture.line(left, y, left + width, y, "axis" if y == bottom else "grid")
            picture.text(left - 7, y + 5, text, "quiet", "end")
        for n in range(1, round(most) + 1):
            picture.text(left + width * n / most + 4, bottom + 21, f"{n}×", "quiet", "middle")
        for curve, kind, _ in curves:
            shown = [p for p in curve if p["p99"] or of is share]
            picture.path([at(p) for p in shown], kind)
        for curve, kind, name in curves:
            last = [p for p in curve if p["p99"] or of is share][-1]
            x, y = at(last)
            text = f"{name}: {last['in_time'] / peak * 100:.0f} %" if of is share else seconds(last["p99"])
            picture.text(x, y - 10, text, f"{kind}-text", "end")
    picture.text(WIDTH / 2, bottom + 44, "load, in multiples of what it can answer", "quiet", "middle")
    return bottom + 44


def ratios(run, which=min):
    """primitive -> [our time over the best peer's], one a workload: that of the quickest of our variants, or of which one is to count."""
    found = {}
    for program, workloads in run["programs"].items():
        for workload, implementations in workloads.items():
            mine = [row[5] for row in bench_report.summarise({workload: implementations}) if bench_report.is_ours(row[1]) and row[5] is not None]
            if mine:
                found.setdefault(NAMES.get(program, program), []).append(which(mine))
    return found


def beside_peers(picture, run, top):
    """A row a primitive, the ones that gain most first. Returns where they end, how many workloads there are, and in how many penstock takes no longer."""
    rows = sorted(ratios(run).items(), key=lambda row: statistics.median(row[1]))
    values = [value for _, row in rows for value in row]
    low, high = min(0.1, *values), max(2, *values)
    left, right, step = 196, WIDTH - 28, 27
    at = lambda ratio: left + (right - left) * math.log(ratio / low) / math.log(high / low)
    picture.text(24, top, "Time beside the best peer", "title")
    picture.text(24, top + 25, f"A dot for each of {len(values)} workloads, the full one is the median.", "quiet")
    picture.text(24, top + 45, "Peers: other libraries, the standard one, Go, and what one writes by hand.", "quiet")
    first = top + 102
    bottom = first + step * (len(rows) - 1) + 18
    for tick in (0.01, 0.1, 1, 10, 100):
        if low * 0.99 <= tick <= high * 1.01:
            picture.line(at(tick), first - 18, at(tick), bottom, "one" if tick == 1 else "grid")
            picture.text(at(tick), bottom + 20, {0.01: "1/100", 0.1: "1/10", 1: "same", 10: "10×", 100: "100×"}[tick], "quiet", "middle")
    picture.text(at(1) - 10, first - 24, "← penstock is quicker", "quiet", "end")
    for i, (name, row) in enumerate(rows):
        y = first + step * i
        picture.text(left - 14, y + 6, name, "text", "end")
        for value in row:
            picture.dot(at(value), y, 5.5, "dot")
        picture.dot(at(statistics.median(row)), y, 7, "median")
    return bottom + 20, len(values), sum(value <= 1 for value in values)


def main():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("run", type=pathlib.Path)
    arguments.add_argument("scenario", type=pathlib.Path)
    arguments.add_argument("--to", type=pathlib.Path, default=ROOT / "docs/images/penstock.svg")
    given = arguments.parse_args()
    run, scenario = (json.loads(path.read_text(encoding="utf-8")) for path in (given.run, given.scenario))
    picture = Picture()
    bottom = overload(picture, scenario, 38)
    bottom, workloads, quicker = beside_peers(picture, run, bottom + 52)
    given.to.write_text(picture.svg(round(bottom + 20), "penstock under overload, and its primitives beside their peers"), encoding="utf-8")
    by_slowest = sum(value <= 1 for row in ratios(run, max).values() for value in row)
    print(f"wrote {given.to}: {quicker} of {workloads} workloads are at least as quick as the best peer; by penstock's slowest variant {by_slowest}")


if __name__ == "__main__":
    main()
