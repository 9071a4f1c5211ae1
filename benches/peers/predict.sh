#!/usr/bin/env bash
# Predicts with the same forest (200 trees of 31 leaves on 30 features) in tenure and in ONNX
# Runtime, and with one of the same shape in LightGBM, in one run on one thread, and writes a
# Markdown table to standard output: rows a second of the processor's time, and ratios.
#
#   benches/peers/predict.sh
#
# HOT_BIN names our bench program (default: it is built).
# VENV keeps the virtual environment between runs; else it is made and removed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bin=${HOT_BIN:-}
if [ -z "$bin" ]; then
    bin=$(cd "$root" && cargo bench --bench hot --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')
    bin=$root/${bin#"$root/"}
fi

venv=${VENV:-$work/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements-predict.txt"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
"$bin" forest >"$work/forest.json"
"$bin" cpu forest >"$work/ours.txt"
"$venv/bin/python" "$here/predict.py" "$work/forest.json" "$work/ours.txt"
