"""Servers that prove what they run, before a prompt is sent to them.

    import casemate

    client = casemate.OpenAI(server="https://server.example:8443", policy="client.toml")
    client.chat.completions.create(model="…", messages=[…])

``OpenAI``, ``AsyncOpenAI``, ``Anthropic`` and ``AsyncAnthropic`` are the clients that you know, on a :class:`Transport` that verifies the
server against the policy inside this process. What does not verify is an error with a stable ``code`` (spec/proxy.md), and nothing was sent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple, Sequence

try:  # What OpenAI's client is made of since its version 3.
    import httpx2 as _httpx
except ImportError:
    import httpx as _httpx

from . import _native
from ._native import __version__

__all__ = ["Anthropic", "AsyncAnthropic", "AsyncOpenAI", "AsyncTransport", "Check", "OpenAI", "Transport", "Verdict", "__version__"]


class Check(NamedTuple):
    """A numbered rule: ``pass``, ``fail``, ``waived`` or ``not-reached``."""

    rule: str
    outcome: str
    title: str
    compared: str


class Verdict(NamedTuple):
    """What became of one server. ``code`` is ``None`` where it was verified."""

    server: str
    code: str | None
    reason: str
    checks: list[Check]


def _session(
    server: str | Sequence[str],
    policy: str | Path,
    simulated_root: str | Path | None,
    channel: str,
    shape: str,
    receipts: str | Path | None,
) -> _native.Session:
    servers = [server] if isinstance(server, str) else list(server)
    root = None if simulated_root is None else Path(simulated_root).read_text()
    return _native.Session(
        servers,
        Path(policy).read_text(),
        simulated_root=root,
        channel=channel,
        shape=shape,
        receipts=None if receipts is None else str(receipts),
    )


class _Verifying:
    """What both transports have.

    ``server`` is an https address, or several; ``policy`` is a policy file. ``simulated_root`` is the file of a simulated vendor's roots, which
    are then the only ones that are believed. ``channel`` is ``sealed`` or ``tls``; ``shape`` is ``off``, ``default`` or ``constant``. With
    ``receipts``, a folder, no answer comes without a good receipt, which is kept there for ``casemate receipt verify``.
    """

    def __init__(
        self,
        server: str | Sequence[str],
        policy: str | Path,
        *,
        simulated_root: str | Path | None = None,
        channel: str = "sealed",
        shape: str = "default",
        receipts: str | Path | None = None,
    ) -> None:
        self._session = _session(server, policy, simulated_root, channel, shape, receipts)

    @property
    def simulated(self) -> bool:
        """Whether hardware of a simulated vendor is believed: then nothing here says anything about a real machine."""
        return self._session.simulated

    def verify(self) -> list[Verdict]:
        """Verifies the servers, and says what was checked. Nothing else is sent."""
        return [
            Verdict(server, code, reason, [Check(*check) for check in checks])
            for server, code, reason, checks in self._session.verify()
        ]

    def _send(self, request: Any, body: bytes) -> _native.Answer:
        return self._session.send(request.method, request.url.raw_path.decode("ascii"), list(request.headers.raw), body)


def _response(answer: _native.Answer, stream: Any) -> Any:
    headers = [(name.encode("ascii"), value) for name, value in answer.headers]
    return _httpx.Response(answer.status, headers=headers, stream=stream)


class _Stream(_httpx.SyncByteStream):
    def __init__(self, answer: _native.Answer) -> None:
        self._answer = answer

    def __iter__(self):
        try:
            while (piece := self._answer.piece()) is not None:
                yield piece
        except OSError as error:
            raise _httpx.RemoteProtocolError(str(error)) from error

    def close(self) -> None:
        self._answer.close()


class _AsyncStream(_httpx.AsyncByteStream):
    def __init__(self, answer: _native.Answer) -> None:
        self._answer = answer

    async def __aiter__(self):
        try:
            while (piece := await asyncio.to_thread(self._answer.piece)) is not None:
                yield piece
        except OSError as error:
            raise _httpx.RemoteProtocolError(str(error)) from error

    async def aclose(self) -> None:
        await asyncio.to_thread(self._answer.close)


class Transport(_Verifying, _httpx.BaseTransport):
    """For ``httpx.Client(transport=…)``. Whatever host a URL names, requests go to the verified servers, and nowhere else."""

    def handle_request(self, request: Any) -> Any:
        answer = self._send(request, request.read())
        return _response(answer, _Stream(answer))


class AsyncTransport(_Verifying, _httpx.AsyncBaseTransport):
    """For ``httpx.AsyncClient(transport=…)``: as :class:`Transport`."""

    async def handle_async_request(self, request: Any) -> Any:
        body = await request.aread()
        answer = await asyncio.to_thread(self._send, request, body)
        return _response(answer, _AsyncStream(answer))


# The address is only what the libraries ask for: no name of it is ever looked up.
_ADDRESS = "http://casemate.invalid"
_OURS = ("simulated_root", "channel", "shape", "receipts")


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if "base_url" in options or "http_client" in options:
        raise TypeError("casemate says where requests go: leave out base_url and http_client")
    ours = {name: options.pop(name) for name in _OURS if name in options}
    # Where the server knows no tenants there is no key, and the libraries want one.
    options.setdefault("api_key", "none")
    return ours, options


def OpenAI(*, server: str | Sequence[str], policy: str | Path, **options: Any) -> Any:
    """``openai.OpenAI`` on a :class:`Transport`, whose options are taken here too."""
    import openai

    ours, theirs = _split(options)
    http = openai.DefaultHttpxClient(transport=Transport(server, policy, **ours))
    return openai.OpenAI(base_url=f"{_ADDRESS}/v1", http_client=http, **theirs)


def AsyncOpenAI(*, server: str | Sequence[str], policy: str | Path, **options: Any) -> Any:
    """``openai.AsyncOpenAI`` on an :class:`AsyncTransport`."""
    import openai

    ours, theirs = _split(options)
    http = openai.DefaultAsyncHttpxClient(transport=AsyncTransport(server, policy, **ours))
    return openai.AsyncOpenAI(base_url=f"{_ADDRESS}/v1", http_client=http, **theirs)


def Anthropic(*, server: str | Sequence[str], policy: str | Path, **options: Any) -> Any:
    """``anthropic.Anthropic`` on a :class:`Transport`."""
    import anthropic

    ours, theirs = _split(options)
    http = anthropic.DefaultHttpxClient(transport=Transport(server, policy, **ours))
    return anthropic.Anthropic(base_url=_ADDRESS, http_client=http, **theirs)


def AsyncAnthropic(*, server: str | Sequence[str], policy: str | Path, **options: Any) -> Any:
    """``anthropic.AsyncAnthropic`` on an :class:`AsyncTransport`."""
    import anthropic

    ours, theirs = _split(options)
    http = anthropic.DefaultAsyncHttpxClient(transport=AsyncTransport(server, policy, **ours))
    return anthropic.AsyncAnthropic(base_url=_ADDRESS, http_client=http, **theirs)
