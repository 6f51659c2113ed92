"""A real S3 server for tests: moto, in a process of its own on loopback, with a new bucket for whoever asks.

One server lasts as long as the test process that first asked; it ends by itself when that process is gone, however it
went. Trouble on the way to it is `proxy.py`'s.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import subprocess
import sys
import threading
import uuid

UP_WITHIN_S = 60.0
OWNER = "AWS4-HMAC-SHA256 Credential=test/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def new_bucket() -> str:
    """Makes an empty bucket and gives its name."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    server = http.client.HTTPConnection("127.0.0.1", server_port(), timeout=UP_WITHIN_S)
    with contextlib.closing(server):
        server.request("PUT", f"/{name}", headers={"Authorization": OWNER})
        answer = server.getresponse()
        assert answer.status == 200, answer.read()
    return name


def environment(port: int | None = None) -> dict[str, str]:
    """In which `s3://{bucket}/...` means the server, or what listens on `port` before it."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or server_port()}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }


@functools.cache
def server_port() -> int:
    """Starts the server, once; where it listens."""
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, server)
    assert server.stdout is not None
    late = threading.Timer(UP_WITHIN_S, server.kill)
    late.start()
    line = server.stdout.readline()
    late.cancel()
    assert line, f"the S3 server was not up within {UP_WITHIN_S:.0f} s, or ended with {server.poll()}"
    return int(line)


def _end(server: subprocess.Popen[str]) -> None:
    server.communicate()  # closes its input, which is what it waits for


def _serve() -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write(f"{server.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the other end is closed: the tests are over
    server.stop()


if __name__ == "__main__":
    _serve()
