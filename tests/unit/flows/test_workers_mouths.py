"""Which mouths a frame shows, how strongly, and what of them is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.workers.fragments import clip_address, write_fragment
from flows.workers.mouths import FADE_FRAMES, Mouths, fade
from shards.commit import Ledger, Receipt
from shards.store import Store, open_store
from tests.support.clips import make_clip
from tests.support.datasets import claim


def shown(num_frames: int, *stretches: tuple[int, int]) -> np.ndarray:
    flags = np.zeros(num_frames, dtype=bool)
    for start, stop in stretches:
        flags[start:stop] = True
    return flags


class TestTheFade:
    def test_untouched_frames_stay_untouched(self) -> None:
        np.testing.assert_array_equal(fade(shown(5)), np.zeros(5))
        assert (fade(shown(40, (10, 30)))[~shown(40, (10, 30))] == 0).all()

    def test_a_stretch_comes_and_goes_in_even_steps(self) -> None:
        opacity = fade(shown(40, (10, 30)))[10:30]
        steps = np.arange(1, FADE_FRAMES + 1) / (FADE_FRAMES + 1)
        np.testing.assert_allclose(opacity[:FADE_FRAMES], steps)
        np.testing.assert_allclose(opacity[-FADE_FRAMES:], steps[::-1])
        assert (opacity[FADE_FRAMES:-FADE_FRAMES] == 1).all()

    def test_a_short_stretch_shows_something_and_never_all(self) -> None:
        np.testing.assert_allclose(fade(shown(20, (8, 11)))[8:11], np.array([1, 2, 1]) / (FADE_FRAMES + 1))

    def test_the_titles_own_ends_are_no_borders(self) -> None:
        opacity = fade(shown(30, (0, 20)))
        assert (opacity[: 20 - FADE_FRAMES] == 1).all()
        assert (fade(shown(7, (0, 7))) == 1).all()
        assert fade(shown(0)).shape == (0,)

    def test_neighbouring_stretches_have_no_border_between_them(self) -> None:
        np.testing.assert_array_equal(fade(shown(40, (10, 20), (20, 30))), fade(shown(40, (10, 30))))

    def test_a_cut_is_no_border(self) -> None:
        opacity = fade(shown(40, (10, 30)), cuts=[10, 20])
        assert (opacity[10 : 30 - FADE_FRAMES] == 1).all()
        assert opacity[29] == pytest.approx(1 / (FADE_FRAMES + 1))


class ReadsCounted(Store):
    """A store that records which clips were read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner._place)
        self.reads: list[int] = []

    def read_range(self, path: str, start: int, length: int) -> bytes:
        self.reads.append(start)
        return super().read_range(path, start, length)


Placed = tuple[int, int, list[list[int]]]


def stretches(folder: Path, *placed: Placed, face: str = "a") -> tuple[ReadsCounted, list[dict[str, Any]]]:
    """(clip number, first source frame, rendered rows) -> a store with the clips, and the payload's entries."""
    ledger = Ledger(open_store(folder / "store"))
    fragment, _ = write_fragment([make_clip(n, frames=6) for n, _, _ in placed], folder / "clips.tar", jpeg_quality=95)
    assert fragment is not None
    ref = ledger.put_object(claim(ledger, "u"), fragment.path, ".tar")
    receipt = Receipt(unit_id="u", stage="render", objects=(ref,), samples=fragment.entries)
    entries = [
        {"face": face, "clip": clip_address(receipt, entry), "seen": None, "start": start, "rows": rows}
        for entry, (_, start, rows) in zip(fragment.entries, placed, strict=True)
    ]
    return ReadsCounted(ledger.store), entries


def mouths(store: Store, entries: Sequence[dict[str, Any]], first: int = 0, stop: int = 40) -> Mouths:
    runs: dict[str, list[tuple[int, int]]] = {}
    for entry in entries:
        runs.setdefault(entry["face"], []).extend((entry["start"] + a, entry["start"] + b) for a, b in entry["rows"])
    return Mouths(store, entries, runs, [], first, stop)


def seen(found: Mouths, frames: Sequence[int]) -> list[list[int]]:
    """Where the stretches shown in each frame begin."""
    return [[stretch.start for stretch, _ in found.on(frame)] for frame in frames]


def test_each_frame_has_the_faces_that_were_rendered_in_it(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, [[0, 2], [4, 6]]), (2, 5, [[0, 6]]))
    assert seen(mouths(store, entries), range(12)) == [[]] * 3 + [[3], [3], [5], [5], [3, 5], [3, 5], [5], [5], []]


def test_a_clip_is_read_once_and_dropped_when_it_is_passed(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, *[(n, 6 * n, [[0, 6]]) for n in range(1, 6)])
    found = mouths(store, entries)
    assert store.reads == []
    held = [len(found._open) for frame in range(40) if found.on(frame) is not None]
    assert max(held) == 1
    assert held[-1] == 0
    assert len(store.reads) == 5


def test_of_a_range_only_its_own_clips_are_read(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, *[(n, 6 * n, [[0, 6]]) for n in range(5)])
    found = mouths(store, entries, 14, 20)
    assert seen(found, range(14, 20)) == [[12]] * 4 + [[18]] * 2
    assert len(store.reads) == 2


def test_stretches_come_in_any_order_and_frames_between_need_not_be_asked_for(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (2, 20, [[0, 6]]), (1, 2, [[0, 6]]))
    assert seen(mouths(store, entries), [21]) == [[20]]
    assert len(store.reads) == 1


def test_a_range_fades_as_the_whole_does(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, [[0, 6]]), (2, 9, [[0, 6]]), (3, 17, [[0, 6]]))
    whole = mouths(store, entries).opacity
    for first, stop in ((0, 12), (8, 16), (15, 30), (30, 40)):
        np.testing.assert_array_equal(mouths(store, entries, first, stop).opacity, whole[first:stop])


def test_each_face_fades_by_itself(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, [[0, 6]]), (2, 9, [[0, 6]]))
    entries[1]["face"] = "b"
    opacity = {frame: [mouth.opacity for _, mouth in mouths(store, entries).on(frame)] for frame in (8, 9)}
    assert opacity == {8: [pytest.approx(0.2)], 9: [pytest.approx(0.2)]}


def test_a_box_is_around_all_faces_of_a_frame(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, [[0, 6]]))
    found = mouths(store, entries)
    assert np.isnan(found.box(0)).all()
    (_, mouth), left_top_right_bottom = found.on(3)[0], found.box(3)
    corner = mouth.matrix @ np.array([*left_top_right_bottom[:2], 1.0])
    assert left_top_right_bottom[0] < left_top_right_bottom[2]
    assert (corner < 1e-6).any()


def test_where_the_mouth_was_is_read_from_the_sources_own_clip(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, [[0, 6]]))
    assert mouths(store, entries).on(3)[0][1].seen is None
    entries[0]["seen"] = entries[0]["clip"]
    mouth = mouths(store, entries).on(3)[0][1]
    np.testing.assert_array_equal(mouth.seen, mouth.made)
