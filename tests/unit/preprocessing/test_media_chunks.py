"""What is encoded together, and what is taken as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.media.chunks import Chunk, copying, plan_chunks
from preprocessing.media.gops import Gop, Structure
from preprocessing.media.tracks import CONTAINERS
from tests.support.streams import media_info


def touched(num_frames: int, *ranges: tuple[int, int]) -> np.ndarray:
    flags = np.zeros(num_frames, dtype=bool)
    for start, stop in ranges:
        flags[start:stop] = True
    return flags


def groups(num_frames: int, length: int, closed: Sequence[int] | None = None) -> list[Gop]:
    """Equal groups; `closed` are the numbers of those that are."""
    starts = range(0, num_frames, length)
    return [
        Gop(start=s, stop=min(s + length, num_frames), is_closed=closed is None or n in closed)
        for n, s in enumerate(starts)
    ]


def spans(chunks: Sequence[Chunk]) -> list[tuple[int, int, str]]:
    return [(c.start, c.stop, "copied" if c.is_copied else "encoded") for c in chunks]


@given(
    st.integers(1, 400),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30)), max_size=4),
    st.lists(st.integers(1, 399), max_size=9),
    st.integers(1, 40),
    st.booleans(),
)
def test_chunks_cover_every_frame_once_and_copy_none_that_is_touched(
    num_frames: int, changes: list[tuple[int, int]], cuts: list[int], length: int, may_copy: bool
) -> None:
    flags = touched(num_frames, *[(a, a + n) for a, n in changes])
    chunks = plan_chunks(flags, sorted(cuts), groups(num_frames, length), may_copy=may_copy, most=50, least_copied=10)
    assert [c.start for c in chunks] == [0, *(c.stop for c in chunks[:-1])]
    assert chunks[-1].stop == num_frames
    assert all(len(c) > 0 for c in chunks)
    assert all(len(c) <= 50 for c in chunks if not c.is_copied)
    for chunk in chunks:
        if chunk.is_copied:
            assert may_copy
            assert not flags[chunk.start : chunk.stop].any()
            assert chunk.start % length == 0
            assert chunk.stop % length == 0 or chunk.stop == num_frames


def test_a_face_in_the_middle_leaves_both_ends_to_be_copied() -> None:
    chunks = plan_chunks(touched(1000, (430, 480)), [], groups(1000, 50), may_copy=True)
    assert spans(chunks) == [(0, 400, "copied"), (400, 500, "encoded"), (500, 1000, "copied")]


def test_an_untouched_title_is_one_copy_even_where_its_groups_are_open() -> None:
    assert spans(plan_chunks(touched(90), [30], groups(90, 30, closed=[]), may_copy=True)) == [(0, 90, "copied")]


def test_a_copy_begins_closed_and_goes_on_through_open_groups() -> None:
    chunks = plan_chunks(touched(200, (0, 10), (150, 160)), [], groups(200, 30, closed=[0, 2]), may_copy=True)
    assert spans(chunks) == [(0, 60, "encoded"), (60, 150, "copied"), (150, 200, "encoded")]


def test_runs_of_less_than_a_second_are_encoded() -> None:
    chunks = plan_chunks(touched(100, (0, 10), (35, 40)), [], groups(100, 12), may_copy=True, least_copied=25)
    assert spans(chunks) == [(0, 48, "encoded"), (48, 100, "copied")]
    chunks = plan_chunks(touched(100, (0, 10), (36, 40)), [], groups(100, 12), may_copy=True, least_copied=24)
    assert spans(chunks)[:2] == [(0, 12, "encoded"), (12, 36, "copied")]


def test_frames_beyond_the_source_are_encoded_and_a_shortened_group_is_not_copied() -> None:
    held = plan_chunks(touched(130), [], groups(100, 50), may_copy=True)
    assert spans(held) == [(0, 100, "copied"), (100, 130, "encoded")]
    cut = plan_chunks(touched(90), [], groups(100, 50), may_copy=True)
    assert spans(cut) == [(0, 50, "copied"), (50, 90, "encoded")]


def test_cuts_every_second_end_chunks() -> None:
    chunks = plan_chunks(touched(610, (0, 610)), list(range(25, 610, 25)), [], may_copy=True)
    assert [c.stop for c in chunks] == [250, 500, 610]


def test_without_cuts_pieces_are_equal() -> None:
    assert [c.stop for c in plan_chunks(touched(601, (0, 601)), [], [], may_copy=False)] == [201, 401, 601]


def test_a_cut_that_would_leave_a_scrap_is_passed_over() -> None:
    assert [c.stop for c in plan_chunks(touched(503, (0, 503)), [3], [], may_copy=False)] == [168, 336, 503]


def test_a_long_shot_is_parted_evenly_up_to_its_end() -> None:
    chunks = plan_chunks(touched(700, (0, 700)), [400], [], may_copy=False)
    assert [c.stop for c in chunks] == [200, 400, 550, 700]


SETS = (b"\x67\x64\x00\x0a\xac", b"\x68\xce\x0f")
WHOLE = Structure(gops=tuple(groups(25, 5)), sets=SETS)


@pytest.mark.parametrize(
    ("changes", "policy", "ending", "structure", "why"),
    [
        ({}, "match", ".mp4", WHOLE, None),
        ({}, "review:h264", ".mp4", WHOLE, "codec policy"),
        ({}, "match", ".mp4", Structure(gops=()), "one to one"),
        ({}, "match", ".mp4", Structure(gops=WHOLE.gops), "no parameter sets"),
        ({}, "match", ".mp4", replace(WHOLE, sets=(*SETS, b"\x68\xce\x0e")), "change within"),
        ({"is_interlaced": True}, "match", ".mp4", WHOLE, "interlaced"),
        ({"pix_fmt": "nv12"}, "match", ".mp4", WHOLE, "another layout"),
        ({"codec": "mpeg2video"}, "match", ".mov", WHOLE, "carries no mpeg2video"),
        ({"codec": "hevc"}, "match", ".mp4", WHOLE, "HEVC"),
        ({"codec": "prores", "profile": "HQ", "pix_fmt": "yuv422p10le"}, "match", ".mov", WHOLE, None),
        ({"codec": "prores", "profile": "HQ", "pix_fmt": "yuv422p10le"}, "match", ".mp4", WHOLE, "carries no prores"),
        ({"codec": "prores", "profile": "XQ", "pix_fmt": "yuv444p10le"}, "match", ".mov", WHOLE, "profile XQ"),
    ],
)
def test_why_nothing_of_a_title_is_copied_is_said(
    changes: dict[str, object], policy: str, ending: str, structure: Structure, why: str | None
) -> None:
    said = copying(media_info(**changes), policy, CONTAINERS[ending], structure, is_untouched=False)  # type: ignore[arg-type]
    assert (said is None) if why is None else (said is not None and why in said)


@pytest.mark.parametrize("changes", [{"is_interlaced": True}, {"codec": "hevc"}, {"pix_fmt": "nv12"}])
def test_a_whole_title_needs_to_fit_beside_nothing(changes: dict[str, object]) -> None:
    assert copying(media_info(**changes), "match", CONTAINERS[".mov"], WHOLE, is_untouched=True) is None
