"""Trouble on the way to a server: passes HTTP through, and does otherwise when told to.

with FaultProxy(server_port()) as proxy:
    proxy.next(2, Fault.SLOW_DOWN)                # the next two requests
    proxy.next(1, Fault.LOST_ANSWER, "PUT")       # the next PUT
    proxy.now_and_then(0.1, seed=7)               # each request with this chance, always the same ones
    proxy.stop(); ...; proxy.start()              # a restart: what is stored behind it stays
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

ANSWER_WITHIN_S = 30.0
HOLD_S = 30.0
"""How long a request is held at most; what the client does about it is what is tested."""


class Fault(StrEnum):
    """What may become of a request."""

    SLOW_DOWN = "503 SlowDown, and the server hears nothing"
    SERVER_ERROR = "500, after the server has done it"
    CONFLICT = "409 ConditionalRequestConflict, and the server hears nothing"
    RESET = "the connection is reset, and the server hears nothing"
    LOST_ANSWER = "the server does it, and the connection is reset before the answer"
    TORN_ANSWER = "the server does it, and the connection is reset in the middle of the answer's body"
    SILENCE = "no answer, and the server hears nothing"
    LATE_ANSWER = "the server does it, and the answer does not come"


PASSING = tuple(fault for fault in Fault if fault not in (Fault.CONFLICT, Fault.SILENCE, Fault.LATE_ANSWER))
"""What any request may meet, and quickly over."""
_ANSWERS = {
    Fault.SLOW_DOWN: (503, b"<Error><Code>SlowDown</Code></Error>"),
    Fault.SERVER_ERROR: (500, b"<Error><Code>InternalError</Code></Error>"),
    Fault.CONFLICT: (409, b"<Error><Code>ConditionalRequestConflict</Code></Error>"),
}
_UNHEARD = frozenset({Fault.SLOW_DOWN, Fault.CONFLICT, Fault.RESET, Fault.SILENCE})


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, and what became of it."""

    method: str
    path: str
    fault: Fault | None


class FaultProxy:
    """Listens on loopback before a server on loopback."""

    def __init__(self, behind: int) -> None:
        self.behind, self.port = behind, 0
        self.seen: list[Seen] = []
        self._planned: list[tuple[Fault, str]] = []
        self._chance, self._random, self._kinds = 0.0, random.Random(0), tuple[Fault, ...]()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> FaultProxy:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listens: on a port of its own, and on the same one ever after."""
        self._over.clear()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="proxy").start()

    def stop(self) -> None:
        """Ends every connection and listens no more."""
        if self._server is None:
            return
        self._over.set()
        self._server.shutdown()
        with self._lock:
            for connection in self._open:
                reset(connection)
        self._server.server_close()
        self._server = None

    def next(self, number: int, fault: Fault, which: str = "") -> None:
        """What becomes of the next `number` requests with this in "METHOD /path?query", and nothing planned before."""
        with self._lock:
            self._planned += [(fault, which)] * number

    def now_and_then(self, chance: float, seed: int, kinds: Sequence[Fault] = PASSING) -> None:
        """From here on, a fault of these kinds with this chance: the n-th request meets the same one in every run."""
        with self._lock:
            self._chance, self._random, self._kinds = chance, random.Random(seed), tuple(kinds)

    def count(self, fault: Fault | None, method: str = "") -> int:
        """How many requests met it."""
        return sum(seen.fault is fault and seen.method.startswith(method) for seen in self.seen)

    def decide(self, method: str, path: str) -> Fault | None:
        with self._lock:
            fault = self._due(f"{method} {path}")
            self.seen.append(Seen(method, path, fault))
            return fault

    def _due(self, request: str) -> Fault | None:
        for number, (fault, which) in enumerate(self._planned):
            if which in request:
                del self._planned[number]
                return fault
        return self._random.choice(self._kinds) if self._random.random() < self._chance else None

    def hold(self) -> None:
        self._over.wait(HOLD_S)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


def reset(connection: socket.socket) -> None:
    """Ends a connection as a crash does: no goodbye, RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def setup(self) -> None:
        super().setup()
        self.proxy.opened(self.connection)

    def finish(self) -> None:
        self.proxy.closed(self.connection)
        super().finish()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.decide(self.command, self.path)
        status, headers, answer = (200, [], b"") if fault in _UNHEARD else self._ask(body)
        if fault in _ANSWERS:
            status, answer = _ANSWERS[fault]
            self._answer(status, [("Content-Type", "application/xml")], answer, len(answer))
        elif fault in (None, Fault.TORN_ANSWER):
            self._answer(status, headers, answer, len(answer) // 2 if fault else len(answer))
        elif fault in (Fault.SILENCE, Fault.LATE_ANSWER):
            self.proxy.hold()
        if fault is not None and fault not in _ANSWERS:
            self._hang_up()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.proxy.behind, timeout=ANSWER_WITHIN_S)
        try:
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def _answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, sent: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", len(body)) if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def _hang_up(self) -> None:
        self.close_connection = True
        self.proxy.closed(self.connection)
        self.wfile.flush()
        try:
            reset(self.connection)
        except OSError:
            return  # the client, tired of waiting, was first

    def log_message(self, *_: Any) -> None:
        """Tests read no access log."""
