#!/usr/bin/env bash
# Another engine for the tests of upstreams: llama.cpp's own server, as a Python package has it, in target/. Prints the Python that has it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/target/upstream-venv
if ! "$venv"/bin/python -c 'import xllamacpp' 2>/dev/null; then
  python3 -m venv "$venv" >&2
  "$venv"/bin/pip install --quiet xllamacpp==2026.10.11549 >&2
fi
echo "$venv/bin/python"
