"""Dubbing's last worker: the fade, the mouths in memory, and the finished file."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.workers import master
from flows.workers.fragments import SourceChanged, clip_address, write_fragment
from flows.workers.master import FADE_FRAMES, MasterWorker, Mouths, fade
from preprocessing.errors import Unusable
from preprocessing.media.probe import frame_times, probe
from shards.commit import Ledger, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.schema import FrameTimes
from shards.store import Store, open_store
from tests.support.clips import make_clip
from tests.support.datasets import claim, done_by
from tests.unit.flows.conftest import Thread

# -- the fade ----------------------------------------------------------------------------------------------------------


def shown(num_frames: int, *stretches: tuple[int, int]) -> np.ndarray:
    flags = np.zeros(num_frames, dtype=bool)
    for start, stop in stretches:
        flags[start:stop] = True
    return flags


def test_untouched_frames_stay_untouched() -> None:
    np.testing.assert_array_equal(fade(shown(5)), np.zeros(5))
    assert (fade(shown(40, (10, 30)))[~shown(40, (10, 30))] == 0).all()


def test_a_stretch_comes_and_goes_in_even_steps() -> None:
    opacity = fade(shown(40, (10, 30)))[10:30]
    steps = np.arange(1, FADE_FRAMES + 1) / (FADE_FRAMES + 1)
    np.testing.assert_allclose(opacity[:FADE_FRAMES], steps)
    np.testing.assert_allclose(opacity[-FADE_FRAMES:], steps[::-1])
    assert (opacity[FADE_FRAMES:-FADE_FRAMES] == 1).all()


def test_a_short_stretch_shows_something_and_never_all() -> None:
    opacity = fade(shown(20, (8, 11)))[8:11]
    np.testing.assert_allclose(opacity, np.array([1, 2, 1]) / (FADE_FRAMES + 1))


def test_the_titles_own_ends_are_no_borders() -> None:
    opacity = fade(shown(30, (0, 20)))
    assert (opacity[: 20 - FADE_FRAMES] == 1).all()
    assert (fade(shown(7, (0, 7))) == 1).all()
    assert fade(shown(0)).shape == (0,)


def test_neighbouring_stretches_have_no_border_between_them() -> None:
    np.testing.assert_array_equal(fade(shown(40, (10, 20), (20, 30))), fade(shown(40, (10, 30))))


# -- mouths ------------------------------------------------------------------------------------------------------------


class ReadsCounted(Store):
    """A store that records which objects were read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner._place)
        self.reads: list[int] = []

    def read_range(self, path: str, start: int, length: int) -> bytes:
        self.reads.append(start)
        return super().read_range(path, start, length)


def stretches(folder: Path, *placed: tuple[int, int, list[list[int]]]) -> tuple[ReadsCounted, list[dict[str, Any]]]:
    """(clip number, first source frame, rendered rows) -> a store with the clips, and the payload's entries."""
    ledger = Ledger(open_store(folder / "store"))
    clips = [make_clip(number, frames=6) for number, _, _ in placed]
    fragment, _ = write_fragment(clips, folder / "fragment.tar", jpeg_quality=95)
    assert fragment is not None
    receipt = Receipt(
        unit_id="u",
        stage="render",
        objects=(ledger.put_object(claim(ledger, "u"), fragment.path, ".tar"),),
        samples=fragment.entries,
    )
    entries = [
        {"clip": clip_address(receipt, entry), "start_pts": 40 * start, "rows": rows}
        for entry, (_, start, rows) in zip(fragment.entries, placed, strict=True)
    ]
    return ReadsCounted(ledger.store), entries


def seen(mouths: Mouths, frames: Sequence[int]) -> list[list[tuple[int, int]]]:
    """(clip number, row) of each frame."""
    return [[(int(clip.key, 16), row) for clip, row in mouths.on(index)] for index in frames]


TIMES = FrameTimes(pts=np.arange(40, dtype=np.int64) * 40, base=Fraction(1, 1000))


def test_each_frame_has_the_faces_that_were_rendered_in_it(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, [[0, 2], [4, 6]]), (2, 5, [[0, 6]]))
    found = dict(zip(range(40), seen(Mouths(store, entries, TIMES), range(40)), strict=True))
    assert {index: faces for index, faces in found.items() if faces} == {
        3: [(1, 0)],
        4: [(1, 1)],
        5: [(2, 0)],
        6: [(2, 1)],
        7: [(1, 4), (2, 2)],
        8: [(1, 5), (2, 3)],
        9: [(2, 4)],
        10: [(2, 5)],
    }


def test_a_clip_is_read_once_and_dropped_when_it_is_passed(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, *[(n, 6 * n, [[0, 6]]) for n in range(1, 6)])
    mouths = Mouths(store, entries, TIMES)
    assert store.reads == []
    held = [len(mouths._open) for index in range(40) if mouths.on(index) is not None]
    assert max(held) == 1
    assert held[-1] == 0
    assert len(store.reads) == 5


def test_stretches_come_in_any_order_and_frames_between_need_not_be_asked_for(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (2, 20, [[0, 6]]), (1, 2, [[0, 6]]))
    assert seen(Mouths(store, entries, TIMES), [21]) == [[(2, 1)]]
    assert len(store.reads) == 1


def test_a_stretch_in_which_nothing_was_rendered_touches_nothing(tmp_path: Path) -> None:
    store, entries = stretches(tmp_path, (1, 3, []))
    mouths = Mouths(store, entries, TIMES)
    assert not mouths.opacity.any()
    assert seen(mouths, range(10)) == [[]] * 10
    assert store.reads == []


def test_places_are_found_by_time_where_frames_are_uneven(tmp_path: Path) -> None:
    pts = np.array([5, 9, 30, 31, 70, 90, 91, 99, 100], dtype=np.int64)
    store, entries = stretches(tmp_path, (1, 0, [[0, 6]]))
    entries[0]["start_pts"] = 30
    mouths = Mouths(store, entries, FrameTimes(pts=pts, base=Fraction(1, 1000)))
    assert seen(mouths, [1, 2, 7, 8]) == [[], [(1, 0)], [(1, 5)], []]


# -- the finished file -------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(thread: Thread, tmp_path: Path) -> MasterWorker:
    """The thread's worker, with an output folder of its own."""
    made = MasterWorker(thread.records.ledger.store.uri, str(tmp_path / "out"))
    made.setup()
    return made


def unit_of(thread: Thread, unit_id: str, **other: object) -> Unit:
    unit = thread.records.master(thread.title)
    assert unit is not None
    return Unit(unit_id=unit_id, stage="master", payload={**unit.payload, **other})


def test_the_file_has_the_frames_and_times_of_its_source(thread: Thread) -> None:
    source, made = probe(thread.title.row.video), probe(thread.output)
    ours, theirs = frame_times(thread.output, made), frame_times(thread.title.row.video, source)
    np.testing.assert_array_equal(ours.seconds(), theirs.seconds())
    assert made.audio[0].language == "spa"


def test_the_commit_describes_the_file_that_lies_there(thread: Thread) -> None:
    details = thread.mastered.details
    assert details["size_bytes"] == thread.output.stat().st_size
    assert details["sha256"] == file_sha256(thread.output)
    assert (details["frames"], details["rendered_frames"]) == (25, 25)
    assert thread.records.is_current(thread.title)


def test_the_strip_is_a_jpeg(thread: Thread) -> None:
    strip = thread.records.strip(thread.title)
    assert strip is not None
    assert strip.startswith(b"\xff\xd8")


def test_nothing_but_the_finished_file_is_left_in_its_folder(thread: Thread) -> None:
    assert [path.name for path in thread.output.parent.iterdir()] == ["one.es.mp4"]


def test_a_failure_half_way_leaves_the_old_file_and_no_other(
    thread: Thread, worker: MasterWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "old.mp4"
    target.parent.mkdir()
    target.write_bytes(b"the last edition")

    def fails(*_: object) -> None:
        raise Unusable.because("truncated", "the file ends early")

    monkeypatch.setattr(master, "picture_strip", fails)
    with pytest.raises(Unusable):
        done_by(worker, unit_of(thread, "half-way", output="old.mp4"))
    assert target.read_bytes() == b"the last edition"
    assert list(target.parent.iterdir()) == [target]
    assert thread.records.ledger.receipt("half-way") is None


@pytest.mark.parametrize("column", ["video_sha256", "audio_sha256"])
def test_files_that_are_not_the_planned_ones_are_not_mastered(
    thread: Thread, worker: MasterWorker, tmp_path: Path, column: str
) -> None:
    with pytest.raises(SourceChanged):
        done_by(worker, unit_of(thread, "changed", **{column: "0" * 64}))
    assert not (tmp_path / "out").exists()


def test_without_a_rendered_stretch_the_picture_passes_through(
    thread: Thread, worker: MasterWorker, tmp_path: Path
) -> None:
    receipt = done_by(worker, unit_of(thread, "untouched", stretches=[], output="a/b/plain.mov"))
    assert receipt.details["rendered_frames"] == 0
    made = probe(tmp_path / "out" / "a" / "b" / "plain.mov")
    assert made.video is not None
    assert made.video.num_frames == 25
