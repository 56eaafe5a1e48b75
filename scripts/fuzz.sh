#!/usr/bin/env bash
# Fuzzes the verifier: `scripts/fuzz.sh [SECONDS] [TARGET...]`, 600 seconds for each of all targets unless said otherwise.
# Stable Rust, libFuzzer without a sanitizer: the verifier has no unsafe code of its own, so a finding is a panic, a
# forged verdict, a timeout or too much memory. New inputs stay in fuzz/target/corpus; fuzz/corpus is what is kept
# (scripts/fuzz_corpus.py), and each run begins with it.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-600}
shift || true
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
target=$(rustc -vV | sed -n 's/^host: //p')
# With --target, build scripts and procedural macros are not instrumented.
cargo build --release --locked --bins --target "$target"
for source in ${*:-src/bin/*.rs}; do
  name=$(basename "$source" .rs)
  mkdir -p "target/corpus/$name"
  ../scripts/fuzz_corpus.py unpack "$name" "target/kept/$name"
  echo "fuzz: $name for $seconds seconds" >&2
  "target/$target/release/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
    -print_final_stats=1 -artifact_prefix="target/corpus/$name-" "target/corpus/$name" "target/kept/$name" \
    2>"target/corpus/$name.log" || { tail -n 40 "target/corpus/$name.log" >&2; exit 1; }
  tail -n 12 "target/corpus/$name.log" | grep -E 'stat::|DONE' >&2 || true
done
