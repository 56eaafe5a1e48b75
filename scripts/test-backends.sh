#!/usr/bin/env bash
# The verifier on its second cryptographic backend (RustCrypto, for WebAssembly): the same suite natively, in a target
# folder of its own, and a build for the real target. Sweeps over every bit turn every 31st bit here, because the pure Rust
# arithmetic is slower; everything else is the same. Nothing here runs inside WebAssembly.
set -euo pipefail
cd "$(dirname "$0")/.."
rustup target list --installed | grep -q wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown >&2
cargo check --release --locked --target wasm32-unknown-unknown --package casemate-attest
RUSTFLAGS="--cfg casemate_rustcrypto" CARGO_TARGET_DIR=target/rustcrypto \
  cargo test --release --locked --package casemate-attest "$@"
