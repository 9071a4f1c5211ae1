"""What each segment of a score file did next, from the two files alone.

    python3 tests/python/segments_at.py SCORES.csv LOG.csv[.gz] AS_OF DAYS \\
        [CUSTOMER_COLUMN TIME_COLUMN AMOUNT_COLUMN]

Of each segment: its share of the customers, its share of the revenue of the DAYS after AS_OF, and
how many of it bought again. Only the standard library is used.
"""

import csv
import datetime
import gzip
import sys


def read(path):
    opened = gzip.open(path, "rt", newline="") if path.endswith(".gz") else open(path, newline="")
    with opened as file:
        yield from csv.DictReader(file)


def main(scores, log, as_of, days, columns=("customer_id", "date", "amount")):
    customer, time, amount = columns
    after = datetime.date.fromisoformat(as_of)
    until = after + datetime.timedelta(days=int(days))
    spend, buyers = {}, set()
    for row in read(log):
        day = datetime.date.fromisoformat(row[time][:10])
        if after < day <= until:
            spend[row[customer]] = spend.get(row[customer], 0.0) + float(row[amount])
            buyers.add(row[customer])
    segments = {}
    for row in read(scores):
        held = segments.setdefault(row["segment"], [0, 0.0, 0])
        held[0] += 1
        held[1] += spend.get(row["customer_id"], 0.0)
        held[2] += row["customer_id"] in buyers
    n_all = sum(held[0] for held in segments.values())
    revenue = sum(held[1] for held in segments.values())
    print(f"{'segment':<20}{'customers':>10}{'share':>9}{'revenue':>9}{'buy again':>11}")
    for name, (n, spent, again) in sorted(segments.items(), key=lambda item: -item[1][1]):
        shares = f"{n / n_all:>9.1%}{spent / revenue:>9.1%}{again / n:>11.1%}"
        print(f"{name:<20}{n:>10}{shares}")
    print(f"{'all':<20}{n_all:>10}{1:>9.1%}{1:>9.1%}{len(buyers) / n_all:>11.1%}")


if __name__ == "__main__":
    if len(sys.argv) not in (5, 8):
        sys.exit(__doc__)
    main(*sys.argv[1:5], *([tuple(sys.argv[5:8])] if len(sys.argv) == 8 else []))
