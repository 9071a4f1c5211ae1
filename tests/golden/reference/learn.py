"""Makes learn.json, xgboost_logistic.json and xgboost_tweedie.json, which tests/it/learn.rs reads.

Run once with scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6 and xgboost-cpu 3.2.0:
    python learn.py
"""

import json
import os

import numpy as np
import xgboost
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    roc_auc_score,
)
from sklearn.preprocessing import StandardScaler

HERE = os.path.dirname(os.path.abspath(__file__))


def write(name, found):
    with open(os.path.join(HERE, name), "w") as out:
        json.dump(found, out, separators=(",", ":"))
        out.write("\n")


def linear(rng):
    n = 200
    x = np.column_stack(
        [rng.normal(5, 3, n), rng.exponential(40, n), rng.integers(0, 4, n), np.full(n, 0.1)]
    )
    eta = -3 + 0.4 * x[:, 0] - 0.02 * x[:, 1] + 0.3 * x[:, 2]
    y = rng.random(n) < 1 / (1 + np.exp(-eta))
    spend = np.where(rng.random(n) < 0.5, 0.0, rng.gamma(2.0, np.exp(0.1 * x[:, 0] + 0.3 * x[:, 2])))
    weights = rng.integers(1, 4, n).astype(float)
    scaled = StandardScaler().fit_transform(x[:, :3])
    logistic = []
    for c in (1.0, 0.05):
        m = LogisticRegression(C=c, tol=1e-12, max_iter=10000, solver="newton-cholesky").fit(scaled, y)
        logistic.append(
            {"l2": 1 / c, "intercept": m.intercept_[0], "weights": m.coef_[0].tolist() + [0.0]}
        )
    tweedie = []
    for l2, w in ((0.0, None), (20.0, None), (20.0, weights)):
        total = n if w is None else w.sum()
        m = TweedieRegressor(
            power=1.5, alpha=l2 / total, link="log", tol=1e-12, max_iter=10000, solver="newton-cholesky"
        ).fit(scaled, spend, sample_weight=w)
        tweedie.append(
            {
                "l2": l2,
                "weighted": w is not None,
                "intercept": m.intercept_,
                "weights": m.coef_.tolist() + [0.0],
                "predictions": m.predict(scaled[:5]).tolist(),
            }
        )
    return {
        "x": x.T.tolist(),
        "y": y.tolist(),
        "spend": spend.tolist(),
        "row_weights": weights.tolist(),
        "logistic": logistic,
        "tweedie": tweedie,
    }


def metrics(rng):
    n = 300
    truth = rng.normal(0, 1.5, n)
    y = rng.random(n) < 1 / (1 + np.exp(-truth + 1))
    prob = 1 / (1 + np.exp(-(1.4 * truth - 0.5)))
    coarse = np.round(prob, 1)
    actual = np.where(rng.random(n) < 0.6, 0.0, rng.gamma(1.0, np.exp(truth)))
    predicted = np.exp(0.8 * truth + rng.normal(0, 0.5, n))
    logits = np.log(prob / (1 - prob))
    line = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10000).fit(logits[:, None], y)
    iso = IsotonicRegression(out_of_bounds="clip").fit(coarse, y)
    iso_fine = IsotonicRegression(out_of_bounds="clip").fit(prob, y)
    grid = np.linspace(0, 1, 41)
    true_share, mean_prob = calibration_curve(y, prob, n_bins=10, strategy="quantile")
    order = np.argsort(-predicted)
    perfect = np.argsort(-actual)

    def raw_gini(o):
        return 2 * np.mean(np.cumsum(actual[o]) / actual.sum()) - 1

    return {
        "y": y.tolist(),
        "prob": prob.tolist(),
        "actual": actual.tolist(),
        "predicted": predicted.tolist(),
        "auc": roc_auc_score(y, prob),
        "auc_coarse": roc_auc_score(y, coarse),
        "coarse": coarse.tolist(),
        "average_precision": average_precision_score(y, prob),
        "average_precision_coarse": average_precision_score(y, coarse),
        "log_loss": log_loss(y, prob),
        "brier": brier_score_loss(y, prob),
        "ece": float(np.mean(np.abs(true_share - mean_prob))),
        "bins": [mean_prob.tolist(), true_share.tolist()],
        "line": [line.intercept_[0], line.coef_[0][0]],
        "isotonic_coarse": iso.predict(grid).tolist(),
        "isotonic": iso_fine.predict(grid).tolist(),
        "spearman": spearmanr(predicted, actual).statistic,
        "rmse": float(np.sqrt(mean_squared_error(actual, predicted))),
        "mae": mean_absolute_error(actual, predicted),
        "gini": float(raw_gini(order) / raw_gini(perfect)),
        "top_10_capture": float(actual[order][: n // 10].sum() / actual.sum()),
        "capture_10": float(y[np.argsort(-prob)][: n // 10].sum() / y.sum()),
    }


def trees(rng, objective, name):
    n = 600
    x = rng.normal(0, 1, (n, 4)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3])
    x[rng.random((n, 4)) < 0.15] = np.nan
    signal = np.nan_to_num(x[:, 0], nan=-0.5) - np.nan_to_num(x[:, 1] * x[:, 3])
    params = {"objective": objective, "max_depth": 3, "eta": 0.3, "seed": 7, "nthread": 1}
    if objective == "binary:logistic":
        y = rng.random(n) < 1 / (1 + np.exp(-2 * signal))
    else:
        y = np.where(rng.random(n) < 0.5, 0.0, rng.gamma(1.0, np.exp(signal)))
        params["tweedie_variance_power"] = 1.3
    model = xgboost.train(params, xgboost.DMatrix(x, label=y), 12)
    rows = x[:40]
    data = xgboost.DMatrix(rows)
    with open(os.path.join(HERE, f"xgboost_{name}.json"), "w") as out:
        out.write(model.save_raw("json").decode())
    return {
        "rows": [[None if np.isnan(v) else float(v) for v in row] for row in rows],
        "margins": model.predict(data, output_margin=True).astype(float).tolist(),
        "predictions": model.predict(data).astype(float).tolist(),
        "contributions": model.predict(data, pred_contribs=True).astype(float).tolist(),
    }


def main():
    rng = np.random.default_rng(20260101)
    found = {"linear": linear(rng), "metrics": metrics(rng)}
    found["xgboost_logistic"] = trees(rng, "binary:logistic", "logistic")
    found["xgboost_tweedie"] = trees(rng, "reg:tweedie", "tweedie")
    write("learn.json", found)


main()
