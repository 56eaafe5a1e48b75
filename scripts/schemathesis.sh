#!/usr/bin/env bash
# Checks a real server against its own OpenAPI document with schemathesis, which is installed into target/: many requests that fit the
# document and many that do not, none of which may be answered otherwise than it says. More arguments go to schemathesis.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/schemathesis-venv
if [ ! -x $venv/bin/schemathesis ]; then
  python3 -m venv $venv
  $venv/bin/pip install --quiet schemathesis==4.32.5 >&2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/run" <<'RUN'
#!/usr/bin/env bash
export SCHEMATHESIS_HOOKS=scripts/schemathesis_hooks.py
exec "$VENV/bin/schemathesis" --config-file scripts/schemathesis.toml run "$CASEMATE_URL/openapi.json" \
  --tls-verify=false --request-timeout 120 --max-examples "${EXAMPLES:-40}" --seed "${SEED:-1}" "$@"
RUN
chmod +x "$work/run"
export VENV=$PWD/$venv
SERVE=${SERVE:---parallel 4} scripts/with-server.sh "$work/run" "$@"
# A made-up embedding model: what is different there.
MODEL=$PWD/vectors/models/made-up-bert.gguf scripts/with-server.sh "$work/run" --include-path /v1/embeddings --include-path /infer \
  --include-path /tokenize --include-path /detokenize "$@"
