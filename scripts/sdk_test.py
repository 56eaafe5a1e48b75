"""OpenAI's and Anthropic's Python clients against a server of ours: what their users call, and what they catch.

    sdk_test.py answers    a server with a model that answers
    sdk_test.py proxied    the same behind `casemate proxy`, which verified it
    sdk_test.py vectors    a server with an embedding model
    sdk_test.py keys       the same, which lets in a tenant with the key in CASEMATE_KEY four times a minute

The address is in CASEMATE_URL. The first thing that is not as it must be ends this with an error."""

import json
import math
import os
import sys

import anthropic
import httpx2
import openai
from openai import OpenAI

URL = os.environ["CASEMATE_URL"] + "/v1"


def client(**options):
    options = {"api_key": "unused", "max_retries": 0, **options}
    # Whom we talk to is not what is tested here: `casemate ask` verifies.
    return OpenAI(base_url=URL, http_client=httpx2.Client(verify=False, timeout=120), **options)


def refused(kind, status, code, call):
    try:
        call()
    except kind as error:
        assert error.status_code == status, error
        assert error.code == code, (error.code, code)
        assert error.body["message"], error.body
        return error
    raise AssertionError(f"nothing was raised, {kind.__name__} {code} was expected")


def models(api):
    listed = list(api.models.list())
    assert len(listed) == 1, listed
    assert listed[0].object == "model" and listed[0].owned_by == "casemate"
    assert api.models.retrieve(listed[0].id) == listed[0]
    return listed[0].id


def chat(api, model):
    question = [{"role": "user", "content": "What is 2+2? Answer with a number."}]
    ask = {"model": model, "messages": question, "max_tokens": 24}
    answer = api.chat.completions.create(**ask)
    assert answer.object == "chat.completion" and answer.model == model and answer.id.startswith("chatcmpl-")
    (choice,) = answer.choices
    assert choice.message.role == "assistant" and "4" in choice.message.content, choice
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    again = api.chat.completions.create(**ask)
    assert again.choices[0].message.content == choice.message.content, "greedy is repeatable"

    limited = api.chat.completions.create(**{**ask, "max_tokens": None, "max_completion_tokens": 1})
    assert limited.choices[0].finish_reason == "length" and limited.usage.completion_tokens == 1
    stopped = api.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Count: one, two, three, four."}], max_tokens=48, stop=["three"]
    )
    assert "three" not in stopped.choices[0].message.content

    lots = {"temperature": 1.3, "max_tokens": 16, "n": 3, "seed": 7, "top_p": 0.95}
    first = api.chat.completions.create(**{**ask, **lots})
    second = api.chat.completions.create(**{**ask, **lots})
    texts = [c.message.content for c in first.choices]
    assert [c.index for c in first.choices] == [0, 1, 2] and len(set(texts)) > 1, texts
    assert second.usage.completion_tokens <= 48 and len(second.choices) == 3


def stream(api, model):
    ask = {"model": model, "messages": [{"role": "user", "content": "Say hello to a friend."}], "max_tokens": 24}
    whole = api.chat.completions.create(**ask)
    text, finish, usage, roles = "", None, None, []
    with api.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}) as chunks:
        for chunk in chunks:
            assert chunk.object == "chat.completion.chunk"
            if not chunk.choices:
                usage = chunk.usage
                continue
            assert chunk.usage is None
            (choice,) = chunk.choices
            roles += [choice.delta.role] if choice.delta.role else []
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert text == whole.choices[0].message.content, (text, whole)
    assert finish == whole.choices[0].finish_reason and roles == ["assistant"]
    assert usage.completion_tokens == whole.usage.completion_tokens

    # This helper takes only answers that end by themselves.
    short = {**ask, "stop": [",", ".", "!", "\n"], "max_tokens": 200}
    with api.chat.completions.stream(**short) as events:
        events.until_done()
        final = events.get_final_completion()
    assert final.choices[0].finish_reason == "stop"
    assert text.startswith(final.choices[0].message.content) or final.choices[0].message.content.startswith(text)

    # A client that goes away in the middle costs nobody anything.
    chunks = api.chat.completions.create(**{**ask, "max_tokens": 2000}, stream=True)
    next(iter(chunks))
    chunks.close()


def logprobs(api, model):
    answer = api.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=5, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert bytes(token.bytes).decode(errors="replace") == token.token
        likeliest = max(top.logprob for top in token.top_logprobs)
        assert math.isclose(likeliest, token.logprob, abs_tol=1e-5), "greedy takes the likeliest"
    assert "".join(token.token for token in content).startswith(answer.choices[0].message.content[:4])


def completions(api, model):
    answer = api.completions.create(model=model, prompt=["Once upon a", "The sky is"], max_tokens=6, logprobs=2)
    assert answer.object == "text_completion" and [c.index for c in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.text and choice.finish_reason == "length"
        assert len(choice.logprobs.tokens) == 6 and len(choice.logprobs.top_logprobs[0]) == 2
    assert answer.usage.completion_tokens == 12
    # Alone both times: beside another prompt the last digits of the scores may differ, and so the words (spec/serving.md, SRV-23).
    alone = {"model": model, "prompt": "Once upon a", "max_tokens": 6}
    whole = api.completions.create(**alone).choices[0].text
    pieces = api.completions.create(**alone, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == whole != ""


def schema(api, model):
    wanted = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"enum": ["small", "large"]}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    answer = api.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Describe Paris as JSON with city and size."}],
        max_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": wanted, "strict": True}},
    )
    assert answer.choices[0].finish_reason == "stop", answer
    value = json.loads(answer.choices[0].message.content)
    assert set(value) == {"city", "size"} and value["size"] in ("small", "large"), value
    refused(
        openai.BadRequestError, 400, "engine.schema.invalid",
        lambda: api.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}},
        ),
    )


def tools(api, model):
    function = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 24}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    ask = {"model": model, "messages": messages, "tools": [function], "tool_choice": "required", "max_tokens": 100}
    answer = api.chat.completions.create(**ask)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls", choice
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    with api.chat.completions.stream(**ask) as events:
        events.until_done()
        (streamed,) = events.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments
    refused(
        openai.BadRequestError, 400, "request.field.out-of-range",
        lambda: api.chat.completions.create(**{**ask, "tool_choice": {"type": "function", "function": {"name": "other"}}}),
    )


def errors(api, model):
    hello = [{"role": "user", "content": "x"}]
    create = api.chat.completions.create
    refused(openai.NotFoundError, 404, "request.model.unknown", lambda: api.models.retrieve("other"))
    missing = refused(openai.NotFoundError, 404, "request.model.unknown", lambda: create(model="other", messages=hello))
    assert missing.param == "model" and missing.type == "invalid_request_error"
    refused(openai.BadRequestError, 400, "request.field.out-of-range", lambda: create(model=model, messages=hello, temperature=9))
    refused(openai.BadRequestError, 400, "request.field.out-of-range", lambda: create(model=model, messages=[]))
    refused(openai.BadRequestError, 400, "request.field.unknown", lambda: create(model=model, messages=hello, extra_body={"what": 1}))
    refused(openai.BadRequestError, 400, "engine.prompt.too-long", lambda: create(model=model, messages=[{"role": "user", "content": "word " * 20000}]))
    refused(openai.InternalServerError, 501, "engine.embeddings.unavailable", lambda: api.embeddings.create(model=model, input="x"))


def vectors(api, model):
    texts = ["a cat sat", "a dog", "a cat sat"]
    answer = api.embeddings.create(model=model, input=texts)
    assert answer.object == "list" and answer.model == model and [d.index for d in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5 + 4 + 5
    # The client asks for base64 and decodes it.
    numbers = [d.embedding for d in answer.data]
    for vector in numbers:
        assert len(vector) == 32 and math.isclose(sum(x * x for x in vector), 1, abs_tol=1e-4)
    assert all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(numbers[0], numbers[2])) and numbers[0] != numbers[1]
    plain = api.embeddings.create(model=model, input=texts[0], encoding_format="float").data[0].embedding
    assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(plain, numbers[0])), (plain, numbers[0])
    tokens = api.embeddings.create(model=model, input=[[2, 5, 6, 8, 3], [2, 5, 7, 3]])
    assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(tokens.data[0].embedding, numbers[0]))
    embed = api.embeddings.create
    refused(openai.BadRequestError, 400, "engine.prompt.empty", lambda: embed(model=model, input=""))
    refused(openai.BadRequestError, 400, "engine.token.unknown", lambda: embed(model=model, input=[99]))
    refused(openai.BadRequestError, 400, "engine.input.too-long", lambda: embed(model=model, input="cat " * 100))
    refused(openai.BadRequestError, 400, "request.field.unsupported", lambda: embed(model=model, input="a", dimensions=8))
    refused(openai.NotFoundError, 404, "request.model.unknown", lambda: embed(model="other", input="a"))
    refused(
        openai.InternalServerError, 501, "engine.answers.unavailable",
        lambda: api.completions.create(model=model, prompt="a", max_tokens=1),
    )


def keys(api, model):
    embed = lambda api: api.embeddings.create(model=model, input="a cat")
    refused(openai.AuthenticationError, 401, "request.key.unknown", lambda: embed(client(api_key="casemate-other")))
    # Twice for the models, twice here.
    for _ in range(2):
        assert len(embed(api).data) == 1
    error = refused(openai.RateLimitError, 429, "request.tenant.requests", lambda: embed(api))
    assert error.type == "rate_limit_error" and 1 <= int(error.response.headers["retry-after"]) <= 15


def messages(api, model):
    # As an application has it: an address, and any key.
    theirs = anthropic.Anthropic(base_url=os.environ["CASEMATE_URL"], api_key="unused", max_retries=0)
    ask = {"model": model, "max_tokens": 24, "messages": [{"role": "user", "content": "What is 2+2? Answer with a number."}]}
    whole = theirs.messages.create(**ask)
    assert whole.type == "message" and whole.role == "assistant" and whole.model == model, whole
    text = "".join(block.text for block in whole.content)
    assert "4" in text and whole.usage.output_tokens > 0 and whole.stop_reason in ("end_turn", "max_tokens"), whole
    with theirs.messages.stream(**ask) as pieces:
        assert "".join(pieces.text_stream) == text
    try:
        theirs.messages.create(**{**ask, "model": "other"})
    except anthropic.NotFoundError as error:
        assert error.body["type"] == "error", error.body
    else:
        raise AssertionError("a model that is not there")


def main(what):
    api = client(api_key=os.environ.get("CASEMATE_KEY", "unused"))
    model = models(api)
    answers = [chat, stream, logprobs, completions, schema, tools, errors]
    cases = {"answers": answers, "proxied": [chat, stream, tools, errors, messages], "vectors": [vectors], "keys": [keys]}[what]
    for case in cases:
        case(api, model)
        print(f"sdk-test: {case.__name__} ok", flush=True)


main(*sys.argv[1:])
