#!/usr/bin/env python3
"""Reads Google Benchmark's JSON and prints, for each workload, the median of each implementation and penstock's ratio to the best peer.

A benchmark is named BM_<workload><<implementation>> or BM_<workload>/<implementation>, with further arguments behind: they belong to the
workload. An implementation whose name begins with "penstock" is ours. One whose name begins with "reference" is shown and compared with
nothing: a clock, a hash or a disk alone, the same on one thread, a design that was not taken, a run of a set time. Every other one is a peer,
and one without a name is an error. Where every implementation of a workload counts items, the time
an item is compared, else the time an iteration. A benchmark with counters named P50, P99, … (in ns) is compared by each of these instead, one
with a counter wakeups_per_s by that. Counters named 224..255 ns are a histogram: so many took from 224 to 255 ns. It is drawn, not compared.

A second table compares, for each implementation, a workload with another one of the same run: see COMPARED.
"""

import argparse
import datetime
import pathlib
import platform
import re
import statistics
import subprocess
import sys

import command_line

NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
QUANTILE = re.compile(r"P\d+(\.\d+)?")
BAR = re.compile(r"(\d+)\.\.(\d+) ns")
COUNTS = {"wakeups_per_s": "wakeups/s"}
COMPARED = [  # (this workload, with that one)
    ("pool_stream/8", "pool_stream/2"),
    ("pool_stream_two_submitters", "pool_stream/2"),
]
SETTINGS = re.compile(r"/(real_time|process_time|manual_time|(iterations|repeats|min_time|min_warmup_time):[^/]+)")


def split_name(name):
    """(workload, implementation) of a benchmark's name; the implementation is "" where it names none."""
    name = SETTINGS.sub("", name)
    name = name.removeprefix("BM_")
    if match := re.match(r"^(\w+)<(.*)>((?:/[^<>]*)?)$", name):
        workload, implementation, arguments = match.groups()
    elif match := re.match(r"^(\w+)/([^/]*[A-Za-z_][^/:]*(?:::[^/]*)?)((?:/.*)?)$", name):
        workload, implementation, arguments = match.groups()
    else:
        return name, ""
    return workload + arguments, implementation


def is_ours(implementation):
    return implementation.startswith("penstock")


def is_reference(implementation):
    return implementation.startswith("reference")


def is_peer(implementation):
    return implementation != "" and not is_ours(implementation) and not is_reference(implementation)


def samples_of(run):
    """[(what to add to the workload's name, unit, value)] of one repetition: what is compared, in order of preference."""
    quantiles = [(f" {key}", "", run[key]) for key in run if QUANTILE.fullmatch(key)]
    counts = [("", unit, run[key]) for key, unit in COUNTS.items() if key in run]
    if quantiles or counts:
        return quantiles + counts
    times = [("", "iteration", run["real_time"] * NANOSECONDS[run.get("time_unit", "ns")])]
    if rate := run.get("items_per_second"):
        times.insert(0, ("", "item", 1e9 / rate))
    return times


def read(files):
    """workload -> implementation -> unit -> list of values (ns, or how many), one a repetition."""
    workloads = {}
    errors = []
    for file in files:
        runs = command_line.read_json(file, if_empty='{"benchmarks": []}')  # empty: no benchmark of this program matched the filter
        if "benchmarks" not in runs:
            command_line.fail(f"{file} is not what Google Benchmark writes")
        for run in runs["benchmarks"]:
            if run.get("run_type") == "aggregate":
                continue
            if run.get("error_occurred"):
                errors.append(f"{run['name']}: {run.get('error_message', '')}")
                continue
            workload, implementation = split_name(run.get("run_name", run["name"]))
            if not implementation:
                errors.append(f"{run['name']}: names no implementation: BM_<workload><penstock…>, <reference…> or a peer's")
                continue
            for suffix, unit, value in samples_of(run):
                workloads.setdefault(workload + suffix, {}).setdefault(implementation, {}).setdefault(unit, []).append(value)
    return workloads, errors


def read_histograms(files):
    """workload -> implementation -> [[least ns, greatest ns, how many]], in order, of all repetitions together."""
    histograms = {}
    for file in files:
        for run in command_line.read_json(file, if_empty='{"benchmarks": []}').get("benchmarks", []):
            bars = {tuple(map(int, found.groups())): round(run[key]) for key in run if (found := BAR.fullmatch(key))}
            if not bars or run.get("run_type") == "aggregate" or run.get("error_occurred"):
                continue
            workload, implementation = split_name(run.get("run_name", run["name"]))
            all_of_it = histograms.setdefault(workload, {}).setdefault(implementation, {})
            for bar, count in bars.items():
                all_of_it[bar] = all_of_it.get(bar, 0) + count
    return {
        workload: {name: [[*bar, count] for bar, count in sorted(bars.items())] for name, bars in implementations.items()}
        for workload, implementations in histograms.items()
    }


def natural(text):
    """A key to sort by, that has 8 before 16."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def summarise(workloads):
    """Rows (workload, implementation, median, unit, spread, ratio to the best peer or None); ours first, then the others by speed; references have no ratio."""
    rows = []
    for workload, implementations in sorted(workloads.items(), key=lambda pair: natural(pair[0])):
        every = [units.keys() for units in implementations.values()]
        unit = next((u for u in ("item", "", *COUNTS.values()) if all(u in units for units in every)), "iteration")
        values = {name: units[unit] for name, units in implementations.items() if unit in units}
        medians = {name: statistics.median(samples) for name, samples in values.items()}
        best = min((median for name, median in medians.items() if is_peer(name)), default=None) if any(map(is_ours, medians)) else None
        for name in sorted(medians, key=lambda name: (not is_ours(name), medians[name])):
            spread = (max(values[name]) - min(values[name])) / medians[name] if medians[name] else 0.0
            rows.append((workload, name, medians[name], unit, spread, medians[name] / best if best and not is_reference(name) else None))
    return rows


def duration(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def shown(value, unit):
    if unit in COUNTS.values():
        return f"{value:.3g} {unit}"
    return duration(value) + (f"/{unit}" if unit else "")


def emphasised(name, text=None):
    """The text (or the name, as code), bold where the name is one of ours."""
    text = text or (f"`{name}`" if name else "")
    return f"**{text}**" if is_ours(name) else text


def table(rows):
    lines = ["| workload | implementation | median | spread | ratio to the best peer |", "|---|---|---:|---:|---:|"]
    for workload, name, median, unit, spread, ratio in rows:
        ratio = "" if ratio is None else emphasised(name, f"{ratio:.2f}")
        lines.append(f"| {workload} | {emphasised(name)} | {shown(median, unit)} | {100 * spread:.0f} % | {ratio} |")
    return "\n".join(lines)


def brief(rows):
    """A line a workload that has peers: our quickest variant beside the quickest peer."""
    lines = ["| workload | penstock | best peer | ratio |", "|---|---|---|---:|"]
    workloads = {}
    for row in rows:
        workloads.setdefault(row[0], []).append(row)
    for workload, those in workloads.items():
        ours, peers = ([row for row in those if which(row[1]) and row[5] is not None] for which in (is_ours, is_peer))
        if not ours or not peers:
            continue
        mine, best = (min(which, key=lambda row: row[2]) for which in (ours, peers))
        cell = lambda row: f"{shown(row[2], row[3])} ({100 * row[4]:.0f} %), {row[1]}"
        ratio = f"{mine[5]:.2f}"
        lines.append(f"| {workload} | {cell(mine)} | {cell(best)} | {f'**{ratio}**' if mine[5] <= 1 else ratio} |")
    return "\n".join(lines)


def comparison(rows):
    """The second table, or nothing."""
    medians = {(workload, name): median for workload, name, median, *_ in rows}
    lines = []
    for this, that in COMPARED:
        for workload, name, median, *_ in rows:
            if workload == this and medians.get((that, name)):
                lines.append(f"| {this} | {that} | {emphasised(name)} | {emphasised(name, f'{median / medians[that, name]:.2f}')} |")
    if not lines:
        return ""
    return "\n\n" + "\n".join(["| workload | compared with | implementation | ratio |", "|---|---|---|---:|", *lines])


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine(build_dir):
    """Date, processor, compiler and commit, in a line."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)):
        cpu = found.group(1)
    cores = output_of("nproc") or "?"
    compiler = ""
    cache = pathlib.Path(build_dir, "CMakeCache.txt") if build_dir else None
    if cache and cache.exists() and (found := re.search(r"^CMAKE_CXX_COMPILER:\w+=(.+)$", cache.read_text(encoding="utf-8"), re.MULTILINE)):
        compiler = output_of(found.group(1), "--version").split("\n")[0]
    commit = output_of("git", "describe", "--always", "--dirty") or "unknown"
    today = datetime.date.today().isoformat()
    return f"{today}; {cpu}, {cores} CPUs, {platform.system()} {platform.release()}; {compiler or 'unknown compiler'}; commit {commit}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--build-dir", help="to name the compiler in the heading")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there too")
    parser.add_argument("--brief", action="store_true", help="of one run that was kept: a line a workload, penstock beside the best peer")
    options = parser.parse_args()
    if options.brief:
        programs = command_line.read_json(options.files[0]).get("programs", {})
        print(brief(summarise({workload: series for workloads in programs.values() for workload, series in workloads.items()})))
        return
    workloads, errors = read(options.files)
    rows = summarise(workloads)
    if not rows:
        sys.exit("no benchmark ran")
    text = f"Measured on {machine(options.build_dir)}. A median is that of the repetitions, the spread is (greatest − least) / median.\n\n{table(rows)}{comparison(rows)}\n"
    print(text)
    for error in errors:
        print(f"error: {error}")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(text, encoding="utf-8")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
