#!/usr/bin/env bash
# Counts the instructions of the hot path, piece by piece, and writes a Markdown table to standard
# output: a figure that does not depend on how busy the machine is, so that a regression shows.
# Needs valgrind, whose callgrind counts. The processor that it stands in for has AVX2.
#
#   benches/instructions.sh
#
# HOT_BIN names the bench program (default: it is built).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bin=${HOT_BIN:-}
if [ -z "$bin" ]; then
    bin=$(cd "$root" && cargo bench --bench hot --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')
    bin=$root/${bin#"$root/"}
fi

# Counts only inside of `measured`, and writes a file each time it ends: one a piece, in order.
valgrind --tool=callgrind --toggle-collect='hot::measured' --dump-after='hot::measured' \
    --callgrind-out-file="$work/out" "$bin" count >"$work/pieces" 2>"$work/log" ||
    { cat "$work/log" >&2; exit 1; }

echo "| piece | instructions a thing |"
echo "| --- | --- |"
part=0
while read -r name things; do
    part=$((part + 1))
    total=$(sed -n 's/^totals: //p' "$work/out.$part")
    echo "| \`$name\` | $((total / things)) |"
done <"$work/pieces"
