#!/usr/bin/env python3
"""Tells whether penstock has become slower between two runs of the benchmarks.

    bench_compare.py [--limit PERCENT] BEFORE AFTER

Runs are those that scripts/bench --keep wrote (benchmarks/results/). A workload is slower if the repetitions of the second run, paired with those of the first, take
more than the limit (20 %) longer in the median, and if so many of the pairs say the same that chance would do so in one of twenty cases at the most (a sign test: five
of five, seven of eight). Where there are peers, their own change is taken out first: it is the machine's. The exit code is 1 if anything is slower.
"""

import argparse
import math
import pathlib
import statistics
import sys

import bench_report
import command_line

CHANCE = 0.05


def sign_test(longer, pairs):
    """The chance that so many of the pairs or more are longer, if each is as likely to be shorter."""
    return sum(math.comb(pairs, k) for k in range(longer, pairs + 1)) / 2**pairs


def changes(before, after):
    """[(workload, implementation, change, chance)] of what is ours and in both: 1.2 is 20 % slower; the chance is that of seeing as much without a reason."""
    found = []
    for program in before["programs"].keys() & after["programs"].keys():
        old, new = before["programs"][program], after["programs"][program]
        for workload in sorted(old.keys() & new.keys()):
            both = {}
            for name in old[workload].keys() & new[workload].keys():
                units = [u for u in ("item", "", *bench_report.COUNTS.values(), "iteration") if u in old[workload][name] and u in new[workload][name]]
                if units:
                    both[name] = (old[workload][name][units[0]], new[workload][name][units[0]])
            peers = [statistics.median(b) / statistics.median(a) for name, (a, b) in both.items() if not bench_report.is_ours(name) and statistics.median(a)]
            machine = statistics.median(peers) if peers else 1.0
            for name, (a, b) in sorted(both.items()):
                if bench_report.is_ours(name) and all(a):
                    ratios = [y / x / machine for x, y in zip(a, b)]
                    found.append((workload, name, statistics.median(ratios), sign_test(sum(r > 1 for r in ratios), len(ratios))))
    return found


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
    compared = changes(before, after)
    if not compared:
        command_line.fail("the runs have no workload in common")
    slower = [c for c in compared if c[2] > 1 + options.limit / 100 and c[3] <= CHANCE]
    quicker = [c for c in compared if c[2] < 1 / (1 + options.limit / 100)]
    for workload, name, change, chance in sorted(slower, key=lambda c: -c[2]):
        print(f"slower: {workload}, {name}: {change:.2f} times (by chance: {100 * chance:.1f} %)")
    for workload, name, change, _ in sorted(quicker, key=lambda c: c[2]):
        print(f"quicker: {workload}, {name}: {change:.2f} times")
    print(f"{len(compared)} compared, {len(slower)} slower by more than {options.limit:g} %, {len(quicker)} quicker")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
