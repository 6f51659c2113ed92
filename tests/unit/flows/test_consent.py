"""Rows that may not be dubbed are told, all of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from flows.consent import refuse_without_consent
from flows.rows import TitleRow
from flows.table import MAX_SHOWN
from shards.errors import RequestError

TODAY = date(2027, 3, 31)


def row(number: int, **columns: Any) -> TitleRow:
    given = {"title_id": "one", "video": "a.mp4", "audio": "a.wav", "language": "es", "output": f"{number}.mp4"}
    return TitleRow.model_validate({**given, "consent_ref": "C-17", **columns, "number": number})


def refused(*rows: TitleRow) -> list[str]:
    with pytest.raises(RequestError) as caught:
        refuse_without_consent(rows, TODAY)
    first, *problems = str(caught.value).splitlines()
    assert first == "consent is required and these rows lack it:"
    return [problem.strip() for problem in problems]


@pytest.mark.parametrize("rights_end", [None, "2027-03-31", "2027-04-01"])
def test_consent_and_rights_that_still_run_are_enough(rights_end: str | None) -> None:
    refuse_without_consent([row(2, rights_end=rights_end)], TODAY)


def test_every_row_that_lacks_them_is_named_with_its_number() -> None:
    assert refused(row(2), row(3, consent_ref=None), row(4, consent_ref=" ", rights_end="2027-03-30")) == [
        "row 3 (one, es), `consent_ref`: is empty; name where the speakers' consent is filed",
        "row 4 (one, es), `consent_ref`: is empty; name where the speakers' consent is filed",
        "row 4 (one, es), `rights_end`: the rights ended on 2027-03-30 (today is 2027-03-31)",
    ]


def test_a_catalogue_without_any_consent_is_no_endless_message() -> None:
    found = refused(*(row(number, consent_ref=None) for number in range(MAX_SHOWN + 5)))
    assert (len(found), found[-1]) == (MAX_SHOWN + 1, "... and 5 more")
