"""An edit list of a title's flags, CMX 3600: what an editing system opens beside the finished file.

Each flag is an event of its own frames and, at its first frame, a locator coloured by severity. Nothing is cut or
retimed: record and source times are the same. The list holds what the format can number; all flags are in flags.csv.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST_EVENTS = 999
"""Events have three digits."""
_COMMENT = 100
"""Characters of a comment; longer lines are cut off by some readers, in the middle of a letter."""
_COLOURS = {"Blocker": "RED", "Issue": "YELLOW", "FYI": "GREEN"}


def flags_edl(row: Mapping[str, Any]) -> str:
    """The list; it is there without flags too, so that none is not taken for not written."""
    flags: Sequence[Mapping[str, Any]] = row["flags"]
    # The gravest come first in a row: what does not fit is the least.
    events = sorted(flags[:MOST_EVENTS], key=lambda flag: (flag["start"], flag["stop"]))
    is_drop = any(";" in where["tc_in"] for where in (*row["shots"], *flags))
    lines = [f"TITLE: {_plain(row['output'])}", f"FCM: {'' if is_drop else 'NON-'}DROP FRAME", ""]
    for number, flag in enumerate(events, start=1):
        lines += [*_event(number, flag, row), ""]
    if len(flags) > MOST_EVENTS:
        lines.append(f"* {len(flags) - MOST_EVENTS} MORE FLAGS ARE IN FLAGS.CSV")
    return "\r\n".join(lines) + "\r\n"


def _event(number: int, flag: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    span = f"{flag['tc_in']} {flag['tc_out']}"
    yield f"{number:03}  AX       V     C        {span} {span}"
    yield f"* FROM CLIP NAME: {_plain(row['output'])}"
    said = f"{flag['severity'].upper()} {flag['code']}: {flag['detail']}"
    yield f"* LOC: {flag['tc_in']} {_COLOURS[flag['severity']]:<7} {_plain(said)}"
    yield f"* SEVERITY: {flag['severity'].upper()}"


def _plain(text: str) -> str:
    """One line of ASCII, which is all that the format knows."""
    line = " ".join(text.split()).encode("ascii", "replace").decode()
    return line if len(line) <= _COMMENT else f"{line[: _COMMENT - 3]}..."
