#!/usr/bin/env bash
# Long runs by name; `just long NAME` calls this. Each prints what it did; what the last ones gave
# stands in docs/reliability.md and docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  bench)   cargo bench --bench load ;;
  chaos)   GODWIT_SEEDS=${2:-1000} cargo test --release --lib chaos ;;
  salvage) cargo bench --bench scale -- salvage "${2:-1000000}" ;;
  compact) cargo bench --bench scale -- compact "${2:-200000}" ;;
  clients) cargo test --test clients -- --include-ignored --test-threads=2 ;;
  crash)   # Power that fails, on the disk model; then kills of the real binary.
           GODWIT_POINTS=${2:-1000} cargo test --release --test store power -- --nocapture
           GODWIT_CRASH_ROUNDS=${2:-1000} cargo test --release --test crash -- --include-ignored --nocapture ;;
  latency) cargo test --test wan -- --ignored --nocapture round_trips counter ;;
  losers)  cargo bench --bench scale -- losers "${2:-200}" ;;
  models)  GODWIT_LONG=1 cargo test --release --lib register::tests ;;
  digest)  cargo bench --bench scale -- digest "${2:-1000000}" 100 ;;
  power)   GODWIT_POINTS=${2:-1000} cargo test --release --test store power -- --nocapture ;;
  reclaim) GODWIT_LONG=1 cargo test --release --test store full_size -- --nocapture ;;
  records) cargo bench --bench scale -- records "${2:-10000000}" ;;
  sim)     GODWIT_SEEDS=${2:-2000} cargo test --release --test sim -- --nocapture ;;
  soak)    GODWIT_SOAK_MINUTES=${2:-21} cargo test --test wan -- --ignored --nocapture a_long_time ;;
  store)   GODWIT_SEEDS=${2:-2000} cargo test --release --test store ;;
  transfer) cargo bench --bench transfer ;;
  *)
    echo "usage: just long bench|chaos|clients|compact|crash|digest|latency|losers|models|power|reclaim|records|salvage|sim|soak|store|transfer [how many]" >&2
    exit 2
    ;;
esac
