#!/usr/bin/env bash
# Installs the system packages that the build needs and this machine lacks: says which and why, uses sudo if not root.
set -euo pipefail

# package:command or file that shows it is there:why
needs=(
  "cmake:$(command -v cmake || true):builds llama.cpp, the embedded inference engine"
  "g++:$(command -v g++ || true):compiles llama.cpp"
  "libclang-dev:$(compgen -G '/usr/lib/llvm-*/lib/libclang.so' | head -n 1 || true):bindgen reads llama.cpp's headers with it"
  "swtpm:$(command -v swtpm || true):the tests of Azure's virtual TPM talk to it"
)
if [ "${1:-}" = bench ]; then
  needs+=(
    "libssl-dev:$(compgen -G '/usr/include/openssl/ssl.h' || true):the peer crate \`sev\` is measured with OpenSSL"
    "pkg-config:$(command -v pkg-config || true):finds OpenSSL"
  )
fi

apt=(apt-get)
release=()
lists=""
if [ "${1:-}" = guest ]; then
  needs+=(
    "qemu-system-x86:$(command -v qemu-system-x86_64 || true):is the machine that scripts/guest-test.sh boots"
    "busybox-static:$(command -v busybox || true):is that machine's shell"
    "socat:$(command -v socat || true):leads from vsock to TCP in that machine, as on a host"
    "cpio:$(command -v cpio || true):packs its files"
    "xz-utils:$(command -v xz || true):unpacks its kernel's modules"
  )
  # A machine whose other parts of QEMU are of backports takes no older one beside them.
  lists=${TMPDIR:-/tmp}/casemate-apt.$$
  apt=("$(dirname "$0")/apt-backports.sh" "$lists")
  release=(-t bookworm-backports)
fi

missing=()
for need in "${needs[@]}"; do
  IFS=: read -r package found why <<<"$need"
  if [ -z "$found" ]; then
    echo "setup: installing $package: $why" >&2
    missing+=("$package")
  fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: run as root or install sudo, then again: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
"${as_root[@]}" "${apt[@]}" update -q >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y -q --no-install-recommends \
  "${release[@]}" "${missing[@]}" >&2
if [ -n "$lists" ]; then
  "${as_root[@]}" rm -rf "$lists"
fi
