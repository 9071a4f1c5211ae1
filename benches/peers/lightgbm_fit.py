"""Trains LightGBM on exported rows and prints it beside ours: lightgbm_fit.py ROWS_DIR OURS.json

Both fit on one thread. LightGBM is run as it comes, and with the shape of our trees. AUC, log loss
and ECE (ten bins of equal mass) are worked out here for all, from the probabilities.
"""

import csv
import gzip
import json
import pathlib
import sys
import time

import lightgbm
import numpy


def read(folder):
    schema = json.loads((folder / "schema.json").read_text())
    names = [feature["name"] for feature in schema["features"]]
    parts = {"training": ([], []), "judged": ([], [])}
    with gzip.open(folder / "dataset.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["role"] in parts:
                x, y = parts[row["role"]]
                x.append([float(row[name]) if row[name] else numpy.nan for name in names])
                y.append(int(row["churned"]))
    with open(folder / "judged.csv", newline="") as file:
        ours = [float(row["judged_churn_probability"]) for row in csv.DictReader(file)]
    arrays = {name: (numpy.array(x), numpy.array(y)) for name, (x, y) in parts.items()}
    return arrays["training"], arrays["judged"], numpy.array(ours), schema


def auc(prob, y):
    order = numpy.argsort(prob, kind="stable")
    sorted_prob = prob[order]
    ranks = numpy.empty(len(prob))
    begin = numpy.searchsorted(sorted_prob, sorted_prob, side="left")
    end = numpy.searchsorted(sorted_prob, sorted_prob, side="right")
    ranks[order] = (begin + end + 1) / 2
    n = y.sum()
    return (ranks[y == 1].sum() - n * (n + 1) / 2) / (n * (len(y) - n))


def log_loss(prob, y):
    prob = numpy.clip(prob, 1e-6, 1 - 1e-6)
    return float(-numpy.mean(numpy.where(y == 1, numpy.log(prob), numpy.log1p(-prob))))


def ece(prob, y):
    order = numpy.argsort(prob, kind="stable")
    bins = numpy.array_split(order, 10)
    return sum(abs(prob[b].mean() - y[b].mean()) * len(b) for b in bins) / len(y)


def main(folder, ours_path):
    (x, y), (x_judged, y_judged), ours, schema = read(pathlib.Path(folder))
    fitted = json.loads(pathlib.Path(ours_path).read_text())
    common = {"objective": "binary", "num_threads": 1, "verbose": -1, "seed": 42}
    shaped = {
        "learning_rate": 0.04,
        "max_depth": 3,
        "num_leaves": 8,
        "min_sum_hessian_in_leaf": 20.0,
        "lambda_l2": 5.0,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": 0.5,
    }
    print(f"{len(y)} rows to learn from, {len(y_judged)} judged, {x.shape[1]} features")
    print(f"{'':<34}{'AUC':>8}{'log loss':>10}{'ECE':>8}{'fit, s':>9}")

    def line(name, prob, seconds):
        found = (auc(prob, y_judged), log_loss(prob, y_judged), ece(prob, y_judged))
        print(f"{name:<34}{found[0]:>8.4f}{found[1]:>10.4f}{found[2]:>8.4f}{seconds:>9.2f}")
        return found

    mine = line(f"tenure ({schema['champion']})", ours, fitted["seconds"])
    for name, settings, rounds in [
        ("LightGBM, as it comes", {}, 100),
        ("LightGBM, shaped like our trees", shaped, 200),
    ]:
        began = time.process_time()
        booster = lightgbm.train(common | settings, lightgbm.Dataset(x, y), rounds)
        seconds = time.process_time() - began
        theirs = line(name, booster.predict(x_judged, num_threads=1), seconds)
        verdict = [
            "AUC " + ("ok" if mine[0] >= theirs[0] - 0.002 else "WORSE"),
            "log loss " + ("ok" if mine[1] <= theirs[1] + 0.0005 else "WORSE"),
            "fit " + ("ok" if fitted["seconds"] <= seconds else "SLOWER"),
        ]
        print(f"  against it: {', '.join(verdict)}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
