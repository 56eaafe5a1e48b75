#!/usr/bin/env bash
# Every test, on the profile that ships. The end-to-end tests use the real model in the cache folder.
set -euo pipefail
cd "$(dirname "$0")/.."
CASEMATE_MODEL=$(scripts/fetch-model.sh)
export CASEMATE_MODEL

# The conformance cases of the sealed-model format, made again by the second implementation.
if python3 -c 'import cryptography' 2>/dev/null; then
  python3 spec/tools/sealed_model.py check vectors/sealed-model
else
  echo "test: not run: spec/tools/sealed_model.py check (needs the Python package cryptography)" >&2
fi

# The verifier again, with the cryptography that it has in WebAssembly: the same verdicts.
scripts/test-backends.sh

# Another engine in the place of the embedded one: its cases are ignored, by name, where it cannot be had.
if python3 -c 'import ensurepip, venv' 2>/dev/null; then
  CASEMATE_UPSTREAM_PYTHON=$(scripts/upstream-python.sh)
  export CASEMATE_UPSTREAM_PYTHON
else
  echo "test: not run: upstreams with llama.cpp's own server (need Python's venv)" >&2
fi

# OpenAI's own Python client against a real server: the binary is that of the tests.
if [ $# -eq 0 ]; then
  cargo test --release --locked --workspace --no-run
  if python3 -c 'import ensurepip, venv' 2>/dev/null; then
    scripts/sdk-test.sh
  else
    echo "test: not run: scripts/sdk-test.sh (needs Python's venv)" >&2
  fi
fi

cargo test --release --locked --workspace "$@"
