#!/bin/sh
# The first process of the guest that scripts/guest-test.sh boots. It speaks on the serial console: one line `CASE PASS name` or
# `CASE FAIL name: why` for each case, and what the programs said, indented. It powers the machine off at its end.

# What came from Debian goes before busybox's program of the same name.
export PATH=/usr/bin:/bin HOME=/tmp TMPDIR=/tmp
busybox mkdir -p /proc /sys /dev /tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs -o mode=1777 tmpfs /tmp
busybox --install -s /bin
ifconfig lo 127.0.0.1 up
# Only these cases load modules, so that each state of the kernel is there when it is looked at.
echo /none >/proc/sys/kernel/modprobe
. /guest.env

say() { echo "$@" >/dev/console; }
pass() { say "CASE PASS $1"; }
fail() { say "CASE FAIL $1: $2"; sed 's/^/    /' /tmp/out >/dev/console; }

# expect NAME EXIT TEXT COMMAND...: this exit code, and this text in what it says.
expect() {
  name=$1 code=$2 text=$3
  shift 3
  timeout 60 "$@" >/tmp/out 2>&1 </dev/null
  ended=$?
  if [ "$ended" -ne "$code" ]; then
    fail "$name" "exit code $ended, not $code"
  elif ! grep -qF -- "$text" /tmp/out; then
    fail "$name" "nothing about '$text'"
  else
    pass "$name"
  fi
}

# check NAME OUTCOME ID TEXT FLAG...: a line of doctor's table.
check() {
  name=$1 outcome=$2 id=$3 text=$4
  shift 4
  timeout 60 casemate doctor "$@" >/tmp/out 2>&1 </dev/null
  if grep -E " $outcome +$id " /tmp/out | grep -qF -- "$text"; then pass "$name"; else fail "$name" "no such line"; fi
}

# serve FLAG...: with inputs that are in order, as far as the question goes which machine this is.
serve() {
  echo casemate serve --model /given/sealed --publisher-key /given/publisher.pub --broker http://broker.invalid "$@"
}

say "GUEST BEGIN $(uname -r)"

# 1. A machine without a TEE, without a module.
check doctor.no-tee FAIL tee.platform '[attester.no-device]'
check doctor.no-processor FAIL tee.processor ''
expect doctor.exit-code 1 '[doctor.not-ready]' casemate doctor
expect serve.no-device 5 '[attester.no-device]' $(serve)
expect vsock.absent.listen 1 '[vsock.absent]' $(serve --danger-simulate /given/vendor --listen vsock:8443)
check vsock.absent.dial FAIL network.broker '[vsock.absent]' --broker http://broker.invalid --broker-via vsock:3:8080

# 2. The kernel's own drivers of TEEs refuse this machine.
expect kernel.sev-guest 1 'No such device' modprobe sev-guest
expect kernel.tdx-guest 1 'No such device' modprobe tdx-guest

# 3. configfs-tsm is there and has no provider.
modprobe configfs && modprobe tsm && mount -t configfs configfs /sys/kernel/config
expect kernel.tsm-refuses 1 'No such device or address' mkdir /sys/kernel/config/tsm/report/made-by-hand
expect serve.no-provider 5 '[attester.tsm.no-provider]' $(serve)
check doctor.no-provider FAIL tee.evidence '[attester.tsm.no-provider]'

# 4. vsock, and nothing that leads anywhere.
modprobe vsock
check vsock.no-route FAIL network.broker '[vsock.no-route]' --broker http://broker.invalid --broker-via vsock:3:8080

# 5. vsock within the machine: the cases that are ignored where there is none (crates/cli/tests/e2e/vsock.rs), with the model.
modprobe vsock_loopback
cd "$E2E_FOLDER" || fail e2e "no folder"
timeout 240 "$E2E" vsock:: --test-threads 1 >/tmp/e2e 2>&1 </dev/null
ended=$?
sed 's/^/    /' /tmp/e2e >/dev/console
sed -n 's/^test .*\(vsock::[a-z_]*\) *\.\.\. ok$/CASE PASS \1/p' /tmp/e2e >/dev/console
[ "$ended" -eq 0 ] || say "CASE FAIL vsock::: exit code $ended"

say "GUEST END"
sync
poweroff -f
