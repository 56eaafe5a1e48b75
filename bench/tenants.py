"""Whether a tenant can tell by the time of an answer what another tenant's prompts begin with (SRV-30).

In each round the victim asks a prompt that nobody asked before. Then an attacker, who is another tenant, asks that prompt and another new one of
the same length, in an order by lot, and takes the time to the first piece of each; the victim does the same, which shows that the times
would tell. What is reported is how often a prompt that was asked before was faster than one that was not, over all pairs (AUC): 0.5 tells
nothing, 1 everything. Ends with an error where the attacker's is further from 0.5 than three standard errors, or where the victim's own
is below 0.9, so that nothing was measured. Settings: ROUNDS (60), WORDS (400) of a prompt.
"""

import http.client
import json
import math
import os
import random
import ssl
import statistics
import sys
import time

ROUNDS = int(os.environ.get("ROUNDS", 60))
WORDS = int(os.environ.get("WORDS", 400))
SERVER = os.environ["CASEMATE_SERVER_URL"].removeprefix("https://")
KEYS = {"victim": os.environ["VICTIM_KEY"], "attacker": os.environ["ATTACKER_KEY"]}
VOCABULARY = "river stone market engine letter garden window silver morning paper bridge winter music doctor island copper".split()


class Tenant:
    def __init__(self, key):
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        self.connection = http.client.HTTPSConnection(SERVER, context=unverified)
        self.headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.connection.request("GET", "/v1/models", headers=self.headers)
        self.model = json.loads(self.connection.getresponse().read())["data"][0]["id"]

    def first_piece(self, prompt):
        """Milliseconds until the first piece of the answer's text."""
        body = json.dumps({"model": self.model, "prompt": prompt, "max_tokens": 1, "stream": True, "temperature": 0})
        began = time.perf_counter()
        self.connection.request("POST", "/v1/completions", body, self.headers)
        response = self.connection.getresponse()
        assert response.status == 200, response.read()
        first = None
        for line in response:
            if first is None and line.startswith(b"data: {"):
                first = (time.perf_counter() - began) * 1000
        assert first is not None
        return first


def auc(asked, new):
    """How often one that was asked before is faster."""
    return statistics.mean((a < b) + (a == b) / 2 for a in asked for b in new)


def main():
    rng = random.Random(11)
    prompt = lambda: " ".join(rng.choices(VOCABULARY, k=WORDS))
    tenants = {name: Tenant(key) for name, key in KEYS.items()}
    for tenant in tenants.values():
        tenant.first_piece(prompt())
    times = {name: ([], []) for name in tenants}
    for _ in range(ROUNDS):
        secret = prompt()
        tenants["victim"].first_piece(secret)
        # The attacker first: what the victim asks again must not help.
        for name in ("attacker", "victim"):
            pairs = [(secret, times[name][0]), (prompt(), times[name][1])]
            rng.shuffle(pairs)
            for text, into in pairs:
                into.append(tenants[name].first_piece(text))
    # Of the statistic of Mann and Whitney, for two samples of this size from one distribution.
    error = math.sqrt((2 * ROUNDS + 1) / (12 * ROUNDS * ROUNDS))
    found = {name: auc(*pair) for name, pair in times.items()}
    print(f"tenants: {ROUNDS} prompts of {WORDS} words that the victim asked, and as many that nobody did")
    for name, (asked, new) in times.items():
        print(f"  {name:9} first piece {statistics.median(asked):7.1f} ms of those, {statistics.median(new):7.1f} ms of the others; AUC {found[name]:.2f}")
    print(json.dumps({"bench": "tenants", "rounds": ROUNDS, "words": WORDS, "auc": found, "standard_error": error}))
    if found["victim"] < 0.9:
        sys.exit("tenants: what a tenant asked before is not faster for itself, so nothing was measured")
    if abs(found["attacker"] - 0.5) > 3 * error:
        sys.exit(f"tenants: the attacker can tell (three standard errors are {3 * error:.2f})")


main()
