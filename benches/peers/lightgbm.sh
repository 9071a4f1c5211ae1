#!/bin/sh
# Our churn model against Python LightGBM on the same rows, features and cutoffs, in one run.
#
#   benches/peers/lightgbm.sh EVENTS UNTIL CHURN_DAYS [TENURE_TRAIN_FLAGS...]
#
#   python3 tests/python/fetch_cdnow.py cdnow_full.csv
#   benches/peers/lightgbm.sh cdnow_full.csv 1997-12-30 91
#   benches/peers/lightgbm.sh data/complete_journey.csv.gz 2017-12-30 30
#
# BINS names the folder of the programs (default: target/release, built if need be). The rows are
# exported by tenure-train; LightGBM learns from those with the role "training" and both are judged
# on those with the role "judged", which begin after every training window has ended. Neither side
# searches settings. Fit times are CPU seconds: ours of the regression and the trees together.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
events=$1
until=$2
days=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

bins=${BINS:-}
if [ -z "$bins" ]; then
    (cd "$root" && cargo build --release --quiet --bins)
    bins=${CARGO_TARGET_DIR:-$root/target}/release
fi
fit=${FIT_BIN:-}
if [ -z "$fit" ]; then
    (cd "$root" && cargo build --release --quiet --example fit_dataset)
    fit=${CARGO_TARGET_DIR:-$root/target}/release/examples/fit_dataset
fi
venv=${VENV:-$work/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 lightgbm==4.7.0

"$bins/tenure-train" --events "$events" --until "$until" --churn-horizon-days "$days" \
    --clv-horizon-days "$days" --models "$work/models" --name peer \
    --search off --export-dataset "$work/rows" --quiet "$@" >/dev/null
"$fit" "$work/rows" >"$work/ours.json"
"$venv/bin/python" "$here/lightgbm_fit.py" "$work/rows" "$work/ours.json"
