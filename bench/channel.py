"""What the proxy and its channel add: against the same server over plain HTTPS, in turns.

`GET /v1/models` shows the way alone; the time to the first piece of a stream and the tokens per second of a whole one are what a person
notices. Settings: ROUNDS (21), QUICK_ROUNDS (300), TOKENS (128).
"""

import http.client
import json
import os
import ssl
import statistics
import time

from proxies import Proxy

ROUNDS = int(os.environ.get("ROUNDS", 21))
QUICK_ROUNDS = int(os.environ.get("QUICK_ROUNDS", 300))
TOKENS = int(os.environ.get("TOKENS", 128))
SERVER = os.environ["CASEMATE_SERVER_URL"]


class Side:
    """One address, asked on a connection that is kept."""

    def __init__(self, name, connection):
        self.name, self.connection, self.models, self.first, self.whole = name, connection, [], [], []

    def get_models(self):
        began = time.perf_counter()
        self.connection.request("GET", "/v1/models")
        answer = json.loads(self.connection.getresponse().read())
        self.models.append(time.perf_counter() - began)
        return answer["data"][0]["id"]

    def wake(self):
        """Connects again where the connection was idle for so long (30 seconds) that it was closed."""
        try:
            self.get_models()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.get_models()
        self.models.pop()

    def stream(self, model):
        self.wake()
        body = json.dumps({"model": model, "stream": True, "temperature": 0, "max_tokens": TOKENS,
                           "messages": [{"role": "user", "content": "Explain in detail how a lighthouse works."}]})
        began = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = self.connection.getresponse()
        pieces = 0
        for line in response:
            if line.startswith(b"data: {") and b'"content":"' in line:
                pieces += 1
                if pieces == 2:  # the first names the role
                    self.first.append(time.perf_counter() - began)
            if line.startswith(b"data: [DONE]"):
                self.whole.append(time.perf_counter() - began)
        assert pieces > TOKENS // 2, f"{self.name}: {pieces} pieces"


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def main():
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    proxies = [Proxy("tls", SERVER, "--channel", "tls")]
    proxies += [Proxy(f"sealed, {shape}", SERVER, "--shape", shape) for shape in ("off", "default", "constant")]
    direct = Side("plain HTTPS", http.client.HTTPSConnection(SERVER.removeprefix("https://"), context=unverified))
    sides = [direct] + [Side(proxy.name, http.client.HTTPConnection(proxy.address)) for proxy in proxies]
    model = None
    for side in sides:
        for _ in range(3):
            model = side.get_models()
        side.stream(model)
        side.models, side.first, side.whole = [], [], []
    for number in range(QUICK_ROUNDS):
        for side in sides[number % len(sides):] + sides[: number % len(sides)]:
            side.get_models()
    for number in range(ROUNDS):
        for side in sides[number % len(sides):] + sides[: number % len(sides)]:
            side.stream(model)

    print(f"channel: {QUICK_ROUNDS} requests and {ROUNDS} streams of {TOKENS} tokens a side, in turns")
    figures = {}
    for side in sides:
        added = [(a - b) * 1000 for a, b in zip(side.models, direct.models)]
        first = [(a - b) * 1000 for a, b in zip(side.first, direct.first)]
        speed = statistics.median(b / a for a, b in zip(side.whole, direct.whole))
        figures[side.name] = {
            "models_ms": statistics.median(side.models) * 1000, "models_added_ms": statistics.median(added),
            "models_added_p99_ms": quantile(side.models, 0.99) * 1000 - quantile(direct.models, 0.99) * 1000,
            "first_ms": statistics.median(side.first) * 1000, "first_added_ms": statistics.median(first),
            "tokens_per_second": TOKENS / statistics.median(side.whole), "speed_ratio": speed,
        }
        f = figures[side.name]
        print(f"  {side.name:17} GET /v1/models {f['models_ms']:6.2f} ms (added {f['models_added_ms']:+.2f}, p99 {f['models_added_p99_ms']:+.2f})"
              f"   first piece {f['first_ms']:6.1f} ms (added {f['first_added_ms']:+.2f})   {f['tokens_per_second']:6.1f} tokens/s, ratio {speed:.3f}")
    memory = {proxy.name: proxy.memory() for proxy in proxies}
    print("  memory of a proxy, MiB: " + ", ".join(f"{name} {mib:.0f}" for name, mib in memory.items()))
    print(json.dumps({"bench": "channel", "rounds": ROUNDS, "tokens": TOKENS, "sides": figures, "proxy_mib": memory}))


main()
