#!/usr/bin/env bash
# Calls tenure, a Python server on grpc.aio with LightGBM, and MLServer with LightGBM, with one
# client in one run, and writes a Markdown table to standard output: calls and rows a second, the
# server's processor time a call, and the times that callers waited.
#
#   benches/peers/rpc.sh [SECONDS]
#
# RPC_BIN names our bench program beside the other programs (default: all are built).
# AIO_VENV and ML_VENV keep the virtual environments between runs; else they are made and removed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds=${1:-5}
work=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then kill -- "-$server" 2>/dev/null || true; fi
    server=
}
trap 'stop; rm -rf "$work"' EXIT

bin=${RPC_BIN:-}
if [ -z "$bin" ]; then
    (cd "$root" && cargo build --quiet --release --bins --example rpc_bench)
    bin=$root/target/release/examples/rpc_bench
fi

environment() { # FOLDER REQUIREMENTS
    if [ ! -x "$1/bin/python" ]; then
        python3 -m venv "$1"
        "$1/bin/pip" install --quiet --disable-pip-version-check -r "$here/$2"
    fi
}
aio=${AIO_VENV:-$work/aio}
ml=${ML_VENV:-$work/ml}
environment "$aio" requirements-rpc-aio.txt
environment "$ml" requirements-rpc-mlserver.txt

# As the demo model has them: columns, trees of each of its two models, leaves.
columns=71 trees=200 leaves=8

echo "| call | calls/s | rows/s | server CPU us a call | p50 us | p99 us | answer bytes |"
echo "| --- | --- | --- | --- | --- | --- | --- |"
load() { "$bin" load "$1" "http://$2" "$3" "$server" "$4" "$seconds" "$5"; }
waited_for() { # FILE: its first line says where the server listens
    for _ in $(seq 600); do
        if grep -q "listening on" "$1"; then sed -n 's/^listening on //p' "$1"; return; fi
        sleep 0.2
    done
    echo "the server did not start" >&2; cat "$1" >&2; return 1
}

"$bin" requests "$work/ours"
"$bin" ours "$seconds"

# The peer's message is the cells alone: the end of ours.
tail -c $((columns * 4)) "$work/ours/ScoreMatrix-1.bin" >"$work/1.bin"
for _ in $(seq 1000); do cat "$work/1.bin"; done >"$work/1000.bin"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
setsid "$aio/bin/python" "$here/rpc_aio.py" $columns $trees $trees $leaves >"$work/aio.log" 2>&1 &
server=$!
address=$(waited_for "$work/aio.log")
load "grpc.aio + LightGBM, 64 in flight x1" "$address" /peer.Scoring/Predict 64 "$work/1.bin"
load "grpc.aio + LightGBM, 1 in flight x1" "$address" /peer.Scoring/Predict 1 "$work/1.bin"
load "grpc.aio + LightGBM x1000" "$address" /peer.Scoring/Predict 2 "$work/1000.bin"
stop

port=${PORT:-18090}
"$ml/bin/python" "$here/rpc_mlserver.py" "$work/ml" "$port" $columns $trees $leaves
(cd "$work/ml" && exec setsid "$ml/bin/mlserver" start . >"$work/ml.log" 2>&1) &
server=$!
for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    sleep 0.2
done
infer=/inference.GRPCInferenceService/ModelInfer
load "MLServer, one model, 64 in flight x1" "127.0.0.1:$port" $infer 64 "$work/ml/1.bin"
load "MLServer, one model, 1 in flight x1" "127.0.0.1:$port" $infer 1 "$work/ml/1.bin"
load "MLServer, one model x1000" "127.0.0.1:$port" $infer 2 "$work/ml/1000.bin"
