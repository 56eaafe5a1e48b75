#!/usr/bin/env bash
# OpenAI's own Python client against a real server on simulated hardware, directly and through `casemate proxy`, and Anthropic's through
# the proxy: scripts/sdk_test.py. The clients are installed into target/.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/sdk-venv
if [ ! -x $venv/bin/python ] || ! $venv/bin/python -c 'import anthropic, openai, sys; sys.exit((openai.__version__, anthropic.__version__) != ("3.57.0", "2.14.0"))' 2>/dev/null; then
  python3 -m venv $venv
  $venv/bin/pip install --quiet openai==3.57.0 anthropic==2.14.0 >&2
fi
if [ "${1:-}" = --install ]; then exit 0; fi
python=$PWD/$venv/bin/python
scripts/with-server.sh "$python" scripts/sdk_test.py answers
PROXY=1 scripts/with-server.sh "$python" scripts/sdk_test.py proxied
# A made-up embedding model (crates/engine/tests/model/made.rs).
MODEL=$PWD/vectors/models/made-up-bert.gguf scripts/with-server.sh "$python" scripts/sdk_test.py vectors
# A tenant of it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CASEMATE_KEY=$("${CASEMATE:-target/release/casemate}" keys new "$work/keys.json" --tenant t --requests-per-minute 4 2>/dev/null)
export CASEMATE_KEY
MODEL=$PWD/vectors/models/made-up-bert.gguf SERVE="--api-keys $work/keys.json" scripts/with-server.sh "$python" scripts/sdk_test.py keys
