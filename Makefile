# Casemate. `make demo` and `make test` work from a fresh clone and install what they need.
.PHONY: demo test guest bench python lint setup model build clean

demo: build model  ## seal a real model, release its key to an attested server, verify, ask, answer
	scripts/demo.sh

test: setup model  ## every test
	scripts/test.sh

guest:  ## what needs a kernel of its own, in an emulated machine: refusals of a machine without a TEE, and vsock
	scripts/guest-test.sh

bench: setup model  ## side-by-side benchmarks against peers; prints ratios
	scripts/bench.sh

python: build model  ## the wheel of the Python package (target/wheels), tested in a fresh environment
	scripts/python-test.sh

lint: setup  ## formatting, clippy, documentation
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

setup:  ## system packages (says which and why)
	@scripts/setup.sh

model: setup  ## the demo's model, pinned by SHA-256, kept in the user's cache folder
	@scripts/fetch-model.sh >/dev/null

build: setup  ## the binary: target/release/casemate
	cargo build --release --locked

clean:  ## build products
	cargo clean
