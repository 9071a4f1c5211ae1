#!/bin/sh
# Checks the server from Node with the client of examples/node: installs its packages into a
# temporary folder, starts tenure-serve on a free port with a fresh store, and takes everything
# down again.
#
#   tests/node/run.sh [MODELS_DIR [NAME]]        (default: models demo)
#
# SERVE_BIN names the program (default: target/release/tenure-serve, built if need be).
# Exit code 3: the packages cannot be fetched here.
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

mkdir "$work/node"
cp "$root"/examples/node/*.mjs "$root/examples/node/package.json" "$work/node/"
if ! (cd "$work/node" && npm install --no-package-lock --no-audit --no-fund --silent) \
    >"$work/npm" 2>&1; then
    cat "$work/npm" >&2
    exit 3
fi
start_server "$bin" "$models" "$name" "$work"
node "$work/node/main.mjs" "$address" "$root/proto"
stop_server
