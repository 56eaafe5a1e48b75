"""What somebody on the network learns of an answer's topic: a classifier of lengths and times, through the proxy.

Between proxy and server stands a relay that writes down when how many bytes come from the server, and nothing else. Each topic is asked in
several ways, with answers by lot; half of the answers of each topic train a classifier (the nearest neighbours among standardised features of
lengths and times), the other half are guessed. Settings: ANSWERS (24) for each topic and shape, TOKENS (96) at most for an answer, NEIGHBOURS (5).
"""

import http.client
import json
import math
import os
import random
import socket
import statistics
import threading
import time

from proxies import Proxy

ANSWERS = int(os.environ.get("ANSWERS", 24))
TOKENS = int(os.environ.get("TOKENS", 96))
NEIGHBOURS = int(os.environ.get("NEIGHBOURS", 5))
SERVER = os.environ["CASEMATE_SERVER_URL"].removeprefix("https://")
TOPICS = {
    "yes or no": ["Answer only yes or no: is {} a good idea?", "In one word: should one try {}?"],
    "a list": ["List ten words about {}, one in a line.", "Give a numbered list of ten facts about {}."],
    "a story": ["Tell a story about {}.", "Write a long tale in which {} matters."],
    "a program": ["Write a Python function that has to do with {}.", "Show a program in C about {}."],
}
SUBJECTS = ["gardening", "swimming", "banking", "a headache", "the moon", "old bridges", "chess", "bread", "a lawyer",
            "rain", "trains", "mountains"]


class Relay:
    """Carries bytes to the server and back, and notes the latter."""

    def __init__(self):
        self.seen, self.listener = [], socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            host, port = SERVER.rsplit(":", 1)
            server = socket.create_connection((host, int(port)))
            for stream in (client, server):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.carry, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, True), daemon=True).start()

    def carry(self, source, target, noted):
        try:
            while data := source.recv(1 << 16):
                if noted:
                    self.seen.append((time.perf_counter(), len(data)))
                target.sendall(data)
        except OSError:
            pass
        for stream in (source, target):
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def features(seen):
    """Of one answer: how much, how often, in what pieces, with what pauses, and how both change."""
    sizes, times = [size for _, size in seen], [at for at, _ in seen]
    pauses = [b - a for a, b in zip(times, times[1:])] or [0.0]
    third = max(1, len(sizes) // 3)
    parts = [statistics.mean(sizes[i * third:(i + 1) * third] or [0]) for i in range(3)]
    return [sum(sizes), len(sizes), statistics.mean(sizes), statistics.pstdev(sizes), max(sizes), min(sizes), *parts,
            times[-1] - times[0], statistics.mean(pauses), statistics.pstdev(pauses), max(pauses)]


def accuracy(samples, rng):
    """Of the classifier, over several divisions into what it learns and what it guesses."""
    results = []
    for _ in range(20):
        train, test = [], []
        for topic in TOPICS:
            of_topic = [f for t, f in samples if t == topic]
            rng.shuffle(of_topic)
            half = len(of_topic) // 2
            train += [(topic, f) for f in of_topic[:half]]
            test += [(topic, f) for f in of_topic[half:]]
        columns = list(zip(*(f for _, f in train)))
        scale = [(statistics.mean(c), statistics.pstdev(c) or 1.0) for c in columns]
        norm = lambda f: [(x - m) / s for x, (m, s) in zip(f, scale)]
        known = [(topic, norm(f)) for topic, f in train]
        right = 0
        for topic, f in test:
            point = norm(f)
            nearest = sorted(known, key=lambda one: math.dist(one[1], point))[:NEIGHBOURS]
            votes = [t for t, _ in nearest]
            right += max(votes, key=votes.count) == topic
        results.append(right / len(test))
    return statistics.mean(results)


def main():
    rng = random.Random(7)
    relay = Relay()
    address = f"https://127.0.0.1:{relay.listener.getsockname()[1]}"
    proxies = [Proxy(shape, address, "--shape", shape) for shape in ("off", "default", "constant")]
    connections = {proxy.name: http.client.HTTPConnection(proxy.address) for proxy in proxies}
    for connection in connections.values():
        connection.request("GET", "/v1/models")
        model = json.loads(connection.getresponse().read())["data"][0]["id"]
    samples = {proxy.name: [] for proxy in proxies}
    for number in range(ANSWERS):
        for topic, forms in TOPICS.items():
            prompt = forms[number % len(forms)].format(rng.choice(SUBJECTS))
            body = json.dumps({"model": model, "stream": True, "temperature": 0.8, "seed": rng.randrange(1 << 30),
                               "max_tokens": TOKENS, "messages": [{"role": "user", "content": prompt}]})
            for name, connection in connections.items():
                relay.seen.clear()
                connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
                connection.getresponse().read()
                # What follows the answer, until nothing more comes.
                while not relay.seen or time.perf_counter() - relay.seen[-1][0] < 0.3:
                    time.sleep(0.02)
                samples[name].append((topic, features(list(relay.seen))))
    chance = 1 / len(TOPICS)
    print(f"leak: {len(TOPICS)} topics, {ANSWERS} answers each, of at most {TOKENS} tokens; chance is {chance:.2f}")
    found = {name: accuracy(of_shape, rng) for name, of_shape in samples.items()}
    for name, right in found.items():
        total = statistics.mean(f[0] for _, f in samples[name]) / 1024
        print(f"  {name:9} the topic is guessed in {right:.2f} of the answers; {total:.0f} KiB for an answer")
    print(json.dumps({"bench": "leak", "answers": ANSWERS, "tokens": TOKENS, "chance": chance, "accuracy": found}))


main()
