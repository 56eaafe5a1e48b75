#!/usr/bin/env bash
# Boots a Linux machine without a TEE (Debian's cloud kernel from backports, emulated processor, no KVM needed) and runs in it
# what this machine's own kernel may not have: configfs-tsm and the drivers of TEEs that refuse, and vsock. Each case is a line by
# name; the exit code is not 0 where one failed or is missing. It needs Debian 12, and 4 GiB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/target/guest
mkdir -p "$work"
started=$SECONDS

# === what it needs ===

scripts/setup.sh guest
# The kernel is downloaded and unpacked, not installed. An apt of its own finds it, so that nobody's sources change.
package=linux-image-cloud-amd64
if [ ! -e "$work/kernel/done" ]; then
  echo "guest-test: fetching $package of bookworm-backports: a kernel that has configfs-tsm (6.7 or newer); 34 MB, not installed" >&2
  scripts/apt-backports.sh "$work/apt" update -q >&2
  rm -rf "$work/kernel"
  mkdir -p "$work/kernel/deb"
  kernel=$(scripts/apt-backports.sh "$work/apt" show "$package/bookworm-backports" |
    sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
  (cd "$work/kernel/deb" && ../../../../scripts/apt-backports.sh "$work/apt" download -q "$kernel/bookworm-backports" >&2)
  dpkg-deb -x "$work"/kernel/deb/*.deb "$work/kernel"
  touch "$work/kernel/done"
fi
version=$(basename "$work"/kernel/boot/vmlinuz-* | sed 's/^vmlinuz-//')
model=$(scripts/fetch-model.sh)

# === what is run: the binary, and the cases of its end-to-end tests ===

e2e=$(cargo test --release --locked --workspace --test e2e --no-run --message-format=json-render-diagnostics |
  python3 -c 'import json,sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["target"]["name"] == "e2e": print(said["executable"])' | tail -n 1)

# === the first file system, all of it in memory ===

root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,usr/bin,given,tmp,proc,sys,dev} "$root/lib/modules/$version"
install -m 755 scripts/guest-init.sh "$root/init"
install -m 755 "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
# At its place here too, because the tests know it by that.
put() {
  install -D -m 755 "$1" "$root$1"
  ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
    [ -e "$root$library" ] || install -D -m 755 "$library" "$root$library"
  done
}
put "$PWD/target/release/casemate"
put "$e2e"
put "$(command -v setpriv)"
put "$(command -v socat)"
ln -s "$PWD/target/release/casemate" "$root/bin/casemate"
install -D -m 644 "$model" "$root/given/$(basename "$model")"
for module in configfs tsm sev-guest tdx-guest vsock vmw_vsock_virtio_transport_common vsock_loopback; do
  found=$(find "$work/kernel/lib/modules/$version" -name "$module.ko.xz")
  xz -dc "$found" >"$root/lib/modules/$version/$module.ko"
done
busybox depmod -b "$root" "$version"
# Inputs of `serve` that are in order: no case without a TEE gets further than them.
target/release/casemate simulate init "$root/given/vendor" 2>/dev/null
target/release/casemate keygen "$root/given/publisher" 2>/dev/null
head -c 65536 "$model" >"$work/small.gguf"
target/release/casemate seal "$work/small.gguf" --out "$root/given/sealed" --publisher-key "$root/given/publisher.key" \
  --key-uri kbs:///models/guest/1 --key-out "$root/given/model.key" >/dev/null 2>&1
{
  echo "export CASEMATE_MODEL=/given/$(basename "$model") CASEMATE_DANGER_SIMULATED_ROOT="
  echo "E2E=$e2e E2E_FOLDER=$PWD/target/release"
} >"$root/guest.env"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >"$work/initrd"

# === the machine ===

echo "guest-test: Linux $version, $(du -m "$work/initrd" | cut -f 1) MB in memory" >&2
timeout 420 qemu-system-x86_64 -nodefaults -no-reboot -display none -nic none -serial stdio \
  -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 \
  -kernel "$work/kernel/boot/vmlinuz-$version" -initrd "$work/initrd" \
  -append "console=ttyS0 quiet panic=-1 rdinit=/init" </dev/null |
  sed -u 's/\r$//' | tee "$work/console.log" | grep --line-buffered -aE '^(CASE|GUEST|    )' || true

# === what came out ===

expected=(doctor.no-tee doctor.no-processor doctor.exit-code serve.no-device vsock.absent.listen vsock.absent.dial
  kernel.sev-guest kernel.tdx-guest kernel.tsm-refuses serve.no-provider doctor.no-provider vsock.no-route)
mapfile -t -O ${#expected[@]} expected < <(grep -o '"vsock::[a-z_]*"' crates/cli/tests/e2e/vsock.rs | tr -d '"')
failed=0
for name in "${expected[@]}"; do
  if ! grep -qaxF "CASE PASS $name" "$work/console.log"; then
    echo "guest-test: FAIL $name" >&2
    failed=$((failed + 1))
  fi
done
grep -qa '^CASE FAIL' "$work/console.log" && failed=$((failed + 1))
if [ "$failed" -ne 0 ]; then
  echo "guest-test: failed; the console is in target/guest/console.log" >&2
  exit 1
fi
echo "guest-test: all ${#expected[@]} cases passed in $((SECONDS - started)) s" >&2
