"""Whether the rows may be dubbed at all, as far as the catalogue says: consent on file, rights that still run.

Asked only where `require_consent` is on. What the reference leads to is the user's own archive, and is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from flows.rows import TitleRow
from flows.table import shown
from shards.errors import RequestError


def refuse_without_consent(rows: Sequence[TitleRow], today: date) -> None:
    """Names every row without a `consent_ref` or past its `rights_end` (the last day on which it may be dubbed)."""
    problems = [problem for row in rows for problem in _missing(row, today)]
    if problems:
        raise RequestError("\n  ".join(["consent is required and these rows lack it:", *shown(problems)]))


def _missing(row: TitleRow, today: date) -> Iterator[str]:
    where = f"row {row.number} ({row.title_id}, {row.language})"
    if not (row.consent_ref or "").strip():
        yield f"{where}, `consent_ref`: is empty; name where the speakers' consent is filed"
    if row.rights_end is not None and row.rights_end < today:
        yield f"{where}, `rights_end`: the rights ended on {row.rights_end} (today is {today})"
