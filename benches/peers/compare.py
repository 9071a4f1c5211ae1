"""Simulates customers, fits them with tenure and with lifetimes, and prints a Markdown table.

Usage: compare.py FIT_BTYD_PROGRAM WORK_DIRECTORY [--large]

Both programs get the same rows. lifetimes gets them pooled into unique rows with weights, which
is its quickest way and is not counted against it; ours counts its own pooling. Both
log-likelihoods are computed here by lifetimes' own function at the parameters found.
"""

import json
import subprocess
import sys
import time
import warnings

import numpy as np
from lifetimes import BetaGeoFitter, ModifiedBetaGeoFitter, ParetoNBDFitter

warnings.simplefilter("ignore")

BG = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
MBG = {"r": 0.525, "alpha": 6.183, "a": 0.891, "b": 1.614}
PARETO = {"r": 0.553, "alpha": 10.578, "s": 0.606, "beta": 11.669}

FITTERS = {
    "bg": (BetaGeoFitter, ["r", "alpha", "a", "b"], "BG/NBD"),
    "mbg": (ModifiedBetaGeoFitter, ["r", "alpha", "a", "b"], "MBG/NBD"),
    "pareto": (ParetoNBDFitter, ["r", "alpha", "s", "beta"], "Pareto/NBD"),
}


def simulate(model, n, seed):
    """Customers of 27 to 39 weeks, observed by the day: purchases of one day are one."""
    rng = np.random.default_rng(seed)
    p = {"bg": BG, "mbg": MBG, "pareto": PARETO}[model]
    age_days = rng.integers(27 * 7, 39 * 7 + 1, n)
    rate = rng.gamma(p["r"], 1 / p["alpha"], n)
    if model == "pareto":
        life = rng.exponential(1 / rng.gamma(p["s"], 1 / p["beta"], n))
        leaves = np.zeros(n)
    else:
        leaves = rng.beta(p["a"], p["b"], n)
        life = np.full(n, np.inf)
        if model == "mbg":
            life[rng.random(n) < leaves] = 0
    now, last_day, x = np.zeros(n), np.zeros(n, int), np.zeros(n, int)
    alive = np.ones(n, bool)
    while alive.any():
        idx = np.flatnonzero(alive)
        with np.errstate(over="ignore", divide="ignore"):
            now[idx] += rng.exponential(1, len(idx)) / rate[idx]
        stays = (now[idx] * 7 <= age_days[idx]) & (now[idx] <= life[idx])
        alive[idx[~stays]] = False
        idx = idx[stays]
        day = np.ceil(now[idx] * 7).astype(int)
        is_new = day > last_day[idx]
        x[idx[is_new]] += 1
        last_day[idx[is_new]] = day[is_new]
        alive[idx[rng.random(len(idx)) < leaves[idx]]] = False
    return x, last_day / 7, age_days / 7


def peer(model, rows):
    """Parameters, CPU seconds and what it says, by lifetimes on weighted unique rows."""
    fitter, names, _ = FITTERS[model]
    unique, weights = np.unique(np.column_stack(rows), axis=0, return_counts=True)
    x, t_x, t = unique.T
    began = time.process_time()
    try:
        fit = fitter(penalizer_coef=0.0)
        fit.fit(x, t_x, t, weights=weights)
        params, said = [float(fit.params_[name]) for name in names], ""
    except Exception as error:
        params, said = None, f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
    return params, time.process_time() - began, said


def log_likelihood(model, params, rows):
    """By lifetimes' own function, all customers added up."""
    fitter = FITTERS[model][0]
    unique, weights = np.unique(np.column_stack(rows), axis=0, return_counts=True)
    x, t_x, t = unique.T
    at = np.array(params)
    if model == "pareto":
        return -fitter._negative_log_likelihood(at, x, t_x, t, weights, 0) * weights.mean()
    return -fitter._negative_log_likelihood(np.log(at), x, t_x, t, weights, 0) * weights.sum()


def ours(program, model, path):
    out = subprocess.run([program, model, path], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def main():
    program, work = sys.argv[1:3]
    sizes = [2_000, 10_000, 100_000] + ([1_000_000] if "--large" in sys.argv[3:] else [])
    print("| model | customers | unique rows | tenure, CPU s | lifetimes, CPU s | ratio "
          "| log-likelihood, tenure | lifetimes below it by |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for model, (_, names, title) in FITTERS.items():
        for n in sizes:
            rows = simulate(model, n, seed=20261122 + n)
            path = f"{work}/{model}_{n}.csv"
            with open(path, "w") as out:
                out.write("x,t_x,T\n")
                out.writelines(f"{x},{float(a)!r},{float(b)!r}\n" for x, a, b in zip(*rows))
            mine = ours(program, model, path)
            assert mine["names"] == names, mine
            params, seconds, said = peer(model, rows)
            top = log_likelihood(model, mine["params"], rows)
            assert abs(top - mine["log_likelihood"]) < 1e-7 * abs(top), (top, mine)
            gap = said or f"{top - log_likelihood(model, params, rows):.4f}"
            cpu = mine["cpu_seconds"]
            print(f"| {title} | {n:,} | {mine['unique_rows']:,} | {cpu:.3f} | {seconds:.2f} "
                  f"| {seconds / cpu:.0f} | {top:.4f} | {gap} |", flush=True)


if __name__ == "__main__":
    main()
