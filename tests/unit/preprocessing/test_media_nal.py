"""NAL units: framings, numbers of parameter sets, and the header that serves two encoders."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from preprocessing.media.demux import opened, packets
from preprocessing.media.nal import Framing, avcc, free_id, is_closed_entry, is_entry, kind, set_id
from preprocessing.media.tools import file_url
from tests.support import lavfi


def read(path: Path) -> tuple[Framing, list[bytes]]:
    """The framing and the packets of a file's picture."""
    with opened(path) as container:
        context = container.streams.video[0].codec_context
        return Framing.of(context.name, context.extradata), [bytes(p) for p in packets(container, 0)]


def film(folder: Path, number: int = 0, *, keyint: int = 10, more: str = "") -> Path:
    words = f"sps-id={number}:keyint={keyint}:scenecut=0{more}"
    return lavfi.video(folder / f"film{number}.mp4", more=("-preset", "medium", "-x264-params", words))


def test_both_framings_show_the_same_units(tmp_path: Path) -> None:
    path = film(tmp_path)
    stream = lavfi.make(tmp_path / "film.ts", "-i", file_url(path), "-c", "copy")
    (lengths, ours), (codes, theirs) = read(path), read(stream)
    assert lengths.length_bytes == 4
    assert codes.length_bytes is None
    assert lengths.sets == codes.sets
    slices = [[u for u in lengths.units(p) if kind(u) in (1, 5)] for p in ours]
    assert [[u for u in codes.units(p) if kind(u) in (1, 5)] for p in theirs] == slices
    # What a transport stream repeats before the pictures stands in the header of the others.
    assert [list(Framing(length_bytes=4).units(codes.repacked(p)))[-1] for p in theirs] == [u[-1] for u in slices]
    assert not any(kind(u) in (7, 8) for p in theirs for u in Framing(length_bytes=4).units(codes.repacked(p)))


@pytest.mark.parametrize("number", [0, 1, 7, 31])
def test_a_parameter_sets_number_is_read(tmp_path: Path, number: int) -> None:
    assert [set_id(s) for s in read(film(tmp_path, number))[0].sets] == [(7, number), (8, number)]


def test_the_least_free_number_is_found(tmp_path: Path) -> None:
    zero, one = (read(film(tmp_path, number))[0].sets for number in (0, 1))
    assert free_id(zero) == 1
    assert free_id(one) == 0
    assert free_id([*zero, *one]) == 2
    assert free_id([b"\x68" + _ue(n) for n in range(32)]) is None


def _ue(number: int) -> bytes:
    """ue(v), followed by a stop bit."""
    bits = f"{number + 1:b}"
    bits = "0" * (len(bits) - 1) + bits + "1"
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def test_only_an_idr_is_a_closed_entry_and_a_recovery_point_is_an_open_one(tmp_path: Path) -> None:
    framing, found = read(film(tmp_path, more=":open-gop=1:bframes=2"))
    units = [list(framing.units(p)) for p in found]
    assert [n for n, u in enumerate(units) if is_closed_entry("h264", u)] == [0]
    entries = [n for n, u in enumerate(units) if is_entry("h264", u)]
    assert len(entries) == 3


def test_pictures_that_recover_only_gradually_are_no_entry(tmp_path: Path) -> None:
    framing, found = read(film(tmp_path, more=":intra-refresh=1:bframes=0"))
    assert [n for n, p in enumerate(found) if is_entry("h264", list(framing.units(p)))] == [0]


def test_the_header_of_two_encoders_holds_the_sets_of_both(tmp_path: Path) -> None:
    sets = [s for number in (0, 1) for s in read(film(tmp_path, number))[0].sets]
    box = avcc(sets, chroma=(2, 2), bit_depth=8)
    again = Framing.of("h264", box)
    assert again.length_bytes == 4
    assert sorted(again.sets) == sorted(sets)


def test_the_header_of_high_profiles_says_layout_and_depth(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mp4", more=("-pix_fmt", "yuv422p10le", "-x264-params", "sps-id=0"))
    with av.open(str(path)) as container:
        theirs = container.streams.video[0].codec_context.extradata
    assert theirs is not None
    assert avcc(Framing.of("h264", theirs).sets, chroma=(2, 1), bit_depth=10) == theirs
