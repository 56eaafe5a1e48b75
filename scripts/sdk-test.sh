#!/usr/bin/env bash
# OpenAI's own Python client against a real server on simulated hardware, directly and through `casemate proxy`, and Anthropic's through
# the proxy: scripts/sdk_test.py. Through the proxy also their Node clients, where there is Node (scripts/sdk_test.cjs), and a chat application
# (scripts/chat_app_test.sh); then every receipt of these answers is checked. All are installed into target/.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/sdk-venv
if [ ! -x $venv/bin/python ] || ! $venv/bin/python -c 'import anthropic, llm, openai, sys; sys.exit((openai.__version__, anthropic.__version__) != ("3.57.0", "2.14.0"))' 2>/dev/null; then
  python3 -m venv $venv
  $venv/bin/pip install --quiet openai==3.57.0 anthropic==2.14.0 llm==0.36 >&2
fi
node=target/sdk-node/node_modules
if ! command -v npm >/dev/null; then
  echo "sdk-test: not run: scripts/sdk_test.cjs (needs Node and npm)" >&2
  node=
elif [ ! -d $node/openai ] || [ ! -d $node/@anthropic-ai/sdk ]; then
  npm install --silent --no-audit --no-fund --prefix target/sdk-node openai@6.49.0 @anthropic-ai/sdk@1.14.0 >&2
fi
if [ "${1:-}" = --install ]; then exit 0; fi
python=$PWD/$venv/bin/python
scripts/with-server.sh "$python" scripts/sdk_test.py answers
export NODE_PATH=$PWD/$node venv node
PROXY=1 scripts/with-server.sh bash -euc '
  "$venv"/bin/python scripts/sdk_test.py proxied
  if [ -n "$node" ]; then node scripts/sdk_test.cjs; fi
  scripts/chat_app_test.sh "$PWD/$venv"
  "$CASEMATE_BINARY" receipt verify "$CASEMATE_RECEIPTS"/*.receipt.json --policy "$CASEMATE_POLICY_FILE" \
    --danger-simulated-root "$CASEMATE_SIMULATED_ROOT" | grep -c "^SIMULATED: VERIFIED" | sed "s/$/ receipts ok/; s/^/sdk-test: /"
'
# A made-up embedding model (crates/engine/tests/model/made.rs).
MODEL=$PWD/vectors/models/made-up-bert.gguf scripts/with-server.sh "$python" scripts/sdk_test.py vectors
# A tenant of it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CASEMATE_KEY=$("${CASEMATE:-target/release/casemate}" keys new "$work/keys.json" --tenant t --requests-per-minute 4 2>/dev/null)
export CASEMATE_KEY
MODEL=$PWD/vectors/models/made-up-bert.gguf SERVE="--api-keys $work/keys.json" scripts/with-server.sh "$python" scripts/sdk_test.py keys
