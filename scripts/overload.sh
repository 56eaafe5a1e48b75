#!/usr/bin/env bash
# Four times the load that a server carries, for a minute: scripts/overload.py, with the Python packages of scripts/sdk-test.sh.
# PARALLEL, CALM and STORM (seconds) change it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/sdk-test.sh --install
export PARALLEL=${PARALLEL:-4}
SERVE="--parallel $PARALLEL" scripts/with-server.sh "$PWD/target/sdk-venv/bin/python" scripts/overload.py
