"""Keeps answers short: a thousand requests for 4096 tokens each would test the machine and not the API."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    for name in ("max_tokens", "max_completion_tokens", "max_new_tokens"):
        if isinstance(body.get(name), int) and not isinstance(body[name], bool) and 4 < body[name] <= 4096:
            body[name] = 4
    if case.path == "/v1/chat/completions" and not body.get("max_tokens") and "max_completion_tokens" not in body:
        body["max_completion_tokens"] = 4
    if case.path == "/infer" and "max_new_tokens" not in body:
        body["max_new_tokens"] = 4
    if isinstance(body.get("n"), int) and not isinstance(body["n"], bool) and 2 < body["n"] <= 16:
        body["n"] = 2
    # The document cannot say that the last message is the user's.
    messages = body.get("messages")
    if case.path == "/v1/messages" and isinstance(messages, list) and messages:
        last = messages[-1]
        if isinstance(last, dict) and last.get("role") == "assistant":
            messages.append({"role": "user", "content": "Go on."})
