"""What of a row cannot be done, once its files have been looked at: said before any work, and all of it at once.

Owns asking each neighbour its own question (can this be encoded, finished, delivered?) and telling the answers by
column. What the catalogue alone tells is `manifest.py`; what only the analysis tells (a `track:` that nobody has) is
found when the row is cast.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2

from flows.moments import Moment
from flows.rows import TRACK, TitleRow
from flows.spans import moments, span_problems, timed
from preprocessing.errors import ToolMissing, Unusable
from preprocessing.media.base import MediaInfo
from preprocessing.media.check import timecode_of
from preprocessing.media.delivery import speech_end_s
from preprocessing.media.encode import EncodeConfig, encoding_for
from preprocessing.media.length import output_times, picture_length_s
from preprocessing.media.probe import described, picture, read_header
from preprocessing.media.tracks import refuse_unfinishable
from shards.errors import RequestError
from shards.schema import FrameTimes

PROBE_S = 60.0
SLACK_S = Fraction(1)
"""How far turns and parts may reach beyond the end: lists are written in whole seconds."""


class Probes:
    """Looks at each file of a catalogue once, as long as its rows stand together. One for each reading."""

    def __init__(self) -> None:
        # The frame times of a whole catalogue would not fit in memory.
        self._looked_at = functools.lru_cache(maxsize=32)(_looked_at)
        self.is_picture = functools.lru_cache(maxsize=4096)(_is_picture)

    def measure(self, path: Path) -> tuple[MediaInfo, FrameTimes | None]:
        """What the file is, and when its frames are shown if it has any."""
        return self._looked_at(path)[0]

    def start_timecode(self, path: Path) -> str | None:
        """The timecode of its first frame, as the file says it."""
        return self._looked_at(path)[1]


def unfit(row: TitleRow, probes: Probes) -> Iterator[str]:
    """What of the row cannot be done, column by column."""
    times: FrameTimes | None = None
    try:
        info, times = probes.measure(row.video)
        yield from _unencodable(row, info, times)
        yield from _out_of_time(row, info, times, probes.start_timecode(row.video))
    except Unusable as unusable:
        yield f"`video`: {unusable} (got {row.video})"
    try:
        yield from _unheard(row, probes.measure(row.audio)[0], times)
    except Unusable as unusable:
        yield f"`audio`: {unusable} (got {row.audio})"
    yield from _silent_stems(row, probes)
    yield from _unseen(row, probes)


def _unencodable(row: TitleRow, info: MediaInfo, times: FrameTimes | None) -> Iterator[str]:
    try:
        encoding = encoding_for(info, EncodeConfig(), row.codec_policy)
        if times is not None:
            refuse_unfinishable(Path(row.output), info, times, codec=encoding.codec)
    except ToolMissing as missing:
        yield f"`codec_policy`: {missing.message} (got {row.codec_policy!r})"
    except RequestError as error:
        yield f"`output`: {error.message}; valid endings: {', '.join(error.choices)} (got {row.output!r})"


def _unheard(row: TitleRow, sound: MediaInfo, times: FrameTimes | None) -> Iterator[str]:
    tracks = [str(track.index) for track in sound.audio]
    if not tracks:
        yield f"`audio`: no_audio: the file has no sound track (got {row.audio})"
    elif row.audio_stream is not None and str(row.audio_stream) not in tracks:
        valid = ", ".join(tracks)
        yield f"`audio_stream`: no sound track of {row.audio.name}; valid: {valid} (got {row.audio_stream})"
    elif times is not None and (row.audio_offset_ms or row.duration_policy == "fail"):
        # Not asked of every row: the exact end of the speech takes another look at its file.
        yield from _misplaced(row, times)


def _misplaced(row: TitleRow, times: FrameTimes) -> Iterator[str]:
    """Speech that is not as long as the picture where it must be, or lies before or after all of it."""
    offset_s = Fraction(row.audio_offset_ms, 1000)
    try:
        end_s = speech_end_s(row.audio, stream=row.audio_stream, offset_s=offset_s, deadline_s=PROBE_S)
        length_s = picture_length_s(output_times(times, end_s, row.duration_policy))
    except RequestError as error:
        yield f"`{error.field}`: {error.message} (got {error.value!r})"
        return
    if offset_s >= length_s:
        yield (
            f"`audio_offset_ms`: the speech would begin after the picture's end, at {float(length_s):.3f} s "
            f"(got {row.audio_offset_ms})"
        )


def _silent_stems(row: TitleRow, probes: Probes) -> Iterator[str]:
    for path in dict.fromkeys(turn.audio for turn in row.segments if turn.audio is not None):
        try:
            if not probes.measure(path)[0].audio:
                yield f"`segments`: no_audio: the file has no sound track (got {path})"
        except Unusable as unusable:
            yield f"`segments`: {unusable} (got {path})"


def _out_of_time(row: TitleRow, info: MediaInfo, times: FrameTimes | None, start: str | None) -> Iterator[str]:
    """Moments that the title does not have, or that contradict each other once all are on one clock."""
    rate, wrong = picture(info).frame_rate, list[str]()
    for column, moment in moments(row):
        try:
            moment.seconds(rate, start)
        except ValueError as error:
            wrong.append(f"`{column}`: {error} (got {str(moment)!r})")
    yield from wrong
    if wrong or times is None:
        return
    on_clock = timed(row, lambda moment: moment.seconds(rate, start))
    yield from span_problems(on_clock)
    # A held last frame goes on for as long as the speech does: there is no end to be beyond of.
    if row.duration_policy != "freeze":
        yield from _beyond(row, on_clock, picture_length_s(times))


def _beyond(row: TitleRow, on_clock: TitleRow, length_s: Fraction) -> Iterator[str]:
    found: dict[str, list[Moment]] = defaultdict(list)
    for (column, written), (_, moment) in zip(moments(row), moments(on_clock), strict=True):
        if moment.label_s > length_s + SLACK_S or (column == "start_tc" and moment.label_s >= length_s):
            found[column].append(written)
    for column, written_ones in found.items():
        more = f" and {len(written_ones) - 1} more" if len(written_ones) > 1 else ""
        yield f"`{column}`: beyond the title's end, at {float(length_s):.3f} s (got '{written_ones[0]}'{more})"


def _unseen(row: TitleRow, probes: Probes) -> Iterator[str]:
    for speaker, place in row.speaker_map.items():
        if not place.startswith(TRACK) and not probes.is_picture(place):
            yield f"`speaker_map`: the reference of {speaker} cannot be opened as a picture (got {place})"


def _is_picture(path: str) -> bool:
    return cv2.imread(path) is not None


def _looked_at(path: Path) -> tuple[tuple[MediaInfo, FrameTimes | None], str | None]:
    header = read_header(path, deadline_s=PROBE_S)
    return described(path, header, deadline_s=PROBE_S, need_video=False), timecode_of(header)
