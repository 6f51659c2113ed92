"""A joined picture decodes to what its pieces decode to, on the source's times, without a word from any decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from preprocessing.errors import MediaToolError, Unusable
from preprocessing.media.base import MediaInfo
from preprocessing.media.chunks import Chunk, copying, plan_chunks
from preprocessing.media.demux import opened, packets
from preprocessing.media.encode import ChunkWriter, EncodeConfig, Encoding, encoding_for
from preprocessing.media.gops import Structure, read_structure
from preprocessing.media.join import MasterReport, Part, join
from preprocessing.media.native import NativeFrame, NativeSource
from preprocessing.media.probe import probe_with_times, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from preprocessing.media.tracks import CONTAINERS
from shards.schema import FrameTimes
from tests.support import lavfi

QUICK = EncodeConfig(preset="veryfast")
X264 = ("-preset", "medium", "-x264-params")
HEVC = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error:keyint=12")
SOURCES = {
    "B-frames": ("a.mp4", {"more": (*X264, "bframes=4:b-pyramid=normal:ref=4:keyint=12")}),
    "open groups": ("a.mp4", {"more": (*X264, "open-gop=1:bframes=3:keyint=12")}),
    "no B-frames": ("a.mp4", {"more": (*X264, "bframes=0:keyint=12:ref=3")}),
    "baseline": ("a.mp4", {"more": ("-bf", "0", "-profile:v", "baseline")}),
    "ten bits": ("a.mp4", {"more": ("-pix_fmt", "yuv422p10le")}),
    "full range": ("a.mp4", {"more": ("-pix_fmt", "yuvj420p")}),
    "number taken": ("a.mp4", {"more": ("-x264-params", "sps-id=1")}),
    "intra": ("a.mp4", {"more": ("-g", "1")}),
    "late": ("a.mp4", {"more": ("-output_ts_offset", "0.48")}),
    "ProRes": ("a.mov", {"more": ("-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le")}),
    "matroska": ("a.mkv", {}),
}


@dataclass
class Job:
    """A title of 2 seconds on its way through chunks to one picture."""

    path: Path
    folder: Path
    info: MediaInfo
    times: FrameTimes
    structure: Structure
    encoding: Encoding

    @classmethod
    def of(cls, path: Path, folder: Path) -> Job:
        info, times = probe_with_times(path)
        assert times is not None
        structure = read_structure(path, info, times)
        return cls(path, folder, info, times, structure, encoding_for(info, QUICK, "match", structure.habits))

    def chunks(self, *changed: tuple[int, int], cuts: Sequence[int] = ()) -> tuple[Chunk, ...]:
        touched = np.zeros(len(self.times), dtype=bool)
        for start, stop in changed:
            touched[start:stop] = True
        why = copying(self.info, "match", CONTAINERS[".mov"], self.structure, is_untouched=not touched.any())
        return plan_chunks(touched, cuts, self.structure.gops, may_copy=why is None, most=20, least_copied=8)

    def part(self, chunk: Chunk) -> Part:
        """The piece, encoded if it is not to be copied. Every frame of it has a mark that the source has not."""
        if chunk.is_copied:
            return Part(chunk=chunk, path=None)
        out = self.folder / f"{chunk.start}.mov"
        last = len(self.times) - 1
        source, first = NativeSource(self.path, self.info, times=self.times), min(chunk.start, last)
        with ChunkWriter(out, self.info, chunk.start, chunk.stop, encoding=self.encoding, config=QUICK) as writer:
            shown = {frame.index: marked(frame) for frame in source.frames(first, min(chunk.stop, last + 1))}
            for index in range(chunk.start, chunk.stop):
                writer.write(dataclasses.replace(shown[min(index, last)], index=index))
            return Part(chunk=chunk, path=writer.finish())

    def join(self, parts: Sequence[Part], times: FrameTimes | None = None) -> MasterReport:
        return join(
            parts,
            self.path,
            self.folder / "joined.mov",
            times or self.times,
            info=self.info,
            source_times=self.times,
            sets=self.structure.sets,
            encoding=self.encoding,
        )


def marked(frame: NativeFrame) -> NativeFrame:
    luma = frame.planes[0].copy()
    luma[:8, :8] = 16
    return dataclasses.replace(frame, planes=(luma, *frame.planes[1:]))


def decoded(path: Path) -> list[str]:
    """A checksum of each frame, from the system's ffmpeg, which must have nothing to say."""
    command = ffmpeg_command(
        "-i", file_url(path), "-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "pipe:1"
    )
    command[command.index("error")] = "warning"
    result = run_media(command, deadline_s=60)
    assert result.stderr == ""
    return [line.split(",")[-1].strip() for line in result.stdout.decode().splitlines() if not line.startswith("#")]


def expected(job: Job, parts: Sequence[Part]) -> list[str]:
    whole = decoded(job.path)
    pieces = (whole[p.chunk.start : p.chunk.stop] if p.path is None else decoded(p.path)[: len(p.chunk)] for p in parts)
    return [line for piece in pieces for line in piece]


def source_of(kind: str, folder: Path) -> Path:
    if kind == "transport stream":
        return lavfi.make(folder / "a.ts", "-i", file_url(lavfi.video(folder / "a.mp4", seconds=2)), "-c", "copy")
    name, options = SOURCES[kind]
    return lavfi.video(folder / name, seconds=2, **options)


@pytest.mark.parametrize("kind", [*SOURCES, "transport stream"])
def test_copied_runs_are_the_source_and_the_others_their_pieces(tmp_path: Path, kind: str) -> None:
    job = Job.of(source_of(kind, tmp_path), tmp_path)
    changed = (14, 19) if kind == "open groups" else (26, 30)
    parts = [job.part(chunk) for chunk in job.chunks(changed)]
    assert {part.chunk.is_copied for part in parts} == {True, False}
    report = job.join(parts)
    assert report.num_copied == sum(len(p.chunk) for p in parts if p.path is None) >= 8
    assert decoded(report.path) == expected(job, parts)
    _, times = probe_with_times(report.path)
    assert times is not None
    assert [times.at(n).seconds for n in range(50)] == [job.times.at(n).seconds for n in range(50)]


def test_another_decoder_has_nothing_to_say_either(tmp_path: Path) -> None:
    job = Job.of(source_of("B-frames", tmp_path), tmp_path)
    report = job.join([job.part(chunk) for chunk in job.chunks((26, 30))])
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said, av.open(str(report.path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            frames = list(container.decode(video=0))
    finally:
        av.logging.set_level(level)
    assert said == []
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in range(50)])


def test_copied_packets_are_the_sources_own_bytes(tmp_path: Path) -> None:
    job = Job.of(source_of("B-frames", tmp_path), tmp_path)
    parts = [job.part(chunk) for chunk in job.chunks((26, 30))]
    with opened(job.path) as container:
        theirs = [bytes(p) for p in packets(container, 0)]
    with opened(job.join(parts).path) as container:
        ours = [bytes(p) for p in packets(container, 0)]
    same = [a == b for a, b in zip(ours, theirs, strict=True)]
    assert sum(same) == sum(len(p.chunk) for p in parts if p.path is None)


def test_bytes_are_equal_whether_pieces_are_made_in_order_or_not(tmp_path: Path) -> None:
    job = Job.of(source_of("B-frames", tmp_path), tmp_path)
    chunks = job.chunks((0, 50), cuts=[17])
    assert [c.stop for c in chunks] == [17, 34, 50]
    once = job.join([job.part(chunk) for chunk in chunks]).path.read_bytes()
    again = {chunk.start: job.part(chunk) for chunk in reversed(chunks)}
    assert job.join([again[chunk.start] for chunk in chunks]).path.read_bytes() == once


@pytest.mark.parametrize("kind", ["HEVC", "interlaced", "ProRes", "open groups"])
def test_a_title_in_which_nothing_changed_is_copied_whole(tmp_path: Path, kind: str) -> None:
    if kind == "HEVC":
        path = lavfi.video(tmp_path / "a.mp4", seconds=2, more=HEVC)
    elif kind == "interlaced":
        more = ("-vf", "interlace", "-flags", "+ilme+ildct")
        path = lavfi.video(tmp_path / "a.mp4", fps="50", seconds=2, more=more)
    else:
        path = source_of(kind, tmp_path)
    job = Job.of(path, tmp_path)
    assert job.chunks() == (Chunk(start=0, stop=len(job.times), is_copied=True),)
    report = job.join([Part(chunk=job.chunks()[0], path=None)])
    assert report.encoder is None
    assert report.num_copied == len(job.times)
    assert decoded(report.path) == decoded(job.path)


@pytest.mark.parametrize("changed", [(), ((30, 32),)])
def test_hevc_has_the_name_that_every_player_knows(tmp_path: Path, changed: tuple[tuple[int, int], ...]) -> None:
    job = Job.of(lavfi.video(tmp_path / "a.mp4", seconds=2, more=HEVC), tmp_path)
    report = job.join([job.part(chunk) for chunk in job.chunks(*changed)])
    assert read_header(report.path, deadline_s=60)["streams"][0]["codec_tag_string"] == "hvc1"


def test_hevc_of_which_a_frame_changed_is_encoded_whole(tmp_path: Path) -> None:
    job = Job.of(lavfi.video(tmp_path / "a.mp4", seconds=2, more=HEVC), tmp_path)
    parts = [job.part(chunk) for chunk in job.chunks((30, 32))]
    assert not any(part.chunk.is_copied for part in parts)
    report = job.join(parts)
    assert decoded(report.path) == expected(job, parts)


def test_an_uneven_rate_comes_back_tick_for_tick(tmp_path: Path) -> None:
    job = Job.of(lavfi.uneven(tmp_path / "a.mp4"), tmp_path)
    parts = [job.part(Chunk(start=a, stop=b, is_copied=False)) for a, b in ((0, 7), (7, 24))]
    _, times = probe_with_times(job.join(parts).path)
    assert times is not None
    assert times.pts.tolist() == job.times.pts.tolist()


def test_held_frames_after_the_sources_last_are_part_of_the_picture(tmp_path: Path) -> None:
    job = Job.of(source_of("B-frames", tmp_path), tmp_path)
    step = job.times.pts[1] - job.times.pts[0]
    more = job.times.pts[-1] + step * np.arange(1, 11)
    times = FrameTimes(pts=np.concatenate([job.times.pts, more]), base=job.times.base)
    chunks = plan_chunks(np.zeros(60, dtype=bool), [], job.structure.gops, may_copy=True)
    assert [(c.start, c.stop, c.is_copied) for c in chunks] == [(0, 50, True), (50, 60, False)]
    parts = [job.part(chunk) for chunk in chunks]
    assert decoded(job.join(parts, times).path) == expected(job, parts)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("refused")
    return Job.of(source_of("B-frames", folder), folder)


class TestWhatIsRefused:
    def test_pieces_that_leave_frames_out(self, job: Job) -> None:
        first = job.part(Chunk(start=0, stop=20, is_copied=False))
        with pytest.raises(ValueError, match="have 20 frames, 50 are due"):
            job.join([first])
        with pytest.raises(ValueError, match="does not follow frame 20"):
            job.join([first, first])

    def test_a_piece_with_other_frames_than_it_is_named_for(self, job: Job) -> None:
        piece = job.part(Chunk(start=0, stop=20, is_copied=False))
        longer = Part(chunk=Chunk(start=0, stop=50, is_copied=False), path=piece.path)
        with pytest.raises(MediaToolError, match="20 packets for 50 frames"):
            job.join([longer])

    def test_a_piece_from_another_encoder(self, job: Job) -> None:
        other = dataclasses.replace(job, encoding=encoding_for(job.info, EncodeConfig(preset="slow")))
        parts = [
            job.part(Chunk(start=0, stop=20, is_copied=False)),
            other.part(Chunk(start=20, stop=50, is_copied=False)),
        ]
        with pytest.raises(MediaToolError, match="encoders of different versions"):
            job.join(parts)
        assert not (job.folder / ".joined.mov.part").exists()

    def test_a_copy_of_packets_that_do_not_stand_together(self, job: Job) -> None:
        chunks = [Chunk(start=0, stop=3, is_copied=True), Chunk(start=3, stop=50, is_copied=False)]
        with pytest.raises(Unusable, match="do not stand together"):
            job.join([job.part(chunk) for chunk in chunks])
