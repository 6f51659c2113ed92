"""Sealed json: its own version and checksum in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import ObjectDamaged, UnknownSchemaVersion
from shards.sealed import sealed_json, unsealed

values = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.lists(st.text())


@given(st.dictionaries(st.text().filter(lambda k: k not in ("schema_version", "checksum")), values))
def test_what_is_sealed_comes_back(content: dict[str, object]) -> None:
    assert unsealed(sealed_json(content), "here") == content


def test_a_change_anywhere_is_found() -> None:
    data = sealed_json({"offset": 512, "name": "a"})
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((ObjectDamaged, UnknownSchemaVersion), match="here"):
            unsealed(bytes(changed), "here")


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"null"])
def test_what_is_no_json_object_is_damaged(data: bytes) -> None:
    with pytest.raises(ObjectDamaged, match="here is damaged"):
        unsealed(data, "here")


def test_another_version_is_refused_before_its_checksum_is_asked() -> None:
    data = json.dumps({**json.loads(sealed_json({"a": 1})), "schema_version": 2}).encode()
    with pytest.raises(UnknownSchemaVersion, match="schema version 2"):
        unsealed(data, "here")
