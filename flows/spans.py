"""Whether a row's moments agree with each other: its part, its turns, its excluded ranges.

Used twice: on the catalogue as it is written, where a timecode and a clock time cannot be compared yet, and on the
title's own clock, where everything can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from flows.moments import Moment
from flows.rows import Segment, TitleRow


def moments(row: TitleRow) -> Iterator[tuple[str, Moment]]:
    """(column, moment) of all there are in a row, always in the same order."""
    yield from ((name, moment) for name, moment in (("start_tc", row.start), ("end_tc", row.end)) if moment)
    yield from (("segments", moment) for turn in row.segments for moment in (turn.start, turn.end))
    yield from (("exclude_ranges", moment) for span in row.excluded for moment in span)


def timed(row: TitleRow, seconds: Callable[[Moment], Fraction]) -> TitleRow:
    """The row with each moment where `seconds` puts it on the title's clock."""

    def place(moment: Moment) -> Moment:
        return Moment(label_s=seconds(moment))

    return row.model_copy(
        update={
            "start": row.start and place(row.start),
            "end": row.end and place(row.end),
            "segments": tuple(
                turn.model_copy(update={"start": place(turn.start), "end": place(turn.end)}) for turn in row.segments
            ),
            "excluded": tuple((place(start), place(end)) for start, end in row.excluded),
        }
    )


def span_problems(row: TitleRow) -> Iterator[str]:
    """Column by column; what cannot be known yet is no problem."""
    if row.start is not None and row.end is not None and row.start.precedes(row.end) is False:
        yield f"`end_tc`: {row.end} is not after `start_tc`, {row.start}"
    elif row.end is not None and row.end.frame is None and row.end.label_s == 0:
        yield "`end_tc`: it is the first frame, so that nothing would be dubbed; `speaker_mode` off says that"
    for number, turn in enumerate(row.segments, start=1):
        if turn.start.precedes(turn.end) is False:
            yield f"`segments`: turn {number} of {turn.speaker} ends at {turn.end}, not after its start, {turn.start}"
    yield from _overlaps(row.segments)
    for start, end in row.excluded:
        if start.precedes(end) is False:
            yield f"`exclude_ranges`: {start}-{end} ends before it has begun"
        elif _is_outside(row, start, end):
            yield f"`exclude_ranges`: {start}-{end} is outside the part from `start_tc` to `end_tc`"


def _overlaps(segments: Sequence[Segment]) -> Iterator[str]:
    """One speaker cannot speak twice at a time; several may."""
    # Timecodes and clock times are sorted apart: only within a kind is there an order.
    turns: dict[tuple[str, bool], list[tuple[int, Segment]]] = defaultdict(list)
    for number, turn in enumerate(segments, start=1):
        turns[turn.speaker, turn.start.frame is None].append((number, turn))
    for (speaker, _), of_one in turns.items():
        of_one.sort(key=lambda item: _place(item[1].start))
        first, before = of_one[0]
        for second, after in of_one[1:]:
            if after.start.precedes(before.end):
                yield f"`segments`: turns {first} and {second} of {speaker} overlap ({before.end} and {after.start})"
            # A long turn may reach over several that follow.
            if before.end.precedes(after.end) is not False:
                first, before = second, after


def _is_outside(row: TitleRow, start: Moment, end: Moment) -> bool:
    """Wholly; a range that reaches into the part excludes what it reaches."""
    ends_before = row.start is not None and row.start.precedes(end) is False
    begins_after = row.end is not None and start.precedes(row.end) is False
    return ends_before or begins_after


def _place(moment: Moment) -> tuple[Fraction, int]:
    return moment.label_s, moment.frame or 0
