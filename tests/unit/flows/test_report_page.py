"""How pages are made: from what they are given alone, and none of it becomes markup."""

from __future__ import annotations

import base64

import jinja2
import pytest

from flows.report import page
from flows.report.page import jpeg_url, render_page


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = page._environment()
    monkeypatch.setattr(environment, "loader", jinja2.DictLoader({"hello": "<p>{{ name }}</p>"}))
    monkeypatch.setattr(environment, "cache", {})


def test_what_a_page_is_given_is_text_and_never_markup() -> None:
    assert render_page("hello", name="<script>") == "<p>&lt;script&gt;</p>"


def test_a_page_that_lacks_a_fact_is_an_error_not_a_gap() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_page("hello", other="x")


def test_a_picture_is_an_address_that_holds_it() -> None:
    assert jpeg_url(b"jpeg bytes") == f"data:image/jpeg;base64,{base64.b64encode(b'jpeg bytes').decode()}"
