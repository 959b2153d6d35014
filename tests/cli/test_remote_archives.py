"""purge --archive to an S3 server that refuses: the run ends before the change, and says what the server said."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from operating import DAY, Ran, ids_in, ledger_rows, sessionctl, store_of
from s3_server import s3, s3_endpoint
from soak.forker import forker

__all__ = ["s3", "s3_endpoint"]

NO_SPACE = (507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
DENIED = (403, "AccessDenied", "Access Denied")
Refusal = tuple[int, str, str]


@contextmanager
def between(endpoint: str, refuses: Callable[[str, str], Refusal | None]) -> Iterator[str]:
    """A proxy in front of the server, which answers for it what ``refuses`` (method, path) says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            refused = refuses(self.command, self.path)
            if refused:
                status, code, message = refused
                self._answer(status, {}, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())
                return
            with closing(http.client.HTTPConnection(urlsplit(endpoint).netloc)) as there:
                there.request(self.command, self.path, body, dict(self.headers))
                answer = there.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - http.server wants these names

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            own = {"content-length", "transfer-encoding", "connection", "date", "server"}
            for name, value in headers.items():
                if name.lower() not in own:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Nothing: the tests' output is not for that."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n:03}": (n % 2) * 40 * DAY for n in range(200)})


STALE = ("--older-than", "30d", "--yes", "-o", "json")


def purged(store: Path, place: str, endpoint: str) -> Ran:
    """In a process of its own, which lets go of all connections."""
    return sessionctl("purge", "-s", store, *STALE, "--archive", place, env={"AWS_ENDPOINT_URL": endpoint})


@pytest.mark.parametrize(
    ("refusal", "status", "says"),
    [(NO_SPACE, 1, "minimum free drive threshold"), (DENIED, 11, "access is refused")],
    ids=["no space", "denied"],
)
def test_an_upload_that_is_refused(
    s3: str, s3_endpoint: str, store: Path, home: Path, refusal: Refusal, status: int, says: str
) -> None:
    before = store.read_bytes()
    with between(s3_endpoint, lambda method, _: refusal if method in ("PUT", "POST") else None) as endpoint:
        done = purged(store, f"{s3}/prod", endpoint)
    assert (done.status, done.json["stopped"], done.json["removed"]["sessions"]) == (status, "error", 0)
    assert f"{s3}/prod/{done.json['run_id']}/000001.jsonl.zst" in done.json["error"]
    assert says in done.json["error"]
    assert store.read_bytes() == before
    assert ledger_rows(home)[-1]["error"] == done.json["error"]
    again = purged(store, f"{s3}/prod", s3_endpoint)
    assert again.json["removed"]["sessions"] == 100
    listed = sessionctl("archive", "list", f"{s3}/prod", "-o", "json").json["archives"]
    assert [archive["run_id"] for archive in listed] == [again.json["run_id"]]


def test_space_that_ends_in_mid_run(s3: str, s3_endpoint: str, store: Path, tmp_path: Path) -> None:
    """What was sealed by then is dealt with; the rest stays, and goes with a later run."""
    all_there = ids_in(store)

    def refuses(method: str, path: str) -> Refusal | None:
        return NO_SPACE if method in ("PUT", "POST") and "/000003." in path else None

    def said() -> dict[str, Any]:
        told: dict[str, Any] = json.loads((tmp_path / "said").read_text().splitlines()[-1])
        return told

    purge = ("purge", "-s", str(store), *STALE, "--archive", f"{s3}/prod")
    with between(s3_endpoint, refuses) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        with forker() as process:  # whose segments are of 30 sessions
            status, _ = process.run(*purge, home=tmp_path)
    first = said()
    assert (status, first["stopped"], first["removed"]["sessions"]) == (3, "error", 60)
    assert len(ids_in(store)) == 140
    with forker() as process:
        assert process.run(*purge, home=tmp_path)[0] == 0
        second = said()
        assert second["removed"]["sessions"] == 40
        for report in (first, second):
            assert process.run("undo", report["run_id"], "--yes", home=tmp_path)[0] == 0
    assert ids_in(store) == all_there
