#!/usr/bin/env bash
# Side-by-side benchmarks: each prints both sides of one run and the median ratio. See bench/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh bench
CASEMATE_MODEL=$(scripts/fetch-model.sh)
export CASEMATE_MODEL
cargo build --release --locked
cd bench
cargo build --release --locked
for name in ${BENCH:-snp_verify tdx_verify nitro_verify gpu_verify memory unseal staple confined tokens}; do
  echo
  target/release/"$name"
done
