"""Regional languages and HDR descriptions survive in every container, and writing them moves nothing."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from preprocessing.errors import LayoutError
from preprocessing.media import isobmff, matroska
from preprocessing.media.hdr import StaticHdr, container_hdr, static_hdr
from preprocessing.media.labels import add_labels, full_languages, room
from preprocessing.media.probe import probe, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from preprocessing.media.tracks import CONTAINERS, TrackLabel
from tests.support import lavfi

HDR = StaticHdr(mastering=(13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450, 10_000_000, 50), light=(1000, 400))
PICTURE = TrackLabel(code="eng", hdr=HDR)
DUB = TrackLabel(name="Dub", code="por", language="pt-BR")
ENDINGS = ["mp4", "mov", "mkv"]


def film(folder: Path, ending: str, *, names: tuple[str, str] = ("", "Dub"), more: tuple[str, ...] = ()) -> Path:
    """Picture and sound, with room behind the names where the container needs it."""
    container = CONTAINERS[f".{ending}"]
    rooms = [room(container, name, wanted) or name for name, wanted in zip(names, (PICTURE, DUB), strict=True)]
    titles = ("-metadata:s:v:0", f"title={rooms[0]}", "-metadata:s:a:0", f"title={rooms[1]}")
    return lavfi.video(folder / f"film.{ending}", sound=True, more=(*titles, *more))


def packets(path: Path) -> list[list[str]]:
    """Stream, times, size and checksum of every packet; what a container says beside the first one is left out."""
    arguments = ("-i", file_url(path), "-map", "0", "-c", "copy", "-f", "framemd5", "pipe:1")
    text = run_media(ffmpeg_command(*arguments), deadline_s=20).stdout.decode()
    return [line.split(",")[:6] for line in text.splitlines() if not line.startswith("#")]


def frame_at(path: Path, at_s: float) -> bytes:
    arguments = ("-ss", str(at_s), "-i", file_url(path), "-frames:v", "1", "-f", "hash", "pipe:1")
    return run_media(ffmpeg_command(*arguments), deadline_s=20).stdout


@pytest.mark.parametrize("ending", ENDINGS)
class TestALabelledFile:
    def test_says_the_whole_language_and_how_it_was_mastered(self, tmp_path: Path, ending: str) -> None:
        path = film(tmp_path, ending)
        add_labels(path, CONTAINERS[f".{ending}"], [PICTURE, DUB])
        header = read_header(path, deadline_s=20)
        assert full_languages(path, header) == {1: "pt-BR"}
        assert container_hdr(header["streams"][0]) == HDR

    def test_has_every_packet_where_it_was(self, tmp_path: Path, ending: str) -> None:
        path = film(tmp_path, ending)
        before = packets(path)
        add_labels(path, CONTAINERS[f".{ending}"], [PICTURE, DUB])
        assert packets(path) == before

    def test_is_sought_in_as_before(self, tmp_path: Path, ending: str) -> None:
        """A seek uses the index, and a wrong index is not seen by reading from the beginning."""
        path = film(tmp_path, ending)
        before = frame_at(path, 0.7)
        add_labels(path, CONTAINERS[f".{ending}"], [PICTURE, DUB])
        assert frame_at(path, 0.7) == before

    def test_labelled_again_says_the_new_language_alone(self, tmp_path: Path, ending: str) -> None:
        path = film(tmp_path, ending)
        for language in ("es-419", "pt-BR"):
            label = TrackLabel(name="Dub", code="por", language=language)
            add_labels(path, CONTAINERS[f".{ending}"], [PICTURE, label])
        header = read_header(path, deadline_s=20)
        assert full_languages(path, header) == {1: "pt-BR"}
        assert container_hdr(header["streams"][0]) == HDR
        # Nothing of the longer tag is left behind the table.
        assert path.stat().st_size == once(tmp_path, ending).stat().st_size


def once(folder: Path, ending: str) -> Path:
    (folder / "once").mkdir()
    path = film(folder / "once", ending)
    add_labels(path, CONTAINERS[f".{ending}"], [PICTURE, DUB])
    return path


class TestMatroska:
    def test_names_are_given_back_and_the_size_stays(self, tmp_path: Path) -> None:
        path = film(tmp_path, "mkv", names=("Reel 1", "Dub"))
        size = path.stat().st_size
        matroska.label(path, [TrackLabel(name="Reel 1", hdr=HDR), DUB])
        tags = [s["tags"].get("title") for s in read_header(path, deadline_s=20)["streams"]]
        assert tags == ["Reel 1", "Dub"]
        assert path.stat().st_size == size

    def test_the_tables_checksum_is_that_of_what_is_in_it(self, tmp_path: Path) -> None:
        path = film(tmp_path, "mkv")
        matroska.label(path, [PICTURE, DUB])
        data = path.read_bytes()
        name = bytes.fromhex("1654AE6B")
        at = data.index(name, data.index(name) + 4) + 4  # the first is in the list of where what stands
        size = int.from_bytes(data[at : at + 2], "big") & 0x3FFF
        table = data[at + 2 : at + 2 + size]
        assert table[:2] == b"\xbf\x84"
        assert int.from_bytes(table[2:6], "little") == zlib.crc32(table[6:])

    def test_a_table_without_room_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = lavfi.video(tmp_path / "film.mkv", sound=True)
        before = path.read_bytes()
        with pytest.raises(LayoutError, match="no room"):
            matroska.label(path, [TrackLabel(name="n" * 300), None])
        assert path.read_bytes() == before

    @pytest.mark.parametrize("size", [30, 700])
    def test_a_file_that_ends_early_is_refused(self, tmp_path: Path, size: int) -> None:
        path = film(tmp_path, "mkv")
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(LayoutError):
            matroska.full_languages(path)

    def test_more_labels_than_tracks_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LayoutError, match="1 tracks fewer"):
            matroska.label(film(tmp_path, "mkv"), [None, None, DUB])

    def test_a_file_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LayoutError, match="does not begin as Matroska does"):
            matroska.full_languages(film(tmp_path, "mp4"))


class TestMp4:
    def test_a_track_that_is_not_to_play_by_itself_is_switched_off(self, tmp_path: Path) -> None:
        (tmp_path / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
        inputs = ("-i", str(lavfi.video(tmp_path / "a.mp4")), "-i", str(tmp_path / "a.srt"))
        path = lavfi.make(tmp_path / "film.mp4", *inputs, "-c", "copy", "-c:s", "mov_text", "-disposition:s", "0")
        flags = [s["disposition"]["default"] for s in read_header(path, deadline_s=20)["streams"]]
        assert flags == [1, 1]  # ffmpeg switches the first track of each kind on, whatever it was asked
        isobmff.label(path, [None, TrackLabel(is_enabled=False)])
        assert [s["disposition"]["default"] for s in read_header(path, deadline_s=20)["streams"]] == [1, 0]

    @pytest.mark.parametrize("code", ["fre", "swe", "por", "zul"])
    def test_quicktime_files_hold_every_language_by_its_letters(self, tmp_path: Path, code: str) -> None:
        path = film(tmp_path, "mov")
        isobmff.label(path, [None, TrackLabel(code=code)])
        assert read_header(path, deadline_s=20)["streams"][1]["tags"]["language"] == code

    def test_a_table_of_contents_before_the_pictures_is_refused(self, tmp_path: Path) -> None:
        path = film(tmp_path, "mp4", more=("-movflags", "+faststart"))
        before = path.read_bytes()
        with pytest.raises(LayoutError, match="does not stand at its end"):
            isobmff.label(path, [PICTURE, DUB])
        assert path.read_bytes() == before

    def test_a_file_that_ends_early_is_refused(self, tmp_path: Path) -> None:
        path = film(tmp_path, "mp4")
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(LayoutError, match="after the end of the file"):
            isobmff.full_languages(path)

    def test_a_damaged_table_is_refused(self, tmp_path: Path) -> None:
        path = film(tmp_path, "mp4")
        data = bytearray(path.read_bytes())
        data[data.index(b"mdia") - 4] = 0x70
        path.write_bytes(data)
        with pytest.raises(LayoutError, match="not as long as it says"):
            isobmff.full_languages(path)

    def test_light_beyond_what_the_box_can_say_is_the_most_it_can(self, tmp_path: Path) -> None:
        path = film(tmp_path, "mp4")
        isobmff.label(path, [TrackLabel(hdr=StaticHdr(light=(70_000, 400))), None])
        assert container_hdr(read_header(path, deadline_s=20)["streams"][0]).light == (65_535, 400)


def test_a_description_that_only_the_container_has_is_read(tmp_path: Path) -> None:
    """ProRes, say, has no place for it in its pictures."""
    path = film(tmp_path, "mov", more=("-color_trc", "smpte2084", "-color_primaries", "bt2020"))
    assert static_hdr(probe(path)) == StaticHdr()
    isobmff.label(path, [PICTURE, DUB])
    assert static_hdr(probe(path)) == HDR


def test_other_containers_say_no_whole_languages(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "film.avi", more=("-bf", "0"))
    assert full_languages(path, read_header(path, deadline_s=20)) == {}


def test_a_label_that_needs_no_room_leaves_the_name_as_it_is() -> None:
    assert room(CONTAINERS[".mkv"], "Dub", TrackLabel(code="ger")) is None
    assert room(CONTAINERS[".mp4"], "Dub", DUB) is None
    assert (room(CONTAINERS[".mkv"], "Dub", DUB) or "").startswith("Dub~~~")


def test_half_a_description_is_none() -> None:
    colours = {"side_data_type": "Mastering display metadata", "red_x": "34000/50000"}
    light = {"side_data_type": "Content light level metadata", "max_content": 1000, "max_average": 400}
    assert container_hdr({"side_data_list": [colours, light]}) == StaticHdr(light=(1000, 400))
    assert not StaticHdr()
