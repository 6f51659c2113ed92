"""What a file is said to be is what it is, and what cannot be used says so by a stable code."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import MediaToolTimeout, Unusable
from preprocessing.media import probe as module
from preprocessing.media.probe import bit_depth, frame_times, is_variable, probe, probe_with_times
from preprocessing.media.runner import MediaResult, run_media
from shards.errors import RequestError
from shards.schema import FrameTimes
from tests.support import lavfi


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lavfi.video(tmp_path_factory.mktemp("probe") / "plain.mp4", sound=True)


def code_of(path: Path, **options: bool) -> str:
    with pytest.raises(Unusable) as caught:
        probe(path, **options)
    return caught.value.rejection.code


def test_a_plain_video_is_described_in_full(plain: Path) -> None:
    info = probe(plain)
    assert info.video is not None
    video = info.video
    assert (video.codec, video.width, video.height, video.pix_fmt, video.bit_depth) == ("h264", 64, 48, "yuv420p", 8)
    assert (video.num_frames, video.frame_rate, video.rotation, video.is_vfr) == (25, Fraction(25), 0, False)
    assert [(a.codec, a.rate_hz, a.channels, a.start_s) for a in info.audio] == [("aac", 48000, 1, Fraction(0))]
    assert info.size_bytes == plain.stat().st_size


def test_times_come_in_display_order_whatever_order_packets_have(plain: Path) -> None:
    info = probe(plain)
    times = frame_times(plain, info)
    assert [t.seconds for t in map(times.at, range(25))] == [Fraction(n, 25) for n in range(25)]


def test_zero_bytes_are_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert code_of(tmp_path / "empty.mp4") == "empty_file"


@pytest.mark.parametrize("content", [b"just a text\n" * 50, b"\x00" * 5000, b"\xff\xfb\x90", b"RIFF1234WEBPVP8 "])
def test_what_is_no_container_is_not_media(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bait.mp4").write_bytes(content)
    assert code_of(tmp_path / "bait.mp4") == "not_media"


def test_what_begins_as_a_container_and_cannot_be_read_on_is_unreadable(plain: Path, tmp_path: Path) -> None:
    data = bytearray(plain.read_bytes())
    at = data.index(b"stsz") + 4 + 8
    data[at : at + 4] = b"\xff\xff\xff\xf0"
    (tmp_path / "bent.mp4").write_bytes(data)
    assert code_of(tmp_path / "bent.mp4") == "unreadable"


def test_a_text_file_is_not_media_although_ffmpeg_could_draw_it(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("Once upon a time there was a file.\n" * 20)
    assert code_of(tmp_path / "story.txt") == "not_media"


def test_sound_alone_has_no_video_unless_that_is_asked_for(tmp_path: Path) -> None:
    path = lavfi.sine(tmp_path / "tone.wav", seconds=0.5)
    assert code_of(path) == "no_video"
    info = probe(path, need_video=False)
    assert info.video is None
    assert info.audio[0].duration_s == Fraction(1, 2)


def test_cover_art_is_no_moving_picture(tmp_path: Path) -> None:
    cover = lavfi.make(tmp_path / "cover.png", "-f", "lavfi", "-i", "testsrc2=size=32x32", "-frames:v", "1")
    song = lavfi.sine(tmp_path / "song.m4a", seconds=0.3)
    both = ("-i", str(song), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0")
    path = lavfi.make(tmp_path / "both.m4a", *both, "attached_pic")
    assert code_of(path) == "no_video"
    assert probe(path, need_video=False).other_streams == ("attached_pic",)


def test_a_file_cut_before_its_table_of_contents_is_unreadable(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    assert code_of(tmp_path / "cut.mp4") == "unreadable"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_file_cut_after_its_table_of_contents_is_truncated(tmp_path: Path, ending: str) -> None:
    whole = lavfi.video(
        tmp_path / f"whole.{ending}", size="128x96", more=("-movflags", "+faststart") if ending == "mp4" else ()
    )
    (tmp_path / f"cut.{ending}").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert code_of(tmp_path / f"cut.{ending}") == "truncated"


def test_a_missing_file_and_a_folder_are_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(RequestError, match="not a file"):
        probe(tmp_path)


@pytest.mark.parametrize("name", ["-i.mp4", "two words.mp4", "Übung 影片.mp4", "a:b.mp4", "50%d.mp4", "quo'te\".mp4"])
def test_odd_names_are_only_names(plain: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(plain.read_bytes())
    info = probe(tmp_path / name)
    assert info.video is not None
    assert info.video.num_frames == 25


@pytest.mark.parametrize(("clockwise", "size"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_a_rotation_flag_turns_the_displayed_size(
    plain: Path, tmp_path: Path, clockwise: int, size: tuple[int, int]
) -> None:
    video = probe(lavfi.turned(tmp_path / "turned.mp4", plain, clockwise)).video
    assert video is not None
    assert (video.rotation, (video.width, video.height)) == (clockwise, size)


def test_an_uneven_frame_rate_is_seen_and_averaged(tmp_path: Path) -> None:
    path = lavfi.uneven(tmp_path / "vfr.mp4")
    info, times = probe_with_times(path)
    assert info.video is not None
    assert times is not None
    assert info.video.is_vfr
    assert set(np.diff(times.pts)) == {90000 // 24, 2 * 90000 // 24}
    assert abs(float(info.video.frame_rate) - 16) < 0.5


def test_milliseconds_do_not_make_an_even_rate_uneven() -> None:
    pts = np.round(np.arange(100) * 1000 / 29.97).astype(np.int64)
    assert not is_variable(FrameTimes(pts=pts, base=Fraction(1, 1000)))


def test_one_missing_frame_makes_a_rate_uneven() -> None:
    pts = np.delete(np.arange(100, dtype=np.int64) * 512, 50)
    assert is_variable(FrameTimes(pts=pts, base=Fraction(1, 12800)))


def test_film_rates_keep_their_exact_fraction(tmp_path: Path) -> None:
    video = probe(lavfi.video(tmp_path / "film.mkv", fps="24000/1001")).video
    assert video is not None
    assert not video.is_vfr
    assert video.frame_rate == Fraction(24000, 1001)


def test_ten_bits_and_colour_tags_are_told(tmp_path: Path) -> None:
    tags = ("-pix_fmt", "yuv422p10le", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    video = probe(lavfi.video(tmp_path / "ten.mp4", seconds=0.2, more=(*tags, "-color_range", "tv"))).video
    assert video is not None
    assert (video.pix_fmt, video.bit_depth) == ("yuv422p10le", 10)
    assert (video.color_space, video.color_primaries, video.color_transfer) == ("bt709", "bt709", "bt709")
    assert video.color_range == "tv"


def test_pictures_without_times_of_their_own_are_asked_by_decoding(tmp_path: Path) -> None:
    # B-frames in AVI: packets carry no PTS at all.
    path = lavfi.video(tmp_path / "old.avi", more=("-c:v", "mpeg4", "-bf", "2"))
    info, times = probe_with_times(path)
    assert info.video is not None
    assert times is not None
    assert len(times) == info.video.num_frames == 25
    assert len(set(np.diff(times.pts))) == 1


def test_a_late_picture_keeps_its_start(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "late.mp4", more=("-output_ts_offset", "0.5"), sound=True)
    video = probe(path).video
    assert video is not None
    assert video.start_pts * video.time_base == Fraction(1, 2)


def test_the_deadline_reaches_ffprobe(plain: Path) -> None:
    with pytest.raises(MediaToolTimeout):
        probe(plain, deadline_s=0.001)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("yuv420p", 8), ("yuvj422p", 8), ("yuv420p10le", 10), ("p010le", 10), ("yuv444p12be", 12), ("gray16le", 16),
     ("nv12", 8), ("gbrp10le", 10), ("rgb24", 8), ("yuva444p10le", 10), ("p016le", 16)],
)  # fmt: skip
def test_bits_are_read_off_a_pixel_formats_name(name: str, bits: int) -> None:
    assert bit_depth(name) == bits


def test_a_file_is_asked_once_for_as_long_as_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(command: list[str], *, deadline_s: float) -> MediaResult:
        asked.append(command)
        return run_media(command, deadline_s=deadline_s)

    monkeypatch.setattr(module, "run_media", counted)
    path = lavfi.video(tmp_path / "a.mp4", seconds=0.4)
    first = probe_with_times(path)
    assert len(asked) == 2  # its header and its packets
    assert probe_with_times(path)[0] == first[0]
    assert len(asked) == 2
    lavfi.video(path, seconds=0.8)
    assert probe(path).video.num_frames == 20  # type: ignore[union-attr]
    assert len(asked) == 4
