#!/usr/bin/env bash
# Starts a broker and a server on simulated hardware, as in the demo, and runs a command beside them, which finds the server's address in
# CASEMATE_URL and its certificate's key unchecked (the command is a test of the API, not of the evidence). Both end with the command.
#   scripts/with-server.sh COMMAND [ARGUMENT…]
# MODEL=FILE serves another GGUF file; SERVE="--parallel 4 …" has more arguments of `casemate serve`. With PROXY=1 the address is that of a
# `casemate proxy` in front of the server, which verifies it, and wants a receipt of every answer: they are in CASEMATE_RECEIPTS.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
casemate=${CASEMATE:-$root/target/release/casemate}
model=${MODEL:-${CASEMATE_MODEL:-$("$root/scripts/fetch-model.sh")}}
work=$(mktemp -d)
pids=()
end() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap end EXIT

simulated=(--danger-simulated-root "$work/vendor/roots.pem")
uri=kbs:///models/test/1
"$casemate" simulate init "$work/vendor" >"$work/log" 2>&1
"$casemate" keygen "$work/publisher" >>"$work/log" 2>&1
manifest=$("$casemate" seal "$model" -o "$work/sealed" --publisher-key "$work/publisher.key" --key-uri $uri --key-out "$work/model.key" 2>>"$work/log")
"$casemate" policy release --measurement "$("$casemate" measure)" >"$work/release.json"
"$casemate" broker init "$work/store" "${simulated[@]}" >>"$work/log" 2>&1
"$casemate" broker put --store "$work/store" --key "$work/model.key" --uri $uri --policy "$work/release.json" "${simulated[@]}" >>"$work/log" 2>&1

# The line in which a server says where it listens.
listening() {
  for _ in $(seq 600); do
    if [ -s "$1" ]; then
      sed -n '1s/.*"listening":"\([^"]*\)".*/\1/p' "$1"
      return
    fi
    sleep 0.1
  done
  cat "$work"/*.err >&2
  return 1
}

"$casemate" broker serve --store "$work/store" --listen 127.0.0.1:0 "${simulated[@]}" >"$work/broker" 2>"$work/broker.err" &
pids+=($!)
broker=$(listening "$work/broker")
swap=()
if [ "$(wc -l </proc/swaps)" -gt 1 ]; then swap=(--danger-allow-swap); fi
# shellcheck disable=SC2086 # several arguments in one variable
"$casemate" serve --model "$work/sealed" --publisher-key "$work/publisher.pub" --broker "$broker" --danger-simulate "$work/vendor" \
  --listen 127.0.0.1:0 "${swap[@]}" ${SERVE:-} >"$work/serve" 2>"$work/serve.err" &
pids+=($!)
CASEMATE_URL=$(listening "$work/serve")
CASEMATE_SERVER_PID=${pids[1]}
# What a proxy of the command's own needs.
CASEMATE_SERVER_URL=$CASEMATE_URL CASEMATE_POLICY_FILE=$work/client.toml CASEMATE_SIMULATED_ROOT=$work/vendor/roots.pem CASEMATE_BINARY=$casemate
export CASEMATE_SERVER_URL CASEMATE_POLICY_FILE CASEMATE_SIMULATED_ROOT CASEMATE_BINARY
"$casemate" policy client --measurement "$("$casemate" measure)" --manifest "$manifest" >"$work/client.toml"
if [ -n "${PROXY:-}" ]; then
  "$casemate" proxy "$CASEMATE_URL" --policy "$work/client.toml" --listen 127.0.0.1:0 "${simulated[@]}" --receipts "$work/receipts" >"$work/proxy" 2>"$work/proxy.err" &
  pids+=($!)
  CASEMATE_URL=$(listening "$work/proxy")
fi
export CASEMATE_URL CASEMATE_SERVER_PID CASEMATE_RECEIPTS=$work/receipts
status=0
"$@" || status=$?
if ! kill -0 "$CASEMATE_SERVER_PID" 2>/dev/null; then
  echo "with-server: the server has ended:" >&2
  tail -n 20 "$work/serve.err" >&2
  status=1
elif [ $status -ne 0 ]; then
  echo "with-server: the command failed; the server's last lines:" >&2
  tail -n 20 "$work/serve.err" >&2
fi
exit $status
