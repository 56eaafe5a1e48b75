"""The package against a real server on simulated hardware (scripts/python-test.sh): with the clients that people use, and with what must be refused.

The server's address is in CASEMATE_SERVER_URL, a policy that it meets in CASEMATE_POLICY_FILE, the simulated vendor's roots in
CASEMATE_SIMULATED_ROOT, and the command in CASEMATE_BINARY."""

import asyncio
import json
import os
import pathlib
import subprocess
import tempfile

import anthropic
import openai

import casemate

SERVER, POLICY, ROOT = (os.environ[name] for name in ("CASEMATE_SERVER_URL", "CASEMATE_POLICY_FILE", "CASEMATE_SIMULATED_ROOT"))
QUESTION = [{"role": "user", "content": "What is 2+2? Answer with a number."}]


def where(**options):
    return {"server": SERVER, "policy": POLICY, "simulated_root": ROOT, **options}


def openai_answers(work):
    for options in ({}, {"channel": "tls"}, {"shape": "off"}, {"shape": "constant"}):
        api = casemate.OpenAI(**where(**options))
        model = next(iter(api.models.list())).id
        ask = {"model": model, "messages": QUESTION, "max_tokens": 24}
        whole = api.chat.completions.create(**ask).choices[0].message.content
        assert "4" in whole, whole
        chunks = api.chat.completions.create(**ask, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
        try:
            api.chat.completions.create(**{**ask, "model": "other"})
        except openai.NotFoundError as error:
            assert error.code == "request.model.unknown"
        else:
            raise AssertionError("a model that is not there")
        # A program that goes away in the middle.
        chunks = api.chat.completions.create(**{**ask, "max_tokens": 2000}, stream=True)
        next(iter(chunks))
        chunks.close()


def asyncio_answers(work):
    async def both():
        api = casemate.AsyncOpenAI(**where())
        model = (await api.models.list()).data[0].id
        ask = {"model": model, "messages": QUESTION, "max_tokens": 24}
        whole, again = await asyncio.gather(*(api.chat.completions.create(**ask) for _ in range(2)))
        text = ""
        async for chunk in await api.chat.completions.create(**ask, stream=True):
            text += chunk.choices[0].delta.content or ""
        assert "4" in text and "4" in whole.choices[0].message.content and "4" in again.choices[0].message.content
        theirs = casemate.AsyncAnthropic(**where())
        message = await theirs.messages.create(model=model, max_tokens=24, messages=QUESTION)
        assert "4" in message.content[0].text

    asyncio.run(both())


def anthropic_answers(work):
    api = casemate.Anthropic(**where())
    model = next(iter(casemate.OpenAI(**where()).models.list())).id
    ask = {"model": model, "max_tokens": 24, "messages": QUESTION}
    whole = api.messages.create(**ask).content[0].text
    with api.messages.stream(**ask) as pieces:
        assert "".join(pieces.text_stream) == whole and "4" in whole
    try:
        api.messages.create(**{**ask, "model": "other"})
    except anthropic.NotFoundError as error:
        assert "request.model.unknown" in str(error.body), error.body
    else:
        raise AssertionError("a model that is not there")


def receipts_are_kept(work):
    folder = work / "receipts"
    api = casemate.OpenAI(**where(receipts=folder))
    model = next(iter(api.models.list())).id
    ask = {"model": model, "messages": QUESTION, "max_tokens": 24}
    api.chat.completions.create(**ask)
    assert list(api.chat.completions.create(**ask, stream=True))
    kept = sorted(str(path) for path in folder.glob("*.receipt.json"))
    assert len(kept) == 2, kept
    command = [os.environ["CASEMATE_BINARY"], "receipt", "verify", *kept, "--policy", POLICY, "--danger-simulated-root", ROOT]
    subprocess.run(command, check=True, capture_output=True)


def verdicts(work):
    transport = casemate.Transport(**where())
    (verdict,) = transport.verify()
    assert verdict.server == SERVER and verdict.code is None and transport.simulated
    outcomes = {check.rule: check.outcome for check in verdict.checks}
    assert outcomes["SNP-08"] == "pass" and outcomes["CH-5"] == "pass" and outcomes["CH-20"] == "waived", outcomes


def refused(code, status, **options):
    """By the client, as its user sees it, and by `verify`. That nothing was sent is shown where the code is: crates/cli/tests/e2e."""
    try:
        casemate.OpenAI(**where(**options), max_retries=0).chat.completions.create(model="any", messages=QUESTION)
    except openai.APIStatusError as error:
        assert (error.code, error.status_code) == (code, status), error
    else:
        raise AssertionError(f"nothing was refused, {code} was expected")
    verdict, *_ = casemate.Transport(**where(**options)).verify()
    assert verdict.code == code and verdict.reason, verdict


def what_does_not_verify_is_refused(work):
    """The conformance cases of the proxy, in this process: a wrong root, model, measurement and operator, and nobody there."""
    policy = pathlib.Path(POLICY).read_text()

    def changed(name, change):
        path = work / name
        path.write_text(change(policy))
        assert path.read_text() != policy
        return path

    refused(_real_root_code(), 502, simulated_root=None)
    other_model = changed("model.toml", lambda text: _value(text, "manifests", "ab" * 32))
    refused("statement.model", 502, policy=other_model)
    other_code = changed("code.toml", lambda text: _value(text, "measurement", "ab" * 48))
    refused("snp.measurement.not-accepted", 502, policy=other_code)
    whose = changed("operator.toml", lambda text: f'[operator]\nkeys = ["{"ab" * 32}"]\n\n{text}')
    refused("operator.missing", 502, policy=whose)
    refused("connect.unreachable", 503, server="https://127.0.0.1:9")
    # Of two servers the one that is there answers.
    api = casemate.OpenAI(**where(server=["https://127.0.0.1:9", SERVER]))
    assert len(list(api.models.list())) == 1


def _real_root_code():
    """What the command says of this server where nobody named the simulated root."""
    command = [os.environ["CASEMATE_BINARY"], "verify", SERVER, "--policy", POLICY, "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "CASEMATE_DANGER_SIMULATED_ROOT"}
    report = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)
    assert report["verdict"] == "rejected", report
    return report["code"]


def _value(text, name, value):
    lines = text.splitlines(keepends=True)
    (at,) = (n for n, line in enumerate(lines) if line.startswith(f"{name} ="))
    end = next(n for n in range(at, len(lines)) if "]" in lines[n])
    return "".join([*lines[:at], f'{name} = ["{value}"]\n', *lines[end + 1 :]])


def mistakes_are_said_at_once(work):
    empty = work / "empty.toml"
    empty.write_text("")
    for options, kind, words in [
        ({"policy": empty}, ValueError, "[policy."),
        ({"server": "http://127.0.0.1:1"}, ValueError, "https"),
        ({"server": []}, ValueError, "no server"),
        ({"channel": "clear"}, ValueError, "sealed"),
        ({"shape": "round"}, ValueError, "constant"),
        ({"simulated_root": empty}, ValueError, "simulated_root"),
        ({"receipts": empty}, OSError, "receipt.not-kept"),
        ({"policy": work / "missing.toml"}, FileNotFoundError, "missing.toml"),
        ({"base_url": "https://elsewhere"}, TypeError, "base_url"),
    ]:
        try:
            casemate.OpenAI(**where(**options))
        except kind as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"{options} was taken")


def main():
    for case in (
        openai_answers,
        asyncio_answers,
        anthropic_answers,
        receipts_are_kept,
        verdicts,
        what_does_not_verify_is_refused,
        mistakes_are_said_at_once,
    ):
        with tempfile.TemporaryDirectory() as work:
            case(pathlib.Path(work))
        print(f"python-test: {case.__name__} ok", flush=True)


main()
