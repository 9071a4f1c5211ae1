#!/usr/bin/env bash
# Fits the same simulated customers with tenure and with lifetimes (PyPI) in one run and writes
# a Markdown table to standard output: CPU seconds, log-likelihoods, ratio.
#
#   benches/peers/run.sh [--large]
#
# FIT_BIN names our program (default: the example fit_btyd, built if need be).
# VENV keeps the virtual environment between runs; else it is made and removed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bin=${FIT_BIN:-}
if [ -z "$bin" ]; then
    (cd "$root" && cargo build --release --quiet --example fit_btyd)
    bin=${CARGO_TARGET_DIR:-$root/target}/release/examples/fit_btyd
fi

venv=${VENV:-$work/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

# One thread of linear algebra each: CPU seconds are compared, not cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
"$venv/bin/python" "$here/compare.py" "$bin" "$work" "$@"
