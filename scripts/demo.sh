#!/usr/bin/env bash
# The main job, end to end, on one machine. MODEL=/path/to/any.gguf runs another model.
set -euo pipefail
cd "$(dirname "$0")/.."
model=$(scripts/fetch-model.sh)
exec target/release/casemate demo --model "$model"
