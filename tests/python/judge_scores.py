"""Judges a score file against the log, by nothing but the two files.

    python3 tests/python/judge_scores.py SCORES.csv LOG.csv[.gz] AS_OF CHURN_DAYS CLV_DAYS \\
        [CUSTOMER_COLUMN TIME_COLUMN AMOUNT_COLUMN]

Churned: no row in the log within CHURN_DAYS after AS_OF. Value and purchases: the amounts and the
days with a row within CLV_DAYS after it. Only the standard library is used.
"""

import csv
import datetime
import gzip
import math
import sys


def read(path):
    opened = gzip.open(path, "rt", newline="") if path.endswith(".gz") else open(path, newline="")
    with opened as file:
        yield from csv.DictReader(file)


def auc(score, positive):
    order = sorted(range(len(score)), key=lambda i: score[i])
    rank_sum, at = 0.0, 0
    while at < len(order):
        end = at
        while end < len(order) and score[order[end]] == score[order[at]]:
            end += 1
        rank_sum += (at + end + 1) / 2 * sum(positive[i] for i in order[at:end])
        at = end
    n = sum(positive)
    return (rank_sum - n * (n + 1) / 2) / (n * (len(positive) - n))


def gini(order, actual):
    total, running, area = sum(actual), 0.0, 0.0
    for i in order:
        running += actual[i]
        area += running
    return 2 * area / (len(actual) * total) - 1


def main(scores, log, as_of, churn_days, clv_days, columns):
    as_of = datetime.date.fromisoformat(as_of)
    bought, spent, days = set(), {}, {}
    for row in read(log):
        age = (datetime.date.fromisoformat(row[columns[1]][:10]) - as_of).days
        if 0 < age <= churn_days:
            bought.add(row[columns[0]])
        if 0 < age <= clv_days:
            customer = row[columns[0]]
            spent[customer] = spent.get(customer, 0.0) + float(row[columns[2]])
            days.setdefault(customer, set()).add(age)
    rows = [row for row in read(scores) if row["churn_probability"]]
    prob = [float(row["churn_probability"]) for row in rows]
    left = [row["customer_id"] not in bought for row in rows]
    n = len(rows)
    loss = -sum(math.log(p if y else 1 - p) for p, y in zip(prob, left)) / n
    order = sorted(range(n), key=lambda i: prob[i])
    ece = 0.0
    for k in range(10):
        bin_ = order[k * n // 10 : (k + 1) * n // 10]
        ece += abs(sum(prob[i] - left[i] for i in bin_)) / n
    print(f"customers {n}, left {sum(left)}")
    print(f"churn in {churn_days} days: AUC {auc(prob, left):.4f}, log loss {loss:.4f}, ECE {ece:.4f}")
    value = [float(row["clv_mean"]) for row in rows]
    actual = [spent.get(row["customer_id"], 0.0) for row in rows]
    by_value = sorted(range(n), key=lambda i: -value[i])
    perfect = sorted(range(n), key=lambda i: -actual[i])
    rmse = math.sqrt(sum((a - b) ** 2 for a, b in zip(value, actual)) / n)
    top = sum(actual[i] for i in by_value[: math.ceil(n / 10)]) / sum(actual)
    inside = sum(
        float(row["clv_p10"]) <= a <= float(row["clv_p90"]) for row, a in zip(rows, actual)
    )
    print(
        f"value in {clv_days} days: normalised Gini {gini(by_value, actual) / gini(perfect, actual):.4f}, "
        f"RMSE {rmse:.2f}, total {sum(value) / sum(actual):.3f}, top tenth {top:.4f}, "
        f"in p10..p90 {inside / n:.3f}"
    )
    expected = [float(row["expected_purchases"]) for row in rows]
    came = [len(days.get(row["customer_id"], ())) for row in rows]
    rmse = math.sqrt(sum((a - b) ** 2 for a, b in zip(expected, came)) / n)
    print(
        f"purchases in {clv_days} days: RMSE {rmse:.4f}, total {sum(expected):.0f} expected, "
        f"{sum(came)} came ({sum(expected) / sum(came):.3f})"
    )


if __name__ == "__main__":
    if len(sys.argv) not in (6, 9):
        sys.exit(__doc__)
    names = sys.argv[6:] or ["customer_id", "date", "amount"]
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), names)
