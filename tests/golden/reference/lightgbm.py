"""Makes treeshap_lightgbm.json, which tests/it/lightgbm.rs reads.

Run once with lightgbm 4.7.0 and numpy 2.4.6:
    python lightgbm.py

The customers are drawn, nobody's data are in the file. A feature with missing values in training
gets a direction for them at each split; one without takes a missing value for 0.
"""

import json
import os

import lightgbm
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    rng = np.random.default_rng(7)
    n = 4_000
    x = np.column_stack(
        [
            rng.exponential(12, n),
            rng.poisson(3, n),
            rng.integers(27, 40, n) + rng.integers(0, 7, n) / 7,
            rng.lognormal(3, 0.8, n),
            rng.normal(0, 5, n),
        ]
    )
    eta = 0.08 * x[:, 0] - 0.5 * x[:, 1] + 0.02 * x[:, 4] * x[:, 1] - 0.01 * x[:, 3] + 0.5
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    x[rng.random(n) < 0.2, 3] = np.nan
    settings = {
        "objective": "binary",
        "num_threads": 1,
        "verbose": -1,
        "seed": 3,
        "num_leaves": 15,
        "min_data_in_leaf": 5,
    }
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y), 15)
    rows = x[:30].copy()
    rows[5, 0] = np.nan
    rows[6, [1, 3]] = np.nan
    rows[7] = np.nan
    found = {
        "cols": [f"Column_{i}" for i in range(x.shape[1])],
        "rows": [[None if np.isnan(v) else v for v in row] for row in rows.tolist()],
        "contrib": booster.predict(rows, pred_contrib=True).tolist(),
        "raw": booster.predict(rows, raw_score=True).tolist(),
        "model_json": {"tree_info": booster.dump_model()["tree_info"]},
    }
    with open(os.path.join(HERE, "treeshap_lightgbm.json"), "w") as out:
        json.dump(found, out, separators=(",", ":"))
        out.write("\n")


main()
