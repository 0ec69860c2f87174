#!/usr/bin/env python3
"""Draws a run of the benchmarks as one page that needs nothing else, and keeps runs.

    bench_page.py --page FILE [--build-dir DIR] [--command TEXT] [--note TEXT] JSON...     the page
    bench_page.py --keep FILE [--build-dir DIR] [--command TEXT] [--note TEXT] JSON...     the run in brief: every repetition's figure, machine, compiler, commit

JSON is what Google Benchmark writes, a file a program, or a run that was kept. Where there is a file NAME.command beside NAME.json, it has the command that wrote it.
Needs matplotlib (Debian's python3-matplotlib) for the page.
"""

import argparse
import html
import io
import json
import math
import pathlib
import re
import statistics
import sys
import zlib

import bench_report
import command_line

OURS, PEER, FAINT = "#0b62a8", "#8a94a0", "#c9d1d9"
DASHES = ["-", "--", ":", "-."]
PEERS = ["#c2571a", "#6b7785", "#8f5aa8", "#2f8f6b", "#b08a1e", "#a3475f", "#4a6fa5", "#7a7a52"]
TIP = "tip: "  # begins the id of what says on hovering what it is
THREADS = re.compile(r"/threads:(\d+)")
QUANTILE = re.compile(r"^(.*) P(\d+(?:\.\d+)?)$")
NO_PEER = [  # (how names of workloads begin, why none of them has a peer)
    (r"(async_)?retry|breaker_|budget|cron_", "No C++ library of Debian's that we know has them. Beside them stand the bare call and the bare coroutine."),
    (r"batcher_|accumulator_", "No peer batches what several callers want. What one writes by hand stands beside batcher_distinct_many and accumulator_push."),
    (r"pick_|ring_|placement_", "A peer by hand, or as in its paper, does what ten lines can: no weights, no sticky sessions, no second owner, no changes under readers."),
    (r"broadcast_|watch_", "No peer hands every item to every reader; one of our channels for each reader stands beside it, and a mutex where threads read."),
    (r"semaphore_threads_and_coroutines|token_bucket_waiters", "No peer has threads or coroutines stand in line for it."),
    (r"keyed_limiter_new_keys", "The peer, a map, would grow for ever."),
    (r"job_queue_mixed|sqlite_", "The peers have no priorities, delays and failures, and keep nothing on disk. What the disk itself needs is measured as one_write_and_sync."),
    (r"snapshot|quantile|merge|registry_|prometheus_text|acquire_release|push_pop|tasks", "What looking and counting cost: to be held against the same without."),
    (r"wait_and_resume|await_free_permit|post", "What observers cost: /0 is the same without one."),
    (r"execution_", "No implementation of std::execution is in Debian: to be held against a coroutine that awaits the same."),
]
NOT_HERE = "There is a peer, which was not there when this was measured: scripts/bench --peers installs them."
NOT_MEASURED = [  # (headers, why no benchmark has them)
    ("hedge, supervise, ticker, backoff", "They wait by nature, and what waiting costs is measured as timer_service."),
    ("quorum, when_all_settled, map_as_completed", "They are made of what when_all and map_concurrent are made of."),
    ("codel", "A lock and a look at the clock for each item."),
    ("redis_store, redis_semaphore, redis_token_bucket, celery_producer", "The server and the way to it decide."),
]
STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1c2430;--quiet:#5a6675;--line:#dfe4ea;--raised:#f5f7f9;--ours:#0b62a8}
@media (prefers-color-scheme:dark){:root{--ground:#11161c;--text:#dbe2ea;--quiet:#93a1b1;--line:#2b3540;--raised:#1a2129;--ours:#6db6f2}}
body{margin:0 auto;max-width:66rem;padding:1rem 1.2rem 4rem;background:var(--ground);color:var(--text);font:16px/1.55 system-ui,sans-serif}
h1{margin:.4rem 0}h2{margin:2.6rem 0 .4rem;padding-top:.8rem;border-top:1px solid var(--line)}
p,li{max-width:48rem}li{margin:.4rem 0}.quiet{color:var(--quiet);font-size:.92rem}
nav a{margin-right:.9rem;white-space:nowrap}a{color:var(--ours)}
figure{margin:1rem 0;padding:.4rem;background:#fff;border:1px solid var(--line);border-radius:8px;overflow-x:auto}
figure svg{display:block;height:auto}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--quiet)}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem}th,td{padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}.ours{font-weight:650;color:var(--ours)}
pre{padding:.8rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere;background:var(--raised);border-radius:8px;font-size:.85rem}
"""


def program_of(file):
    """channel of penstock_channel_bench.json, and of channel_go.json, its peer in another language (or …_node.json)."""
    return re.sub(r"^penstock_|_bench$|_(go|node)$", "", pathlib.Path(file).stem)


def read_run(files, build_dir, command):
    """{"machine", "command", "commands": {program: [commands]}, "programs": {program: workloads as bench_report reads them}, "histograms": {program: its}}; of a run that was
    kept, its own, in which an earlier one has no commands and histograms."""
    if len(files) == 1 and "programs" in (kept := command_line.read_json(files[0])):
        return kept
    programs, commands, histograms = {}, {}, {}
    for program in dict.fromkeys(program_of(file) for file in files):
        of_it = [file for file in files if program_of(file) == program]
        workloads, errors = bench_report.read(of_it)
        for error in errors:
            print(f"error: {error}", file=sys.stderr)
        if workloads:
            programs[program] = workloads
            commands[program] = [c.read_text(encoding="utf-8").strip() for c in (pathlib.Path(file).with_suffix(".command") for file in of_it) if c.exists()]
            if found := bench_report.read_histograms(of_it):
                histograms[program] = found
    return {"machine": bench_report.machine(build_dir), "command": command, "commands": commands, "programs": programs, "histograms": histograms}


def spread_of(values, base):
    return [min(values) / base, max(values) / base]


def nines(share):
    """Of the share that takes longer: 1 for a tenth, 2 for a hundredth."""
    return -math.log10(max(share, 1e-6))


def line_of(bars):
    """[(nines, ns)]: where the bars of a histogram end; the greatest by half of one of those that were measured."""
    of_all, passed, line = sum(count for *_, count in bars), 0, []
    for _, greatest, count in bars:
        passed += count
        line.append((nines(max(1 - passed / of_all, 0.5 / of_all)), greatest))
    return line


def round_numbers(low, high, most=9):
    """From low to high, for a logarithmic axis: as many as there is room for."""
    for steps in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= most:
            break
    return ticks[:: math.ceil(len(ticks) / most)]


def named_times(low, high, most=6):
    ticks = round_numbers(low, high, most)
    return ticks, [bench_report.duration(t) for t in ticks]


class Figures:
    """The pictures of a program's workloads, as SVG."""

    def __init__(self, workloads, histograms):
        import matplotlib

        matplotlib.use("svg")
        matplotlib.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
        import matplotlib.pyplot

        self.plot = matplotlib.pyplot
        self.workloads = workloads
        self.histograms = dict(sorted(histograms.items(), key=lambda pair: bench_report.natural(pair[0])))
        self.rows = bench_report.summarise(workloads)

    def draw(self, figure, least=0.9):
        """`least`: of its size, on a narrow screen, where it is scrolled rather than made too small to be read."""
        out = io.StringIO()
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        self.plot.close(figure)
        svg = out.getvalue()
        # Names within the page must differ from picture to picture.
        prefix = f"f{zlib.crc32(svg.encode())}"
        svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}\1"', svg)
        svg = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{prefix}\1"', svg)
        svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)
        svg = re.sub(r'<g id="[^"]*' + TIP + '([^"]*)">', r"<g><title>\1</title>", svg)
        width = float(re.search(r'width="([0-9.]+)pt"', svg)[1])
        return f'<svg style="max-width:100%;min-width:{least * width:.0f}pt"' + svg.partition("<svg")[2]

    def values(self, workload, implementation, unit):
        return self.workloads[workload][implementation][unit]

    def ratios(self):
        """A row a workload: our ratio to the best peer, and where the peers are; each with its spread as a line."""
        wanted = [(w, name, median, unit, ratio) for w, name, median, unit, _, ratio in self.rows if ratio is not None]
        names = list(dict.fromkeys(w for w, *_ in wanted))
        if not names:
            return ""
        figure, axes = self.plot.subplots(figsize=(8.6, 0.55 + 0.34 * len(names)))
        for y, workload in enumerate(reversed(names)):
            rows = [r for r in wanted if r[0] == workload]
            best = min(median for _, name, median, _, _ in rows if not bench_report.is_ours(name))
            for _, name, median, unit, ratio in rows:
                ours = bench_report.is_ours(name)
                line = {"color": OURS, "linewidth": 2, "alpha": 0.45, "zorder": 2} if ours else {"color": FAINT, "linewidth": 1, "zorder": 0}
                axes.plot(spread_of(self.values(workload, name, unit), best), [y, y], solid_capstyle="round", **line)
                (mark,) = axes.plot([ratio], [y], "o" if ours else "|", color=OURS if ours else PEER, markersize=7 if ours else 9, zorder=3 if ours else 1)
                mark.set_gid(f"{TIP}{name}: {ratio:.2f}, {bench_report.shown(median, unit)}")
            ours = min((r for r in rows if bench_report.is_ours(r[1])), key=lambda r: r[4])
            axes.annotate(f"{ours[4]:.2f}", (ours[4], y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8, color=OURS)
        axes.axvline(1, color="#333", linewidth=0.8, zorder=0)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        ticks = round_numbers(low, high)
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), reversed(names))
        axes.set_ylim(-0.6, len(names) - 0.2)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#eee")
        axes.set_axisbelow(True)
        axes.set_xlabel("time, as a multiple of the best peer's: left of 1 penstock is quicker")
        return self.draw(figure, least=0.7)

    @staticmethod
    def name_ticks(panel):
        """Round lengths of time at the logarithmic axes of times; what differs by noise alone does not fill an axis."""
        if panel.get_yscale() == "log":
            low, high = panel.get_ylim()
            wider = max(1, math.sqrt(2 * low / high))
            panel.set_ylim(low / wider, high * wider)
            panel.set_yticks(*named_times(*panel.get_ylim()))
        if panel.get_xscale() == "log":
            panel.set_xticks(*named_times(*panel.get_xlim(), most=5))
        panel.minorticks_off()

    def panels(self, groups, label, draw):
        """Panels side by side, one a group: draw(panel, title, name, points, style) for each implementation, ours last."""
        columns = min(len(groups), 2)
        count, width = -(-len(groups) // columns), 8.8 if columns == 2 else 5.6
        figure, panels = self.plot.subplots(count, columns, figsize=(width, 3.0 * count), squeeze=False)
        ours, peers = (sorted({name for series in groups.values() for name in series if bench_report.is_ours(name) is wanted}) for wanted in (True, False))
        named = {}
        for panel in panels.flat[len(groups) :]:
            panel.set_visible(False)
        for panel, (title, series) in zip(panels.flat, groups.items()):
            for name in sorted(series, key=bench_report.is_ours):
                if name in ours:
                    style = {"color": OURS, "linewidth": 2.2, "linestyle": DASHES[ours.index(name) % len(DASHES)], "zorder": 3}
                else:
                    style = {"color": PEERS[peers.index(name) % len(PEERS)], "linewidth": 1.2, "linestyle": DASHES[peers.index(name) // len(PEERS) % len(DASHES)], "zorder": 2}
                draw(panel, title, name, sorted(series[name]), {**style, "label": name})
            named |= dict(zip(*reversed(panel.get_legend_handles_labels())))
            panel.set_title(title, fontsize=10, loc="left")
            self.name_ticks(panel)
            panel.tick_params(labelsize=8)
            panel.grid(color="#eee")
        figure.supylabel(label, fontsize=9)
        figure.tight_layout()
        names = [name for name in ours + peers if name in named]
        per_row = max(1, min(len(names), int(width / (0.6 + 0.075 * max(map(len, names))))))
        figure.legend([named[name] for name in names], names, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=per_row, fontsize=8, frameon=False, handlelength=3)
        return self.draw(figure)

    def scaling(self):
        groups = {}
        for workload, name, median, unit, *_ in self.rows:
            if found := THREADS.search(workload):
                title = THREADS.sub("", workload)
                groups.setdefault(f"{title}, by threads", {}).setdefault(name, []).append((int(found[1]), median))
        groups = {title: series for title, series in groups.items() if max(len(points) for points in series.values()) > 1}

        def draw(panel, title, _, points, style):
            panel.plot(*zip(*points), marker="o", markersize=4, **style)
            panel.set_yscale("log")
            panel.set_xticks(*[[form(x) for x in sorted({x for series in groups[title].values() for x, _ in series})] for form in (int, str)])

        return self.panels(groups, "time", draw) if groups else ""

    def latencies(self):
        """What is rare takes the room: a latency by the number of nines of those that take no longer. Dots are the quantiles that are compared, lines the whole distribution
        up to its greatest, or lead from dot to dot where nothing else is known."""
        groups = {}
        for workload, name, median, *_ in self.rows:
            if found := QUANTILE.match(workload):
                groups.setdefault(found[1], {}).setdefault(name, []).append((nines(1 - float(found[2]) / 100), median))
        for workload, implementations in self.histograms.items():
            for name in implementations:
                groups.setdefault(workload, {}).setdefault(name, [])

        def draw(panel, title, name, dots, style):
            if line := line_of(self.histograms.get(title, {}).get(name, [])):
                panel.plot(*zip(*line), drawstyle="steps-pre", **style)
                panel.plot(*zip(*dots) if dots else ([], []), "o", color=style["color"], markersize=4, zorder=style["zorder"])
            else:
                panel.plot(*zip(*dots), marker="o", markersize=4, **style)
            panel.set_yscale("log")
            shares = [q for q in (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999) if nines(1 - q) <= panel.get_xlim()[1]]
            panel.set_xticks([nines(1 - q) for q in shares], [f"{100 * q:.6g} %" for q in shares])

        return self.panels(groups, "latency", draw) if groups else ""

    def bars(self):
        """Histograms: what share of all took so long; bars are a fifth to a quarter wide, so areas on the logarithmic axis are shares."""

        def draw(panel, _, __, bars, style):
            of_all = sum(count for *_, count in bars)
            edges, heights = [], []
            for least, greatest, count in bars:
                if not edges or edges[-1] != max(least, 1):
                    edges, heights = edges + [max(least, 1)], heights + ([0] if edges else [])
                edges.append(greatest + 1)
                heights.append(100 * count / of_all)
            panel.stairs(heights, edges, fill=style["zorder"] == 3, alpha=0.5 if style["zorder"] == 3 else 1, **style)
            panel.set_xscale("log")
            panel.set_xlabel("latency", fontsize=8)

        return self.panels(self.histograms, "of all, %", draw) if self.histograms else ""

    def table(self):
        lines = ['<tr><th>workload</th><th>implementation</th><th class="number">median</th><th class="number">spread</th><th class="number">to the best peer</th></tr>']
        for workload, name, median, unit, spread, ratio in self.rows:
            ours = ' class="ours"' if bench_report.is_ours(name) else ""
            ratio = "" if ratio is None else f"{ratio:.2f}"
            lines.append(
                f'<tr><td>{html.escape(workload)}</td><td{ours}>{html.escape(name)}</td><td class="number">{bench_report.shown(median, unit)}</td>'
                f'<td class="number">{100 * spread:.0f} %</td><td class="number">{ratio}</td></tr>'
            )
        return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def summary_of(run):
    """How many workloads with peers, in how many of them ours is as quick as the best, and the median ratio."""
    ratios = []
    for workloads in run["programs"].values():
        best = {}
        for workload, name, _, _, _, ratio in bench_report.summarise(workloads):
            if ratio is not None and bench_report.is_ours(name):
                best[workload] = min(ratio, best.get(workload, ratio))
        ratios += best.values()
    if not ratios:
        return "No workload has a peer beside it."
    quicker = sum(r <= 1 for r in ratios)
    return f"{len(ratios)} workloads have peers; in {quicker} of them penstock is as quick as the best of them or quicker. Median ratio {statistics.median(ratios):.2f}."


def without_arguments(workload):
    return re.split("[/ ]", workload)[0]


def without_peer(run):
    """What has no peer, or is not measured at all, and why: the end of the page."""
    found = {why: {} for why in [*(why for _, why in NO_PEER), NOT_HERE]}
    for workloads in run["programs"].values():
        with_peers = {without_arguments(workload) for workload, names in workloads.items() if any(map(bench_report.is_peer, names))}
        for workload, names in workloads.items():
            if any(map(bench_report.is_ours, names)) and not any(map(bench_report.is_peer, names)):
                why = next((why for begins, why in NO_PEER if re.match(begins, workload)), NOT_HERE)
                found[why][workload if without_arguments(workload) in with_peers else without_arguments(workload)] = None

    def lines(reasons):
        return "".join(f'<li>{why}<br><span class="quiet">{html.escape(", ".join(names))}</span></li>' for why, names in reasons)

    without = [(why, sorted(names, key=bench_report.natural)) for why, names in found.items() if names]
    title = f'<h2 id="without">Without a peer</h2><ul>{lines(without)}</ul>' if without else ""
    return f'{title}<h2 id="unmeasured">Not measured</h2><ul>{lines((why, [headers]) for headers, why in NOT_MEASURED)}</ul>'


def page(run):
    sections = []
    for program, workloads in run["programs"].items():
        figures = Figures(workloads, run.get("histograms", {}).get(program, {}))
        pictures = "".join(f"<figure>{svg}</figure>" for svg in (figures.ratios(), figures.scaling(), figures.latencies(), figures.bars()) if svg)
        commands = "".join(f"<pre>{html.escape(command)}</pre>" for command in run.get("commands", {}).get(program, []))
        sections.append(f'<h2 id="{program}">{program.replace("_", " ")}</h2>{commands}{pictures}<details{"" if pictures else " open"}><summary>all figures</summary>{figures.table()}</details>')
    navigation = " ".join(f'<a href="#{program}">{program.replace("_", " ")}</a>' for program in run["programs"])
    ends = without_peer(run)
    navigation += "".join(f' <a href="#{found[1]}">{found[2].lower()}</a>' for found in re.finditer('<h2 id="(.*?)">(.*?)</h2>', ends))
    command = f"<pre>{html.escape(run['command'])}</pre>" if run["command"] else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>penstock: benchmarks</title><style>{STYLE}</style></head>
<body><h1>penstock beside its peers</h1>
<p class="quiet">{html.escape(run["machine"])}</p>
<p>{summary_of(run)}</p>
<p>A dot is the median of the repetitions over the median of the best peer of that workload in the same run, its line reaches from the least to the greatest
repetition; grey strokes, with thin lines, are the peers (hover to see which). All do the same work; ratios count, not times: the machine is shared. A latency is drawn by the share of all that took no longer (dots: the
medians of the quantiles that are compared; lines: all that was measured, in all repetitions, to the greatest), and as a histogram.</p>
{command}<nav>{navigation}</nav>
{"".join(sections)}{ends}</body></html>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="JSON")
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--build-dir")
    parser.add_argument("--command", default="")
    parser.add_argument("--note", default="", help="what else is to be known of the machine")
    options = parser.parse_args()
    run = read_run(options.files, options.build_dir, options.command)
    if options.note:
        run["machine"] += f"; {options.note}"
    if not run["programs"]:
        sys.exit("bench_page: no benchmark ran")
    if options.keep:
        rounded = json.loads(json.dumps(run), parse_float=lambda text: float(f"{float(text):.4g}"))
        options.keep.parent.mkdir(parents=True, exist_ok=True)
        options.keep.write_text(json.dumps(rounded, ensure_ascii=False, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]") + "\n", encoding="utf-8")
    if options.page:
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(page(run), encoding="utf-8")


if __name__ == "__main__":
    if "--page" in sys.argv:
        command_line.need_modules("--pictures", matplotlib="python3-matplotlib")
    main()
