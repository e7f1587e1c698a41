#!/usr/bin/env bash
# The reference model against the engine over random histories, optimised: tests/long/histories.sh [COUNT [SEED]]
# 5,000,000 from seed 0 unless told otherwise. Says how far it is and at what rate; at a difference the seed and the
# shortest history that shows it. Only the domain is built, with the versions of Cargo.lock, into target/histories.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

count=${1:-5000000} seed=${2:-0} slice=20000
package=tests/long/histories
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/histories
cp Cargo.lock "$package/Cargo.lock"
run() { cargo test -q --release --manifest-path "$package/Cargo.toml" --test histories "$@"; }
run --no-run
run found
log=$(mktemp)
trap 'rm -f "$log"' EXIT
begun=$SECONDS done=0
while [ "$done" -lt "$count" ]; do
    part=$((count - done < slice ? count - done : slice))
    if ! CREDITD_TEST_SEED=$((seed + done)) CREDITD_TEST_HISTORIES=$part \
        run the_engine_agrees_with_the_model >"$log" 2>&1; then
        cat "$log" >&2
        echo "model and engine differ among the seeds from $((seed + done)) on" >&2
        exit 1
    fi
    done=$((done + part))
    took=$((SECONDS - begun))
    echo "$done of $count histories agree, seeds $seed to $((seed + done - 1)), $((done / (took > 0 ? took : 1))) a second"
done
