#!/usr/bin/env python3
"""How cost grows: train, score the base, load and open a store, score by id, at growing sizes.

Usage: python3 benches/scale/run.py [--sizes 10000,100000,1000000] [--huge] [--check] [--dir DIR]
                                    [--memory-mb 512] [--train-max 1000000] [--keep]

Builds the release programs (unless --no-build; --bin DIR takes others), makes a log of N customers
and 10 N events for each size with examples/make_log.rs, runs each step once, and writes
docs/scale.csv (the numbers), docs/scale.md (a table) and docs/scale.svg (a plot). A size that was
measured before and is not asked for stays in the files. Needs nothing but Python 3.

--huge adds 10,000,000 customers and 100,000,000 events: about 20 GB of disk while it runs.
Sizes above --train-max are not trained: they take the model of the largest size that was.
--check kills the scoring job in the middle, runs it again and compares the bytes; scores the states
of the loaded store, which must give the same bytes as the log; and asks a server on that store for
10,000 customers of the file of scores, which must answer every column the same, floats to the bit.

Time is wall time and CPU time (user and system) of the program; memory is its peak resident set.
On a shared machine CPU time is the steady figure.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNTIL = "2025-12-30"
EVENTS_EACH = 10
STEPS = ["train", "score", "store load", "store open", "score by id"]
COLORS = ["#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#444444"]
COLUMNS = ["customers", "events", "step", "s", "cpu_s", "peak_mib", "us_p50", "us_p99", "open_mib", "state_bytes"]


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
        "peak_mib": round(used.ru_maxrss / 1024, 1),
    }, out


def steps(n_customers, place, models, options):
    """All steps for one size; rows of the table."""
    place.mkdir(parents=True, exist_ok=True)
    log, store, scores = place / "log.parquet", place / "store", place / "scores.parquet"
    n_events = n_customers * EVENTS_EACH
    made = Path(options.bin) / "examples" / "make_log"
    if not log.exists():
        measured([made, n_customers, n_events, log])
    shutil.rmtree(store, ignore_errors=True)
    ours = lambda name: Path(options.bin) / f"tenure-{name}"
    of_model = ["--models", models, "--name", "scale"]
    memory = ["--memory-mb", options.memory_mb]
    found = {}
    if n_customers <= options.train_max:
        horizons = ["--churn-horizon-days", "60", "--clv-horizon-days", "180"]
        train = [ours("train"), "--events", log, "--until", UNTIL, *horizons, *of_model, "--quiet"]
        found["train"], _ = measured([*train, "--promote", "always"])
    score = [ours("score"), *of_model, "--events", log, "--as-of", UNTIL, *memory, "--json"]
    found["score"], _ = measured([*score, "--out", scores])
    load = [ours("ops"), "store", "load", "--events", log, *of_model, "--store", store, *memory]
    # Events older than the lateness bound are not sent again: their ids need not be remembered.
    found["store load"], _ = measured([*load, "--ids-since", "2025-11-25", "--quiet"])
    found["store open"], _ = measured([ours("ops"), "store", "stats", "--store", store])
    client = Path(options.bin) / "examples" / "score_ids"
    used, said = measured([client, *of_model, "--store", store, "--customers", "2000"])
    found["score by id"] = {**used, **json.loads(said)}
    if options.check:
        check(score, scores, [ours("ops"), ours("score"), *of_model], store, place)
    if not options.keep:
        for old in [store, place / "export"]:
            shutil.rmtree(old, ignore_errors=True)
    rows = []
    for step, one in found.items():
        row = {"customers": n_customers, "events": n_events, "step": step, **one}
        rows.append({key: row.get(key, "") for key in COLUMNS})
    return rows


def digest(path):
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(score, scores, programs, store, place):
    """Killed in the middle and run again, and from the store's states: the same bytes."""
    ops, by_score, *of_model = programs
    wanted, again = digest(scores), place / "again.parquet"
    command = [str(part) for part in [*score, "--out", again]]
    work = place / ".again.parquet.work"
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    runs = lambda: len(list(work.glob("*run*"))) if work.exists() else 0
    while child.poll() is None and runs() < 3:
        time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    print(f"killed with {runs()} runs of rows finished", flush=True)
    _, said = measured(command)
    same = digest(again) == wanted
    print(f"run again, {json.loads(said).get('parts_resumed')} parts resumed: same bytes {same}")
    export = place / "export"
    shutil.rmtree(export, ignore_errors=True)
    measured([ops, "store", "export", "--store", store, "--out", export])
    measured([by_score, *of_model, "--states", export, "--as-of", UNTIL, "--out", again, "--json"])
    print(f"from the states of the store: same bytes {digest(again) == wanted}", flush=True)
    again.unlink()
    if not same:
        sys.exit("the bytes differ")
    serve = [ops.with_name("tenure-serve"), *of_model, "--store", store, "--listen", "127.0.0.1:0"]
    serve = [str(part) for part in [*serve, "--log", "error"]]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip().removeprefix("listening on ")
        _, said = measured([ops.parent / "examples" / "same_answers", scores, address, UNTIL])
        print(f"a server's answers: {said.decode().strip()}", flush=True)
    finally:
        server.terminate()
        server.wait()


def exponent(rows, step, key):
    """The slope of log(cost) on log(customers), by least squares; none for one size."""
    points = [
        (math.log(row["customers"]), math.log(max(row[key], 1e-3))) for row in rows if row["step"] == step
    ]
    if len(points) < 2:
        return None
    mean = [sum(point[at] for point in points) / len(points) for at in (0, 1)]
    xx = sum((x - mean[0]) ** 2 for x, _ in points)
    return sum((x - mean[0]) * (y - mean[1]) for x, y in points) / xx


def table(rows):
    """The tables in Markdown."""
    lines = ["| customers | step | seconds | CPU seconds | peak memory, MiB | CPU us a customer |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for row in [row for row in rows if row["step"] != "score by id"]:
        each = 1e6 * row["cpu_s"] / row["customers"]
        lines.append(
            f"| {row['customers']:,} | {row['step']} | {row['s']:.2f} | {row['cpu_s']:.2f} "
            f"| {row['peak_mib']:,.0f} | {each:.2f} |"
        )
    lines += ["", "| customers in one store | us by id, median | us by id, p99 | MiB once open | bytes a state |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in [row for row in rows if row["step"] == "score by id"]:
        lines.append(
            f"| {row['customers']:,} | {row['us_p50']:.1f} | {row['us_p99']:.1f} "
            f"| {row['open_mib']:,.0f} | {row['state_bytes']:.0f} |"
        )
    lines += ["", "Cost grows as customers to the power of:", ""]
    lines += ["| step | CPU seconds | peak memory |", "| --- | --- | --- |"]
    for step in STEPS[:4]:
        found = [exponent(rows, step, key) for key in ("cpu_s", "peak_mib")]
        if None not in found:
            lines.append(f"| {step} | {found[0]:.2f} | {found[1]:.2f} |")
    return "\n".join(lines) + "\n"


def panel(rows, x0, title, series):
    """One log-log panel; a series is a step, a column, a colour and a label."""
    width, height, top = 250, 260, 50
    y0, sizes = top + height, sorted({row["customers"] for row in rows})
    chosen = [(s, [(r["customers"], r[s[1]]) for r in rows if r["step"] == s[0] and r[s[1]]]) for s in series]
    values = [value for _, points in chosen for _, value in points]
    low = math.floor(math.log10(max(min(values), 1e-3)))
    high = max(math.ceil(math.log10(max(values))), low + 1)
    first, last = math.log10(sizes[0]), max(math.log10(sizes[-1]), math.log10(sizes[0]) + 1)

    def at(size, value):
        x = x0 + width * (math.log10(size) - first) / (last - first)
        return x, y0 - height * (math.log10(max(value, 10**low)) - low) / (high - low)

    parts = [f'<text x="{x0}" y="{top - 20}" font-weight="bold" fill="#222">{title}</text>']
    for power in range(low, high + 1):
        _, y = at(sizes[0], 10**power)
        parts.append(f'<path d="M{x0} {y:.1f}h{width}" stroke="#e2e2e2"/>')
        parts.append(f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{10**power:,g}</text>')
    for size in sizes:
        x, _ = at(size, 10**low)
        label = f"1e{round(math.log10(size))}" if 10 ** round(math.log10(size)) == size else f"{size:,}"
        parts.append(f'<text x="{x:.1f}" y="{y0 + 18}" text-anchor="middle" fill="#555">{label}</text>')
    parts.append(f'<text x="{x0 + width / 2}" y="{y0 + 36}" text-anchor="middle" fill="#555">customers</text>')
    for n, ((_, _, color, label), points) in enumerate(chosen):
        spots = [at(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in spots]
        x, y = x0 + n % 2 * 125, y0 + 60 + n // 2 * 18
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}" fill="#222">{label}</text>')
    return parts


def plot(rows):
    """Three panels: CPU seconds, peak memory, microseconds by id."""
    of = lambda key: [(step, key, color, step) for step, color in zip(STEPS[:4], COLORS)]
    by_id = [
        ("score by id", "us_p50", COLORS[0], "median"),
        ("score by id", "us_p99", COLORS[1], "p99"),
    ]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 410" width="1000" height="410" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *panel(rows, 60, "CPU seconds", of("cpu_s")),
        *panel(rows, 390, "Peak memory, MiB", of("peak_mib")),
        *panel(rows, 720, "Scored by id, microseconds", by_id),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def read_rows(path):
    """The numbers measured before."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for key in row:
            if key != "step":
                row[key] = float(row[key]) if row[key] else ""
        row["customers"], row["events"] = int(row["customers"]), int(row["events"])
    return rows


def write(rows, docs, note):
    """Writes numbers, table and plot."""
    rows.sort(key=lambda row: (row["customers"], STEPS.index(row["step"])))
    with open(docs / "scale.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (docs / "scale.md").write_text(
        "# How cost grows\n\nMade by [benches/scale/run.py](../benches/scale/run.py), which says what each "
        f"step is, on {os.cpu_count()} cores that other work shared: of the seconds read those of the CPU.\n"
        f"The numbers are in [scale.csv](scale.csv).\n{note}\n"
        f"![CPU seconds, peak memory and microseconds by id, by customers](scale.svg)\n\n{table(rows)}"
    )
    (docs / "scale.svg").write_text(plot(rows))


def main():
    """Runs all sizes and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--huge", action="store_true", help="adds 10,000,000 customers")
    parser.add_argument("--check", action="store_true", help="kills, runs again, and scores the store")
    parser.add_argument("--dir", default=str(ROOT / "target" / "scale"))
    parser.add_argument("--bin", default=str(ROOT / "target" / "release"))
    parser.add_argument("--memory-mb", default="512")
    parser.add_argument("--train-max", type=int, default=1_000_000)
    parser.add_argument("--note", default="", help="a sentence on this run for the document")
    parser.add_argument("--keep", action="store_true", help="keeps stores and exports")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--plot-only", action="store_true", help="writes table and plot of the numbers there are")
    options = parser.parse_args()
    docs = ROOT / "docs"
    rows = read_rows(docs / "scale.csv")
    if options.plot_only:
        return write(rows, docs, f"{options.note}\n" if options.note else "")
    if not options.no_build:
        build = ["cargo", "build", "--release", "--bins", "--examples"]
        subprocess.run(build, cwd=ROOT, check=True)
    sizes = [int(size) for size in options.sizes.split(",") if size] + [10_000_000] * options.huge
    for size in sorted(sizes):
        more = steps(size, Path(options.dir) / str(size), Path(options.dir) / "models", options)
        names = {row["step"] for row in more}
        rows = [row for row in rows if row["customers"] != size or row["step"] not in names] + more
        write(rows, docs, f"{options.note}\n" if options.note else "")
        print(table(more), flush=True)


if __name__ == "__main__":
    main()
