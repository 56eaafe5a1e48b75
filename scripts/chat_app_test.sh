#!/usr/bin/env bash
# A chat application that others wrote (`llm`, from PyPI, in the folder of $1), pointed at `casemate proxy`, whose address is in CASEMATE_URL.
set -euo pipefail
llm=$1/bin/llm
LLM_USER_PATH=$(mktemp -d)
export LLM_USER_PATH
trap 'rm -rf "$LLM_USER_PATH"' EXIT
model=$(python3 -c 'import json, sys, urllib.request as u; print(json.load(u.urlopen(sys.argv[1]))["data"][0]["id"])' "$CASEMATE_URL/v1/models")
cat >"$LLM_USER_PATH/extra-openai-models.yaml" <<YAML
- model_id: confidential
  model_name: $model
  api_base: $CASEMATE_URL/v1
YAML
ask=("$llm" -m confidential --key unused -o temperature 0 -o max_tokens 24)
question="What is 2+2? Answer with a number."
streamed=$("${ask[@]}" "$question")
whole=$("${ask[@]}" --no-stream "$question")
[[ $whole == *4* ]] || { echo "chat-app-test: no answer: $whole" >&2; exit 1; }
[ "$streamed" = "$whole" ] || { echo "chat-app-test: $streamed is not $whole" >&2; exit 1; }
# A conversation, typed.
talk=$(printf 'My name is Ada.\nSay hello.\nexit\n' | "$llm" chat -m confidential --key unused -o temperature 0 -o max_tokens 24)
[ "$(grep -c '^> ' <<<"$talk")" -ge 2 ] || { echo "chat-app-test: $talk" >&2; exit 1; }
echo "sdk-test: a chat application ok"
