"""One catalogue of every kind of title, through all stages: what must not change has not, whatever the file is like."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.cluster.config import EngineConfig
from flows.dub import make_titles, plan_catalogue, report_titles
from flows.dubbing.config import DubConfig
from preprocessing.media.encode import EncodeConfig
from preprocessing.media.probe import probe_with_times, read_header
from preprocessing.media.tools import file_url
from preprocessing.sample.speech import RECORDED_DIR
from tests.support.lavfi import make, turned
from tests.support.models import nano_checkpoint
from tests.support.synthetic import talking_title

pytestmark = pytest.mark.timeout(600)
SIDE, SECONDS = 192, 0.8
QUICK = DubConfig(
    engine=EngineConfig(backoff_s=0),
    encode=EncodeConfig(preset="ultrafast"),
    adapt={"mode": "off"},  # type: ignore[arg-type]
)
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1", "-c:a", "copy")
HDR = (
    "hdr10=1:repeat-headers=1:log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)


def _face(folder: Path, name: str, *, fps: Fraction | int = 25, seconds: float = SECONDS, **more: Any) -> Path:
    return talking_title(folder, seconds=seconds, fps=fps, size=(SIDE, SIDE), name=name, **more).video


def _again(folder: Path, name: str, *arguments: str, ending: str = ".mp4", source: Path | None = None) -> Path:
    """The face, written another way."""
    film = source or _face(folder, f"{name}-source")
    return make(folder / f"{name}{ending}", "-i", file_url(film), *arguments)


def _uneven(folder: Path) -> Path:
    times_s = tuple(float(t) for t in np.cumsum([0.0, *([0.033, 0.05, 0.04] * 6)]))
    return _face(folder, "vfr", frame_times_s=times_s)


def _with_timecode(folder: Path) -> Path:
    film = _face(folder, "drop-source", fps=Fraction(30000, 1001))
    return make(folder / "drop.mov", "-i", file_url(film), "-c", "copy", "-timecode", "01:00:00;00")


def _surround(folder: Path) -> Path:
    film = _face(folder, "surround-source")
    sound = ("-c:a", "ac3", "-ac", "6", "-c:v", "copy", "-metadata:s:a:0", "language=fre")
    return make(folder / "surround.mkv", "-i", file_url(film), *sound)


def _cuts(folder: Path) -> Path:
    """A face, a colour, a face: it leaves, and the cut is hard."""
    film, other = _face(folder, "cuts-source"), _face(folder, "cuts-other", seed=3, line="morning.en")
    graph = "[1:v]format=yuv420p,setsar=1[c];[0:v][c][2:v]concat=n=3:v=1[v]"
    colour = ("-f", "lavfi", "-i", f"smptebars=size={SIDE}x{SIDE}:rate=25:duration=2.4")
    inputs = ("-i", file_url(film), *colour, "-i", file_url(other))
    return make(folder / "cuts.mp4", *inputs, "-filter_complex", graph, "-map", "[v]", "-map", "0:a", *X264, "-g", "12")


def _interlaced(folder: Path) -> Path:
    flags = ("-vf", "setfield=tff", "-flags", "+ildct+ilme", "-x264-params", "tff=1")
    return _again(folder, "interlaced", *flags, *X264)


def _hdr(folder: Path) -> Path:
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-c:a", "copy")
    coding = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params", HDR)
    return _again(folder, "hdr", *coding, *tags)


FILMS: dict[str, Callable[[Path], Path]] = {
    "23.976": lambda folder: _face(folder, "film", fps=Fraction(24000, 1001)),
    "29.97-drop": _with_timecode,
    "50": lambda folder: _face(folder, "fifty", fps=50, seconds=0.6),
    "60": lambda folder: _face(folder, "sixty", fps=60, seconds=0.5),
    "vfr": _uneven,
    "turned": lambda folder: turned(
        folder / "turned.mp4", _again(folder, "flat", "-vf", "transpose=cclock", *X264), 90
    ),
    "hdr10": _hdr,
    "interlaced": _interlaced,
    "5.1": _surround,
    "cuts": _cuts,
}


@dataclass(frozen=True)
class Run:
    """The catalogue's outcome."""

    films: dict[str, Path]
    rows: dict[str, dict[str, Any]]
    out: Path
    speech: Path

    def output(self, name: str) -> Path:
        return self.out / self.rows[name]["output"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("titles")
    films = {name: made(folder) for name, made in FILMS.items()}
    speech = make(folder / "speech.m4a", "-i", file_url(RECORDED_DIR / "hello.es.flac"), "-t", "0.5", "-c:a", "aac")
    catalogue = folder / "catalogue.jsonl"
    rows = [
        {"title_id": name, "video": str(film), "audio": str(speech), "language": "es-419", "meta.kind": name}
        for name, film in films.items()
    ]
    catalogue.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / "out"
    planned = plan_catalogue.fn(str(catalogue), str(nano_checkpoint(folder / "model")), None)
    outcome = make_titles.fn(planned, str(out), QUICK, "none")
    report = report_titles.fn(planned, str(out), QUICK, outcome, 1.0)
    return Run(films, {row["title_id"]: row for row in report["rows"]}, out, speech)


@pytest.mark.parametrize("name", FILMS)
def test_a_title_is_finished_with_every_frame_at_its_time(run: Run, name: str) -> None:
    row = run.rows[name]
    assert row["status"].startswith("succeeded"), (row["status"], row["reason"])
    source, times = probe_with_times(run.films[name])
    made, made_times = probe_with_times(run.output(name))
    assert times is not None
    assert made_times is not None
    assert len(made_times) == len(times)
    np.testing.assert_array_equal(
        [made_times.at(i).seconds - made_times.at(0).seconds for i in range(len(times))],
        [times.at(i).seconds - times.at(0).seconds for i in range(len(times))],
    )
    assert source.video is not None
    assert made.video is not None
    for kept in ("width", "height", "rotation", "pix_fmt", "color_transfer", "color_space", "sample_aspect", "codec"):
        assert getattr(made.video, kept) == getattr(source.video, kept), kept


@pytest.mark.parametrize("name", FILMS)
def test_the_delivered_speech_is_carried_packet_for_packet_and_is_the_default(run: Run, name: str) -> None:
    assert _packets(run.output(name), "0:a:0") == _packets(run.speech, "0:a:0")
    sounds = [s for s in read_header(run.output(name), deadline_s=60)["streams"] if s["codec_type"] == "audio"]
    assert [s["disposition"]["default"] for s in sounds] == [1, *[0] * (len(sounds) - 1)]
    assert len(sounds) == 2, "the source's own sound travels along"
    assert _packets(run.output(name), "0:a:1") == _packets(run.films[name], "0:a:0")


@pytest.mark.parametrize("name", FILMS)
def test_every_frame_of_a_face_is_either_dubbed_or_told_why_not(run: Run, name: str) -> None:
    row = run.rows[name]
    left = {i for entry in row["left_alone"] for i in range(entry["start"], entry["stop"])}
    assert (row["rendered_frames"] > 0) == (name != "interlaced")
    assert row["rendered_frames"] + len(left) >= row["frames"]


def test_a_face_that_leaves_leaves_the_picture_alone(run: Run) -> None:
    shots = run.rows["cuts"]["shots"]
    assert [shot["decision"] for shot in shots][1] in ("left", "copied")
    assert shots[0]["dubbed_frames"] > 0
    assert shots[2]["dubbed_frames"] > 0
    assert {reason["code"] for reason in shots[1]["reasons"]} == {"no_face"}


def test_an_interlaced_title_passes_through_whole_with_a_reason(run: Run) -> None:
    row = run.rows["interlaced"]
    assert {left["code"] for left in row["left_alone"]} == {"interlaced"}
    assert row["status"] == "succeeded_with_flags"
    assert _packets(run.output("interlaced"), "0:v:0") == _packets(run.films["interlaced"], "0:v:0")


def test_drop_frame_timecode_is_kept_and_told(run: Run) -> None:
    header = json.dumps(read_header(run.output("29.97-drop"), deadline_s=60))
    assert "01:00:00;00" in header
    assert run.rows["29.97-drop"]["shots"][0]["tc_in"] == "01:00:00;00"


def test_hdr_data_is_kept(run: Run) -> None:
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_frames",
        "-read_intervals",
        "%+#1",
        "-of",
        "json",
    ]
    said = json.loads(_said([*command, str(run.output("hdr10"))]))["frames"][0]["side_data_list"]
    kinds = {side["side_data_type"]: side for side in said}
    assert kinds["Content light level metadata"]["max_content"] == 1000
    assert kinds["Mastering display metadata"]["max_luminance"] == "10000000/10000"


def test_six_channels_and_their_language_stay(run: Run) -> None:
    sounds = [s for s in read_header(run.output("5.1"), deadline_s=60)["streams"] if s["codec_type"] == "audio"]
    assert (sounds[1]["codec_name"], sounds[1]["channels"], sounds[1]["tags"]["language"]) == ("ac3", 6, "fre")
    assert b"es-419" in run.output("5.1").read_bytes()


def _packets(path: Path, stream: str) -> list[str]:
    """A digest of each packet of a stream."""
    said = _said(["ffmpeg", "-v", "error", "-i", str(path), "-map", stream, "-c", "copy", "-f", "framehash", "-"])
    # What follows the sixth column is side data: how much of the first packet is not to be heard.
    return [line.split(",")[5].strip() for line in said.splitlines() if not line.startswith("#")]


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
