#!/usr/bin/env bash
# Side-by-side benchmarks: each prints both sides of one run and the median ratio. See bench/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh bench
CASEMATE_MODEL=$(scripts/fetch-model.sh)
export CASEMATE_MODEL
cargo build --release --locked
cd bench
cargo build --release --locked
# llama-server, the peer of `serving`, as a Python package has it; pinned.
if [ ! -x target/peer/bin/python ]; then
  python3 -m venv target/peer
  target/peer/bin/pip install --quiet xllamacpp==2026.10.11549 >&2
fi
for name in ${BENCH:-snp_verify tdx_verify nitro_verify gpu_verify memory unseal staple confined tokens streams guesses bandwidth serving channel leak tenants}; do
  echo
  case $name in
    channel | leak) CASEMATE=$PWD/../target/release/casemate ../scripts/with-server.sh python3 "$PWD/$name.py" ;;
    tenants)
      keys=$(mktemp -d)
      trap 'rm -rf "$keys"' EXIT
      VICTIM_KEY=$(../target/release/casemate keys new "$keys/keys.json" --tenant victim)
      ATTACKER_KEY=$(../target/release/casemate keys new "$keys/keys.json" --tenant attacker)
      export VICTIM_KEY ATTACKER_KEY
      CASEMATE=$PWD/../target/release/casemate SERVE="--api-keys $keys/keys.json" ../scripts/with-server.sh python3 "$PWD/$name.py"
      ;;
    *) target/release/"$name" ;;
  esac
done
