#!/usr/bin/env bash
# Fuzzes every target for so many minutes, then keeps the smallest set of inputs that covers as
# much as all did.
#
#   bash tests/fuzz/run.sh MINUTES [TARGET ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
minutes=${1:?minutes for each target}
shift
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(events history bundle policy request)
kept=../corpus/fuzz
work=target/fuzz-inputs
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$work" "$kept"

cargo fuzz build --fuzz-dir . -s none --target-dir "$target_dir"
host=$(rustc -vV | sed -n 's/^host: //p')
programs=$target_dir/$host/release

CORPUS="seed $work" "$programs/corpus"
if [ -f "$kept/events.gz" ]; then CORPUS="unpack $kept $work" "$programs/corpus"; fi
for target in "${targets[@]}"; do
    mkdir -p "$work/$target" "$work/findings/$target"
    printf '\n== %s\n' "$target"
    "$programs/$target" "$work/$target" -max_total_time=$((minutes * 60)) -max_len=8192 \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$work/findings/$target/" 2>&1 | tail -n 12
done

for target in events history bundle policy request; do
    rm -rf "$work/smallest/$target"
    mkdir -p "$work/smallest/$target"
    "$programs/$target" -merge=1 -max_len=8192 "$work/smallest/$target" "$work/$target" \
        2>&1 | tail -n 1
done
CORPUS="pack $work/smallest $kept" "$programs/corpus"
ls -l "$kept"
