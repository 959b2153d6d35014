"""A Responses API on this machine, in the wire format of the official client's types, which says what it is told to.

``with model_server(answer) as server`` serves ``POST /v1/responses`` and ``/v1/responses/compact``; ``answer`` makes a
``Reply`` of each request. Every reply that is meant to be right is checked by those types before it goes out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from openai.types.responses import CompactedResponse, Response

KEY = "sk-test-0123456789abcdef"
MODEL = "gpt-5.4-mini"


@dataclass(frozen=True, kw_only=True)
class Request:
    """``number`` counts from 0."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def asked(self) -> str:
        """What an agent is shown."""
        content = self.body["input"]
        return content if isinstance(content, str) else "\n".join(str(item["content"]) for item in content)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Sent once ``until`` is set; None: at once."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    until: Event | None = None


Answer = Callable[[Request], Reply]


class ModelServer:
    """A server under way; ``requests`` are those that came, ``arrived`` is set with each."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.arrived = Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def env(self) -> dict[str, str]:
        """What sends the program here."""
        return {"SESSIONCTL_SUMMARIZE_BASE_URL": self.url, "OPENAI_API_KEY": KEY, "SESSIONCTL_SUMMARIZE_MODEL": MODEL}

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def model_server(answer: Answer) -> Iterator[ModelServer]:
    server = ModelServer(answer)
    try:
        yield server
    finally:
        server.close()


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(
                number=len(server.requests), path=self.path, headers=dict(self.headers), body=json.loads(content)
            )
            server.requests.append(request)
            server.arrived.set()
            reply = server.answer(request)
            if reply.until is not None:
                reply.until.wait(60)
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                self.close_connection = True  # whoever asked has gone

        def log_message(self, *_: Any) -> None:
            """Nothing of it is for the tests' output."""

    return Handler


# -- replies --------------------------------------------------------------------------------------------


def said(text: str, *, until: Event | None = None, status: str = "completed") -> Reply:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return _response([part], status=status, until=until)


def refused(text: str) -> Reply:
    return _response([{"type": "refusal", "refusal": text}])


def silent() -> Reply:
    """Nothing but thoughts."""
    return _checked(_envelope([{"id": f"rs_{uuid4().hex}", "type": "reasoning", "summary": []}]))


def compacted(request: Request, sealed: str = "gAAAAABsealed") -> Reply:
    """All messages of the user, then the compaction."""
    users = [
        {"id": f"msg_{uuid4().hex}", "type": "message", "role": "user", "status": "completed",
         "content": [{"type": "input_text", "text": item["content"]}] if isinstance(item["content"], str)
         else item["content"]}
        for item in request.body["input"] if item.get("role") == "user"
    ]  # fmt: skip
    made = {"id": f"cmp_{uuid4().hex}", "type": "compaction", "encrypted_content": sealed}
    body = {
        "id": f"resp_{uuid4().hex}", "object": "response.compaction", "created_at": 1796000000,
        "output": [*users, made], "usage": _usage(),
    }  # fmt: skip
    CompactedResponse.model_validate(body | {"output": [made]})  # its users' messages are not of the types' own union
    return Reply(body=json.dumps(body).encode())


def failed(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return Reply(status=status, body=json.dumps({"error": error}).encode(), headers=headers)


def _response(content: Sequence[Mapping[str, Any]], *, status: str = "completed", until: Event | None = None) -> Reply:
    message = {
        "id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant", "status": status, "content": list(content)
    }  # fmt: skip
    return _checked(_envelope([message], status), until)


def _envelope(output: Sequence[Mapping[str, Any]], status: str = "completed") -> dict[str, Any]:
    cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": f"resp_{uuid4().hex}", "object": "response", "created_at": 1796000000, "status": status, "error": None,
        "incomplete_details": cut, "instructions": None, "max_output_tokens": 2000, "model": MODEL,
        "output": list(output), "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "store": False, "temperature": 1.0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled", "usage": _usage(), "user": None, "metadata": {},
    }  # fmt: skip


def _usage() -> dict[str, Any]:
    return {
        "input_tokens": 300, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 320,
    }  # fmt: skip


def _checked(body: Mapping[str, Any], until: Event | None = None) -> Reply:
    Response.model_validate(body)
    return Reply(body=json.dumps(body).encode(), until=until)
