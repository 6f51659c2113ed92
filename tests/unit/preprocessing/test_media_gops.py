"""Groups of pictures as the packets show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.media.gops import Gop, Habits, Structure, gops, places, read_structure
from preprocessing.media.probe import probe_with_times
from preprocessing.media.tools import file_url
from tests.support import lavfi

X264 = ("-preset", "medium", "-x264-params")


def structure(path: Path) -> Structure:
    info, times = probe_with_times(path)
    assert times is not None
    return read_structure(path, info, times)


def bounds(found: Structure) -> list[tuple[int, int, bool]]:
    return [(g.start, g.stop, g.is_closed) for g in found.gops]


def test_closed_groups_begin_with_an_idr(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mp4", more=(*X264, "keyint=10:bframes=2:scenecut=0"))
    assert bounds(structure(path)) == [(0, 10, True), (10, 20, True), (20, 25, True)]
    assert structure(path).habits == Habits(longest_group=10, set_number=1)


def test_a_recovery_point_is_a_group_of_its_own_and_not_closed(tmp_path: Path) -> None:
    words = "keyint=12:bframes=2:b-adapt=0:scenecut=0:open-gop=1"
    path = lavfi.video(tmp_path / "a.mp4", more=(*X264, words))
    found = structure(path).gops
    assert [g.is_closed for g in found] == [True, *[False] * (len(found) - 1)]
    info, times = probe_with_times(path)
    assert times is not None
    # The packet that opens the group is not its first frame: those before it refer to both sides.
    assert places(path, info, times)[found[1].start] > found[1].start


@pytest.mark.parametrize(("words", "closed"), [("open-gop=0", 3), ("open-gop=1", 1)])
def test_hevc_is_closed_at_an_idr_only(tmp_path: Path, words: str, closed: int) -> None:
    more = ("-c:v", "libx265", "-x265-params", f"log-level=error:keyint=10:min-keyint=10:scenecut=0:{words}")
    found = structure(lavfi.video(tmp_path / "a.mp4", more=more))
    assert sum(g.is_closed for g in found.gops) == closed
    assert found.gops[-1].stop == 25


def test_every_prores_frame_stands_for_itself(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mov", more=("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"))
    assert bounds(structure(path)) == [(n, n + 1, True) for n in range(25)]


def test_groups_count_frames_as_the_uneven_title_does(tmp_path: Path) -> None:
    path = lavfi.uneven(tmp_path / "a.mp4")
    info, times = probe_with_times(path)
    assert times is not None
    assert gops(path, info, times) == (Gop(start=0, stop=24, is_closed=True),)
    assert sorted(places(path, info, times).tolist()) == list(range(24))


def test_packets_that_an_edit_list_hides_make_their_group_no_place_to_enter(tmp_path: Path) -> None:
    whole = lavfi.video(tmp_path / "whole.mp4", more=(*X264, "keyint=10:bframes=0:scenecut=0"))
    # Cut between two key frames: the packets before are kept to decode from, and not shown.
    path = lavfi.make(tmp_path / "cut.mp4", "-ss", "0.2", "-i", file_url(whole), "-c", "copy")
    found = structure(path)
    assert found.gops[0].is_closed is False
    assert found.gops[1].is_closed


def test_a_container_that_does_not_time_its_packets_has_no_groups(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.avi", more=("-bf", "2"))
    assert structure(path).gops == ()


def test_parameter_sets_are_those_of_header_and_packets(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mp4")
    stream = lavfi.make(tmp_path / "a.ts", "-i", file_url(path), "-c", "copy")
    assert len(structure(path).sets) == 2
    assert structure(stream).sets == structure(path).sets
    assert not structure(stream).has_changing_sets


def test_a_title_joined_from_two_encodes_has_changing_sets(tmp_path: Path) -> None:
    parts = [
        lavfi.video(tmp_path / "a.ts", more=("-x264-params", "ref=1")),
        lavfi.video(tmp_path / "b.ts", more=("-x264-params", "ref=4")),
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    joined = lavfi.make(tmp_path / "both.mkv", "-i", file_url(path), "-c", "copy", "-bsf:v", "setts=pts=N*40:dts=N*40")
    assert structure(joined).has_changing_sets


def test_a_record_of_it_gives_it_back(tmp_path: Path) -> None:
    found = structure(lavfi.video(tmp_path / "a.mp4"))
    assert Structure.of(found.plain()) == found
    assert found.plain()["gops"] == [[12, True, 2], [1, True, 1]]
