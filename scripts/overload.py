"""Four times what a server can carry, for a minute (scripts/overload.sh).

First as many clients as the server answers at the same time, one request after the other: what it carries. Then requests come four times
as often, whatever becomes of them. What was refused must be 429 with Retry-After; what has started must come to its end; the tokens that
finished answers got per second must be above nine tenths of before; and memory must not grow."""

import asyncio
import json
import os
import sys
import time

import httpx2

URL = os.environ["CASEMATE_URL"]
PID = int(os.environ["CASEMATE_SERVER_PID"])
PARALLEL = int(os.environ.get("PARALLEL", "4"))
CALM = float(os.environ.get("CALM", "20"))
STORM = float(os.environ.get("STORM", "60"))
TOKENS = 32


def memory():
    """Bytes of the server and of its engine: private memory, without what files have."""
    total = 0
    for pid in [PID] + [int(p) for p in os.listdir("/proc") if p.isdigit() and parent(p) == PID]:
        status = open(f"/proc/{pid}/status").read()
        total += int(next(line for line in status.splitlines() if line.startswith("RssAnon:")).split()[1]) * 1024
    return total


def parent(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


class Counts:
    def __init__(self):
        self.finished = self.tokens = self.refused = self.broken = self.wrong = 0
        self.late = 0

    def __str__(self):
        return f"{self.finished} answers, {self.refused} refused, {self.broken} broken off, {self.wrong} otherwise"


async def ask(client, model, counts, until):
    body = {
        "model": model, "stream": True, "max_tokens": TOKENS, "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Write a long story about the sea."}],
    }
    started = False
    try:
        async with client.stream("POST", URL + "/v1/chat/completions", json=body) as answer:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert json.loads(await answer.aread())["error"]["code"] == "engine.queue.full"
                counts.refused += 1
                return
            assert answer.status_code == 200, answer.status_code
            started, done, tokens = True, False, 0
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    usage = json.loads(line[6:]).get("usage")
                    tokens = usage["completion_tokens"] if usage else tokens
            assert done
    except Exception as error:  # noqa: BLE001 - whatever it was, it is counted
        print(f"overload: {type(error).__name__}: {error}", file=sys.stderr)
        counts.broken += started
        counts.wrong += not started
        return
    counts.finished += 1
    # Only what ended in time counts as carried.
    if time.monotonic() <= until:
        counts.tokens += tokens


async def calm(client, model):
    counts, end = Counts(), time.monotonic() + CALM

    async def one():
        while time.monotonic() < end:
            await ask(client, model, counts, end)

    await asyncio.gather(*(one() for _ in range(PARALLEL)))
    return counts


async def storm(client, model, rate):
    counts, start = Counts(), time.monotonic()
    end, tasks, samples = start + STORM, [], []
    next_sample = start + STORM / 4
    while (now := time.monotonic()) < end:
        due = (now - start) * rate
        while len(tasks) < due:
            tasks.append(asyncio.create_task(ask(client, model, counts, end)))
        if now >= next_sample:
            samples.append(memory())
            next_sample += STORM / 4
        await asyncio.sleep(0.01)
    samples.append(memory())
    await asyncio.gather(*tasks)
    return counts, samples


async def main():
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx2.AsyncClient(verify=False, timeout=300, limits=limits) as client:
        model = (await client.get(URL + "/v1/models")).json()["data"][0]["id"]
        await ask(client, model, Counts(), 0)
        before = await calm(client, model)
        carried, rate = before.tokens / CALM, before.finished / CALM
        print(f"overload: alone: {carried:.1f} tokens/s, {rate:.2f} requests/s ({before})")
        counts, samples = await storm(client, model, 4 * rate)
        goodput = counts.tokens / STORM
        grown = samples[-1] / samples[0] - 1
        print(f"overload: four times: {goodput:.1f} tokens/s, {goodput / carried:.2f} of before ({counts})")
        print(f"overload: memory after a quarter {samples[0] >> 20} MiB, at the end {samples[-1] >> 20} MiB ({grown:+.1%})")
        checks = {
            "goodput above 0.9": goodput > 0.9 * carried,
            "something was refused": counts.refused > 0,
            "every refusal is 429": counts.wrong == 0,
            "nothing that had started broke off": counts.broken == 0,
            "memory is flat (within 5 %)": grown < 0.05,
        }
        for what, holds in checks.items():
            print(f"overload: {'ok' if holds else 'FAILED'}: {what}")
        sys.exit(not all(checks.values()))


asyncio.run(main())
