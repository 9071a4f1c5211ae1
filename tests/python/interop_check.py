"""Reads what tenure writes with other people's programs and compares the numbers.

    interop_check.py ROWS_DIR FOREST.json MODEL.onnx

ROWS_DIR is what `tenure-train --export-dataset` wrote, FOREST.json the bundle's churn trees,
MODEL.onnx what `tenure-ops bundle export-onnx` wrote of the same bundle. XGBoost must give our
margins, ONNX Runtime our margins, log-odds and probabilities, up to the rounding of the trees' sum in
32 bits.
Ends with an assertion error at the first difference.
"""

import csv
import gzip
import json
import pathlib
import sys

import numpy
import onnxruntime
import xgboost

# A margin is a sum of some hundred 32-bit leaves; ours is summed in 64 bits.
MARGIN = 5e-6
PROBABILITY = 1e-6


def numbers(texts):
    return [float(text) if text else float("nan") for text in texts]


def read(folder):
    """The judged rows, and what our models say of them."""
    schema = json.loads((folder / "schema.json").read_text())
    names = [feature["name"] for feature in schema["features"]]
    with gzip.open(folder / "dataset.csv.gz", "rt", newline="") as file:
        rows = csv.DictReader(file)
        features = [numbers(row[name] for name in names) for row in rows if row["role"] == "judged"]
    with open(folder / "judged.csv", newline="") as file:
        said = list(csv.DictReader(file))
    columns = ["forest_margin", "linear_margin", "log_odds", "churn_probability"]
    ours = {name: numpy.array(numbers(row[name] for row in said)) for name in columns}
    assert len(features) == len(said) > 100
    return numpy.array(features), ours


def close(what, theirs, ours, tolerance):
    theirs = numpy.asarray(theirs, dtype=numpy.float64).reshape(-1)
    worst = float(numpy.max(numpy.abs(theirs - ours)))
    assert worst < tolerance, f"{what}: off by {worst}, at most {tolerance} is allowed"
    assert float(numpy.std(ours)) > 100 * tolerance, f"{what}: all alike, nothing was compared"
    print(f"{what}: {len(ours)} rows, off by at most {worst:.1e}")


def main(folder, forest, onnx):
    features, ours = read(pathlib.Path(folder))
    booster = xgboost.Booster(model_file=forest)
    margins = booster.predict(xgboost.DMatrix(features), output_margin=True)
    close("XGBoost, margin of the trees", margins, ours["forest_margin"], MARGIN)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"features": features})))
    for name, tolerance in [
        ("forest_margin", MARGIN),
        ("linear_margin", MARGIN),
        ("log_odds", MARGIN),
        ("churn_probability", PROBABILITY),
    ]:
        if name in found:
            close(f"ONNX Runtime, {name}", found[name], ours[name], tolerance)
    assert {"log_odds", "churn_probability"} <= set(found), names


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
