#!/usr/bin/env python3
"""Draws spans: OTLP/JSON lines, as examples/tracing.cpp writes them, as an SVG with a bar for each span under the one that caused it.

usage: penstock_example_tracing | trace_picture.py OUTPUT.svg
"""

import json
import sys

import command_line

command_line.usage(__doc__, wrong=len(sys.argv) != 2)
command_line.need_modules("--pictures", matplotlib="python3-matplotlib")
import matplotlib  # noqa: E402

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "penstock"
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"GET": "#4c72b0", "task": "#55a868", "wait": "#c9c9c9", "batch": "#dd8452", "job": "#8172b3"}


def read(lines):
    for line in lines:
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                yield from scope["spans"]


def main():
    spans = sorted(read(sys.stdin), key=lambda s: int(s["startTimeUnixNano"]))
    known = {s["spanId"] for s in spans}
    rows = []

    def add(span, depth):
        rows.append((span, depth))
        for child in spans:
            if child.get("parentSpanId") == span["spanId"]:
                add(child, depth + 1)

    for span in spans:
        if span.get("parentSpanId") not in known:
            add(span, 0)
    first = min(int(s["startTimeUnixNano"]) for s in spans)
    total = (max(int(s["endTimeUnixNano"]) for s in spans) - first) / 1e6
    figure, axes = plt.subplots(figsize=(9, 0.26 * len(rows) + 0.8))
    for y, (span, depth) in enumerate(rows):
        begin = (int(span["startTimeUnixNano"]) - first) / 1e6
        length = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e6
        axes.barh(y, max(length, 0.006 * total), left=begin, height=0.7, color=COLOURS.get(span["name"].split()[0], "black"))
        place = next((a["value"]["stringValue"] for a in span["attributes"] if a["key"] == "penstock.place"), "")
        keys = 1 + len(span["links"])
        links = f", {keys} key{'s' if keys > 1 else ''}" if span["name"] == "batch" else ""
        axes.text(-0.01, y, "  " * depth + span["name"] + (f" ({place})" if place else "") + links, ha="left", va="center", fontsize=8,
                  transform=axes.get_yaxis_transform(), clip_on=False, position=(-0.42, y))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xlabel("milliseconds")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.subplots_adjust(left=0.31, right=0.98, top=0.98, bottom=0.5 / (0.26 * len(rows) + 0.8))
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
