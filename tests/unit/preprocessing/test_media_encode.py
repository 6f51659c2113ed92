"""An encoded picture has the source's codec, depth and colours, and is nearly the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import MediaToolError, ToolMissing, Unusable
from preprocessing.media.base import VideoStream
from preprocessing.media.chunks import Chunk
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.demux import opened
from preprocessing.media.encode import ChunkWriter, CodecPolicy, EncodeConfig, Encoding, encoding_for
from preprocessing.media.gops import read_structure
from preprocessing.media.hdr import x265_hdr_parameters
from preprocessing.media.join import MasterReport, Part, join
from preprocessing.media.nal import set_id
from preprocessing.media.native import NativeFrame, NativeSource
from preprocessing.media.probe import probe_with_times
from shards.schema import FrameTimes
from tests.support import lavfi
from tests.support.streams import media_info

QUICK = EncodeConfig(preset="veryfast")
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")


def encoded(source: Path, out: Path, start: int, stop: int, encoding: Encoding | None = None) -> Path:
    """These frames of the source as a piece."""
    info, times = probe_with_times(source)
    encoding = encoding or encoding_for(info, QUICK)
    with ChunkWriter(out, info, start, stop, encoding=encoding, config=QUICK) as writer:
        for frame in NativeSource(source, info, times=times).frames(start, stop):
            writer.write(frame)
        return writer.finish()


def remade(source: Path, out: Path) -> tuple[MasterReport, VideoStream, FrameTimes]:
    """The source's frames through the writer, unchanged, in one piece."""
    info, times = probe_with_times(source)
    assert times is not None
    whole = Chunk(start=0, stop=len(times), is_copied=False)
    part = Part(chunk=whole, path=encoded(source, out.with_name("piece.mov"), 0, len(times)))
    report = join(
        [part],
        source,
        out,
        times,
        info=info,
        source_times=times,
        sets=(),
        encoding=encoding_for(info, QUICK),
    )
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


def writer_and_frames(path: Path, out: Path) -> tuple[ChunkWriter, list[NativeFrame]]:
    info, times = probe_with_times(path)
    frames = list(NativeSource(path, info, times=times).frames(4))
    return ChunkWriter(out, info, 4, 10, encoding=encoding_for(info, QUICK), config=QUICK), frames


def test_a_frame_out_of_turn_is_refused(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "out.mov")
    with writer:
        writer.write(frames[0])
        with pytest.raises(ValueError, match="frame 6 was written where frame 5 is due"):
            writer.write(frames[2])


def test_a_frame_of_another_size_is_refused(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "out.mov")
    planes = (frames[0].planes[0][:-2], *frames[0].planes[1:])
    with writer, pytest.raises(ValueError, match="of the source's size"):
        writer.write(NativeFrame(index=4, planes=planes, pix_fmt="yuv420p"))


def test_an_early_finish_is_refused_and_leaves_nothing_behind(path: Path, tmp_path: Path) -> None:
    writer, frames = writer_and_frames(path, tmp_path / "out.mov")
    with writer:
        writer.write(frames[0])
        with pytest.raises(ValueError, match="1 frames were written, 6 are due"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
from preprocessing.media.encode import ChunkWriter, EncodeConfig, encoding_for
from preprocessing.media.native import NativeSource
from preprocessing.media.probe import probe
source, out = Path(sys.argv[1]), Path(sys.argv[2])
info = probe(source)
config = EncodeConfig(preset="veryfast")
with ChunkWriter(out, info, 0, 10, encoding=encoding_for(info, config), config=config) as writer:
    for frame in NativeSource(source, info).frames(0, 6):
        writer.write(frame)
    print("half-way", flush=True)
    sys.stdin.read()
"""


def test_a_process_killed_within_a_chunk_leaves_no_piece_and_the_next_makes_it_whole(
    path: Path, tmp_path: Path
) -> None:
    out, pipe = tmp_path / "out.mov", subprocess.PIPE
    command = [sys.executable, "-c", KILLED, str(path), str(out)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half-way\n"
        process.kill()
    assert not out.exists()
    assert encoded(path, out, 0, 10).read_bytes() == encoded(path, tmp_path / "other.mov", 0, 10).read_bytes()


def test_a_chunks_bytes_depend_on_its_frames_alone(path: Path, tmp_path: Path) -> None:
    first, again = (encoded(path, tmp_path / name, 3, 9) for name in ("a.mov", "b.mov"))
    assert first.read_bytes() == again.read_bytes()
    assert encoded(path, tmp_path / "c.mov", 2, 9).read_bytes() != first.read_bytes()


def test_every_chunk_begins_with_a_closed_group_and_has_the_same_header(path: Path, tmp_path: Path) -> None:
    for codec in ("libx264", "libx265"):
        more = ("-c:v", codec, *(("-x265-params", "log-level=error") if codec == "libx265" else ()))
        source = lavfi.video(tmp_path / f"{codec}.mp4", seconds=2, more=more)
        headers = set()
        for start, stop in ((0, 1), (1, 8), (8, 50)):
            piece = encoded(source, tmp_path / f"{start}.mov", start, stop)
            info, times = probe_with_times(piece)
            assert times is not None
            assert read_structure(piece, info, times).gops[0].is_closed
            with opened(piece) as container:
                headers.add(container.streams.video[0].codec_context.extradata)
        assert len(headers) == 1


def test_groups_are_as_long_as_the_sources_and_the_profile_is_its_own(tmp_path: Path) -> None:
    more = ("-preset", "medium", "-profile:v", "main", "-x264-params", "keyint=7:scenecut=0")
    source = lavfi.video(tmp_path / "a.mp4", more=more)
    info, times = probe_with_times(source)
    assert times is not None
    encoding = encoding_for(info, QUICK, "match", read_structure(source, info, times).habits)
    piece = encoded(source, tmp_path / "piece.mov", 0, 25, encoding)
    made, made_times = probe_with_times(piece)
    assert made.video is not None
    assert made_times is not None
    assert made.video.profile == "Main"
    found = read_structure(piece, made, made_times)
    assert found.habits.longest_group == 7
    # The source's parameter sets have number 0.
    assert [set_id(s)[1] for s in found.sets] == [1, 1]


POLICIES: list[tuple[CodecPolicy, str, str, str]] = [
    ("mezzanine:prores_422hq", "prores", "HQ", "yuv422p10le"),
    ("mezzanine:dnxhr_hqx", "dnxhd", "DNXHR HQX", "yuv422p10le"),
    ("review:h264", "h264", "High", "yuv420p"),
]


@pytest.mark.parametrize(("policy", "codec", "profile", "pix_fmt"), POLICIES)
@pytest.mark.parametrize("layout", ["yuv420p", "yuvj420p", "yuv444p10le"])
def test_a_policy_names_the_codec_and_the_picture_stays_the_same(
    tmp_path: Path, policy: CodecPolicy, codec: str, profile: str, pix_fmt: str, layout: str
) -> None:
    source = lavfi.video(tmp_path / "a.mp4", size="256x144", seconds=0.2, more=("-pix_fmt", layout, *BT709[:6]))
    info, _ = probe_with_times(source)
    piece = encoded(source, tmp_path / "piece.mov", 0, 5, encoding_for(info, QUICK, policy))
    video = probe_with_times(piece)[0].video
    assert video is not None
    assert (video.codec, video.profile, video.pix_fmt) == (codec, profile, pix_fmt)
    assert video.color_range in ("tv", None)
    ours, theirs = (next(FfmpegSource(p, probe_with_times(p)[0]).frames()).rgb.astype(float) for p in (piece, source))
    # Most colours would be ten levels off and more, if a range or a matrix were taken for another.
    assert np.abs(ours - theirs).mean() < 4


def test_a_policy_says_what_it_costs() -> None:
    notes = encoding_for(media_info(pix_fmt="yuv420p10le", bit_depth=10), QUICK, "review:h264").notes
    assert "review:h264" in notes[0]
    assert "8 bits" in notes[1]


def test_a_picture_too_small_for_a_codec_is_refused_with_another() -> None:
    with pytest.raises(Unusable, match="prores_422hq"):
        encoding_for(media_info(width=200, height=100), QUICK, "mezzanine:dnxhr_hqx")


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
