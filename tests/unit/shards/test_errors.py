"""Errors name the field, the value and the choices."""

from __future__ import annotations

import pytest

from shards import errors
from shards.errors import DubwrightError, RequestError, StoreError, nearest


def test_a_wrong_request_says_where_what_and_which_would_do() -> None:
    error = RequestError("unknown preset", where="train", field="preset", value="compcat", choices=["tiny", "compact"])
    text = "train, `preset`: unknown preset (got 'compcat'); did you mean 'compact'? Valid: tiny, compact."
    assert str(error) == text
    assert (error.field, error.value, error.choices) == ("preset", "compcat", ("tiny", "compact"))


def test_a_message_alone_stays_as_it_is() -> None:
    assert str(RequestError("nothing to do")) == "nothing to do"


def test_nothing_is_offered_when_nothing_is_close() -> None:
    assert nearest("zebra", ["tiny", "compact"]) is None
    assert nearest(" Tiny ", ["tiny", "compact"]) == "tiny"


@pytest.mark.parametrize(
    ("leaf", "parent"),
    [
        (errors.UnknownSchemaVersion, RequestError),
        (errors.WrongStore, RequestError),
        (errors.StoreUnavailable, StoreError),
        (errors.StoreDenied, StoreError),
        (errors.ObjectMissing, StoreError),
        (errors.ObjectDamaged, StoreError),
        (errors.AccountError, StoreError),
    ],
)
def test_every_error_is_of_its_kind(leaf: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(leaf, parent)
    assert issubclass(parent, DubwrightError)
