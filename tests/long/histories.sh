#!/usr/bin/env bash
# The reference model against the engine over millions of random histories: tests/long/histories.sh [COUNT [SEED]]
# 5,000,000 from seed 0 unless told otherwise. Says how far it is, at what rate, and at a difference the seed and the
# shortest history that shows it. An optimised build of its own lies in target/long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

count=${1:-5000000} seed=${2:-0} slice=100000
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/long CARGO_PROFILE_TEST_OPT_LEVEL=2 CARGO_INCREMENTAL=0
echo "building"
cargo test -q --test it --no-run
begun=$SECONDS done=0
while [ "$done" -lt "$count" ]; do
    part=$((count - done < slice ? count - done : slice))
    if ! CREDITD_TEST_SEED=$((seed + done)) CREDITD_TEST_HISTORIES=$part \
        cargo test -q --test it the_engine_agrees_with_the_model >"$CARGO_TARGET_DIR/histories.log" 2>&1; then
        cat "$CARGO_TARGET_DIR/histories.log" >&2
        echo "model and engine differ among the seeds from $((seed + done)) on" >&2
        exit 1
    fi
    done=$((done + part))
    took=$((SECONDS - begun))
    echo "$done of $count histories agree, seeds $seed to $((seed + done - 1)), $((done / (took > 0 ? took : 1))) a second"
done
