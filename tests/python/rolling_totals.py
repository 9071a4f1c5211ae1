"""How often the interval of the base's total holds the total that came.

    python3 tests/python/rolling_totals.py TENURE_TRAIN LOG.csv[.gz] CHURN_DAYS CLV_DAYS UNTIL... \\
        [-- CUSTOMER_COLUMN TIME_COLUMN AMOUNT_COLUMN]

Trains until each of the days, reads the intervals of metrics.json and counts in the log itself what
came within CLV_DAYS. Windows of neighbouring days overlap: they are no independent trials. Only the
standard library is used.
"""

import csv
import datetime
import gzip
import json
import math
import subprocess
import sys
import tempfile


def read(path):
    opened = gzip.open(path, "rt", newline="") if path.endswith(".gz") else open(path, newline="")
    with opened as file:
        yield from csv.DictReader(file)


def train(program, log, churn_days, clv_days, until):
    with tempfile.TemporaryDirectory() as models:
        command = [program, "--events", log, "--until", until, "--name", "rolling", "--json"]
        command += ["--churn-horizon-days", churn_days, "--clv-horizon-days", clv_days]
        command += ["--models", models, "--quiet"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["metrics"]


def came(rows, until, days):
    """Purchase days and spend of those who had bought until then."""
    until = datetime.date.fromisoformat(until)
    known = {customer for customer, day, _ in rows if day <= until}
    window = [row for row in rows if 0 < (row[1] - until).days <= days and row[0] in known]
    return len({(customer, day) for customer, day, _ in window}), sum(row[2] for row in window)


def main(program, log, churn_days, clv_days, untils, columns):
    customer, time, amount = columns
    rows = [
        (row[customer], datetime.date.fromisoformat(row[time][:10]), float(row[amount]))
        for row in read(log)
    ]
    last = max(row[1] for row in rows)
    held = {"purchases": [], "value": []}
    misses = {"purchases": [], "value": []}
    for until in untils:
        if (last - datetime.date.fromisoformat(until)).days < int(clv_days):
            sys.exit(f"the {clv_days} days after {until} are not in the log, which ends on {last}")
        metrics = train(program, log, churn_days, clv_days, until)
        purchases, value = metrics["purchases_total"], metrics["clv"]
        actual = dict(zip(held, came(rows, until, int(clv_days))))
        found = {
            "purchases": (purchases["expected"], purchases["total_interval"]),
            "value": (value["total_predicted"], value["total_interval"]),
        }
        for what, (predicted, interval) in found.items():
            miss = math.log(actual[what] / predicted)
            misses[what].append(miss)
            bounds = "no interval"
            if interval["p05"] is not None:
                inside = interval["p05"] <= actual[what] <= interval["p95"]
                width = math.log(interval["p95"] / interval["p05"])
                held[what].append((inside, width))
                bounds = f"{interval['p05']:.0f} to {interval['p95']:.0f}"
                bounds += ", inside" if inside else ", OUTSIDE"
                bounds += f" ({interval['n_effective']:.1f} windows)"
            print(
                f"{until} {what}: {predicted:.0f} predicted, {actual[what]:.0f} came "
                f"({math.exp(-miss):.3f}), {bounds}"
            )
    for what, found in held.items():
        rms = math.sqrt(sum(miss * miss for miss in misses[what]) / len(misses[what]))
        inside = sum(inside for inside, _ in found)
        width = sum(width for _, width in found) / max(1, len(found))
        print(
            f"{what}: {inside} of {len(found)} totals inside (meant: 9 of 10), p95 over p05 on "
            f"average {math.exp(width):.2f}, root mean square of log(came / predicted) {rms:.3f}"
        )


if __name__ == "__main__":
    arguments, names = sys.argv[1:], ["customer_id", "date", "amount"]
    if "--" in arguments:
        at = arguments.index("--")
        arguments, names = arguments[:at], arguments[at + 1 :]
    if len(arguments) < 5 or len(names) != 3:
        sys.exit(__doc__)
    main(*arguments[:4], arguments[4:], names)
