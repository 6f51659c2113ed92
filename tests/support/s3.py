"""A bucket in this process: as much of S3's HTTP as a store uses. Signatures are not checked.

Exclusive creation is `If-None-Match: *`, answered under one lock; everything else is a dictionary.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE, HTTP_DATE = "2026-01-01T00:00:00.000Z", "Thu, 01 Jan 2026 00:00:00 GMT"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    parts: dict[str, dict[int, bytes]]
    """Upload id -> part number -> bytes, of uploads under way."""
    lock: threading.Lock

    def do_PUT(self) -> None:
        data, query = self._body(), self._query()
        with self.lock:
            if "uploadId" in query:
                self.parts[query["uploadId"]][int(query["partNumber"])] = data
                return self._answer(200, headers={"ETag": _etag(data)})
            if self.headers.get("If-None-Match") == "*" and self._key() in self.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            self.objects[self._key()] = data
        return self._answer(200, headers={"ETag": _etag(data)})

    def do_GET(self) -> None:
        if not self._key():
            return self._list()
        if (data := self.objects.get(self._key())) is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        head = {"ETag": _etag(data), "Last-Modified": HTTP_DATE}
        if (asked := self.headers.get("Range")) is None:
            return self._answer(200, data, head)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
        if start >= len(data):
            return self._answer(416, b"<Error><Code>InvalidRange</Code></Error>")
        return self._answer(206, data[start:stop], head | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """An upload in parts begins or ends, or several objects are deleted (those not there count as deleted)."""
        body, query = self._body().decode(), self._query()
        if "uploads" in query:
            upload = str(len(self.parts))
            self.parts[upload] = {}
            xml = f"<Bucket>b</Bucket><Key>{escape(self._key())}</Key><UploadId>{upload}</UploadId>"
            return self._answer(200, f"<InitiateMultipartUploadResult>{xml}</InitiateMultipartUploadResult>".encode())
        if "uploadId" in query:
            data = b"".join(part for _, part in sorted(self.parts.pop(query["uploadId"]).items()))
            self.objects[self._key()] = data
            xml = f"<ETag>{escape(_etag(data))}</ETag>"
            return self._answer(200, f"<CompleteMultipartUploadResult>{xml}</CompleteMultipartUploadResult>".encode())
        keys = [part.split("</Key>")[0] for part in body.split("<Key>")[1:]]
        with self.lock:
            for key in keys:
                self.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def do_DELETE(self) -> None:
        with self.lock:
            self.objects.pop(self._key(), None)
        self._answer(204)

    def _list(self) -> None:
        prefix = self._query().get("prefix", "")
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{DATE}</LastModified><Size>{len(data)}</Size>"
            f"<ETag>{escape(_etag(data))}</ETag></Contents>"
            for key, data in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests read no access log."""


@contextmanager
def bucket_server() -> Iterator[dict[str, str]]:
    """Serves one bucket; gives the environment in which `s3://bucket/...` means it."""
    handler = type("Handler", (_Handler,), {"objects": {}, "parts": {}, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'
