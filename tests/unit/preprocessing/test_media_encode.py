"""The master has the source's codec, depth, colours and times, and is nearly the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import MediaToolError, ToolMissing, Unusable
from preprocessing.media.base import VideoStream
from preprocessing.media.encode import EncodeConfig, MasterReport, MasterWriter, encoding_for
from preprocessing.media.hdr import x265_hdr_parameters
from preprocessing.media.native import NativeFrame, NativeSource
from preprocessing.media.probe import probe_with_times
from shards.schema import FrameTimes
from tests.support import lavfi
from tests.support.streams import media_info

QUICK = EncodeConfig(preset="veryfast")
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")


def remade(source: Path, out: Path) -> tuple[MasterReport, VideoStream, FrameTimes]:
    """The source's frames through the writer, unchanged."""
    info, times = probe_with_times(source)
    assert times is not None
    with MasterWriter(out, info, times, config=QUICK) as writer:
        for frame in NativeSource(source, info, times=times).frames():
            writer.write(frame)
        report = writer.finish()
    made, made_times = probe_with_times(out)
    assert made.video is not None
    assert made_times is not None
    return report, made.video, made_times


def seconds(times: FrameTimes) -> list[object]:
    return [times.at(i).seconds for i in range(len(times))]


SOURCES = {
    "film": ("a.mp4", {"fps": "24000/1001", "more": BT709}),
    "full": ("a.mp4", {"more": ("-pix_fmt", "yuvj420p")}),
    "ten": ("a.mp4", {"more": ("-pix_fmt", "yuv422p10le", *BT709)}),
    "hevc": ("a.mp4", {"more": ("-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le")}),
    "prores": ("a.mov", {"more": ("-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le")}),
    "late": ("a.mp4", {"more": ("-output_ts_offset", "0.48"), "sound": True}),
}


@pytest.mark.parametrize("kind", [*SOURCES, "uneven"])
def test_a_master_is_the_source_but_for_its_bits(tmp_path: Path, kind: str) -> None:
    if kind == "uneven":
        path = lavfi.uneven(tmp_path / "vfr.mp4")
    else:
        name, options = SOURCES[kind]
        path = lavfi.video(tmp_path / name, seconds=0.6, **options)
    info, times = probe_with_times(path)
    assert info.video is not None
    assert times is not None
    report, video, made_times = remade(path, tmp_path / "master.mov")
    assert seconds(made_times) == seconds(times)
    for same in ("codec", "pix_fmt", "bit_depth", "width", "height", "sample_aspect", "is_vfr"):
        assert getattr(video, same) == getattr(info.video, same), same
    for tag in ("color_range", "color_space", "color_transfer", "color_primaries"):
        assert getattr(video, tag) == getattr(info.video, tag), tag
    assert video.frame_rate == info.video.frame_rate
    assert report.notes == ()
    assert report.num_frames == len(times)


def test_an_encode_is_near_to_transparent(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mp4", size="128x96", seconds=0.5)
    remade(path, tmp_path / "master.mov")
    pairs = []
    for file in (path, tmp_path / "master.mov"):
        info, times = probe_with_times(file)
        pairs.append(np.stack([f.planes[0] for f in NativeSource(file, info, times=times).frames()]).astype(float))
    error = ((pairs[0] - pairs[1]) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 42


def test_a_codec_we_have_no_encoder_of_becomes_h264_with_a_note(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.avi", seconds=0.4, more=("-c:v", "mpeg4", "-bf", "0"))
    report, video, _ = remade(path, tmp_path / "master.mov")
    assert video.codec == report.codec == "h264"
    assert "mpeg4" in report.notes[0]


def test_interlaced_lines_stay_interlaced(tmp_path: Path) -> None:
    more = ("-vf", "interlace", "-flags", "+ilme+ildct")
    path = lavfi.video(tmp_path / "a.mp4", fps="50", seconds=0.4, more=more)
    info, _ = probe_with_times(path)
    assert info.video is not None
    assert info.video.is_interlaced
    assert remade(path, tmp_path / "master.mov")[1].field_order == info.video.field_order


def test_what_a_picture_was_mastered_on_is_kept(tmp_path: Path) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    words = f"log-level=error:master-display={display}:max-cll=1000,400:hdr10=1"
    tags = ("-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
    coding = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", words)
    path = lavfi.video(tmp_path / "a.mp4", seconds=0.2, more=(*coding, *tags))
    remade(path, tmp_path / "master.mov")
    asked, kept = (x265_hdr_parameters(probe_with_times(p)[0]) for p in (path, tmp_path / "master.mov"))
    assert f"master-display={display}" in asked
    assert "max-cll=1000,400" in asked
    assert kept == asked


def test_anamorphic_pixels_stay_so(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mp4", seconds=0.4, more=("-vf", "setsar=16/11"))
    assert remade(path, tmp_path / "master.mov")[1].sample_aspect.as_integer_ratio() == (16, 11)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lavfi.video(tmp_path_factory.mktemp("writer") / "a.mp4", seconds=0.4)


def writer_and_frames(path: Path, out: Path) -> tuple[MasterWriter, list[NativeFrame]]:
    info, times = probe_with_times(path)
    assert times is not None
    return MasterWriter(out, info, times, config=QUICK), list(NativeSource(path, info, times=times).frames())


def test_a_frame_out_of_turn_is_refused(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "out.mov")
    with writer:
        writer.write(frames[0])
        with pytest.raises(ValueError, match="frame 2 was written where frame 1 is due"):
            writer.write(frames[2])


def test_a_frame_of_another_size_is_refused(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "out.mov")
    planes = (frames[0].planes[0][:-2], *frames[0].planes[1:])
    with writer, pytest.raises(ValueError, match="of the source's size"):
        writer.write(NativeFrame(index=0, planes=planes, pix_fmt="yuv420p"))


def test_an_early_finish_is_refused_and_leaves_nothing_behind(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "out.mov")
    with writer:
        writer.write(frames[0])
        with pytest.raises(ValueError, match="1 frames were written, 10 are due"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_dies_says_why(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "no such folder" / "out.mov")

    def write_all() -> None:
        with writer:
            for frame in frames:
                writer.write(frame)
            writer.finish()

    with pytest.raises(MediaToolError, match="No such file or directory"):
        write_all()


def test_a_size_no_encoder_takes_is_unusable() -> None:
    with pytest.raises(Unusable, match="odd_size"):
        encoding_for(media_info(width=641), QUICK)


def test_a_missing_encoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.media.encode.encoders", lambda: frozenset({"libx264"}))
    with pytest.raises(ToolMissing, match="libx265"):
        encoding_for(media_info(codec="hevc"), QUICK)
