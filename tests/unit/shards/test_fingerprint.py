"""Fingerprints: equal values and only those, on every machine, in every process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shards.fingerprint import canonical_json, file_sha256, fingerprint, plain

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@dataclass(frozen=True)
class Point:
    x: int
    share: Fraction


class Config(BaseModel):
    x: int = 1
    where: Path = Path("a/b")


def test_a_known_value_keeps_its_fingerprint_for_good() -> None:
    """A stored dataset is found again by it: if this fails, every unit of every store would be done anew."""
    found = fingerprint("unit", 3, 0.1, None, True, {"b": 1, "a": [Fraction(1, 25), Path("x/y")]})
    expected = '["unit",3,0.1,null,true,{"a":["1/25","x/y"],"b":1}]'
    assert found == hashlib.sha256(expected.encode()).hexdigest()


def test_another_process_finds_the_same_fingerprint() -> None:
    code = "from shards.fingerprint import fingerprint; print(fingerprint({'b': {3, 1, 2}, 'a': 'é'}))"
    root = Path(__file__).resolve().parents[3]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == fingerprint({"a": "é", "b": {2, 3, 1}})


@given(st.dictionaries(st.text(), json_values))
def test_the_order_of_a_dictionary_does_not_matter(value: dict[str, object]) -> None:
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


@given(json_values)
def test_plain_values_are_their_own_plain_form(value: object) -> None:
    assert canonical_json(plain(value)) == canonical_json(value)


def test_values_of_different_type_differ() -> None:
    prints = {fingerprint(value) for value in (1, 1.0, "1", True, None, [1], {"1": 1})}
    assert len(prints) == 7


def test_parts_are_not_run_together() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc")


def test_configs_dataclasses_and_fractions_have_a_plain_form() -> None:
    assert plain(Config()) == {"x": 1, "where": "a/b"}
    assert plain(Point(x=2, share=Fraction(2, 4))) == {"x": 2, "share": "1/2"}


@pytest.mark.parametrize("value", [b"bytes", object(), float])
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        fingerprint(value)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(float("nan"))


def test_a_file_is_hashed_over_all_its_blocks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(data)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()
