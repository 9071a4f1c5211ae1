#!/bin/sh
# Checks the server from Python, with stubs made from the protos alone: makes a virtual
# environment, starts tenure-serve on a free port with a fresh store, runs client_check.py and the
# client of examples/python, then overload_check.py on a server that may do little, and takes
# everything down again.
#
#   tests/python/run.sh [MODELS_DIR [NAME]]        (default: models demo)
#
# Then trains on the log that ships and reads the model and its rows with XGBoost and ONNX
# Runtime (interop_check.py); INTEROP=no leaves that out, and so does, with a word, a machine that
# cannot fetch the two where CI is not set.
#
# SERVE_BIN names the program (default: target/release/tenure-serve, built if need be); the other
# programs are looked for beside it.
# VENV keeps the virtual environment between runs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
models=${1:-$root/models}
name=${2:-demo}
work=$(mktemp -d)
. "$root/tests/clients/server.sh"

cleanup() {
    status=$?
    drop_server
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT INT TERM

bin=${SERVE_BIN:-}
if [ -z "$bin" ]; then
    (cd "$root" && cargo build --release --quiet --bins)
    bin=${CARGO_TARGET_DIR:-$root/target}/release/tenure-serve
fi

venv=${VENV:-$work/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

mkdir "$work/stubs"
"$venv/bin/python" -m grpc_tools.protoc -I "$root/proto" \
    --python_out="$work/stubs" --pyi_out="$work/stubs" --grpc_python_out="$work/stubs" \
    "$root"/proto/tenure/v1/*.proto

start_server "$bin" "$models" "$name" "$work"
PYTHONPATH="$work/stubs" "$venv/bin/python" "$here/client_check.py" "$address" "$name"
# The client to copy, on the same server.
PYTHONPATH="$work/stubs" "$venv/bin/python" "$root/examples/python/main.py" "$address"
stop_server

# One that may have one call at work, asked for far more.
mkdir "$work/busy"
start_server "$bin" "$models" "$name" "$work/busy" --set calls_max=1 --set batch_threads=1
PYTHONPATH="$work/stubs" "$venv/bin/python" "$here/overload_check.py" "$address"
stop_server

if [ "${INTEROP:-yes}" = no ]; then
    exit 0
fi
if ! "$venv/bin/pip" install --quiet --disable-pip-version-check \
    -r "$here/requirements-interop.txt" >"$work/pip" 2>&1; then
    if [ "${CI:-}" = true ]; then
        cat "$work/pip" >&2
        exit 1
    fi
    echo "skipped: XGBoost and ONNX Runtime cannot be installed here"
    exit 0
fi
programs=$(dirname "$bin")
"$programs/tenure-train" --events "$root/data/complete_journey.csv.gz" --until 2017-11-30 \
    --churn-horizon-days 30 --clv-horizon-days 30 --models "$work/models" --name interop \
    --export-dataset "$work/rows" --quiet >"$work/version"
"$programs/tenure-ops" bundle export-onnx --models "$work/models" --name interop \
    --out "$work/churn.onnx" --quiet
"$venv/bin/python" "$here/interop_check.py" "$work/rows" \
    "$work/models/interop/$(cat "$work/version")/forest_churn.json" "$work/churn.onnx"
