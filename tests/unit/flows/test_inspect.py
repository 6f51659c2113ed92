"""What is this? Each kind of thing that can be asked about."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.inspect import SHEET_FRAMES, SHEET_PX, contact_sheet, drawn, inspect, write_png
from shards.errors import RequestError
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import make_dataset
from tests.support.lavfi import sine, video


def test_a_video_is_told_with_its_picture_and_sound(tmp_path: Path) -> None:
    found = inspect(str(video(tmp_path / "film.mp4", seconds=0.4, sound=True)), None)
    assert (found["kind"], found["video"]["num_frames"], len(found["audio"])) == ("video", 10, 1)


def test_sound_alone_is_told_as_sound(tmp_path: Path) -> None:
    assert inspect(str(sine(tmp_path / "tone.wav", seconds=0.1)), None)["kind"] == "sound"


def test_a_file_that_is_neither_is_told_as_unusable_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a film")
    found = inspect(str(tmp_path / "notes.txt"), None)
    assert (found["kind"], found["code"]) == ("unusable", "not_media")


def test_a_file_with_a_hash_sign_in_its_name_is_a_file(tmp_path: Path) -> None:
    assert inspect(str(sine(tmp_path / "take#2.wav", seconds=0.1)), None)["kind"] == "sound"


def test_a_store_shows_its_datasets_and_where_to_look_next(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    info = make_dataset(store, tmp_path)
    found = inspect(str(tmp_path / "store"), None)
    assert (found["kind"], found["current"]) == ("store", info.hash)
    assert len(found["clips"]) == 5
    clip = inspect(found["clips"][0], None)
    assert (clip["kind"], clip["frames"], clip["crop"]) == ("clip", 2, "16 px, lower_face")
    assert "picture" not in clip


def test_an_empty_store_is_told_as_one(tmp_path: Path) -> None:
    open_store(tmp_path / "store")
    found = inspect(str(tmp_path / "store"), None)
    assert (found["kind"], found["current"], "clips" in found) == ("store", None, False)


def test_a_clip_can_be_drawn(tmp_path: Path) -> None:
    make_dataset(open_store(tmp_path / "store"), tmp_path)
    clip = inspect(str(tmp_path / "store"), None)["clips"][0]
    found = inspect(clip, tmp_path / "clip.png")
    assert found["picture"] == str(tmp_path / "clip.png")
    picture = cv2.imread(str(tmp_path / "clip.png"))
    assert picture is not None
    assert picture.shape == (SHEET_PX, 2 * SHEET_PX, 3)


def test_a_checkpoint_is_told_with_its_sizes(checkpoint: Path) -> None:
    found = inspect(str(checkpoint), None)
    assert (found["kind"], found["preset"], found["trained"]) == ("checkpoint", "nano", {})
    assert found["parameters"]["all"] == sum(n for name, n in found["parameters"].items() if name != "all")


@pytest.mark.parametrize("target", ["absent.mp4", ".", "absent#key", "#key"])
def test_what_is_nothing_of_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError):
        inspect(target, None)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_is_not_there_is_refused_by_its_key(tmp_path: Path) -> None:
    make_dataset(open_store(tmp_path / "store"), tmp_path)
    with pytest.raises(RequestError, match="no such sample"):
        inspect(f"{tmp_path / 'store'}#{'f' * 32}", None)


def test_a_sheet_shows_few_frames_spread_over_the_clip() -> None:
    assert contact_sheet(make_clip(1, frames=40)).shape == (SHEET_PX, SHEET_FRAMES * SHEET_PX, 3)
    assert contact_sheet(make_clip(1, frames=1)).shape == (SHEET_PX, SHEET_PX, 3)


def test_points_are_drawn_where_they_are_and_unseen_ones_are_not() -> None:
    clip = make_clip(1, frames=2)
    clip.landmarks.points[1] = np.nan
    plain = cv2.resize(clip.frames[1], (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(drawn(clip, 1), plain)
    x, y = np.round((clip.landmarks.points[0, clip.landmarks.topology.lips[0]] + 0.5) * SHEET_PX / 16).astype(int)
    assert (drawn(clip, 0)[y, x] == (250, 80, 120)).all()


def test_a_picture_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
