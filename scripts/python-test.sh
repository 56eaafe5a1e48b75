#!/usr/bin/env bash
# Builds the wheel of the Python package and tests it in a fresh environment with OpenAI's and Anthropic's clients, against a real server on
# simulated hardware: crates/python/tests. The wheel is in target/wheels.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/python-tools
if [ ! -x $tools/bin/maturin ]; then
  python3 -m venv $tools
  $tools/bin/pip install --quiet maturin==1.16.0 >&2
fi
rm -rf target/wheels target/python-venv
$tools/bin/maturin build --quiet --release --locked --manifest-path crates/python/Cargo.toml --out target/wheels
python3 -m venv target/python-venv
target/python-venv/bin/pip install --quiet openai==3.57.0 anthropic==2.14.0 target/wheels/*.whl >&2
scripts/with-server.sh "$PWD/target/python-venv/bin/python" crates/python/tests/test_package.py
