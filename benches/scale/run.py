#!/usr/bin/env python3
"""How cost grows: train, score the base, load and open a store, score by id, at growing sizes.

Usage: python3 benches/scale/run.py [--sizes 10000,100000,1000000] [--huge] [--dir DIR]

Builds the release programs, makes a log of N customers and 10 N events for each size with
examples/make_log.rs, runs each step once, and writes docs/scale.json, docs/scale.md (a table) and
docs/scale.svg (a plot). Needs nothing but Python 3 and the programs. `--huge` adds 10,000,000
customers and 100,000,000 events: about 20 GB of disk and an hour or two.

Time is wall time and CPU time (user and system) of the program; memory is its peak resident set.
On a shared machine CPU time is the steady figure.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "target" / "release"
UNTIL = "2025-12-30"
EVENTS_EACH = 10
STEPS = ["train", "score", "store load", "store open", "score by id"]
COLORS = ["#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#444444"]


def measured(command, **more):
    """Runs a program; its seconds, CPU seconds and peak memory in MiB."""
    began = time.monotonic()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, **more)
    out = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command} ended with {child.returncode}")
    return {
        "s": round(time.monotonic() - began, 3),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "mib": round(used.ru_maxrss / 1024, 1),
    }, out


def steps(n_customers, place):
    """All steps for one size."""
    place.mkdir(parents=True, exist_ok=True)
    log, models, store = place / "log.parquet", place / "models", place / "store"
    n_events = n_customers * EVENTS_EACH
    if not log.exists():
        measured([BIN / "examples" / "make_log", n_customers, n_events, log])
    for old in [models, store]:
        shutil.rmtree(old, ignore_errors=True)
    of_model = ["--models", models, "--name", "scale"]
    horizons = ["--churn-horizon-days", "60", "--clv-horizon-days", "180"]
    found = {}
    train = [BIN / "tenure-train", "--events", log, "--until", UNTIL, *horizons, *of_model, "--quiet"]
    found["train"], _ = measured(train)
    scores = place / "scores.parquet"
    score = [BIN / "tenure-score", *of_model, "--events", log, "--as-of", UNTIL, "--out", scores]
    found["score"], said = measured([*score, "--json"])
    found["score"]["customers"] = json.loads(said)["rows"]
    load = [BIN / "tenure-ops", "store", "load", "--events", log, *of_model, "--store", store]
    # Events older than the lateness bound are not sent again: their ids need not be remembered.
    found["store load"], _ = measured([*load, "--ids-since", "2025-11-25", "--quiet"])
    found["store open"], _ = measured([BIN / "tenure-ops", "store", "stats", "--store", store])
    found["score by id"] = by_id(of_model, store)
    shutil.rmtree(store, ignore_errors=True)
    return {"customers": n_customers, "events": n_events, "steps": found}


def by_id(of_model, store):
    """A server on the store, asked for one customer after the other by the example client."""
    client = BIN / "examples" / "score_ids"
    if not client.exists():
        return None
    command = [client, *of_model, "--store", store, "--customers", "2000"]
    used, said = measured(command)
    return {**used, **json.loads(said)}


def table(rows):
    """The table in Markdown."""
    lines = ["| customers | events | step | seconds | CPU seconds | peak memory, MiB | CPU us a customer |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        for step in STEPS:
            one = row["steps"].get(step)
            if one:
                each = one.get("us_each", 1e6 * one["cpu_s"] / row["customers"])
                lines.append(
                    f"| {row['customers']:,} | {row['events']:,} | {step} | {one['s']:.2f} "
                    f"| {one['cpu_s']:.2f} | {one['mib']:,.0f} | {each:.2f} |"
                )
    return "\n".join(lines) + "\n"


def plot(rows):
    """Two panels, log-log: seconds of CPU and peak memory by customers."""
    import math

    width, height, left, top, gap = 360, 300, 70, 40, 100
    sizes = [row["customers"] for row in rows]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * (width + gap) + 120}" '
        f'height="{height + 110}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for panel, (key, title) in enumerate([("cpu_s", "CPU seconds"), ("mib", "peak memory, MiB")]):
        x0, y0 = left + panel * (width + gap), top + height
        values = [r["steps"][s][key] for r in rows for s in STEPS if r["steps"].get(s)]
        low = math.floor(math.log10(max(min(values), 1e-3)))
        high = max(math.ceil(math.log10(max(values))), low + 1)
        first, last = math.log10(sizes[0]), max(math.log10(sizes[-1]), math.log10(sizes[0]) + 1)

        def at(size, value):
            x = x0 + width * (math.log10(size) - first) / (last - first)
            share = (math.log10(max(value, 10**low)) - low) / (high - low)
            return x, y0 - height * share

        parts.append(f'<text x="{x0}" y="{top - 16}" font-weight="bold">{title} by customers</text>')
        for power in range(low, high + 1):
            _, y = at(sizes[0], 10**power)
            parts.append(f'<path d="M{x0} {y:.1f}H{x0 + width}" stroke="#ddd"/>')
            parts.append(f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:g}</text>')
        for size in sizes:
            x, _ = at(size, 10**low)
            parts.append(f'<text x="{x:.1f}" y="{y0 + 18}" text-anchor="middle">{size:,}</text>')
        for step, color in zip(STEPS, COLORS):
            points = [
                at(r["customers"], r["steps"][step][key]) for r in rows if r["steps"].get(step)
            ]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
    for idx, (step, color) in enumerate(zip(STEPS, COLORS)):
        x, y = left + idx * 140, top + height + 50
        parts.append(f'<rect x="{x}" y="{y - 9}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 2}">{step}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    """Runs all sizes and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--huge", action="store_true", help="adds 10,000,000 customers")
    parser.add_argument("--dir", default=str(ROOT / "target" / "scale"))
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        build = ["cargo", "build", "--release", "--bins", "--examples"]
        subprocess.run(build, cwd=ROOT, check=True)
    sizes = [int(size) for size in options.sizes.split(",")] + [10_000_000] * options.huge
    rows = []
    for size in sizes:
        rows.append(steps(size, Path(options.dir) / str(size)))
        print(table(rows[-1:]), flush=True)
    about = {"machine": platform.machine(), "cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d")}
    docs = ROOT / "docs"
    (docs / "scale.json").write_text(json.dumps({**about, "sizes": rows}, indent=1) + "\n")
    (docs / "scale.md").write_text(
        "# How cost grows\n\nMade by `python3 benches/scale/run.py` on "
        f"{about['cores']} cores ({about['machine']}), {about['date']}; see there for what each step is.\n\n"
        f"![CPU seconds and peak memory by customers](scale.svg)\n\n{table(rows)}"
    )
    (docs / "scale.svg").write_text(plot(rows))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > 0


if __name__ == "__main__":
    main()
