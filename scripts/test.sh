#!/usr/bin/env bash
# Every test, on the profile that ships. The end-to-end tests use the real model in the cache folder.
set -euo pipefail
cd "$(dirname "$0")/.."
export CASEMATE_MODEL="${MODEL:-$(scripts/fetch-model.sh)}"
cargo test --release --locked --workspace "$@"
