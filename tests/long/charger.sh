#!/usr/bin/env bash
# The charger for long: tests/long/charger.sh [REPLIES [ROUNDS [KILLS [SEED]]]]
# So many lost replies (50,000), rounds of 500 tracks that cross a threshold together (1,000) and kills (2,000); a failure
# names its seed. Each prints its counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CREDITD_TEST_LOST_REPLIES=${1:-50000} CREDITD_TEST_CROSSING_ROUNDS=${2:-1000} CREDITD_TEST_CHARGER_KILLS=${3:-2000}
export CREDITD_TEST_SEED=${4:-1}
cargo test --test it top_up::lost_replies -- --nocapture
cargo test --test it top_up::races -- --nocapture
cargo test --test it top_up::killed -- --nocapture
