"""A stand-in for clouds that have no server to test against: it answers as it is told and keeps what it was sent.

For S3, whose protocol has a real server, see `s3.py`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.s3 import environment

OBJECT = {"ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT", "x-goog-generation": "7"}


class Cloud:
    """One bucket in which every object is what `answer` says."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b"")
        self.answers: dict[str, tuple[int, bytes]] = {}
        """By method, before `answer`."""
        self.headers: dict[str, str] = {}
        self.kept = ""
        """A header that an object keeps from when it was put."""
        self.seen: list[dict[str, str]] = []
        self.environment: dict[str, str] = {}

    def hear(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        heard = {name.lower(): value for name, value in headers.items()}
        self.seen.append({"method": method, "path": path, **heard})
        if self.kept in heard:
            self.headers[self.kept] = heard[self.kept]
        return self.answers.get(method, self.answer)


@contextmanager
def listening() -> Iterator[Cloud]:
    """Such a cloud on loopback, and the environment in which `s3://`, `gs://` and `az://` mean it."""
    cloud = Cloud()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cloud": cloud}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    where = f"http://127.0.0.1:{server.server_port}"
    google = {"gcs_base_url": where, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    cloud.environment = {
        **environment(server.server_port),
        "AWS_SECRET_ACCESS_KEY": "topsecret",
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(google),
        "GOOGLE_ALLOW_HTTP": "true",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0",
        "AZURE_ALLOW_HTTP": "true",
        "AZURE_ENDPOINT": where,
    }
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def _hear(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.cloud.hear(self.command, self.path, dict(self.headers))
        self.send_response_only(status)
        for name, value in (OBJECT | self.cloud.headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _hear  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Tests read no access log."""
