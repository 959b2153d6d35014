"""An S3 server of the tests' own: moto, on a port that it picks, in memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from absent import absent

BUCKET = "agents-archive"
_READY_S = 60


def _program() -> str:
    """Where moto's server is; skips without it, and fails there under CI."""
    found = shutil.which("moto_server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        absent("moto_server is not installed")
    return found


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of a running server with one bucket, ``BUCKET``."""
    if find_spec("s3fs") is None:
        absent("s3fs is not installed")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        [_program(), "-H", "127.0.0.1", "-p", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    assert server.stdout is not None
    try:
        told = b""
        while (found := re.search(rb"Running on (http://127\.0\.0\.1:\d+)", told)) is None:
            line = server.stdout.readline()
            assert line, f"moto_server ended: {told.decode()}"
            told += line
        yield found[1].decode()
    finally:
        server.terminate()
        server.communicate(timeout=_READY_S)


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``s3://`` and the bucket, with the surroundings that a user would set; empty again afterwards."""
    import s3fs

    surroundings = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    if not system.exists(BUCKET):
        system.call_s3("create_bucket", Bucket=BUCKET)
    yield f"s3://{BUCKET}"
    system.invalidate_cache()
    if system.ls(BUCKET):
        system.rm(BUCKET + "/*", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()
