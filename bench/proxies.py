"""Proxies in front of the server that scripts/with-server.sh started, for `channel` and `leak`."""

import json
import os
import subprocess


class Proxy:
    """A `casemate proxy` to `server`; it ends with this process, whose end closes its standard input."""

    def __init__(self, name, server, *args):
        self.name = name
        command = [os.environ["CASEMATE_BINARY"], "proxy", server, "--policy", os.environ["CASEMATE_POLICY_FILE"],
                   "--listen", "127.0.0.1:0", "--stop-on-stdin-eof", "--danger-simulated-root",
                   os.environ["CASEMATE_SIMULATED_ROOT"], *args]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.address = json.loads(self.child.stdout.readline())["listening"].removeprefix("http://")

    def memory(self):
        """The most resident memory that it has had, in MiB."""
        with open(f"/proc/{self.child.pid}/status") as status:
            peak = next(line for line in status if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
