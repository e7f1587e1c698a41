#!/usr/bin/env bash
# The charger stopped at every pair of its edges: tests/long/charger_pairs.sh [FLOW]
# All flows unless one is named, such as LinkPaid; prints how many runs and crashes each took. Hours on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CREDITD_TEST_CHARGER_PAIRS=1
[ $# -eq 0 ] || export CREDITD_TEST_CHARGER_FLOW=$1
cargo test --test it top_up::crash_matrix -- --nocapture
