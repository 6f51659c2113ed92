"""Defaults for the engines: quiet, local, and the user's own hold."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import embedded
from flows.embedded import DEFAULTS, prefect_api, use_embedded_defaults


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An empty one."""
    given: dict[str, str] = {}
    monkeypatch.setattr(embedded, "os", SimpleNamespace(environ=given))
    return given


def test_what_the_environment_leaves_open_is_filled_in(environment: dict[str, str]) -> None:
    use_embedded_defaults()
    assert environment == DEFAULTS


def test_what_the_user_has_set_holds(environment: dict[str, str]) -> None:
    environment["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    use_embedded_defaults()
    assert environment == DEFAULTS | {"PREFECT_LOGGING_LEVEL": "DEBUG"}


@pytest.mark.parametrize("name", ["PREFECT_SERVER_ANALYTICS_ENABLED", "RAY_USAGE_STATS_ENABLED", "DO_NOT_TRACK"])
def test_nothing_is_reported_to_anybody(name: str) -> None:
    assert DEFAULTS[name] in ("false", "0", "1")
    assert (DEFAULTS[name] == "1") == (name == "DO_NOT_TRACK")


class Server:
    """Stands in for Prefect's: records whether it would hear Ctrl-C."""

    api_url = "http://127.0.0.1:1/api"

    def __init__(self) -> None:
        self.events: list[str] = []

    def start(self) -> None:
        blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
        self.events.append("started deaf to ctrl-c" if blocked else "started")

    def stop(self) -> None:
        self.events.append("stopped")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr("prefect.server.api.server.SubprocessASGIServer", lambda: made)
    return made


def test_an_api_of_our_own_lives_as_long_as_it_is_needed_and_outlives_ctrl_c(server: Server) -> None:
    def interrupted() -> None:
        with prefect_api():
            assert PREFECT_API_URL.value() == server.api_url
            assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
            raise KeyboardInterrupt

    with temporary_settings({PREFECT_API_URL: None}):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert PREFECT_API_URL.value() is None
    assert server.events == ["started deaf to ctrl-c", "stopped"]


def test_an_api_that_the_user_names_is_used(server: Server) -> None:
    with temporary_settings({PREFECT_API_URL: "http://prefect.example/api"}), prefect_api():
        assert PREFECT_API_URL.value() == "http://prefect.example/api"
    assert server.events == []
