"""Defaults that make the engines quiet and local: set before Prefect or Ray is first imported; the user's own hold.

Prefect runs an API of its own on loopback over SQLite unless PREFECT_API_URL names a server. Neither engine reports
usage to its makers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    # A busy or slow machine needs longer than Prefect's 20 s to bring its own API up.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # What goes wrong is told once, by us.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    # Our log lines go to our own handler; sending each to the API costs a request and buys nothing in one process.
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_CLI_COLORS": "false",
    "RAY_DEDUP_LOGS": "0",
    # FaceMesh and its TensorFlow Lite chatter on stderr otherwise.
    "GLOG_minloglevel": "2",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def use_embedded_defaults() -> None:
    """Fills in what the environment leaves open. Call before importing prefect, ray or mediapipe."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_api() -> Iterator[None]:
    """An API for the flows run inside: the one that PREFECT_API_URL names, else one of our own until the end.

    Ctrl-C reaches every process of the terminal. Ours must outlive it, or a stopping flow waits for an API that is
    gone; so it is started with SIGINT blocked, which it inherits.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield
    finally:
        server.stop()
