#!/usr/bin/env python3
"""Tells whether penstock has become slower between two runs of the benchmarks.

    bench_compare.py [--limit PERCENT] BEFORE AFTER

Runs are those that scripts/bench --keep wrote (benchmarks/results/). A workload is slower if the repetitions of the second run, paired with those of the first, take
more than the limit (20 %) longer in the median, and if so many of the pairs say the same that chance would do so in one of twenty cases at the most (a sign test: five
of five, seven of eight). What the machine changed is taken out first: the median change of the workload's peers, without peers that of all peers of the same program, and
where a program has none, of the whole run. Told too: how many workloads were compared, and which were not and why. The exit code is 1 if anything is slower, or if the
second run lacks a program, a workload or one of penstock's variants that the first one has.
"""

import argparse
import math
import pathlib
import statistics
import sys
import typing

import bench_report
import command_line

CHANCE = 0.05


class Change(typing.NamedTuple):
    program: str
    workload: str
    name: str
    times: float  # 1.2: 20 % slower
    chance: float  # of seeing as much without a reason

    def __str__(self):
        return f"{self.workload}, {self.name}: {self.times:.2f} times"


class Comparison(typing.NamedTuple):
    changes: list  # of what is ours and in both
    missing: list  # texts: what the first run has and the second lacks
    left_out: dict  # (program, workload) in both -> why nothing of it was compared
    drifts: dict  # where it was taken from -> how many workloads


def sign_test(longer, pairs):
    """The chance that so many of the pairs or more are longer, if each is as likely to be shorter."""
    return sum(math.comb(pairs, k) for k in range(longer, pairs + 1)) / 2**pairs


def series_of(old, new):
    """implementation -> its values in both runs, of the same unit."""
    both = {}
    for name in old.keys() & new.keys():
        unit = next((u for u in ("item", "", *bench_report.COUNTS.values(), "iteration") if u in old[name] and u in new[name]), None)
        if unit is not None:
            both[name] = (old[name][unit], new[name][unit])
    return both


def ratio(before, after):
    if before:
        return after / before
    return math.inf if after else 1.0


def peer_changes(both):
    return [statistics.median(b) / statistics.median(a) for name, (a, b) in both.items() if bench_report.is_peer(name) and statistics.median(a)]


def lacking(before, after):
    found = []
    for program, workloads in before["programs"].items():
        if program not in after["programs"]:
            found.append(f"the program {program}")
            continue
        for workload, implementations in workloads.items():
            there = after["programs"][program].get(workload)
            if there is None:
                found.append(f"{program}: {workload}")
            else:
                found += [f"{program}: {workload}, {name}" for name in implementations if bench_report.is_ours(name) and name not in there]
    return found


def reason_left_out(old, new):
    if all(bench_report.is_reference(name) for name in old):
        return "a reference"
    if "" in old or "" in new:
        return "names no implementation: kept before they all had names"
    if not any(bench_report.is_ours(name) for name in old.keys() & new.keys()):
        return "has nothing of penstock's in both runs"
    return "has no unit in both runs"


def compare(before, after):
    common = {}
    for program in sorted(before["programs"].keys() & after["programs"].keys()):
        old, new = before["programs"][program], after["programs"][program]
        common[program] = {workload: series_of(old[workload], new[workload]) for workload in sorted(old.keys() & new.keys())}
    of_program = {program: [c for both in workloads.values() for c in peer_changes(both)] for program, workloads in common.items()}
    of_run = [c for changes in of_program.values() for c in changes]
    changes, left_out, drifts = [], {}, {}
    for program, workloads in common.items():
        for workload, both in workloads.items():
            ours = {name: pairs for name, pairs in sorted(both.items()) if bench_report.is_ours(name)}
            if not ours:
                left_out[program, workload] = reason_left_out(before["programs"][program][workload], after["programs"][program][workload])
                continue
            fewest = min(len(list(zip(*pairs))) for pairs in ours.values())
            if sign_test(fewest, fewest) > CHANCE:
                left_out[program, workload] = f"has {fewest} repetitions in both runs: too few to tell a change from chance"
                continue
            places = (("its own peers", peer_changes(both)), ("its program's peers", of_program[program]), ("the run's peers", of_run), ("nothing: there is no peer", [1.0]))
            place, machine = next((place, statistics.median(peers)) for place, peers in places if peers)
            drifts[place] = drifts.get(place, 0) + 1
            for name, (a, b) in ours.items():
                ratios = [ratio(x, y) / machine for x, y in zip(a, b)]
                changes.append(Change(program, workload, name, statistics.median(ratios), sign_test(sum(r > 1 for r in ratios), len(ratios))))
    return Comparison(changes, lacking(before, after), left_out, drifts)


def slower_than(changes, limit):
    return sorted((c for c in changes if c.times > 1 + limit / 100 and c.chance <= CHANCE), key=lambda c: -c.times)


def read_kept(file):
    run = command_line.read_json(file)
    if "programs" not in run:
        command_line.fail(f"{file} is no run that scripts/bench --keep wrote")
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=20.0, metavar="PERCENT")
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    options = parser.parse_args()
    before, after = (read_kept(file) for file in (options.before, options.after))
    found = compare(before, after)
    slower = slower_than(found.changes, options.limit)
    quicker = sorted((c for c in found.changes if c.times < 1 / (1 + options.limit / 100)), key=lambda c: c.times)
    for change in slower:
        print(f"slower: {change} (by chance: {100 * change.chance:.1f} %)")
    for change in quicker:
        print(f"quicker: {change}")
    for what in found.missing:
        print(f"missing: {what}")
    for (program, workload), why in found.left_out.items():
        print(f"not compared: {program}: {workload} {'is ' * (why == 'a reference')}{why}")
    compared = {(c.program, c.workload) for c in found.changes}
    machine = "; ".join(f"{count} against {place}" for place, count in found.drifts.items())
    print(f"{len(compared)} workloads compared ({len(found.changes)} series of penstock's{'; ' * bool(machine)}{machine}), {len(found.left_out)} not")
    print(f"{len(slower)} slower by more than {options.limit:g} %, {len(quicker)} quicker, {len(found.missing)} missing in {options.after}")
    if not compared and not found.missing:
        command_line.fail("no workload could be compared")
    sys.exit(1 if slower or found.missing else 0)


if __name__ == "__main__":
    main()
